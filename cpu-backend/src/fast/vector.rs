//! `Vector`: the optimizer's elementwise work.
use kernel::backend::{AdamW, Vector};
use kernel::mat::{Mat, check_shape};
use kernel::params::Part;
use kernel::rounding::Dither;

use super::buffer::Buffer;
use super::elem::for_each_element;
use super::memory::CHUNK;
use super::narrow::{Bits, adamw_narrow};
use super::out::Out;
use super::rows;
use super::weight::{self, Weight};
use crate::{Cpu, OutOfMemory};

type Acc = Mat<Buffer<f32>>;

fn constants(step: &AdamW) -> rows::Constants {
    let correction = |beta: f64| 1.0 - beta.powf(step.step as f64);
    rows::Constants {
        grad_scale: step.grad_scale as f32,
        keep: (1.0 - step.learning_rate * step.weight_decay) as f32,
        b1: step.beta1 as f32,
        c1: (1.0 - step.beta1) as f32,
        b2: step.beta2 as f32,
        c2: (1.0 - step.beta2) as f32,
        rate: (-step.learning_rate / correction(step.beta1)) as f32,
        root: (1.0 / correction(step.beta2).sqrt()) as f32,
        eps: step.eps as f32,
    }
}

for_each_element! { T;
impl Vector for Cpu<T> {
    #[track_caller]
    fn dot(&self, x: &Acc, y: &Acc) -> Result<f64, OutOfMemory> {
        check_shape("dot", "y", y.shape(), x.shape());
        let level = self.engine.level;
        let n = x.len();
        let mut team = self.engine.team();
        let team = &mut *team;
        let chunks = n.div_ceil(CHUNK);
        let partial = team.rooms.a.get::<f64>(chunks);
        let out = Out::new(partial);
        team.pool.run(chunks, &|i, _| {
            let range = i * CHUNK..((i + 1) * CHUNK).min(n);
            // SAFETY: each item has one number.
            unsafe { out.put(i, rows::dot(level, &x.data[range.clone()], &y.data[range])) };
        });
        Ok(partial.iter().sum())
    }

    #[track_caller]
    fn axpy(&self, y: &mut Acc, alpha: f64, x: &Acc) {
        check_shape("axpy", "y", y.shape(), x.shape());
        let level = self.engine.level;
        let n = x.len();
        let out = Out::new(&mut y.data[..n]);
        self.chunks(n, |range| {
            // SAFETY: each item has a range of its own.
            let y = unsafe { out.slice(range.start, range.len()) };
            rows::axpy(level, y, alpha as f32, &x.data[range]);
        });
    }

    fn scale(&self, x: &mut Acc, alpha: f64) {
        let level = self.engine.level;
        let n = x.len();
        let out = Out::new(&mut x.data[..n]);
        self.chunks(n, |range| {
            // SAFETY: each item has a range of its own.
            rows::scale(level, unsafe { out.slice(range.start, range.len()) }, alpha as f32);
        });
    }

    #[track_caller]
    fn adamw(&self, p: &mut Acc, m: &mut Acc, v: &mut Acc, grad: &Acc, step: &AdamW) {
        for (what, shape) in [("m", m.shape()), ("v", v.shape()), ("grad", grad.shape())] {
            check_shape("adamw", what, shape, p.shape());
        }
        let level = self.engine.level;
        let n = p.len();
        let constants = constants(step);
        let out = [p, m, v].map(|x| Out::new(&mut x.data[..n]));
        self.chunks(n, |range| {
            // SAFETY: each item has a range of its own in each of the three.
            let [p, m, v] = out.map(|x| unsafe { x.slice(range.start, range.len()) });
            rows::adamw(level, p, m, v, &grad.data[range], constants);
        });
    }

    #[track_caller]
    fn adamw_narrow(
        &self,
        p: Part<&mut Mat<Weight<T>>, &mut Mat<Buffer<T>>>,
        m: &mut Mat<Buffer<T>>,
        v: &mut Mat<Buffer<T>>,
        grad: &Acc,
        step: &AdamW,
        dither: Dither,
    ) {
        let shape = match &p {
            Part::Matrix(p) => weight::shape(p),
            Part::Vector(p) => p.shape(),
        };
        for (what, found) in [("m", m.shape()), ("v", v.shape()), ("grad", grad.shape())] {
            check_shape("adamw_narrow", what, found, shape);
        }
        let (level, n, cols) = (self.engine.level, grad.len(), grad.cols);
        let (constants, bits) = (constants(step), Bits { dither, step: step.step });
        let [m, v] = [m, v].map(|x| Out::new(&mut x.data[..n]));
        match p {
            Part::Matrix(p) => p.data.change(&self.engine, |p, stride, rows| {
                let (first, len) = (rows.start * cols, rows.len() * cols);
                // SAFETY: each item has rows of its own in each of the two.
                let [m, v] = [m, v].map(|x| unsafe { x.slice(first, len) });
                let grad = &grad.data[first..first + len];
                adamw_narrow(level, p, stride, m, v, grad, cols, constants, bits, first);
            }),
            Part::Vector(p) => {
                let p = Out::new(&mut p.data[..n]);
                self.chunks(n, |range| {
                    let (first, len) = (range.start, range.len());
                    // SAFETY: each item has a range of its own in each of the three.
                    let [p, m, v] = [p, m, v].map(|x| unsafe { x.slice(first, len) });
                    adamw_narrow(level, p, len, m, v, &grad.data[range], len, constants, bits, first);
                });
            }
        }
    }
}
}
