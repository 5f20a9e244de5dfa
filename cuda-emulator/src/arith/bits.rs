//! Fields of bits, permutations of bytes, funnel shifts, truth tables.

use super::int64::Sign;
use super::simd::{map3, vectorised};
use super::{Lanes, Wide};

/// Three sources and a result of 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ternary {
    /// `bfe.u32 d, a, b, c`: c bits of a from bit b on.
    ExtractU,
    /// `bfe.s32`: sign-extended.
    ExtractS,
    /// `fns.b32 d, mask, base, offset`: the position of the offset-th 1 from base on; all ones if there is none.
    FindNth,
    /// `prmt.b32 d, a, b, c`: four bytes of the eight of b:a, chosen by c.
    Permute(Permute),
    /// `shf.l.clamp.b32 d, a, b, c`: the upper half of b:a shifted left by at most 32.
    FunnelLeftClamp,
    /// `shf.l.wrap.b32`: by c modulo 32.
    FunnelLeftWrap,
    /// `shf.r.clamp.b32`: the lower half of b:a shifted right by at most 32.
    FunnelRightClamp,
    /// `shf.r.wrap.b32`
    FunnelRightWrap,
}

/// The modes of `prmt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permute {
    /// No mode: a byte's selector of 4 bits; its top bit repeats the byte's sign.
    Index,
    /// `.f4e`: four bytes from c on.
    Forward4,
    /// `.b4e`: four bytes from c down.
    Backward4,
    /// `.rc8`: one byte in all four places.
    Replicate8,
    /// `.ecl`: edge clamp left.
    EdgeLeft,
    /// `.ecr`: edge clamp right.
    EdgeRight,
    /// `.rc16`: one half in both places.
    Replicate16,
}

/// bfe of up to 64 bits; the ISA's pseudocode, with `msb` 31 or 63.
#[inline(always)]
fn extract(a: u64, b: u32, c: u32, msb: u32, sign: Sign) -> u64 {
    let (from, width) = (b & 0xff, c & 0xff);
    let register = u64::MAX >> (63 - msb);
    let field = if from > msb { 0 } else { (a & register) >> from };
    let kept = width.min((msb + 1).saturating_sub(from));
    let mask = if kept > 63 { u64::MAX } else { (1u64 << kept) - 1 };
    let top = (from + width).saturating_sub(1).min(msb);
    let negative = sign == Sign::Signed && width != 0 && a >> top & 1 != 0;
    (field & mask) | if negative { !mask & register } else { 0 }
}

/// bfi: the lower `d` bits of `a` in `b` from bit `c` on.
#[inline(always)]
fn insert(a: u64, b: u64, c: u32, d: u32, msb: u32) -> u64 {
    let (from, width) = (c & 0xff, d & 0xff);
    if from > msb || width == 0 {
        return b;
    }
    let field = if width > 63 { u64::MAX } else { (1u64 << width) - 1 };
    let mask = field << from;
    (b & !mask) | (a << from & mask)
}

#[inline(always)]
fn find_nth(mask: u32, base: u32, offset: i32) -> u32 {
    if offset == 0 {
        return if base < 32 && mask >> base & 1 != 0 {
            base
        } else {
            u32::MAX
        };
    }
    let mut left = offset.unsigned_abs();
    let mut position = base as i32;
    while (0..32).contains(&position) {
        if mask >> position & 1 != 0 {
            left -= 1;
            if left == 0 {
                return position as u32;
            }
        }
        position += offset.signum();
    }
    u32::MAX
}

#[inline(always)]
fn permute(a: u32, b: u32, c: u32, mode: Permute) -> u32 {
    let bytes = (b as u64) << 32 | a as u64;
    let byte = |i: u32| (bytes >> (8 * (i & 7))) as u32 & 0xff;
    let four = |i: [u32; 4]| byte(i[0]) | byte(i[1]) << 8 | byte(i[2]) << 16 | byte(i[3]) << 24;
    let s = c & 3;
    match mode {
        Permute::Index => {
            let mut d = 0;
            for i in 0..4 {
                let selector = c >> (4 * i) & 15;
                let value = byte(selector);
                let value = if selector & 8 != 0 { (value >> 7) * 0xff } else { value };
                d |= value << (8 * i);
            }
            d
        }
        Permute::Forward4 => four([s, s + 1, s + 2, s + 3]),
        Permute::Backward4 => four([s, s + 7, s + 6, s + 5]),
        Permute::Replicate8 => four([s; 4]),
        Permute::EdgeLeft => four([s, s.max(1), s.max(2), 3]),
        Permute::EdgeRight => four([0, s.min(1), s.min(2), s]),
        Permute::Replicate16 => {
            let low = 2 * (s & 1);
            four([low, low + 1, low, low + 1])
        }
    }
}

#[inline(always)]
fn funnel_left(a: u32, b: u32, by: u32) -> u32 {
    ((((b as u64) << 32 | a as u64) << by) >> 32) as u32
}

#[inline(always)]
fn funnel_right(a: u32, b: u32, by: u32) -> u32 {
    (((b as u64) << 32 | a as u64) >> by) as u32
}

vectorised! {
    /// An operation of three sources, on all lanes.
    pub fn ternary(op: Ternary, a: &Lanes, b: &Lanes, c: &Lanes) -> Lanes {
        match op {
            Ternary::ExtractU => map3(a, b, c, |a, b, c| extract(a as u64, b, c, 31, Sign::Unsigned) as u32),
            Ternary::ExtractS => map3(a, b, c, |a, b, c| extract(a as u64, b, c, 31, Sign::Signed) as u32),
            Ternary::FindNth => map3(a, b, c, |a, b, c| find_nth(a, b, c as i32)),
            Ternary::Permute(mode) => map3(a, b, c, |a, b, c| permute(a, b, c, mode)),
            Ternary::FunnelLeftClamp => map3(a, b, c, |a, b, c: u32| funnel_left(a, b, c.min(32))),
            Ternary::FunnelLeftWrap => map3(a, b, c, |a, b, c| funnel_left(a, b, c & 31)),
            Ternary::FunnelRightClamp => map3(a, b, c, |a, b, c: u32| funnel_right(a, b, c.min(32))),
            Ternary::FunnelRightWrap => map3(a, b, c, |a, b, c| funnel_right(a, b, c & 31)),
        }
    }
}

vectorised! {
    /// `bfe.u64`, `bfe.s64`, on all lanes.
    pub fn extract64(sign: Sign, a: &Wide, b: &Lanes, c: &Lanes) -> Wide {
        map3(a, b, c, |a, b, c| extract(a, b, c, 63, sign))
    }
}

/// `bfi.b32 f, a, b, c, d`, on all lanes.
pub fn insert32(a: &Lanes, b: &Lanes, c: &Lanes, d: &Lanes) -> Lanes {
    core::array::from_fn(|i| insert(a[i] as u64, b[i] as u64, c[i], d[i], 31) as u32)
}

/// `bfi.b64 f, a, b, c, d`, on all lanes.
pub fn insert64(a: &Wide, b: &Wide, c: &Lanes, d: &Lanes) -> Wide {
    core::array::from_fn(|i| insert(a[i], b[i], c[i], d[i], 63))
}

vectorised! {
    /// `lop3.b32 d, a, b, c, table`: any function of three bits. Bit `4 a + 2 b + c` of the table is its value.
    pub fn lop3(table: u8, a: &Lanes, b: &Lanes, c: &Lanes) -> Lanes {
        let term: [u32; 8] = core::array::from_fn(|i| if table >> i & 1 != 0 { u32::MAX } else { 0 });
        map3(a, b, c, |a: u32, b: u32, c: u32| {
            (term[0] & !a & !b & !c)
                | (term[1] & !a & !b & c)
                | (term[2] & !a & b & !c)
                | (term[3] & !a & b & c)
                | (term[4] & a & !b & !c)
                | (term[5] & a & !b & c)
                | (term[6] & a & b & !c)
                | (term[7] & a & b & c)
        })
    }
}
