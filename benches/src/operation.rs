//! An operation that can be made, run and read on any backend.
use kernel::backend::{Decode, Tangent, Vector};

/// Everything a backend has to offer.
pub trait Backend: Tangent + Vector + Decode {}
impl<B: Tangent + Vector + Decode> Backend for B {}

/// What one run of an operation costs at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations of its products.
    pub flops: usize,
    /// Numbers at compute precision, each read or written once.
    pub narrow: usize,
    /// Numbers in f32, each read or written once.
    pub wide: usize,
    /// Whether they come from memory at every run, and not from a cache that holds them since the last one.
    pub cold: bool,
}

impl Cost {
    /// Of work that only moves numbers.
    pub fn moved(narrow: usize, wide: usize) -> Self {
        Self {
            narrow,
            wide,
            ..Self::default()
        }
    }

    /// Of products, with the numbers they are made of.
    pub fn products(flops: usize, narrow: usize, wide: usize) -> Self {
        Self {
            flops,
            narrow,
            wide,
            cold: false,
        }
    }

    /// Bytes, where a number at compute precision has `width`.
    pub fn bytes(&self, width: usize) -> usize {
        self.narrow * width + self.wide * 4
    }
}

/// An operation of given sizes.
pub trait Operation: Clone {
    /// Its matrices on a backend.
    type State<B: Backend>;
    /// Name and sizes.
    fn name(&self) -> String;
    /// Cost of a run over `rows` rows.
    fn cost(&self, rows: usize) -> Cost;
    /// Its matrices, for `rows` rows.
    fn make<B: Backend>(&self, b: &B, rows: usize) -> Self::State<B>;
    /// Does it.
    fn run<B: Backend>(&self, b: &B, state: &mut Self::State<B>);
    /// What it wrote.
    fn read<B: Backend>(&self, b: &B, state: &Self::State<B>) -> Vec<f64>;
    /// The same with fewer columns where all of them are more than the oracle can do in passing: what is checked.
    fn small(&self) -> Self {
        self.clone()
    }
}
