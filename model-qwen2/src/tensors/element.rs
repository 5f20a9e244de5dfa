//! Conversion between numbers in memory and numbers on disk.
use half::{bf16, f16};

use super::Dtype;

/// A number that a tensor can be read into and written from. Narrowing rounds to nearest, ties to even.
pub trait Element: Copy {
    /// From single precision.
    fn from_f32(value: f32) -> Self;
    /// From double precision.
    fn from_f64(value: f64) -> Self;
    /// To single precision.
    fn to_f32(self) -> f32;
    /// To double precision; exact.
    fn to_f64(self) -> f64;
    /// To bfloat16, rounded once.
    fn to_bf16(self) -> bf16;
    /// To half precision, rounded once.
    fn to_f16(self) -> f16;
}

impl Element for f32 {
    fn from_f32(value: f32) -> Self {
        value
    }
    fn from_f64(value: f64) -> Self {
        value as f32
    }
    fn to_f32(self) -> f32 {
        self
    }
    fn to_f64(self) -> f64 {
        self.into()
    }
    fn to_bf16(self) -> bf16 {
        bf16::from_f32(self)
    }
    fn to_f16(self) -> f16 {
        f16::from_f32(self)
    }
}

impl Element for f64 {
    fn from_f32(value: f32) -> Self {
        value.into()
    }
    fn from_f64(value: f64) -> Self {
        value
    }
    fn to_f32(self) -> f32 {
        self as f32
    }
    fn to_f64(self) -> f64 {
        self
    }
    fn to_bf16(self) -> bf16 {
        bf16::from_f32(round_to_odd(self))
    }
    fn to_f16(self) -> f16 {
        f16::from_f32(round_to_odd(self))
    }
}

impl Element for bf16 {
    fn from_f32(value: f32) -> Self {
        Self::from_f32(value)
    }
    fn from_f64(value: f64) -> Self {
        value.to_bf16()
    }
    fn to_f32(self) -> f32 {
        self.to_f32()
    }
    fn to_f64(self) -> f64 {
        self.to_f64()
    }
    fn to_bf16(self) -> bf16 {
        self
    }
    fn to_f16(self) -> f16 {
        f16::from_f32(self.to_f32())
    }
}

/// The way to a 16-bit number that rounds once: where `value` is between two f32, the one with an odd last bit, which
/// stands on the same side of every tie. (`from_f64` of the crate half drops the lower 32 bits before it rounds, so
/// that a number just above a tie counts as the tie.)
fn round_to_odd(value: f64) -> f32 {
    let nearest = value as f32;
    if f64::from(nearest) == value || value.is_nan() {
        return nearest;
    }
    let away = f64::from(nearest).abs() > value.abs();
    f32::from_bits((nearest.to_bits() - u32::from(away)) | 1)
}

/// Fills `out` from little-endian `bytes`. No alignment is asked of `bytes`: the format promises none.
pub(super) fn decode<T: Element>(out: &mut [T], dtype: Dtype, bytes: &[u8]) {
    fn each<const N: usize, T>(out: &mut [T], bytes: &[u8], convert: impl Fn([u8; N]) -> T) {
        let (chunks, _) = bytes.as_chunks::<N>();
        for (out, chunk) in out.iter_mut().zip(chunks) {
            *out = convert(*chunk);
        }
    }
    match dtype {
        Dtype::F64 => each(out, bytes, |b| T::from_f64(f64::from_le_bytes(b))),
        Dtype::F32 => each(out, bytes, |b| T::from_f32(f32::from_le_bytes(b))),
        Dtype::F16 => each(out, bytes, |b| T::from_f32(f16::from_le_bytes(b).to_f32())),
        Dtype::Bf16 => each(out, bytes, |b| T::from_f32(bf16::from_le_bytes(b).to_f32())),
    }
}

/// Appends `values` to `out` as `dtype`, little-endian. `Err` is the index of the first that is not finite there.
pub(super) fn encode<T: Element>(out: &mut Vec<u8>, dtype: Dtype, values: &[T]) -> Result<(), usize> {
    fn each<const N: usize, T: Copy>(
        out: &mut Vec<u8>,
        values: &[T],
        convert: impl Fn(T) -> ([u8; N], bool),
    ) -> Result<(), usize> {
        for (i, &value) in values.iter().enumerate() {
            let (bytes, finite) = convert(value);
            if !finite {
                return Err(i);
            }
            out.extend_from_slice(&bytes);
        }
        Ok(())
    }
    match dtype {
        Dtype::F64 => each(out, values, |v| (v.to_f64().to_le_bytes(), v.to_f64().is_finite())),
        Dtype::F32 => each(out, values, |v| (v.to_f32().to_le_bytes(), v.to_f32().is_finite())),
        Dtype::F16 => each(out, values, |v| (v.to_f16().to_le_bytes(), v.to_f16().is_finite())),
        Dtype::Bf16 => each(out, values, |v| (v.to_bf16().to_le_bytes(), v.to_bf16().is_finite())),
    }
}
