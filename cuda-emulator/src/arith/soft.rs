//! Exact results, rounded to any binary format in any direction. Slow and plain: it serves what the host's arithmetic cannot do
//! (directed rounding) and checks what it does.

use super::Round;

/// A binary interchange format: sign, exponent, fraction, from the top.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Format {
    /// Bits of the fraction.
    pub fraction: u32,
    /// Bits of the exponent.
    pub exponent: u32,
}

/// binary16
pub const F16: Format = Format {
    fraction: 10,
    exponent: 5,
};
/// bfloat16
pub const BF16: Format = Format {
    fraction: 7,
    exponent: 8,
};
/// TF32 without its 13 lower bits.
pub const TF32: Format = Format {
    fraction: 10,
    exponent: 8,
};
/// binary32
pub const F32: Format = Format {
    fraction: 23,
    exponent: 8,
};
/// binary64
pub const F64: Format = Format {
    fraction: 52,
    exponent: 11,
};

/// The number `(-1)^negative * magnitude * 2^exponent`, not rounded. The lowest bit may be sticky: set where something smaller was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exact {
    /// The sign; a zero has one.
    pub negative: bool,
    /// The magnitude.
    pub magnitude: u128,
    /// The weight of its lowest bit.
    pub exponent: i32,
}

impl Format {
    fn bias(self) -> i32 {
        (1 << (self.exponent - 1)) - 1
    }

    fn sign_bit(self) -> u64 {
        1 << (self.fraction + self.exponent)
    }

    /// Infinity, positive.
    pub fn infinity(self) -> u64 {
        ((1u64 << self.exponent) - 1) << self.fraction
    }

    /// The exact value of a finite number.
    pub fn unpack(self, bits: u64) -> Exact {
        let fraction = bits & ((1 << self.fraction) - 1);
        let exponent = (bits >> self.fraction & ((1 << self.exponent) - 1)) as i32;
        let negative = bits & self.sign_bit() != 0;
        let (magnitude, exponent) = if exponent == 0 {
            (fraction, 1)
        } else {
            (fraction | 1 << self.fraction, exponent)
        };
        Exact {
            negative,
            magnitude: magnitude as u128,
            exponent: exponent - self.bias() - self.fraction as i32,
        }
    }

    /// The number of this format that stands for `exact`. Overflow gives infinity or the largest finite number, as the direction says.
    pub fn round(self, exact: Exact, round: Round) -> u64 {
        let sign = if exact.negative { self.sign_bit() } else { 0 };
        if exact.magnitude == 0 {
            return sign;
        }
        // The weight of the lowest bit of the result: as the leading bit asks, but not below that of the subnormals.
        let top = 127 - exact.magnitude.leading_zeros() as i32 + exact.exponent;
        let least = 1 - self.bias() - self.fraction as i32;
        let lowest = (top - self.fraction as i32).max(least);
        let shift = lowest - exact.exponent;
        let (mut kept, rest) = if shift <= 0 {
            (exact.magnitude << -shift, 0)
        } else if shift > 128 {
            (0, 1)
        } else {
            let kept = exact.magnitude.checked_shr(shift as u32).unwrap_or(0);
            let rest = exact.magnitude - kept.checked_shl(shift as u32).unwrap_or(0);
            // The part cut off against half a unit: 0 none, 1 below, 2 equal, 3 above.
            let half = 1u128 << (shift - 1);
            (
                kept,
                if rest == 0 {
                    0
                } else {
                    2 + (rest > half) as u32 - (rest < half) as u32
                },
            )
        };
        let up = match round {
            Round::Near => rest == 3 || (rest == 2 && kept & 1 != 0),
            Round::Away => rest >= 2,
            Round::Zero => false,
            Round::Down => exact.negative && rest != 0,
            Round::Up => !exact.negative && rest != 0,
        };
        kept += up as u128;
        // kept is at most 2^(fraction + 1); its leading bit, where there is one, adds 1 to the field of the exponent.
        let field = (lowest - least) as u64;
        let bits = (field << self.fraction) + kept as u64;
        if bits >= self.infinity() {
            let to_infinity = match round {
                Round::Near | Round::Away => true,
                Round::Zero => false,
                Round::Down => exact.negative,
                Round::Up => !exact.negative,
            };
            return sign
                | if to_infinity {
                    self.infinity()
                } else {
                    self.infinity() - 1
                };
        }
        sign | bits
    }
}

/// The integer, exactly.
pub fn integer(value: i128) -> Exact {
    Exact {
        negative: value < 0,
        magnitude: value.unsigned_abs(),
        exponent: 0,
    }
}

/// `x y + z` of finite numbers, exact but for a sticky bit far below any format's precision. An exact zero from opposite signs is negative
/// when rounding down.
pub fn multiply_add(x: Exact, y: Exact, z: Exact, round: Round) -> Exact {
    let product = Exact {
        negative: x.negative != y.negative,
        magnitude: x.magnitude * y.magnitude,
        exponent: x.exponent + y.exponent,
    };
    add(product, z, round)
}

/// The sum. Magnitudes have at most 106 bits.
pub fn add(x: Exact, y: Exact, round: Round) -> Exact {
    if x.magnitude == 0 && y.magnitude == 0 {
        let negative = if x.negative == y.negative {
            x.negative
        } else {
            round == Round::Down
        };
        return Exact {
            negative,
            magnitude: 0,
            exponent: 0,
        };
    }
    if x.magnitude == 0 {
        return y;
    }
    if y.magnitude == 0 {
        return x;
    }
    let (x, y) = (normalised(x), normalised(y));
    let (big, small) = if (x.exponent, x.magnitude) >= (y.exponent, y.magnitude) {
        (x, y)
    } else {
        (y, x)
    };
    let shift = (big.exponent - small.exponent) as u32;
    let moved = if shift > 126 {
        1
    } else {
        small.magnitude >> shift | sticky(small.magnitude, shift)
    };
    let magnitude = if big.negative == small.negative {
        big.magnitude + moved
    } else {
        big.magnitude - moved
    };
    let negative = if magnitude == 0 {
        round == Round::Down
    } else {
        big.negative
    };
    Exact {
        negative,
        magnitude,
        exponent: big.exponent,
    }
}

/// The quotient of finite numbers, y not 0, with a sticky bit.
pub fn divide(x: Exact, y: Exact) -> Exact {
    let negative = x.negative != y.negative;
    if x.magnitude == 0 {
        return Exact {
            negative,
            magnitude: 0,
            exponent: 0,
        };
    }
    let (x, shift) = (normalised(x), y.magnitude.leading_zeros().saturating_sub(64));
    let divisor = y.magnitude << shift;
    let (quotient, rest) = (x.magnitude / divisor, x.magnitude % divisor);
    // One more step of long division than any format needs: x has 127 bits, the divisor 64.
    Exact {
        negative,
        magnitude: quotient << 1 | (rest != 0) as u128,
        exponent: x.exponent - (y.exponent - shift as i32) - 1,
    }
}

/// The root of a number that is not negative, with a sticky bit.
pub fn root(x: Exact) -> Exact {
    if x.magnitude == 0 {
        return x;
    }
    let mut x = normalised(x);
    if x.exponent & 1 != 0 {
        x = Exact {
            magnitude: x.magnitude >> 1,
            exponent: x.exponent + 1,
            ..x
        };
    }
    let root = x.magnitude.isqrt();
    let inexact = root * root != x.magnitude;
    Exact {
        negative: false,
        magnitude: root << 1 | inexact as u128,
        exponent: x.exponent / 2 - 1,
    }
}

/// The same number with its leading bit at position 126.
fn normalised(x: Exact) -> Exact {
    let shift = x.magnitude.leading_zeros() as i32 - 1;
    Exact {
        magnitude: x.magnitude << shift,
        exponent: x.exponent - shift,
        ..x
    }
}

fn sticky(magnitude: u128, shift: u32) -> u128 {
    (magnitude & ((1 << shift) - 1) != 0) as u128
}
