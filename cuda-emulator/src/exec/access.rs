//! Loads, stores, atomics and copies: registers to what the memory takes, and back.

use super::block::Block;
use super::execute::space_of;
use super::warp::{Warp, lanes};
use crate::arith::simd::{map1, map2};
use crate::code::{self, Atomic, CopyAsync, Inst, NONE, Op, PARAM_WINDOW, Slot, Space};
use crate::fault::{Cause, FaultKind};
use crate::memory::{self, Access, Order, Raw, Scope};

/// A space as the memory knows it.
pub fn outside(space: Space) -> memory::Space {
    match space {
        Space::Global => memory::Space::Global,
        Space::Shared => memory::Space::Shared,
        Space::Local | Space::Frame => memory::Space::Local,
        Space::Const => memory::Space::Const,
        Space::Generic | Space::Param => memory::Space::Generic,
    }
}

impl Block<'_, '_> {
    /// Executes an instruction that touches memory.
    pub fn access(&mut self, w: &mut Warp, inst: &Inst, m: u32) -> Result<(), Box<Cause>> {
        match &inst.op {
            Op::Load(a) => self.load(w, a, m),
            Op::Store(a) => self.store(w, a, m),
            Op::Atomic(a) => self.atomic(w, a, m),
            Op::CopyAsync(c) => self.copy(w, c, m),
            Op::CopyCommit => {
                self.memory.copy_commit(w.id, m);
                Ok(())
            }
            Op::CopyWait(keep) => self.worker.copy_wait(self.memory, w.id, m, *keep),
            Op::Fence(scope) => {
                self.memory.fence(w.id, *scope);
                Ok(())
            }
            Op::ProxyFence => {
                self.memory.proxy_fence(w.id);
                Ok(())
            }
            Op::Builtin(which, arguments, result) => self.builtin(w, *which, arguments, *result, m),
            _ => Ok(()),
        }
    }

    fn load(&mut self, w: &mut Warp, a: &code::Access, m: u32) -> Result<(), Box<Cause>> {
        let addresses = w.addresses(a.address);
        let bytes = (a.element * elements(a)) as u32;
        let mut raw: Raw = [[0; 32]; 4];
        match a.space {
            Space::Frame => self.load_frame(w, &addresses, bytes, m, &mut raw),
            Space::Param => self.load_param(&addresses, bytes, m, 0, &mut raw)?,
            Space::Generic if m != 0 && space_of(addresses[m.trailing_zeros() as usize]) == Space::Param => {
                self.load_param(&addresses, bytes, m, PARAM_WINDOW, &mut raw)?;
            }
            space => {
                let access = Access {
                    warp: w.id,
                    mask: m,
                    space: outside(space),
                    order: a.order,
                    scope: a.scope,
                    bytes,
                };
                self.worker.load(self.memory, access, &addresses, &mut raw)?;
            }
        }
        unpack(w, a, m, &raw);
        Ok(())
    }

    fn store(&mut self, w: &mut Warp, a: &code::Access, m: u32) -> Result<(), Box<Cause>> {
        let addresses = w.addresses(a.address);
        let bytes = (a.element * elements(a)) as u32;
        let raw = pack(w, a);
        if a.space == Space::Frame {
            self.store_frame(w, &addresses, bytes, m, &raw);
            return Ok(());
        }
        let access = Access {
            warp: w.id,
            mask: m,
            space: outside(a.space),
            order: a.order,
            scope: a.scope,
            bytes,
        };
        self.worker.store(self.memory, access, &addresses, &raw)
    }

    /// The kernel's parameters.
    fn load_param(&self, at: &[u64; 32], bytes: u32, m: u32, base: u64, raw: &mut Raw) -> Result<(), Box<Cause>> {
        let first = at[m.trailing_zeros() as usize];
        let uniform = at.iter().all(|&a| a == first);
        for lane in lanes(m) {
            let offset = at[lane].wrapping_sub(base) as usize;
            let data = offset
                .checked_add(bytes as usize)
                .and_then(|end| self.launch.params.get(offset..end));
            let Some(data) = data else {
                let size = self.launch.params.len();
                let message = format!("{bytes} bytes at offset {offset} of {size} bytes of parameters");
                return Err(Cause::new(FaultKind::OutOfBounds, lane as u32, message));
            };
            for (row, chunk) in raw.iter_mut().zip(data.chunks(4)) {
                let mut word = [0; 4];
                word[..chunk.len()].copy_from_slice(chunk);
                let word = u32::from_le_bytes(word);
                if uniform {
                    *row = [word; 32];
                } else {
                    row[lane] = word;
                }
            }
            if uniform {
                break;
            }
        }
        Ok(())
    }

    fn load_frame(&self, w: &Warp, at: &[u64; 32], bytes: u32, m: u32, raw: &mut Raw) {
        let offset = at[m.trailing_zeros() as usize] as usize;
        for (i, row) in raw.iter_mut().enumerate().take(bytes.div_ceil(4) as usize) {
            let shift = 8 * (offset % 4);
            *row = map1(&w.frame[offset / 4 + i], |word| word >> shift);
        }
        if bytes < 4 {
            raw[0] = raw[0].map(|word| word & ((1 << (8 * bytes)) - 1));
        }
    }

    fn store_frame(&self, w: &mut Warp, at: &[u64; 32], bytes: u32, m: u32, raw: &Raw) {
        let offset = at[m.trailing_zeros() as usize] as usize;
        let shift = 8 * (offset % 4);
        let mask = if bytes < 4 {
            ((1 << (8 * bytes)) - 1) << shift
        } else {
            u32::MAX
        };
        for (i, row) in raw.iter().enumerate().take(bytes.div_ceil(4) as usize) {
            let to = &mut w.frame[offset / 4 + i];
            for lane in lanes(m) {
                to[lane] = (to[lane] & !mask) | (row[lane] << shift & mask);
            }
        }
    }

    fn copy(&mut self, w: &mut Warp, c: &CopyAsync, m: u32) -> Result<(), Box<Cause>> {
        let (to, from) = (w.addresses(c.to), w.addresses(c.from));
        let ignored = w.pred(c.ignore);
        let mut sizes = if c.size == NONE {
            [c.bytes; 32]
        } else {
            w.r[c.size as usize].0
        };
        for lane in lanes(m) {
            if sizes[lane] > c.bytes {
                let message = format!("cp.async reads {} bytes to write {}", sizes[lane], c.bytes);
                return Err(Cause::new(FaultKind::Undefined, lane as u32, message));
            }
            if ignored >> lane & 1 != 0 {
                sizes[lane] = 0;
            }
        }
        let whole = c.size == NONE && c.ignore.index == NONE;
        let access = Access {
            warp: w.id,
            mask: m,
            space: memory::Space::Global,
            order: Order::Weak,
            scope: Scope::Device,
            bytes: c.bytes,
        };
        self.worker
            .copy(self.memory, access, &to, &from, if whole { None } else { Some(&sizes) })
    }

    fn atomic(&mut self, w: &mut Warp, a: &Atomic, m: u32) -> Result<(), Box<Cause>> {
        let first = w.addresses(a.address);
        let bytes = a.ty.bytes();
        // 64-bit parts of one element: two for 128 bits.
        let parts = bytes.div_ceil(8);
        for n in 0..a.b.len() / parts {
            let addresses = first.map(|x| x.wrapping_add((n * bytes) as u64));
            let b = &a.b[n * parts..(n + 1) * parts];
            let value = |slots: &[Slot], lane: usize| {
                slots
                    .iter()
                    .rev()
                    .fold(0u128, |v, &s| v << 64 | u128::from(w.lane(s, lane)))
            };
            let shared: [bool; 32] = std::array::from_fn(|i| match a.space {
                Space::Generic => space_of(addresses[i]) == Space::Shared,
                space => space == Space::Shared,
            });
            let mut step = |lane: usize, old: u128| {
                let new = value(&a.new, lane);
                super::atomic::apply(a.op, a.ty, shared[lane], old, value(b, lane), new)
            };
            let access = Access {
                warp: w.id,
                mask: m,
                space: outside(a.space),
                order: a.order,
                scope: a.scope,
                bytes: bytes as u32,
            };
            let mut raw: Raw = [[0; 32]; 4];
            self.worker
                .atomic(self.memory, access, &addresses, &mut raw, &mut step)?;
            if let Some(to) = a.to.get(n * parts..(n + 1) * parts) {
                for (part, &slot) in to.iter().enumerate() {
                    for lane in lanes(m) {
                        let low = u64::from(raw[2 * part][lane]);
                        let high = u64::from(raw[2 * part + 1][lane]) << 32;
                        w.set_lane(slot, lane, if bytes >= 8 { low | high } else { low });
                    }
                }
            }
        }
        Ok(())
    }

    /// Bytes of a thread at a generic address, without a check or a count; none where it cannot be read.
    pub fn peek(&mut self, w: &Warp, lane: usize, address: u64, bytes: usize) -> Option<u64> {
        let counted = self.worker.counters.clone();
        let access = Access {
            warp: w.id,
            mask: 1 << lane,
            space: memory::Space::Generic,
            order: Order::Relaxed,
            scope: Scope::Device,
            bytes: bytes as u32,
        };
        let mut raw: Raw = [[0; 32]; 4];
        let read = self.worker.load(self.memory, access, &[address; 32], &mut raw);
        self.worker.counters = counted;
        read.ok()?;
        Some(u64::from(raw[0][lane]) | if bytes == 8 { u64::from(raw[1][lane]) << 32 } else { 0 })
    }
}

/// Elements of an access; one of 16 bytes has two registers.
fn elements(a: &code::Access) -> usize {
    a.slots.len() / a.element.div_ceil(8)
}

/// Words of memory to registers.
#[inline(always)]
fn unpack(w: &mut Warp, a: &code::Access, m: u32, raw: &Raw) {
    if a.element == 4 {
        for (row, &slot) in raw.iter().zip(&a.slots) {
            match slot {
                Slot::R(r) => w.set_r(m, r, row),
                Slot::D(d) if a.signed => w.set_d(m, d, &map1(row, |v| v as i32 as u64)),
                Slot::D(d) => w.set_d(m, d, &map1(row, u64::from)),
                Slot::None => {}
            }
        }
        return;
    }
    if a.element >= 8 {
        for (words, &slot) in raw.chunks(2).zip(&a.slots) {
            let value = map2(&words[0], &words[1], |low, high| u64::from(low) | u64::from(high) << 32);
            match slot {
                Slot::D(d) => w.set_d(m, d, &value),
                Slot::R(r) => w.set_r(m, r, &words[0]),
                Slot::None => {}
            }
        }
        return;
    }
    // Elements of 8 and 16 bits: several in a word.
    let bits = 8 * a.element as u32;
    for (n, &slot) in a.slots.iter().enumerate() {
        let at = n as u32 * bits;
        let word = &raw[(at / 32) as usize];
        let value = map1(word, |v| {
            let v = v >> (at % 32) << (32 - bits);
            if a.signed {
                (v as i32 >> (32 - bits)) as u32
            } else {
                v >> (32 - bits)
            }
        });
        match slot {
            Slot::R(r) => w.set_r(m, r, &value),
            Slot::D(d) if a.signed => w.set_d(m, d, &map1(&value, |v| v as i32 as u64)),
            Slot::D(d) => w.set_d(m, d, &map1(&value, u64::from)),
            Slot::None => {}
        }
    }
}

/// Registers to words of memory.
#[inline(always)]
fn pack(w: &Warp, a: &code::Access) -> Raw {
    let mut raw: Raw = [[0; 32]; 4];
    let low = |slot: Slot| match slot {
        Slot::R(r) => w.r[r as usize].0,
        Slot::D(d) => map1(&w.d[d as usize].0, |v| v as u32),
        Slot::None => [0; 32],
    };
    if a.element == 4 {
        for (row, &slot) in raw.iter_mut().zip(&a.slots) {
            *row = low(slot);
        }
    } else if a.element >= 8 {
        for (words, &slot) in raw.chunks_mut(2).zip(&a.slots) {
            words[0] = low(slot);
            if let Slot::D(d) = slot {
                words[1] = map1(&w.d[d as usize].0, |v| (v >> 32) as u32);
            }
        }
    } else {
        let bits = 8 * a.element as u32;
        for (n, &slot) in a.slots.iter().enumerate() {
            let at = n as u32 * bits;
            let value = low(slot);
            let word = &mut raw[(at / 32) as usize];
            for i in 0..32 {
                word[i] |= (value[i] & ((1 << bits) - 1)) << (at % 32);
            }
        }
    }
    raw
}
