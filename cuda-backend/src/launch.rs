//! A checked kernel launch.
use cudarc::driver::sys;
use kernel::mat::Mat;

use crate::buffer::{Buffer, Index};
use crate::compile::Source;
use crate::device::{Cuda, Element, driver};
use crate::error::Error;
use crate::graph::{Param, Ready};
use crate::tensor_map::TensorMap;

/// Most blocks in y and z.
const MAX_YZ: usize = 65535;
/// Most bytes of dynamic shared memory without asking.
const PLAIN_SHARED: usize = 48 << 10;

/// What a kernel takes: an address or a plain number, in at most eight bytes.
pub(crate) trait Arg {
    /// The bytes that the kernel reads, from the lowest address on.
    fn bits(&self) -> u64;
}

macro_rules! plain {
    ($($t:ty => $bits:expr),*) => { $(
        impl Arg for $t {
            fn bits(&self) -> u64 {
                let bits: fn(&$t) -> u64 = $bits;
                bits(self)
            }
        }
    )* };
}

plain! {
    u32 => |x| u64::from(*x),
    i32 => |x| u64::from(*x as u32),
    u64 => |x| *x,
    f32 => |x| u64::from(x.to_bits()),
    f64 => |x| x.to_bits()
}

impl<T> Arg for Buffer<T> {
    fn bits(&self) -> u64 {
        self.address()
    }
}

impl Arg for Index {
    fn bits(&self) -> u64 {
        self.address()
    }
}

impl<T> Arg for Mat<Buffer<T>> {
    fn bits(&self) -> u64 {
        self.data.address()
    }
}

/// No matrix: a null pointer.
impl<A: Arg> Arg for Option<&A> {
    fn bits(&self) -> u64 {
        self.map_or(0, Arg::bits)
    }
}

impl<A: Arg + ?Sized> Arg for &A {
    fn bits(&self) -> u64 {
        (**self).bits()
    }
}

impl<A: Arg + ?Sized> Arg for &mut A {
    fn bits(&self) -> u64 {
        (**self).bits()
    }
}

/// A launch in the making: `b.kernel(&SOURCE, "name").grid([x, y, z]).block(threads).arg(&x).arg(&n).launch()`.
pub(crate) struct Launch<'a, T: Element> {
    b: &'a Cuda<T>,
    source: &'a Source,
    name: String,
    grid: [usize; 3],
    block: [u32; 3],
    shared: usize,
    args: Vec<Param>,
    /// A size that the kernels' u32 cannot hold.
    beyond: Option<usize>,
}

impl<T: Element> Cuda<T> {
    /// A launch of `name`.
    pub(crate) fn kernel<'a>(&'a self, source: &'a Source, name: impl Into<String>) -> Launch<'a, T> {
        Launch {
            b: self,
            source,
            name: name.into(),
            grid: [1; 3],
            block: [1; 3],
            shared: 0,
            args: Vec::with_capacity(16),
            beyond: None,
        }
    }

    /// A launch of `name` with the element's suffix: `rope` is `rope_f32` or `rope_bf16`.
    pub(crate) fn typed<'a>(&'a self, source: &'a Source, name: &str) -> Launch<'a, T> {
        self.kernel(source, format!("{name}_{}", T::SUFFIX))
    }
}

impl<T: Element> Launch<'_, T> {
    /// Blocks in x, y and z. No block at all is no launch.
    pub fn grid(mut self, grid: [usize; 3]) -> Self {
        self.grid = grid;
        self
    }

    /// Threads of a block, in x.
    pub fn block(self, threads: u32) -> Self {
        self.block3([threads, 1, 1])
    }

    /// Threads of a block in x, y and z.
    pub fn block3(mut self, block: [u32; 3]) -> Self {
        self.block = block;
        self
    }

    /// Bytes of dynamic shared memory.
    pub fn shared(mut self, bytes: usize) -> Self {
        self.shared = bytes;
        self
    }

    /// The next argument. Its type must be the kernel's: sizes are `u32`, addresses buffers or matrices.
    pub fn arg(mut self, arg: impl Arg) -> Self {
        self.args.push(Param::Plain(arg.bits()));
        self
    }

    /// The next argument, a tensor map: `const __grid_constant__ TensorMap`.
    pub fn map(mut self, map: &TensorMap) -> Self {
        self.args.push(Param::Map(Box::new(map.opaque())));
        self
    }

    /// A size, as the kernels take them: u32. With a size beyond it the launch fails.
    pub fn size(mut self, size: usize) -> Self {
        if size > u32::MAX as usize {
            self.beyond.get_or_insert(size);
        }
        self.args.push(Param::Plain(size as u64));
        self
    }

    /// Puts it on the stream. A fault is kept for the next transfer.
    pub fn launch(self) {
        if self.grid.contains(&0) {
            return;
        }
        let b = self.b;
        b.keep(self.start());
    }

    fn start(self) -> Result<(), Error> {
        if let Some(size) = self.beyond {
            return Err(Error::Size {
                kernel: self.name,
                size,
            });
        }
        let [x, y, z] = self.grid;
        if x > i32::MAX as usize || y > MAX_YZ || z > MAX_YZ {
            return Err(Error::Grid {
                kernel: self.name,
                grid: self.grid,
            });
        }
        let f = self.b.function(self.source, &self.name)?;
        if self.shared > PLAIN_SHARED {
            let most = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            let set = f.set_attribute(most, self.shared as i32);
            set.map_err(|e| driver(&format!("launching {}", self.name), e))?;
        }
        let ready = Ready::new(
            &f,
            (x as u32, y as u32, z as u32),
            self.block,
            self.shared as u32,
            self.args,
        );
        self.b.put(&self.name, ready)
    }
}
