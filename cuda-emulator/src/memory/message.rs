//! Sentences about faults.

use super::order::Clocks;
use super::race::Clash;
use super::worker::Worker;
use crate::fault::{Cause, FaultKind};

/// What an access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Reads.
    Read,
    /// Writes.
    Write,
    /// Reads and writes.
    Atomic,
}

impl Deed {
    /// As a noun.
    pub fn noun(self) -> &'static str {
        match self {
            Deed::Read => "read",
            Deed::Write => "write",
            Deed::Atomic => "atomic",
        }
    }

    /// Whether it reads.
    pub fn reads(self) -> bool {
        self != Deed::Write
    }

    /// Whether it writes.
    pub fn writes(self) -> bool {
        self != Deed::Read
    }
}

impl Worker<'_> {
    /// A thread as the programmer knows it.
    pub(super) fn name(&self, block: u32, warp: u32, lane: u32) -> String {
        let [gx, gy, _] = self.grid;
        let [bx, by, _] = self.block;
        let t = warp * 32 + lane;
        format!(
            "thread ({},{},{}) of block ({},{},{})",
            t % bx,
            t / bx % by,
            t / (bx * by),
            block % gx,
            block / gx % gy,
            block / (gx * gy)
        )
    }

    /// The cause that a clash is; `place` says where.
    #[cold]
    pub(super) fn clash(
        &self,
        clocks: &Clocks,
        clash: Clash,
        lane: u32,
        deed: Deed,
        kind: FaultKind,
        place: String,
    ) -> Box<Cause> {
        if clash.other.0 == super::cell::IN_FLIGHT {
            let message = format!(
                "{} of {place}: a cp.async or bulk copy writes there that was not waited for",
                deed.noun()
            );
            return Cause::new(FaultKind::InFlight, lane, message);
        }
        if clash.other.0 == super::loans::LENT {
            let message = format!(
                "{} of {place}: a wgmma or bulk copy that was not waited for still reads there",
                deed.noun()
            );
            return Cause::new(FaultKind::InFlight, lane, message);
        }
        let other = clash.other;
        let did = if clash.wrote { "wrote" } else { "read" };
        let order = match (clash.wrote, deed.writes()) {
            (true, true) => "write after write",
            (true, false) => "read after write",
            (false, _) => "write after read",
        };
        let between = if other.block() != clocks.block {
            "no fence and atomic orders the two"
        } else if other.warp() == self.warp {
            "the same warp, and no __syncwarp lies between"
        } else {
            "no barrier lies between"
        };
        let who = self.name(other.block(), other.warp(), other.lane());
        Cause::new(
            kind,
            lane,
            format!("{order}: {} of {place}; {who} {did} it, and {between}", deed.noun()),
        )
    }
}
