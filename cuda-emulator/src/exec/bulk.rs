//! Bulk copies: registers to what the memory takes.

use super::block::Block;
use super::warp::{Warp, lanes};
use crate::code::{Bulk, Outside, PARAM_WINDOW};
use crate::fault::{Cause, FaultKind};
use crate::memory::{DEVICE_BASE, Line};
use crate::tensor::map::{BYTES, Row, TensorMap};
use crate::tensor::wgmma::Swizzle;

impl Block<'_, '_> {
    /// Executes one: each lane copies for itself.
    pub fn bulk(&mut self, w: &mut Warp, bulk: &Bulk, pc: u32, m: u32) -> Result<(), Box<Cause>> {
        match bulk {
            Bulk::Commit => self.memory.bulk_commit(w.id, m),
            Bulk::Wait(keep) => self.worker.bulk_wait(self.memory, w.id, m, *keep, false),
            Bulk::WaitRead(keep) => self.worker.bulk_wait(self.memory, w.id, m, *keep, true),
            Bulk::Load(outside, to, barrier) => {
                let (to, barrier) = (w.addresses(*to), w.addresses(*barrier));
                for lane in lanes(m) {
                    let line = self.line(w, outside, to[lane], pc, lane)?;
                    self.worker.bulk_load(self.memory, line, barrier[lane])?;
                }
            }
            Bulk::Store(outside, from) => {
                let from = w.addresses(*from);
                for lane in lanes(m) {
                    let line = self.line(w, outside, from[lane], pc, lane)?;
                    self.worker.bulk_store(self.memory, line)?;
                }
            }
        }
        Ok(())
    }

    fn line(&self, w: &Warp, outside: &Outside, at: u64, pc: u32, lane: usize) -> Result<Line, Box<Cause>> {
        let thread = (w.id, lane as u32);
        let wrong = |kind, message| Cause::new(kind, lane as u32, message);
        match outside {
            Outside::Line(address, size) => {
                let (address, bytes) = (w.addresses(*address)[lane], u64::from(w.r[*size as usize].0[lane]));
                if !address.is_multiple_of(16) {
                    let message = format!("a bulk copy at {address:#x} of device memory, no multiple of 16");
                    return Err(wrong(FaultKind::Misaligned, message));
                }
                if !bytes.is_multiple_of(16) || bytes == 0 {
                    let message = format!("a bulk copy of {bytes} bytes, no multiple of 16");
                    return Err(wrong(FaultKind::Misaligned, message));
                }
                let row = Row {
                    address,
                    bytes,
                    offset: 0,
                };
                Ok(Line {
                    thread,
                    pc,
                    at,
                    align: 16,
                    bytes,
                    rows: vec![row],
                    swizzle: Swizzle::None,
                })
            }
            Outside::Tensor(map, coordinates) => {
                let map = self.tensor_map(w.addresses(*map)[lane], lane)?;
                if map.rank != coordinates.len() {
                    let message = format!(
                        "a copy of {} dimensions by a tensor map of {}",
                        coordinates.len(),
                        map.rank
                    );
                    return Err(wrong(FaultKind::Undefined, message));
                }
                let coordinates: Vec<i32> = coordinates.iter().map(|&r| w.r[r as usize].0[lane] as i32).collect();
                Ok(Line {
                    thread,
                    pc,
                    at,
                    align: 128,
                    bytes: map.box_bytes(),
                    rows: map.rows(&coordinates),
                    swizzle: map.swizzle,
                })
            }
        }
    }

    /// The tensor map at a generic address: a parameter of the kernel, or in device memory.
    fn tensor_map(&self, address: u64, lane: usize) -> Result<TensorMap, Box<Cause>> {
        let wrong = |kind, message| Cause::new(kind, lane as u32, message);
        if !address.is_multiple_of(64) {
            let message = format!("a tensor map at {address:#x}, no multiple of 64");
            return Err(wrong(FaultKind::Misaligned, message));
        }
        let bytes = if (PARAM_WINDOW..DEVICE_BASE).contains(&address) {
            let offset = (address - PARAM_WINDOW) as usize;
            let bytes = self.launch.params.get(offset..offset.saturating_add(BYTES));
            let bytes = bytes.and_then(|b| <[u8; BYTES]>::try_from(b).ok());
            bytes.ok_or_else(|| {
                let message = format!("a tensor map at byte {offset} of the parameters");
                wrong(FaultKind::OutOfBounds, message)
            })?
        } else {
            self.worker.tensor_map(address, lane as u32)?
        };
        let mut words = [0; BYTES / 8];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        TensorMap::decode(&words).ok_or_else(|| {
            let message = format!("the 128 bytes at {address:#x} are no tensor map of cuTensorMapEncodeTiled");
            wrong(FaultKind::Undefined, message)
        })
    }
}
