//! A cell of the race shadow: who touched a 4-byte word last, packed in 64 bits.
//!
//! | bits | what |
//! |---|---|
//! | 0..4 | which bytes of the word; 0: the cell is empty |
//! | 4 | the access was strong (atomic, volatile, relaxed, acquire or release) |
//! | 5 | it was so for its own block only (`.cta`) |
//! | 6..9 | [`Who`]: how to read the lane |
//! | 9..14 | lane |
//! | 14..19 | warp |
//! | 19..46 | block (modulo 2^27) |
//! | 46..64 | the warp's clock |

/// Bits of the byte mask.
pub const BYTES: u64 = 0xf;
/// The strong bit.
pub const STRONG: u64 = 1 << 4;
/// The bit of strong accesses of a block's scope.
pub const NARROW: u64 = 1 << 5;
/// Position of [`Who`].
pub const WHO: u32 = 6;
/// Position of the lane.
pub const LANE: u32 = 9;
/// Position of the warp.
pub const WARP: u32 = 14;
/// Position of the block.
pub const BLOCK: u32 = 19;
/// What is kept of its number.
pub const BLOCKS: u32 = (1 << (CLOCK - BLOCK)) - 1;
/// Position of the clock.
pub const CLOCK: u32 = 46;
/// A clock that has come to its end: what happened then is held for ordered.
pub const LAST_CLOCK: u32 = (1 << 18) - 2;
/// The destination of an asynchronous copy in flight. No clock is as late.
pub const IN_FLIGHT: u64 = u64::MAX;
/// All that names a thread.
pub const THREAD: u64 = ((1 << CLOCK) - 1) & !((1 << WHO) - 1);

/// How to read the lane of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Who {
    /// This lane.
    One,
    /// Bytes 0 and 1 this lane, 2 and 3 the next.
    Pair,
    /// Byte k the lane k further.
    Quad,
    /// Several lanes of the warp, this one last.
    Lanes,
    /// Several warps of the block, this one last.
    Warps,
    /// Several blocks, this one last.
    Blocks,
}

/// A cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell(pub u64);

impl Cell {
    /// Packs.
    #[inline(always)]
    pub fn new(clock: u32, block: u32, warp: u32, lane: u32, bytes: u32, strong: bool) -> Cell {
        Cell(
            u64::from(clock) << CLOCK
                | u64::from(block & BLOCKS) << BLOCK
                | u64::from(warp) << WARP
                | u64::from(lane) << LANE
                | u64::from(strong) << 4
                | u64::from(bytes),
        )
    }

    /// The clock.
    #[inline(always)]
    pub fn clock(self) -> u32 {
        (self.0 >> CLOCK) as u32
    }

    /// The block.
    #[inline(always)]
    pub fn block(self) -> u32 {
        (self.0 >> BLOCK) as u32 & BLOCKS
    }

    /// The warp.
    #[inline(always)]
    pub fn warp(self) -> u32 {
        (self.0 >> WARP) as u32 & 31
    }

    /// The lane.
    #[inline(always)]
    pub fn lane(self) -> u32 {
        (self.0 >> LANE) as u32 & 31
    }

    /// The bytes.
    #[inline(always)]
    pub fn bytes(self) -> u32 {
        (self.0 & BYTES) as u32
    }

    /// Whether the access was strong.
    #[inline(always)]
    pub fn strong(self) -> bool {
        self.0 & STRONG != 0
    }

    /// Of a strong access that is so for its own block only.
    #[inline(always)]
    pub fn narrowed(self) -> Cell {
        Cell(self.0 | NARROW)
    }

    /// How to read the lane.
    #[inline(always)]
    pub fn who(self) -> Who {
        match self.0 >> WHO & 7 {
            0 => Who::One,
            1 => Who::Pair,
            2 => Who::Quad,
            3 => Who::Lanes,
            4 => Who::Warps,
            _ => Who::Blocks,
        }
    }

    /// With another reading of the lane.
    #[inline(always)]
    pub fn with(self, who: Who) -> Cell {
        Cell(self.0 & !(7 << WHO) | (who as u64) << WHO)
    }

    /// With other bytes.
    #[inline(always)]
    pub fn with_bytes(self, bytes: u32) -> Cell {
        Cell(self.0 & !BYTES | u64::from(bytes))
    }

    /// Whether both can touch a common byte and one of them is weak, or not strong as far as the other's block.
    #[inline(always)]
    pub fn conflicts(self, other: Cell) -> bool {
        self.0 & other.0 & BYTES != 0
            && (self.0 & other.0 & STRONG == 0 || (self.0 | other.0) & NARROW != 0 && self.block() != other.block())
    }

    /// The lane that a byte belongs to; none where several touched it.
    #[inline(always)]
    pub fn owner(self, byte: u32) -> Option<u32> {
        match self.who() {
            Who::One => Some(self.lane()),
            Who::Pair => Some(self.lane() + byte / 2),
            Who::Quad => Some(self.lane() + byte),
            _ => None,
        }
    }

    /// Whether the common bytes of two cells of one warp belong to the same lanes.
    #[inline]
    pub fn same_lanes(self, other: Cell) -> bool {
        if self.who() == Who::One && other.who() == Who::One {
            return self.lane() == other.lane();
        }
        let common = self.bytes() & other.bytes();
        let same = |k: u32| self.owner(k).is_some() && self.owner(k) == other.owner(k);
        (0..4).filter(|k| common >> k & 1 != 0).all(same)
    }

    /// One cell for this and a later access of the same warp and clock, to other bytes of the word or by the same lanes, if one
    /// cell can say it.
    #[inline(always)]
    pub fn joined(self, later: Cell) -> Option<Cell> {
        if (self.0 ^ later.0) & !(BYTES | 0x1f << LANE | 7 << WHO) != 0 {
            return None;
        }
        if later.bytes() & !self.bytes() == 0 && self.same_lanes(later) {
            return Some(self);
        }
        if self.bytes() & later.bytes() != 0 {
            return None;
        }
        let bytes = self.bytes() | later.bytes();
        let step = later.lane().wrapping_sub(self.lane());
        match (self.who(), self.bytes(), later.bytes()) {
            (Who::One, ..) if step == 0 => Some(self.with_bytes(bytes)),
            (Who::One, 3, 12) if step == 1 => Some(self.with(Who::Pair).with_bytes(bytes)),
            (Who::One | Who::Quad, mine @ (1 | 3 | 7), 2 | 4 | 8) if step == mine.count_ones() => {
                (self.who() == Who::Quad || mine == 1).then(|| self.with(Who::Quad).with_bytes(bytes))
            }
            _ => None,
        }
    }
}
