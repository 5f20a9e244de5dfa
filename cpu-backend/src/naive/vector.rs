//! Elementwise work of the optimizer.
use alloc::vec::Vec;

use kernel::backend::{AdamW, Vector};
use kernel::mat::{Mat, check_shape};
use kernel::params::Part;
use kernel::rounding::Dither;

use super::memory::OutOfMemory;
use super::rows;
use crate::Cpu;

impl Vector for Cpu<f64> {
    #[track_caller]
    fn dot(&self, x: &Mat<Vec<f64>>, y: &Mat<Vec<f64>>) -> Result<f64, OutOfMemory> {
        check_shape("dot", "y", y.shape(), x.shape());
        Ok(rows::dot(&x.data[..x.len()], &y.data[..y.len()]))
    }

    #[track_caller]
    fn axpy(&self, y: &mut Mat<Vec<f64>>, alpha: f64, x: &Mat<Vec<f64>>) {
        check_shape("axpy", "x", x.shape(), y.shape());
        let n = y.len();
        rows::axpy(&mut y.data[..n], alpha, &x.data[..n]);
    }

    fn scale(&self, x: &mut Mat<Vec<f64>>, alpha: f64) {
        let n = x.len();
        for x in &mut x.data[..n] {
            *x *= alpha;
        }
    }

    #[track_caller]
    fn adamw(
        &self,
        p: &mut Mat<Vec<f64>>,
        m: &mut Mat<Vec<f64>>,
        v: &mut Mat<Vec<f64>>,
        grad: &Mat<Vec<f64>>,
        step: &AdamW,
    ) {
        for (what, shape) in [("m", m.shape()), ("v", v.shape()), ("grad", grad.shape())] {
            check_shape("adamw", what, shape, p.shape());
        }
        let &AdamW {
            learning_rate,
            beta1,
            beta2,
            eps,
            weight_decay,
            step,
            grad_scale,
        } = step;
        let correction1 = 1.0 - libm::pow(beta1, step as f64);
        let correction2 = 1.0 - libm::pow(beta2, step as f64);
        for i in 0..p.len() {
            let (p, m, v) = (&mut p.data[i], &mut m.data[i], &mut v.data[i]);
            let g = grad_scale * grad.data[i];
            *p -= learning_rate * weight_decay * *p;
            *m = beta1 * *m + (1.0 - beta1) * g;
            *v = beta2 * *v + (1.0 - beta2) * g * g;
            *p -= learning_rate / correction1 * *m / (libm::sqrt(*v / correction2) + eps);
        }
    }

    /// Nothing is narrower here than an accumulator: no rounding.
    #[track_caller]
    fn adamw_narrow(
        &self,
        p: Part<&mut Mat<Vec<f64>>, &mut Mat<Vec<f64>>>,
        m: &mut Mat<Vec<f64>>,
        v: &mut Mat<Vec<f64>>,
        grad: &Mat<Vec<f64>>,
        step: &AdamW,
        _: Dither,
    ) {
        let (Part::Matrix(p) | Part::Vector(p)) = p;
        self.adamw(p, m, v, grad, step);
    }
}
