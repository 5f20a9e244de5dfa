//! `Vector`: elementwise work of the optimizer.
use kernel::backend::{AdamW, Vector};
use kernel::mat::{Mat, check_shape};

use crate::buffer::Buffer;
use crate::compile::{Source, source};
use crate::device::{Cuda, Element};
use crate::error::Error;
use crate::launch::Launch;

const SOURCE: Source = source!("vector");
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
        let correction = |beta: f64| 1.0 - beta.powf(step.step as f64);
        // Made in f64 and rounded once, as the CPU's.
        over(self, "adamw", n)
            .arg(p)
            .arg(m)
            .arg(v)
            .arg(grad)
            .size(n)
            .arg(step.grad_scale as f32)
            .arg((1.0 - step.learning_rate * step.weight_decay) as f32)
            .arg(step.beta1 as f32)
            .arg((1.0 - step.beta1) as f32)
            .arg(step.beta2 as f32)
            .arg((1.0 - step.beta2) as f32)
            .arg((-step.learning_rate / correction(step.beta1)) as f32)
            .arg((1.0 / correction(step.beta2).sqrt()) as f32)
            .arg(step.eps as f32)
            .launch();
    }
}
