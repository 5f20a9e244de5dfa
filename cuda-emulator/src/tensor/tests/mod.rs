//! Layouts are compared with the formulas and figures of the PTX ISA ("Matrix Fragments for mma", "ldmatrix"), typed in from there;
//! products with the same product element by element.

mod decode;
mod fragment;
mod matrix;
mod mma;
mod wmma;

use super::{Element, Mma, Tensor, decode as decode_parts};
use crate::arith::Lanes;
use crate::arith::half::{to_bf16, to_f16};

fn op(opcode: &str) -> Tensor {
    let parts: Vec<&str> = opcode.split('.').collect();
    match decode_parts(&parts) {
        Ok(Some(tensor)) => tensor,
        other => panic!("{opcode}: {other:?}"),
    }
}

fn mma(opcode: &str) -> Mma {
    match op(opcode) {
        Tensor::Mma(mma) => mma,
        other => panic!("{opcode}: {other:?}"),
    }
}

/// A counter's scrambled numbers.
struct Numbers(u32);

impl Numbers {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0 >> 7 ^ self.0 << 19
    }

    /// Between -2 and 2.
    fn float(&mut self) -> f32 {
        (self.next() & 0xffff) as f32 / 16384.0 - 2.0
    }

    /// A register of an element's numbers.
    fn register(&mut self, element: Element) -> Lanes {
        core::array::from_fn(|_| match element {
            Element::F16 => to_f16(self.float()) | to_f16(self.float()) << 16,
            Element::Bf16 => to_bf16(self.float()) | to_bf16(self.float()) << 16,
            Element::S8 | Element::U8 | Element::S32 => self.next(),
            _ => self.float().to_bits(),
        })
    }
}
