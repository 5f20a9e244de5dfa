//! Elementwise work of the optimizer.
use super::Memory;
use crate::mat::Mat;
use crate::params::Part;
use crate::rounding::Dither;

/// One AdamW step's constants (Loshchilov and Hutter 2019, algorithm 2, as torch.optim.AdamW states it).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the corrected second moment.
    pub eps: f64,
    /// Decoupled weight decay, times the learning rate.
    pub weight_decay: f64,
    /// t, from 1: for the bias corrections 1 - beta^t.
    pub step: u64,
    /// The gradient is multiplied by this first: the clipping factor.
    pub grad_scale: f64,
}

/// Elementwise work on `Acc`, and one step on what is narrower. Reductions have a fixed order: the same bits on any number of threads.
pub trait Vector: Memory {
    /// sum_i x_i y_i.
    fn dot(&self, x: &Mat<Self::Acc>, y: &Mat<Self::Acc>) -> Result<f64, Self::Error>;
    /// y += alpha x.
    fn axpy(&self, y: &mut Mat<Self::Acc>, alpha: f64, x: &Mat<Self::Acc>);
    /// x *= alpha.
    fn scale(&self, x: &mut Mat<Self::Acc>, alpha: f64);
    /// With g = grad_scale grad: p -= lr weight_decay p; m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2;
    /// p -= lr / (1 - b1^t) m / (sqrt(v / (1 - b2^t)) + eps).
    fn adamw(
        &self,
        p: &mut Mat<Self::Acc>,
        m: &mut Mat<Self::Acc>,
        v: &mut Mat<Self::Acc>,
        grad: &Mat<Self::Acc>,
        step: &AdamW,
    );
    /// As [`Vector::adamw`] with p, m and v at compute precision: computed at accumulator precision without fused products,
    /// m and v as computed make p, then each of the three is stored by stochastic rounding (Gupta et al. 2015, arXiv
    /// 1502.02551) with the bits of `dither`, [`to_bf16`](crate::rounding::to_bf16); without loss where compute precision is
    /// that of accumulators. p is the prepared matrix itself: there is no other copy. m, v, grad have its shape, row-major.
    fn adamw_narrow(
        &self,
        p: Part<&mut Mat<Self::Weight>, &mut Mat<Self::Buf>>,
        m: &mut Mat<Self::Buf>,
        v: &mut Mat<Self::Buf>,
        grad: &Mat<Self::Acc>,
        step: &AdamW,
        dither: Dither,
    );
}
