//! The number formats of GGUF tensors, turned into f32 by the same operations in the same order as the Python package
//! `gguf` (and ggml's reference code), so that the results are equal bit by bit.
use half::{bf16, f16};

/// A tensor type that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// 32 x 4 bits, scale.
    Q4_0,
    /// 32 x 4 bits, scale and minimum.
    Q4_1,
    /// 32 x 5 bits, scale.
    Q5_0,
    /// 32 x 5 bits, scale and minimum.
    Q5_1,
    /// 32 x 8 bits, scale.
    Q8_0,
    /// 8 x 32 x 4 bits, 6-bit scales and minima.
    Q4K,
    /// 8 x 32 x 5 bits, 6-bit scales and minima.
    Q5K,
    /// 16 x 16 x 6 bits, 8-bit scales.
    Q6K,
}

/// All type names of GGUF by number, for error messages.
const NAMES: [(u32, &str); 32] = [
    (0, "F32"),
    (1, "F16"),
    (2, "Q4_0"),
    (3, "Q4_1"),
    (6, "Q5_0"),
    (7, "Q5_1"),
    (8, "Q8_0"),
    (9, "Q8_1"),
    (10, "Q2_K"),
    (11, "Q3_K"),
    (12, "Q4_K"),
    (13, "Q5_K"),
    (14, "Q6_K"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (30, "BF16"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
];

impl Kind {
    const ALL: [(Self, &str); 11] = [
        (Self::F32, "F32"),
        (Self::F16, "F16"),
        (Self::Bf16, "BF16"),
        (Self::Q4_0, "Q4_0"),
        (Self::Q4_1, "Q4_1"),
        (Self::Q5_0, "Q5_0"),
        (Self::Q5_1, "Q5_1"),
        (Self::Q8_0, "Q8_0"),
        (Self::Q4K, "Q4_K"),
        (Self::Q5K, "Q5_K"),
        (Self::Q6K, "Q6_K"),
    ];

    /// The type of a number in the file; `Err` is how to call one that cannot be read.
    pub fn from_number(number: u32) -> Result<Self, String> {
        let name = NAMES.iter().find(|(n, _)| *n == number).map(|(_, name)| *name);
        let kind = Self::ALL.into_iter().find(|(_, own)| Some(*own) == name);
        match kind {
            Some((kind, _)) => Ok(kind),
            None => Err(name.map_or_else(|| format!("type {number}"), |name| format!("type {name}"))),
        }
    }

    /// The names of those that can be read, for error messages.
    pub fn names() -> String {
        Self::ALL.map(|(_, name)| name).join(", ")
    }

    /// Numbers in a block, and its bytes.
    pub fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Q4_0 => (32, 2 + 16),
            Self::Q4_1 => (32, 4 + 16),
            Self::Q5_0 => (32, 2 + 4 + 16),
            Self::Q5_1 => (32, 4 + 4 + 16),
            Self::Q8_0 => (32, 2 + 32),
            Self::Q4K => (256, 4 + 12 + 128),
            Self::Q5K => (256, 4 + 12 + 32 + 128),
            Self::Q6K => (256, 128 + 64 + 16 + 2),
        }
    }

    /// Fills `out` from the whole blocks in `bytes`.
    pub fn dequantise(self, out: &mut [f32], bytes: &[u8]) {
        match self {
            Self::F32 => each::<1, 4>(out, bytes, |out, b| out[0] = f32::from_le_bytes(*b)),
            Self::F16 => each::<1, 2>(out, bytes, |out, b| out[0] = f16::from_le_bytes(*b).to_f32()),
            Self::Bf16 => each::<1, 2>(out, bytes, |out, b| out[0] = bf16::from_le_bytes(*b).to_f32()),
            Self::Q4_0 => each::<32, 18>(out, bytes, q4_0),
            Self::Q4_1 => each::<32, 20>(out, bytes, q4_1),
            Self::Q5_0 => each::<32, 22>(out, bytes, q5_0),
            Self::Q5_1 => each::<32, 24>(out, bytes, q5_1),
            Self::Q8_0 => each::<32, 34>(out, bytes, q8_0),
            Self::Q4K => each::<256, 144>(out, bytes, q4_k),
            Self::Q5K => each::<256, 176>(out, bytes, q5_k),
            Self::Q6K => each::<256, 210>(out, bytes, q6_k),
        }
    }
}

/// `convert` for each block of `N` numbers and `B` bytes.
fn each<const N: usize, const B: usize>(out: &mut [f32], bytes: &[u8], convert: impl Fn(&mut [f32; N], &[u8; B])) {
    let (out, _) = out.as_chunks_mut::<N>();
    let (blocks, _) = bytes.as_chunks::<B>();
    for (out, block) in out.iter_mut().zip(blocks) {
        convert(out, block);
    }
}

/// The half-precision number at byte `at`.
fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

fn q4_0(out: &mut [f32; 32], block: &[u8; 18]) {
    let d = half_at(block, 0);
    for (i, q) in block[2..].iter().enumerate() {
        out[i] = d * (f32::from(q & 15) - 8.0);
        out[i + 16] = d * (f32::from(q >> 4) - 8.0);
    }
}

fn q4_1(out: &mut [f32; 32], block: &[u8; 20]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    for (i, q) in block[4..].iter().enumerate() {
        out[i] = d * f32::from(q & 15) + m;
        out[i + 16] = d * f32::from(q >> 4) + m;
    }
}

/// The 5-bit numbers of a block: 32 high bits, then the low nibbles.
fn five_bits(high: &[u8], low: &[u8], mut put: impl FnMut(usize, f32)) {
    let bit = |i: usize| (high[i / 8] >> (i % 8) & 1) << 4;
    for (i, q) in low.iter().enumerate() {
        put(i, f32::from(q & 15 | bit(i)));
        put(i + 16, f32::from(q >> 4 | bit(i + 16)));
    }
}

fn q5_0(out: &mut [f32; 32], block: &[u8; 22]) {
    let d = half_at(block, 0);
    five_bits(&block[2..6], &block[6..], |i, q| out[i] = d * (q - 16.0));
}

fn q5_1(out: &mut [f32; 32], block: &[u8; 24]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    five_bits(&block[4..8], &block[8..], |i, q| out[i] = d * q + m);
}

fn q8_0(out: &mut [f32; 32], block: &[u8; 34]) {
    let d = half_at(block, 0);
    for (out, q) in out.iter_mut().zip(&block[2..]) {
        *out = f32::from(*q as i8) * d;
    }
}

/// Scale and minimum of each of the 8 groups of a K block: 6 bits each, the upper two of the later four groups kept in
/// the upper bits of the earlier ones.
fn scales_and_minima(block: &[u8]) -> [(f32, f32); 8] {
    let (d, d_min) = (half_at(block, 0), half_at(block, 2));
    let packed = &block[4..16];
    std::array::from_fn(|group| {
        let (scale, min) = if group < 4 {
            (packed[group] & 63, packed[group + 4] & 63)
        } else {
            let low = packed[group + 4];
            (
                (low & 15) | (packed[group - 4] >> 2 & 48),
                (low >> 4) | (packed[group] >> 2 & 48),
            )
        };
        (d * f32::from(scale), d_min * f32::from(min))
    })
}

fn q4_k(out: &mut [f32; 256], block: &[u8; 144]) {
    let groups = scales_and_minima(block);
    for (i, out) in out.iter_mut().enumerate() {
        let group = i / 32;
        let q = block[16 + group / 2 * 32 + i % 32] >> (group % 2 * 4) & 15;
        let (scale, min) = groups[group];
        *out = scale * f32::from(q) - min;
    }
}

fn q5_k(out: &mut [f32; 256], block: &[u8; 176]) {
    let groups = scales_and_minima(block);
    for (i, out) in out.iter_mut().enumerate() {
        let group = i / 32;
        let low = block[48 + group / 2 * 32 + i % 32] >> (group % 2 * 4) & 15;
        let high = block[16 + i % 32] >> group & 1;
        let (scale, min) = groups[group];
        *out = scale * f32::from(low | high << 4) - min;
    }
}

fn q6_k(out: &mut [f32; 256], block: &[u8; 210]) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let d = half_at(block, 208);
    for (i, out) in out.iter_mut().enumerate() {
        // Two halves of 128: the nibbles of 64 bytes, low ones first, and two bits each of 32 bytes.
        let (half, j) = (i / 128, i % 128);
        let nibble = low[half * 64 + j % 64] >> (j / 64 * 4) & 15;
        let top = high[half * 32 + j % 32] >> (j / 32 * 2) & 3;
        let q = f32::from(nibble | top << 4) - 32.0;
        *out = d * f32::from(scales[i / 16] as i8) * q;
    }
}
