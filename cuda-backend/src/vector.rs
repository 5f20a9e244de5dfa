//! `Vector`: elementwise work of the optimizer.
use kernel::backend::{AdamW, Vector};
use kernel::mat::{Mat, check_shape};
use kernel::optim::Kept;
use kernel::params::Part;
use kernel::rounding::{BLOCK, Dither};

use crate::buffer::Buffer;
use crate::compile::{Source, source};
use crate::device::{Cuda, Element};
use crate::error::Error;
use crate::launch::Launch;

const SOURCE: Source = source!("vector");
const NARROW: Source = source!("adamw_narrow");
const THREADS: usize = 256;
/// Fewest numbers worth a block of `dot`, and most blocks. Constants: the order of the sum must not depend on the device.
const CHUNK: usize = 2048;
const MOST_BLOCKS: usize = 1024;

type Acc = Mat<Buffer<f32>>;

/// A launch of this elementwise kernel over n numbers.
fn over<'a, T: Element>(b: &'a Cuda<T>, name: &str, n: usize) -> Launch<'a, T> {
    b.kernel(&SOURCE, name)
        .grid([n.div_ceil(4 * THREADS), 1, 1])
        .block(THREADS as u32)
}

/// AdamW's constants, made in f64 and rounded once, as the CPU's.
fn constants<'a, T: Element>(launch: Launch<'a, T>, step: &AdamW) -> Launch<'a, T> {
    let correction = |beta: f64| 1.0 - beta.powf(step.step as f64);
    launch
        .arg(step.grad_scale as f32)
        .arg((1.0 - step.learning_rate * step.weight_decay) as f32)
        .arg(step.beta1 as f32)
        .arg((1.0 - step.beta1) as f32)
        .arg(step.beta2 as f32)
        .arg((1.0 - step.beta2) as f32)
        .arg((-step.learning_rate / correction(step.beta1)) as f32)
        .arg((1.0 / correction(step.beta2).sqrt()) as f32)
        .arg(step.eps as f32)
}

impl<T: Element> Vector for Cuda<T> {
    #[track_caller]
    fn dot(&self, x: &Acc, y: &Acc) -> Result<f64, Error> {
        check_shape("dot", "y", y.shape(), x.shape());
        let n = x.len();
        let blocks = n.div_ceil(CHUNK).min(MOST_BLOCKS);
        let mut total = Buffer::<f64>::zeroed(self, 1)?;
        self.room("dot", blocks * size_of::<f64>(), |partial| {
            self.kernel(&SOURCE, "dot")
                .grid([blocks, 1, 1])
                .block(THREADS as u32)
                .arg(&*partial)
                .arg(x)
                .arg(y)
                .size(n)
                .launch();
            self.kernel(&SOURCE, "dot_sum")
                .block(THREADS as u32)
                .arg(&mut total)
                .arg(&*partial)
                .size(blocks)
                .launch();
        });
        let mut sum = [0.0];
        total.read(self, &mut sum)?;
        Ok(sum[0])
    }

    #[track_caller]
    fn axpy(&self, y: &mut Acc, alpha: f64, x: &Acc) {
        check_shape("axpy", "x", x.shape(), y.shape());
        let n = y.len();
        over(self, "axpy", n).arg(y).arg(alpha as f32).arg(x).size(n).launch();
    }

    fn scale(&self, x: &mut Acc, alpha: f64) {
        let n = x.len();
        over(self, "scale", n).arg(x).arg(alpha as f32).size(n).launch();
    }

    #[track_caller]
    fn adamw(&self, p: &mut Acc, m: &mut Acc, v: &mut Acc, grad: &Acc, step: &AdamW) {
        for (what, shape) in [("m", m.shape()), ("v", v.shape()), ("grad", grad.shape())] {
            check_shape("adamw", what, shape, p.shape());
        }
        let n = p.len();
        constants(over(self, "adamw", n).arg(p).arg(m).arg(v).arg(grad).size(n), step).launch();
    }

    #[track_caller]
    fn adamw_narrow(
        &self,
        p: Part<&mut Mat<Buffer<T>>, &mut Mat<Buffer<T>>>,
        m: &mut Mat<Buffer<T>>,
        v: &mut Mat<Buffer<T>>,
        grad: &Acc,
        step: &AdamW,
        dither: Dither,
    ) {
        // A prepared matrix is row-major too.
        let (Part::Matrix(p) | Part::Vector(p)) = p;
        for (what, shape) in [("m", m.shape()), ("v", v.shape()), ("grad", grad.shape())] {
            check_shape("adamw_narrow", what, shape, p.shape());
        }
        let n = p.len();
        let [_, stream, step_low, step_high] = dither.counter(step.step, Kept::Value, 0);
        let launch = self
            .typed(&NARROW, "adamw_narrow")
            .grid([n.div_ceil(BLOCK * THREADS), 1, 1])
            .block(THREADS as u32);
        constants(launch.arg(p).arg(m).arg(v).arg(grad).size(n), step)
            .arg(dither.seed as u32)
            .arg((dither.seed >> 32) as u32)
            .arg(stream)
            .arg(step_low)
            .arg(step_high)
            .launch();
    }
}
