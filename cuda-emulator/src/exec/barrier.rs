//! The named barriers of a block.

use crate::code::BarrierKind;

/// Warps of a block, a bit each: a block has at most 32.
pub type Warps = u32;

/// One named barrier.
#[derive(Clone, Copy, Debug, Default)]
struct Named {
    /// Threads it waits for; 0: all that live.
    expected: u32,
    /// Warps that have arrived, waiting or not.
    arrived: Warps,
    /// Threads that have arrived, warps counted whole.
    threads: u32,
    /// Warps that wait.
    waiting: Warps,
    /// Predicates that were true, and whether one was false.
    true_threads: u32,
    one_false: bool,
}

/// The barriers of a block.
#[derive(Clone, Debug, Default)]
pub struct Barriers {
    named: [Named; 16],
    /// Warps that have not ended.
    pub live: Warps,
    /// Warps that wait at some barrier.
    pub waiting: Warps,
    /// Results of reductions: number of true predicates, whether one was false.
    pub results: [(u32, bool); 32],
}

/// A barrier that is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Complete {
    /// Its number.
    pub id: u32,
    /// Warps that waited.
    pub waiting: Warps,
}

/// What a warp brings to a barrier.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Its number.
    pub warp: u32,
    /// Number of the barrier.
    pub id: u32,
    /// Number of threads that take part; 0: all that live.
    pub count: u32,
    /// Kind.
    pub kind: BarrierKind,
    /// Lanes that arrive, and those among them whose predicate is true.
    pub lanes: u32,
    /// True predicates.
    pub predicate: u32,
}

impl Barriers {
    /// A warp arrives. Returns the barrier if that completes it.
    ///
    /// # Errors
    /// What PTX does not define.
    pub fn arrive(&mut self, a: Arrival) -> Result<Option<Complete>, String> {
        let Some(b) = self.named.get_mut(a.id as usize) else {
            return Err(format!("barrier {}, of 0 to 15", a.id));
        };
        if !a.count.is_multiple_of(32) {
            return Err(format!(
                "barrier {} of {} threads, no multiple of a warp",
                a.id, a.count
            ));
        }
        if b.arrived != 0 && b.expected != a.count {
            return Err(format!(
                "barrier {} of {} threads, which others use with {}",
                a.id, a.count, b.expected
            ));
        }
        if b.arrived >> a.warp & 1 != 0 {
            return Err(format!(
                "warp {} arrives at barrier {} again before it is complete",
                a.warp, a.id
            ));
        }
        b.expected = a.count;
        b.arrived |= 1 << a.warp;
        b.threads += 32;
        if a.kind != BarrierKind::Arrive {
            b.waiting |= 1 << a.warp;
            self.waiting |= 1 << a.warp;
        }
        b.true_threads += (a.lanes & a.predicate).count_ones();
        b.one_false |= a.lanes & !a.predicate != 0;
        Ok(self.complete(a.id as usize))
    }

    /// A warp ends. Returns the barriers which that completes.
    pub fn leave(&mut self, warp: u32) -> Vec<Complete> {
        self.live &= !(1 << warp);
        (0..16).filter_map(|id| self.complete(id)).collect()
    }

    fn complete(&mut self, id: usize) -> Option<Complete> {
        let b = self.named[id];
        let done = if b.expected == 0 {
            b.arrived & self.live == self.live
        } else {
            b.threads >= b.expected
        };
        if b.arrived == 0 || !done {
            return None;
        }
        for warp in 0..32 {
            if b.waiting >> warp & 1 != 0 {
                self.results[warp] = (b.true_threads, b.one_false);
            }
        }
        self.waiting &= !b.waiting;
        self.named[id] = Named::default();
        Some(Complete {
            id: id as u32,
            waiting: b.waiting,
        })
    }
}
