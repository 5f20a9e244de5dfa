//! Arithmetic of extended precision: `add.cc`, `addc`, `sub.cc`, `subc`, `mad.cc`, `madc` and the carry flag CC.CF.

use super::int64::Sign;
use super::{Lanes, Wide};

/// What is added or subtracted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `a + b`
    Add,
    /// `a - b`; the flag is the borrow.
    Sub,
    /// The lower half of `a b`, plus c.
    MadLo,
    /// The upper half of `a b`, plus c.
    MadHi(Sign),
}

/// Whether the flag enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Enter {
    /// `addc`, `subc`, `madc`.
    Flag,
    /// The others.
    Nothing,
}

/// Whether the flag is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Leave {
    /// `.cc`
    Flag,
    /// The flag stays as it is.
    Nothing,
}

/// An instruction of extended precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Carry {
    /// What is computed.
    pub operation: Operation,
    /// `addc`, `subc`, `madc`.
    pub enter: Enter,
    /// `.cc`
    pub leave: Leave,
}

impl Carry {
    /// 2 or 3.
    pub fn sources(self) -> usize {
        match self.operation {
            Operation::Add | Operation::Sub => 2,
            Operation::MadLo | Operation::MadHi(_) => 3,
        }
    }

    /// 32 bits. `flag` has a bit a lane; those of `active` lanes are read and written. Without a third source, `c` is not read.
    pub fn apply32(self, flag: &mut u32, active: u32, a: &Lanes, b: &Lanes, c: &Lanes) -> Lanes {
        let mut d = [0; 32];
        for i in 0..32 {
            let (x, y) = match self.operation {
                Operation::Add | Operation::Sub => (a[i], b[i]),
                Operation::MadLo => (a[i].wrapping_mul(b[i]), c[i]),
                Operation::MadHi(Sign::Signed) => (((a[i] as i32 as i64 * b[i] as i32 as i64) >> 32) as u32, c[i]),
                Operation::MadHi(Sign::Unsigned) => (((a[i] as u64 * b[i] as u64) >> 32) as u32, c[i]),
            };
            let (value, carry) = self.step(x as u64, y as u64, *flag >> i & 1);
            d[i] = value as u32;
            self.write(flag, active, i, carry >> 32 & 1);
        }
        d
    }

    /// 64 bits.
    pub fn apply64(self, flag: &mut u32, active: u32, a: &Wide, b: &Wide, c: &Wide) -> Wide {
        let mut d = [0; 32];
        for i in 0..32 {
            let (x, y) = match self.operation {
                Operation::Add | Operation::Sub => (a[i], b[i]),
                Operation::MadLo => (a[i].wrapping_mul(b[i]), c[i]),
                Operation::MadHi(Sign::Signed) => (((a[i] as i64 as i128 * b[i] as i64 as i128) >> 64) as u64, c[i]),
                Operation::MadHi(Sign::Unsigned) => (((a[i] as u128 * b[i] as u128) >> 64) as u64, c[i]),
            };
            let (value, carry) = self.step(x, y, *flag >> i & 1);
            d[i] = value;
            self.write(flag, active, i, carry >> 64 & 1);
        }
        d
    }

    /// The sum or difference, and the same before it was cut to 64 bits: its bit 32 or 64 is the carry or borrow.
    fn step(self, x: u64, y: u64, flag: u32) -> (u64, u128) {
        let enter = if self.enter == Enter::Flag { flag as u128 } else { 0 };
        let whole = if self.operation == Operation::Sub {
            (x as u128).wrapping_sub(y as u128 + enter)
        } else {
            x as u128 + y as u128 + enter
        };
        (whole as u64, whole)
    }

    fn write(self, flag: &mut u32, active: u32, lane: usize, carry: u128) {
        if self.leave == Leave::Flag && active >> lane & 1 != 0 {
            *flag = *flag & !(1 << lane) | (carry as u32) << lane;
        }
    }
}
