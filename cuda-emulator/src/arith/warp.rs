//! What the lanes of a warp tell each other: `shfl.sync`, `vote.sync`, `match.sync`, `redux.sync`, `elect.sync`.
//!
//! `members` is the set of lanes that execute the instruction together: the member mask, which the engine has waited for.

use super::simd::vectorised;
use super::{Lanes, Wide};

/// The modes of `shfl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shuffle {
    /// `.up`: from `lane - b`.
    Up,
    /// `.down`: from `lane + b`.
    Down,
    /// `.bfly`: from `lane ^ b`.
    Butterfly,
    /// `.idx`: from lane b of the segment.
    Index,
}

/// The result of a shuffle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shuffled {
    /// The value each lane received: its own where its source is out of the segment.
    pub value: Lanes,
    /// The predicate: the source was within the segment.
    pub within: u32,
    /// Lanes whose source is not a member: what they received is undefined.
    pub undefined: u32,
}

/// `shfl.sync.mode.b32 d|p, a, b, c, membermask`. Bits 0 to 4 of c bound the source lane; bits 8 to 12 cut the warp into segments.
pub fn shuffle(mode: Shuffle, a: &Lanes, b: &Lanes, c: &Lanes, members: u32) -> Shuffled {
    let mut result = Shuffled {
        value: *a,
        within: 0,
        undefined: 0,
    };
    for lane in 0..32u32 {
        let i = lane as usize;
        let (by, bound, segment) = (b[i] & 31, c[i] & 31, c[i] >> 8 & 31);
        let least = lane & segment;
        let most = least | (bound & !segment);
        let (source, within) = match mode {
            Shuffle::Up => (lane.wrapping_sub(by), lane as i32 - by as i32 >= most as i32),
            Shuffle::Down => (lane + by, lane + by <= most),
            Shuffle::Butterfly => (lane ^ by, lane ^ by <= most),
            Shuffle::Index => (least | (by & !segment), least | (by & !segment) <= most),
        };
        let source = if within { source & 31 } else { lane };
        result.value[i] = a[source as usize];
        result.within |= (within as u32) << lane;
        result.undefined |= (members >> source & 1 ^ 1) << lane;
    }
    result.undefined &= members;
    result
}

/// The modes of `vote`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Vote {
    /// `.all`: it holds for every member.
    All,
    /// `.any`: it holds for one at least.
    Any,
    /// `.uni`: it is the same for all.
    Uniform,
}

/// `vote.sync.all`, `.any`, `.uni`: the predicate every member gets.
#[inline]
pub fn vote(mode: Vote, source: u32, members: u32) -> bool {
    let votes = source & members;
    match mode {
        Vote::All => votes == members,
        Vote::Any => votes != 0,
        Vote::Uniform => votes == members || votes == 0,
    }
}

/// `vote.sync.ballot.b32`: a bit for each member for which the predicate holds.
#[inline]
pub fn ballot(source: u32, members: u32) -> u32 {
    source & members
}

/// `match.any.sync.b32`: for each member the members with its value.
pub fn match_any32(a: &Lanes, members: u32) -> Lanes {
    match_any(a, members)
}

/// `match.any.sync.b64`
pub fn match_any64(a: &Wide, members: u32) -> Lanes {
    match_any(a, members)
}

/// `match.all.sync.b32`: the members and true if all have one value, else 0 and false.
pub fn match_all32(a: &Lanes, members: u32) -> (u32, bool) {
    match_all(a, members)
}

/// `match.all.sync.b64`
pub fn match_all64(a: &Wide, members: u32) -> (u32, bool) {
    match_all(a, members)
}

fn match_any<T: Copy + PartialEq>(a: &[T; 32], members: u32) -> Lanes {
    core::array::from_fn(|i| lanes(members).filter(|&j| a[j] == a[i]).map(|j| 1 << j).sum())
}

fn match_all<T: Copy + PartialEq>(a: &[T; 32], members: u32) -> (u32, bool) {
    let first = members.trailing_zeros() as usize & 31;
    if lanes(members).all(|j| a[j] == a[first]) {
        (members, true)
    } else {
        (0, false)
    }
}

fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    (0..32).filter(move |i| mask >> i & 1 != 0)
}

/// The operations of `redux`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduce {
    /// `.add.u32`, `.add.s32`
    Add,
    /// `.min.u32`
    MinU,
    /// `.min.s32`
    MinS,
    /// `.max.u32`
    MaxU,
    /// `.max.s32`
    MaxS,
    /// `.and.b32`
    And,
    /// `.or.b32`
    Or,
    /// `.xor.b32`
    Xor,
}

vectorised! {
    /// `redux.sync`: the value every member gets.
    pub fn reduce(op: Reduce, a: &Lanes, members: u32) -> u32 {
        let fold = |neutral: u32, f: fn(u32, u32) -> u32| lanes(members).fold(neutral, |sum, i| f(sum, a[i]));
        match op {
            Reduce::Add => fold(0, u32::wrapping_add),
            Reduce::MinU => fold(u32::MAX, u32::min),
            Reduce::MinS => fold(i32::MAX as u32, |x, y| (x as i32).min(y as i32) as u32),
            Reduce::MaxU => fold(0, u32::max),
            Reduce::MaxS => fold(i32::MIN as u32, |x, y| (x as i32).max(y as i32) as u32),
            Reduce::And => fold(u32::MAX, |x, y| x & y),
            Reduce::Or => fold(0, |x, y| x | y),
            Reduce::Xor => fold(0, |x, y| x ^ y),
        }
    }
}

/// `elect.sync d|p, membermask`: the lane elected, here the lowest, which alone gets a true predicate.
#[inline]
pub fn elect(members: u32) -> u32 {
    members.trailing_zeros() & 31
}
