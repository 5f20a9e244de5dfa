//! `mbarrier`: an object of 64 bits in shared memory that counts arrivals and bytes, phase after phase.

use super::access::outside;
use super::block::Block;
use super::warp::{Vain, Warp, lanes};
use crate::code::{Mbarrier, MbarrierKind, Slot};
use crate::fault::{Cause, FaultKind};
use crate::memory::{Access, Order, Raw, SHARED_WINDOW, Scope, Space};

/// What the 64 bits hold; NVIDIA leaves the layout open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Object {
    /// Arrivals that are missing in this phase, of 20 bits.
    pending: i64,
    /// Arrivals of a phase, of 20 bits.
    expected: i64,
    /// Bytes that are missing in this phase, of 21 bits with a sign.
    bytes: i64,
    /// Number of the phase, of 3 bits.
    phase: u64,
}

/// Bytes that may be missing in a phase, or be too many (PTX ISA, "Size and alignment of mbarrier object").
const MOST_BYTES: i64 = (1 << 20) - 1;

impl Object {
    /// What the object cannot hold.
    fn wrong(self) -> Option<String> {
        if self.pending < 0 || self.expected < 0 {
            return Some("more arrivals in a phase than the mbarrier expects".into());
        }
        let most = MOST_BYTES;
        (self.bytes.abs() > most).then(|| {
            format!(
                "{} bytes are missing in a phase of an mbarrier, of at most {most}",
                self.bytes
            )
        })
    }

    fn of(bits: u64) -> Object {
        Object {
            pending: (bits & 0xfffff) as i64,
            expected: (bits >> 20 & 0xfffff) as i64,
            bytes: ((bits >> 40 << 43) as i64) >> 43,
            phase: bits >> 61,
        }
    }

    fn bits(self) -> u64 {
        let field = |v: i64, bits: u32| v as u64 & ((1 << bits) - 1);
        field(self.pending, 20) | field(self.expected, 20) << 20 | field(self.bytes, 21) << 40 | self.phase << 61
    }

    /// Begins the next phase if nothing is missing.
    fn complete(mut self) -> Object {
        if self.pending == 0 && self.bytes == 0 {
            self.pending = self.expected;
            self.phase = (self.phase + 1) % 8;
        }
        self
    }
}

impl Block<'_, '_> {
    /// Executes one. Returns whether a lane waits in vain: others should have a turn.
    pub fn mbarrier(&mut self, w: &mut Warp, b: &Mbarrier, m: u32) -> Result<bool, Box<Cause>> {
        let values: [u64; 32] = std::array::from_fn(|i| w.lane(b.value, i));
        if b.kind == MbarrierKind::PendingCount {
            for i in lanes(m) {
                w.set_lane(b.to, i, Object::of(values[i]).pending as u64);
            }
            return Ok(false);
        }
        if b.after_copies {
            self.worker.copy_wait(self.memory, w.id, m, None)?;
        }
        let addresses = w.addresses(b.address);
        let mut access = Access {
            warp: w.id,
            mask: m,
            space: outside(b.space),
            order: Order::Weak,
            scope: Scope::Block,
            bytes: 8,
        };
        let mut raw: Raw = [[0; 32]; 4];
        match b.kind {
            MbarrierKind::Init | MbarrierKind::Inval => {
                for i in lanes(m) {
                    let count = values[i] as i64;
                    if b.kind == MbarrierKind::Init && !(1..1 << 20).contains(&count) {
                        let message = format!("an mbarrier of {count} arrivals");
                        return Err(Cause::new(FaultKind::Undefined, i as u32, message));
                    }
                    let bits = Object {
                        pending: count,
                        expected: count,
                        bytes: 0,
                        phase: 0,
                    }
                    .bits();
                    raw[0][i] = bits as u32;
                    raw[1][i] = (bits >> 32) as u32;
                }
                self.worker.store(self.memory, access, &addresses, &raw)?;
                Ok(false)
            }
            MbarrierKind::Wait => self.mbarrier_wait(w, b, access, &addresses, &values),
            _ => {
                access.order = Order::AcquireRelease;
                let mut wrong = None;
                let mut step = |lane: usize, old: u128| {
                    let new = change(b, Object::of(old as u64), values[lane] as i64);
                    if let (None, Some(message)) = (&wrong, new.wrong()) {
                        wrong = Some((lane, message));
                    }
                    u128::from(new.complete().bits())
                };
                self.worker
                    .atomic(self.memory, access, &addresses, &mut raw, &mut step)?;
                if let Some((lane, message)) = wrong {
                    return Err(Cause::new(FaultKind::Undefined, lane as u32, message));
                }
                for i in lanes(m) {
                    w.set_lane(b.to, i, u64::from(raw[0][i]) | u64::from(raw[1][i]) << 32);
                }
                Ok(false)
            }
        }
    }

    fn mbarrier_wait(
        &mut self,
        w: &mut Warp,
        b: &Mbarrier,
        access: Access,
        addresses: &[u64; 32],
        values: &[u64; 32],
    ) -> Result<bool, Box<Cause>> {
        let mut raw: Raw = [[0; 32]; 4];
        let relaxed = Access {
            order: Order::Poll,
            ..access
        };
        let counted = self.worker.counters.shared_load;
        self.worker.load(self.memory, relaxed, addresses, &mut raw)?;
        let mut complete = 0;
        for i in lanes(access.mask) {
            let now = Object::of(u64::from(raw[0][i]) | u64::from(raw[1][i]) << 32).phase;
            let passed = if b.parity {
                now & 1 != values[i] & 1
            } else {
                now != Object::of(values[i]).phase
            };
            complete |= u32::from(passed) << i;
        }
        // Only who sees the phase complete sees what was written before it was.
        if complete != 0 {
            let acquire = Access {
                order: Order::Acquire,
                mask: complete,
                ..access
            };
            self.worker.load(self.memory, acquire, addresses, &mut raw)?;
            let mut last = None;
            for i in lanes(complete) {
                let at = offset(access, addresses[i]);
                if last.replace(at) != Some(at) {
                    let same = lanes(complete).filter(|&j| addresses[j] == addresses[i]);
                    self.memory.awake(at, w.id, same.fold(0, |m, j| m | 1 << j));
                }
            }
        }
        if let Slot::R(p) = b.to {
            w.set_p(access.mask, p, complete);
        }
        w.vain = None;
        if complete != access.mask {
            // Only the last of many questions counts.
            self.worker.counters.shared_load = counted;
            self.in_vain(w, access, addresses, access.mask & !complete)?;
        }
        Ok(complete != access.mask)
    }
}

impl Block<'_, '_> {
    /// Lanes wait in vain: now bulk copies are done that these mbarriers count.
    fn in_vain(&mut self, w: &mut Warp, access: Access, addresses: &[u64; 32], m: u32) -> Result<(), Box<Cause>> {
        let mut last = None;
        for i in lanes(m) {
            let at = offset(access, addresses[i]);
            if last.replace(at) == Some(at) {
                continue;
            }
            if let Some(bytes) = self.worker.land(self.memory, at, i as u32)? {
                let mut wrong = None;
                self.memory.exchange(at, |bits| {
                    let mut object = Object::of(bits);
                    object.bytes = object.bytes.saturating_sub_unsigned(bytes);
                    wrong = object.wrong();
                    object.complete().bits()
                });
                if let Some(message) = wrong {
                    return Err(Cause::new(FaultKind::Undefined, i as u32, message));
                }
            }
            let mut bits = 0;
            self.memory.exchange(at, |old| {
                bits = old;
                old
            });
            let Object { pending, bytes, .. } = Object::of(bits);
            w.vain = Some(Vain::Mbarrier { at, pending, bytes });
        }
        Ok(())
    }
}

/// Where in shared memory an access is.
fn offset(access: Access, address: u64) -> u64 {
    let base = if access.space == Space::Generic {
        SHARED_WINDOW
    } else {
        0
    };
    address.wrapping_sub(base)
}

fn change(b: &Mbarrier, mut o: Object, value: i64) -> Object {
    match b.kind {
        MbarrierKind::ExpectTx => o.bytes += value,
        MbarrierKind::CompleteTx => o.bytes -= value,
        _ => {
            let count = if b.transactions { 1 } else { value };
            if b.transactions {
                o.bytes += value;
            }
            if b.kind == MbarrierKind::ArriveDrop {
                o.expected -= count;
            }
            o.pending -= count;
        }
    }
    o
}
