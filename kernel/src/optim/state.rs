//! What the optimizer keeps of the parameters: their values and two moments of each.
use alloc::vec::Vec;

use crate::backend::{Memory, Ops};
use crate::mat::Mat;
use crate::params::{Params, Spec};
use crate::transformer::{Accs, Model, download};

/// How it is asked to keep them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// At accumulator precision.
    Full,
    /// At compute precision, rounded stochastically by the bits of this seed.
    Narrow {
        /// Of [`Dither`](crate::rounding::Dither).
        seed: u64,
    },
}

/// How it keeps them.
pub enum State<B: Memory> {
    /// Everything at accumulator precision: 12 bytes a parameter in f32, beside the working weights.
    Full {
        /// The parameters.
        masters: Accs<B>,
        /// First and second moments.
        moments: [Accs<B>; 2],
    },
    /// Everything at compute precision: the working weights are the parameters, the moments take 4 bytes in bf16.
    Narrow {
        /// First and second moments.
        moments: [Params<Mat<B::Buf>>; 2],
        /// Of the rounding.
        seed: u64,
    },
}

/// One of the three numbers kept of each parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The parameter itself.
    Value,
    /// AdamW's first moment.
    First,
    /// AdamW's second moment.
    Second,
}

impl Kept {
    /// All, in the order of [`Dither`](crate::rounding::Dither)'s counters.
    pub const ALL: [Self; 3] = [Self::Value, Self::First, Self::Second];

    fn of<T>(self, value: T, first: T, second: T) -> T {
        match self {
            Self::Value => value,
            Self::First => first,
            Self::Second => second,
        }
    }
}

impl<B: Ops> State<B> {
    /// Moments of zero; of values only the room for masters, where there are any.
    pub(super) fn zeros(b: &B, specs: &Params<Spec>, storage: Storage) -> Result<Self, B::Error> {
        let accs = || {
            let one = |s: &Spec| b.acc(s.shape.0, s.shape.1);
            specs.try_map(one, one)
        };
        let bufs = || {
            let one = |s: &Spec| b.buf(s.shape.0, s.shape.1);
            specs.try_map(one, one)
        };
        Ok(match storage {
            Storage::Full => Self::Full {
                masters: accs()?,
                moments: [accs()?, accs()?],
            },
            Storage::Narrow { seed } => Self::Narrow {
                moments: [bufs()?, bufs()?],
                seed,
            },
        })
    }

    /// Number `i` of the parameters' order of what is kept, row-major. `model` has the values where there are no masters.
    pub(super) fn read(&self, b: &B, model: &Model<B>, what: Kept, i: usize) -> Result<Vec<B::Real>, B::Error> {
        match self {
            Self::Full { masters, moments } => {
                let [first, second] = moments;
                let accs = what.of(masters, first, second);
                download(b, accs.at(i))
            }
            Self::Narrow { moments, .. } => {
                let [first, second] = moments;
                let Some(bufs) = what.of(None, Some(first), Some(second)) else {
                    return model.read(b, i);
                };
                let narrow = bufs.at(i);
                let mut wide = b.acc(narrow.rows, narrow.cols)?;
                b.widen(&mut wide, narrow);
                download(b, &wide)
            }
        }
    }

    /// Puts `values` where [`State::read`] takes them from, rounded to nearest where they are kept narrower.
    pub(super) fn write(
        &mut self,
        b: &B,
        model: &mut Model<B>,
        what: Kept,
        i: usize,
        values: &[B::Real],
    ) -> Result<(), B::Error> {
        match self {
            Self::Full { masters, moments } => {
                let [first, second] = moments;
                let acc = what.of(masters, first, second).at_mut(i);
                b.upload(acc, values)?;
                if what == Kept::Value {
                    model.set(b, i, acc);
                }
            }
            Self::Narrow { moments, .. } => {
                let (rows, cols) = model.specs.at(i).shape;
                let mut wide = b.acc(rows, cols)?;
                b.upload(&mut wide, values)?;
                let [first, second] = moments;
                match what.of(None, Some(first), Some(second)) {
                    None => model.set(b, i, &wide),
                    Some(bufs) => b.narrow(bufs.at_mut(i), &wide),
                }
            }
        }
        Ok(())
    }
}
