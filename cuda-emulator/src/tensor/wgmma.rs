//! `wgmma.mma_async`: `D = A B + D` by a warpgroup, D in registers, B (and A, if it is not in registers) in shared memory.
//!
//! m is 64, k is 16, and each warp has 16 rows of A and D: warp w of the group rows `16 w .. 16 w + 16`. With `group = lane / 4` and
//! `t = lane % 4`, element i of D is row `group + 8 (i / 2 % 2)`, column `8 (i / 4) + 2 t + i % 2` (PTX ISA, "Register Fragments" of
//! wgmma): for every 8 columns the C of an `mma.m16n8k16`. A in registers is the A of that.
//!
//! Sums are rounded as those of [`mma`](super::mma) are: `fma(a, b, sum)` for k = 0, 1, … in this order.

use super::fragment::Element;
use crate::arith::Lanes;
use crate::arith::float32::NAN;
use crate::arith::half::{from_bf16, from_f16};
use crate::arith::simd::vectorised;

/// Rows of a warp.
pub const ROWS: usize = 16;
/// Numbers along k.
pub const DEPTH: usize = 16;

/// In which direction 16 bytes of a matrix in shared memory run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Major {
    /// Along k.
    K,
    /// Along m or n: `imm-trans` is 1.
    Mn,
}

/// Whether elements of a factor are negated: `imm-scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// 1
    Plain,
    /// -1
    Negated,
}

/// How 16-byte chunks are exchanged within 8 rows (PTX ISA, "Swizzling Modes"): bits 4 and up of an address are xored with bits 7 and up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swizzle {
    /// Not at all.
    None,
    /// One bit: rows of 32 bytes, a pattern of 256.
    Bytes32,
    /// Two bits: rows of 64 bytes, a pattern of 512.
    Bytes64,
    /// Three bits: rows of 128 bytes, a pattern of 1024.
    Bytes128,
}

impl Swizzle {
    /// Of the two bits of a matrix descriptor.
    fn of(bits: u64) -> Swizzle {
        match bits {
            0 => Swizzle::None,
            1 => Swizzle::Bytes128,
            2 => Swizzle::Bytes64,
            _ => Swizzle::Bytes32,
        }
    }

    /// Chunks of 16 bytes in a row of the pattern.
    pub fn chunks(self) -> u64 {
        match self {
            Swizzle::None => 1,
            Swizzle::Bytes32 => 2,
            Swizzle::Bytes64 => 4,
            Swizzle::Bytes128 => 8,
        }
    }

    /// Where the byte is that would be at `address` without swizzling, if the pattern begins at a multiple of its size.
    pub fn apply(self, address: u64) -> u64 {
        address ^ (address >> 7 & (self.chunks() - 1)) << 4
    }
}

/// A 64-bit matrix descriptor (PTX ISA, "Matrix Descriptor Format").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Address of the first element in shared memory.
    pub start: u64,
    /// Leading-dimension byte offset.
    pub leading: u64,
    /// Stride-dimension byte offset.
    pub stride: u64,
    /// Where the pattern begins within 1024 bytes, in units of 128.
    pub base: u64,
    /// The swizzling mode.
    pub swizzle: Swizzle,
}

impl Descriptor {
    /// Reads one.
    ///
    /// # Errors
    /// Bits that have no meaning are set, or the base offset does not fit the start address.
    pub fn of(bits: u64) -> Result<Descriptor, String> {
        const MEANINGLESS: u64 = 0x3 << 14 | 0x3 << 30 | 0x7 << 46 | 0x3ff << 52;
        if bits & MEANINGLESS != 0 {
            return Err(format!(
                "the matrix descriptor {bits:#018x} has bits set that have no meaning"
            ));
        }
        let field = |at: u32| (bits >> at & 0x3fff) << 4;
        let d = Descriptor {
            start: field(0),
            leading: field(16),
            stride: field(32),
            base: bits >> 49 & 7,
            swizzle: Swizzle::of(bits >> 62),
        };
        let rows = d.swizzle.chunks() - 1;
        if (d.start >> 7 ^ d.base) & rows != 0 {
            return Err(format!(
                "the matrix descriptor {bits:#018x} starts at {:#x}, within a row of its swizzling pattern that base offset {} does not say",
                d.start, d.base
            ));
        }
        Ok(d)
    }

    /// Address of chunk `i` (16 bytes: 8 elements) of the matrix, after swizzling. K-major: element 0 is row `i % rows`,
    /// k `8 (i / rows)`; MN-major: row `8 (i / 16)`, k `i % 16`. Rows are of A, or columns of B.
    ///
    /// These are the canonical layouts of PTX ISA, "Canonical Layouts", in units of bytes, with w chunks in a row of the pattern:
    /// K-major `((8, m), (8, 2)) : ((16 w, SBO), (2, 16))`, without swizzling `((16, SBO), (2, LBO))`;
    /// MN-major `((8, w, m), (8, 2)) : ((2, 16, LBO), (16 w, SBO))`, without swizzling `((2, ·, SBO), (16, LBO))`.
    pub fn chunk(&self, major: Major, rows: usize, i: usize) -> u64 {
        let w = self.swizzle.chunks();
        let plain = self.swizzle == Swizzle::None;
        let offset = match major {
            Major::K => {
                let (row, k8) = ((i % rows) as u64, (i / rows) as u64);
                let along = if plain { self.leading } else { 16 };
                row % 8 * 16 * w + row / 8 * self.stride + k8 * along
            }
            Major::Mn => {
                let (row8, k) = ((i / DEPTH) as u64, (i % DEPTH) as u64);
                let (next_rows, next_k) = if plain {
                    (self.stride, self.leading)
                } else {
                    (self.leading, self.stride)
                };
                row8 % w * 16 + row8 / w * next_rows + k % 8 * 16 * w + k / 8 * next_k
            }
        };
        // The pattern is relative to where it begins.
        let from = self.base << 7;
        self.swizzle.apply(self.start + offset - from) + from
    }

    /// Address of chunk `i` of the 16 rows of A that a warp of the group has, numbered as if they were all.
    pub fn chunk_of_warp(&self, major: Major, warp: usize, i: usize) -> u64 {
        match major {
            Major::K => self.chunk(major, 4 * ROWS, i % ROWS + ROWS * warp + 4 * ROWS * (i / ROWS)),
            Major::Mn => self.chunk(major, 4 * ROWS, 2 * DEPTH * warp + i),
        }
    }

    /// Number of chunks of a matrix with that many rows.
    pub fn chunks(rows: usize) -> usize {
        rows * DEPTH / 8
    }
}

/// `wgmma.mma_async` of f16 or bf16 with f32 accumulators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wgmma {
    /// Columns of B and D, a multiple of 8 up to 256.
    pub n: usize,
    /// The type of A and B.
    pub element: Element,
    /// How A lies, if it is in shared memory.
    pub major_a: Major,
    /// How B lies.
    pub major_b: Major,
    /// Sign of A.
    pub scale_a: Scale,
    /// Sign of B.
    pub scale_b: Scale,
}

/// 8 columns of B: for each k those of even, then those of odd number.
pub type Columns = [[f32; 8]; DEPTH];
/// The 16 rows of A that a warp has.
pub type Rows = [[f32; DEPTH]; ROWS];

impl Wgmma {
    /// The shape and types of `wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16`, from the parts after `aligned`.
    ///
    /// # Errors
    /// What is not implemented.
    pub fn parse(parts: &[&str]) -> Result<Wgmma, String> {
        let refuse = || "this shape, type or modifier is not implemented".to_string();
        let [shape, "f32", a, b] = parts else {
            return Err(refuse());
        };
        let n = shape.strip_prefix("m64n").and_then(|s| s.strip_suffix("k16"));
        let n = n.and_then(|n| n.parse::<usize>().ok()).ok_or_else(refuse)?;
        let element = match (*a, *b) {
            ("bf16", "bf16") => Element::Bf16,
            ("f16", "f16") => Element::F16,
            _ => return Err(refuse()),
        };
        if n == 0 || n > 256 || n % 8 != 0 {
            return Err(refuse());
        }
        Ok(Wgmma {
            n,
            element,
            major_a: Major::K,
            major_b: Major::K,
            scale_a: Scale::Plain,
            scale_b: Scale::Plain,
        })
    }

    /// Multiplications and additions of the warpgroup.
    pub fn flops(self) -> u64 {
        2 * 64 * self.n as u64 * DEPTH as u64
    }

    fn number(self, bits: u32, scale: Scale) -> f32 {
        let value = if self.element == Element::Bf16 {
            from_bf16(bits)
        } else {
            from_f16(bits)
        };
        match scale {
            Scale::Plain => value,
            Scale::Negated => -value,
        }
    }

    /// A from the chunks of 16 rows of the descriptor's matrix: chunk i as [`Descriptor::chunk`] numbers those of these rows alone.
    pub fn rows(self, chunks: &[[u8; 16]]) -> Rows {
        let mut rows = [[0.0; DEPTH]; ROWS];
        self.each(chunks, ROWS, self.major_a, self.scale_a, |row, k, value| {
            rows[row][k] = value
        });
        rows
    }

    /// A from its four registers.
    pub fn register_rows(self, a: &[&Lanes; 4]) -> Rows {
        let mut rows = [[0.0; DEPTH]; ROWS];
        for (r, register) in a.iter().enumerate() {
            for (lane, &bits) in register.iter().enumerate() {
                let (row, k) = (lane / 4 + 8 * (r % 2), 2 * (lane % 4) + 8 * (r / 2));
                rows[row][k] = self.number(bits & 0xffff, self.scale_a);
                rows[row][k + 1] = self.number(bits >> 16, self.scale_a);
            }
        }
        rows
    }

    /// B from its chunks, by 8 columns.
    pub fn columns(self, chunks: &[[u8; 16]]) -> Vec<Columns> {
        let mut all = vec![[[0.0; 8]; DEPTH]; self.n / 8];
        self.each(chunks, self.n, self.major_b, self.scale_b, |column, k, value| {
            let within = column % 8;
            all[column / 8][k][within / 2 + 4 * (within % 2)] = value;
        });
        all
    }

    fn each(self, chunks: &[[u8; 16]], rows: usize, major: Major, scale: Scale, mut f: impl FnMut(usize, usize, f32)) {
        for (i, chunk) in chunks.iter().enumerate() {
            for (j, pair) in chunk.chunks_exact(2).enumerate() {
                let value = self.number(u32::from(pair[0]) | u32::from(pair[1]) << 8, scale);
                match major {
                    Major::K => f(i % rows, 8 * (i / rows) + j, value),
                    Major::Mn => f(8 * (i / DEPTH) + j, i % DEPTH, value),
                }
            }
        }
    }
}

vectorised! {
    /// The four registers of 8 columns of D, from those of D before (zero, where it is not added).
    pub fn product(rows: &Rows, columns: &Columns, before: &[Lanes; 4]) -> [Lanes; 4] {
        let mut d = [[0; 32]; 4];
        for half in 0..2 {
            let mut sum = [[0.0f32; 8]; 8];
            for (g, sum) in sum.iter_mut().enumerate() {
                for t in 0..4 {
                    sum[t] = f32::from_bits(before[2 * half][4 * g + t]);
                    sum[4 + t] = f32::from_bits(before[2 * half + 1][4 * g + t]);
                }
            }
            for (k, column) in columns.iter().enumerate() {
                for (g, sum) in sum.iter_mut().enumerate() {
                    let a = rows[8 * half + g][k];
                    for (sum, b) in sum.iter_mut().zip(column) {
                        *sum = a.mul_add(*b, *sum);
                    }
                }
            }
            for (g, sum) in sum.iter().enumerate() {
                let bits = sum.map(|x| if x.is_nan() { NAN } else { x.to_bits() });
                d[2 * half][4 * g..4 * g + 4].copy_from_slice(&bits[..4]);
                d[2 * half + 1][4 * g..4 * g + 4].copy_from_slice(&bits[4..]);
            }
        }
        d
    }
}
