//! Elementwise work of the optimizer, at accumulator precision.
use super::Memory;
use crate::mat::Mat;

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

/// Elementwise work on `Acc`. Reductions have a fixed order: the same bits on any number of threads.
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
}
