//! Instructions that lanes of a warp execute together.

use super::block::Block;
use super::warp::Warp;
use crate::arith::warp as pure;
use crate::code::{Slot, Sync};
use crate::fault::{Cause, FaultKind};

impl Block<'_, '_> {
    /// Executes one; the lanes of `m` are all that its mask names and that live.
    pub fn together(&mut self, w: &mut Warp, sync: &Sync, m: u32) -> Result<(), Box<Cause>> {
        match sync {
            Sync::Warp => self.warp_synchronised(w, m),
            Sync::Shuffle(mode, to, p, a, b, c) => {
                let r = |i: u32| &w.r[i as usize].0;
                let out = pure::shuffle(*mode, r(*a), r(*b), r(*c), m);
                if out.undefined != 0 {
                    let message = "reads the register of a lane that does not take part".to_string();
                    return Err(Cause::new(FaultKind::WarpSync, out.undefined.trailing_zeros(), message));
                }
                w.set_r(m, *to, &out.value);
                w.set_p(m, *p, out.within);
            }
            Sync::Vote(mode, to, source) => {
                let value = pure::vote(*mode, w.pred(*source), m);
                w.set_p(m, *to, if value { u32::MAX } else { 0 });
            }
            Sync::Ballot(to, source) => {
                let value = pure::ballot(w.pred(*source), m);
                w.set_r(m, *to, &[value; 32]);
            }
            Sync::MatchAny(to, a) => {
                let value = match a {
                    Slot::D(d) => pure::match_any64(&w.d[*d as usize].0, m),
                    Slot::R(r) => pure::match_any32(&w.r[*r as usize].0, m),
                    Slot::None => [m; 32],
                };
                w.set_r(m, *to, &value);
            }
            Sync::MatchAll(to, p, a) => {
                let (value, all) = match a {
                    Slot::D(d) => pure::match_all64(&w.d[*d as usize].0, m),
                    Slot::R(r) => pure::match_all32(&w.r[*r as usize].0, m),
                    Slot::None => (m, true),
                };
                w.set_r(m, *to, &[value; 32]);
                w.set_p(m, *p, if all { u32::MAX } else { 0 });
            }
            Sync::Redux(op, to, a) => {
                let value = pure::reduce(*op, &w.r[*a as usize].0, m);
                w.set_r(m, *to, &[value; 32]);
            }
            Sync::Elect(to, p) => {
                let lane = pure::elect(m);
                w.set_r(m, *to, &[lane; 32]);
                w.set_p(m, *p, 1 << lane);
            }
            Sync::Matrix(op) => return self.matrix(w, op, m),
            // These have more to do than lanes: see `warpgroup`.
            Sync::Warpgroup(_) => {}
        }
        Ok(())
    }

    /// Accesses of these lanes before this point are ordered with those after it.
    pub fn warp_synchronised(&mut self, w: &mut Warp, m: u32) {
        self.memory.warp_sync(w.id, m);
    }
}
