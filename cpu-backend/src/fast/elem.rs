//! What activations are made of: f32 or bf16. The arithmetic inside an operation is f32 for both.
use bytemuck::Pod;
use half::bf16;
use kernel::rounding::to_bf16;

use super::Engine;
use super::gemm::{F32Mac, Mac, StoredMac};
use super::matmul::Matmul;
use super::simd::{MAX_LANES, Simd};
use crate::Element;

/// A number of an activation.
pub trait Elem: Element<Engine = Engine> + Pod + Default + core::fmt::Debug + PartialEq {
    /// How matrices of it are multiplied.
    type Mac<S: Simd>: Mac<S, Self>;
    /// How large matrices of it are multiplied: parameters' and the logits'.
    type Large<S: Simd>: Matmul<S, Self>;
    /// How panels of it are multiplied by f32.
    type Stored<S: Simd>: Mac<S, Self, X = Self>;
    /// Whether it is bf16.
    const BF16: bool;
    /// Exactly.
    fn to_f32(self) -> f32;
    /// Rounded to nearest even.
    fn from_f32(x: f32) -> Self;
    /// Rounded stochastically by these bits: `kernel::rounding`.
    fn dithered(x: f32, random: u16) -> Self;
    /// The first LANES numbers of x.
    fn load<S: Simd>(s: S, x: &[Self]) -> S::V;
    /// v, rounded, to the first LANES numbers of y.
    fn store<S: Simd>(s: S, y: &mut [Self], v: S::V);
}

impl Elem for f32 {
    type Mac<S: Simd> = F32Mac;
    type Large<S: Simd> = S::F32;
    type Stored<S: Simd> = F32Mac;
    const BF16: bool = false;
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        x
    }
    #[inline(always)]
    fn dithered(x: f32, _: u16) -> Self {
        x
    }
    #[inline(always)]
    fn load<S: Simd>(s: S, x: &[f32]) -> S::V {
        s.load(x)
    }
    #[inline(always)]
    fn store<S: Simd>(s: S, y: &mut [f32], v: S::V) {
        s.store(y, v);
    }
}

impl Elem for bf16 {
    type Mac<S: Simd> = S::Bf16;
    type Large<S: Simd> = S::Bf16;
    type Stored<S: Simd> = StoredMac;
    const BF16: bool = true;
    #[inline(always)]
    fn to_f32(self) -> f32 {
        bf16::to_f32(self)
    }
    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        bf16::from_f32(x)
    }
    #[inline(always)]
    fn dithered(x: f32, random: u16) -> Self {
        bf16::from_bits(to_bf16(x, random))
    }
    #[inline(always)]
    fn load<S: Simd>(s: S, x: &[bf16]) -> S::V {
        s.widen(x)
    }
    #[inline(always)]
    fn store<S: Simd>(s: S, y: &mut [bf16], v: S::V) {
        s.narrow(y, v);
    }
}

/// The same items with $t = f32 and with $t = bf16. Not generic, so that everything below them is compiled here, with this
/// crate's optimisation, and not again in every crate that names them.
macro_rules! for_each_element {
    ($t:ident; $($item:item)*) => {
        const _: () = {
            type $t = f32;
            $($item)*
        };
        const _: () = {
            type $t = half::bf16;
            $($item)*
        };
    };
}
pub(super) use for_each_element;

/// The vector at the front of x; lanes that x does not reach are 0.
#[inline(always)]
pub(super) fn get<S: Simd, T: Elem>(s: S, x: &[T]) -> S::V {
    if x.len() >= S::LANES {
        return T::load(s, x);
    }
    let mut t = [T::default(); MAX_LANES];
    t[..x.len()].copy_from_slice(x);
    T::load(s, &t)
}

/// v to the front of y, as many lanes as y has.
#[inline(always)]
pub(super) fn put<S: Simd, T: Elem>(s: S, y: &mut [T], v: S::V) {
    if y.len() >= S::LANES {
        return T::store(s, y, v);
    }
    let mut t = [T::default(); MAX_LANES];
    T::store(s, &mut t, v);
    let n = y.len();
    y.copy_from_slice(&t[..n]);
}

/// y = x: exactly, where y can hold it.
#[inline(always)]
pub(super) fn convert<S: Simd, A: Elem, T: Elem>(s: S, y: &mut [A], x: &[T]) {
    let n = y.len();
    for i in (0..n).step_by(S::LANES) {
        put(s, &mut y[i..], get(s, &x[i..n]));
    }
}
