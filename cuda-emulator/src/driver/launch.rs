//! Launches of kernels, and the limits that they must keep.

use super::abi::{Context, Function, In, LaunchConfig, Params, Stream};
use super::device::{Architecture, BLOCK, GRID, REGISTERS, THREADS};
use super::exports::exports;
use super::host;
use super::module::FunctionState;
use super::occupancy;
use super::report;
use super::state::{Answer, DONE, Driver, here};
use super::status::Status;
use super::work::{Launch, Work};
use crate::engine::Kernel;

/// Whether all blocks must be on the device at one time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Blocks {
    Independent,
    Cooperative,
}

/// `CU_LAUNCH_PARAM_`: the markers in `extra`.
const END: usize = 0;
const BUFFER: usize = 1;
const BUFFER_SIZE: usize = 2;

/// What is launched: grid, block, dynamic shared memory, and whether the blocks wait for each other.
#[derive(Clone, Copy)]
struct Shape {
    grid: [u32; 3],
    block: [u32; 3],
    shared: usize,
    blocks: Blocks,
}

impl Shape {
    /// Why this function cannot be launched so.
    fn refusal(&self, f: &FunctionState, arch: u32) -> Option<(Status, String)> {
        let invalid = |text: String| Some((Status::INVALID_VALUE, text));
        let Shape {
            grid, block, shared, ..
        } = *self;
        let threads: u64 = block.iter().map(|n| u64::from(*n)).product();
        if grid.contains(&0) || grid.iter().zip(GRID).any(|(n, most)| *n > most) {
            return invalid(format!("a grid of {grid:?} blocks; allowed are 1 to {GRID:?}"));
        }
        if block.contains(&0) || block.iter().zip(BLOCK).any(|(n, most)| *n > most) || threads > THREADS.into() {
            return invalid(format!(
                "a block of {block:?} threads; allowed are 1 to {BLOCK:?}, {THREADS} in all"
            ));
        }
        if f.kernel.max_threads.is_some_and(|most| threads > most.into()) {
            return invalid(format!(
                "{threads} threads in a block; its launch bounds allow {:?}",
                f.kernel.max_threads
            ));
        }
        if f.kernel.required_block.is_some_and(|only| only != block) {
            return invalid(format!(
                "a block of {block:?} threads; it was compiled for {:?} only",
                f.kernel.required_block
            ));
        }
        if shared > f.max_dynamic {
            return invalid(format!(
                "{shared} bytes of dynamic shared memory; {} are allowed (cuFuncSetAttribute raises that)",
                f.max_dynamic
            ));
        }
        if let Some(registers) = f.kernel.registers
            && occupancy::registers_of_block(registers, threads as u32) > REGISTERS
        {
            let text = format!(
                "{registers} registers for each of {threads} threads are more than the {REGISTERS} of a multiprocessor"
            );
            return Some((Status::LAUNCH_OUT_OF_RESOURCES, text));
        }
        if self.blocks == Blocks::Cooperative {
            let resident = occupancy::blocks(&f.kernel, threads as u32, shared, arch)
                * Architecture::of(arch).multiprocessors as u32;
            let asked: u64 = grid.iter().map(|n| u64::from(*n)).product();
            if asked > resident.into() {
                return Some((
                    Status::COOPERATIVE_LAUNCH_TOO_LARGE,
                    format!("{asked} cooperative blocks; the device holds {resident}"),
                ));
            }
        }
        None
    }
}

/// The parameter block from the addresses of the values, or from the one buffer that `extra` names.
fn parameters(kernel: &Kernel, params: Params, extra: Params) -> Result<Vec<u8>, String> {
    let mut block = vec![0; kernel.param_bytes];
    if !extra.is_null() {
        let (mut address, mut bytes) = (0, 0);
        for i in 0.. {
            let value = |j: usize| host::word(extra.slot(2 * i + j)).ok_or("extra is no list");
            match value(0)? {
                END => break,
                BUFFER => address = value(1)?,
                BUFFER_SIZE => {
                    bytes = host::word(value(1)?).ok_or("the size in extra is not an address in host memory")?
                }
                _ => return Err("extra is no list".into()),
            }
        }
        if bytes != block.len() {
            return Err(format!(
                "a buffer of {bytes} bytes of parameters, the kernel has {}",
                block.len()
            ));
        }
        if !host::try_read(address, &mut block) {
            return Err("the buffer of parameters is not in host memory".into());
        }
        return Ok(block);
    }
    if params.is_null() && !kernel.params.is_empty() {
        return Err(format!("no parameters, the kernel has {}", kernel.params.len()));
    }
    for (i, p) in kernel.params.iter().enumerate() {
        let to = &mut block[p.offset..p.offset + p.size];
        host::parameter(params, i, to)
            .map_err(|text| format!("parameter {i} of {} {text}: were fewer passed?", kernel.params.len()))?;
    }
    Ok(block)
}

impl Driver {
    fn launch(
        &mut self,
        context: Context,
        function: Function,
        stream: Stream,
        shape: Shape,
        params: Params,
        extra: Params,
    ) -> Answer {
        let stream = self.stream(context, stream)?;
        let f = self.function(function)?;
        if self.streams.get(&stream).is_none_or(|s| s.context != f.context) {
            return Err(Status::INVALID_HANDLE);
        }
        let name = f.kernel.name.clone();
        if !params.is_null() && !extra.is_null() {
            return Err(Status::INVALID_VALUE);
        }
        if let Some((status, text)) = shape.refusal(f, self.engine.options.arch) {
            report::failure(status, &format!("launch of {name}: {text}"));
            return Err(status);
        }
        let params = parameters(&f.kernel, params, extra).map_err(|text| {
            report::misuse(&format!("launch of {name}: {text}"));
            Status::INVALID_VALUE
        })?;
        let Shape {
            grid, block, shared, ..
        } = shape;
        let launch = Launch {
            kernel: f.kernel.clone(),
            module: f.module,
            grid,
            block,
            shared,
            params,
        };
        self.submit(stream, Work::Launch(launch))?;
        DONE
    }
}

exports! {
    /// Runs a kernel.
    fn cuLaunchKernel(
        function: Function,
        grid_x: u32,
        grid_y: u32,
        grid_z: u32,
        block_x: u32,
        block_y: u32,
        block_z: u32,
        shared: u32,
        stream: Stream,
        params: Params,
        extra: Params,
    ) {
        let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
        let shape = Shape { grid, block, shared: shared as usize, blocks: Blocks::Independent };
        here(|d, context| d.launch(context, function, stream, shape, params, extra))
    }

    /// Runs a kernel whose blocks may wait for each other.
    fn cuLaunchCooperativeKernel(
        function: Function,
        grid_x: u32,
        grid_y: u32,
        grid_z: u32,
        block_x: u32,
        block_y: u32,
        block_z: u32,
        shared: u32,
        stream: Stream,
        params: Params,
    ) {
        let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
        let shape = Shape { grid, block, shared: shared as usize, blocks: Blocks::Cooperative };
        here(|d, context| d.launch(context, function, stream, shape, params, Params::null()))
    }

    /// Runs a kernel with attributes of the launch.
    fn cuLaunchKernelEx(config: In<'_, LaunchConfig>, function: Function, params: Params, extra: Params) {
        here(|d, context| {
            let c = config.get()?;
            let mut shape = Shape { grid: c.grid, block: c.block, shared: c.shared as usize, blocks: Blocks::Independent };
            for attribute in c.attributes() {
                match attribute.id {
                    2 if attribute.value[0] != 0 => shape.blocks = Blocks::Cooperative,
                    // Clusters of one block are no clusters.
                    4 if attribute.value[..3] == [1, 1, 1] => {}
                    // Hints about caches, priorities and the carveout. Overlap with the kernel before is allowed, not demanded.
                    0..=3 | 6 | 8..=10 | 14 => {}
                    id => {
                        report::unsupported(&format!("cuLaunchKernelEx with attribute {id} (4: clusters, others: see CUlaunchAttributeID)"));
                        return Err(Status::NOT_SUPPORTED);
                    }
                }
            }
            d.launch(context, function, c.stream, shape, params, extra)
        })
    }
}
