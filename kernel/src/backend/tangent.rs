//! Forward-mode derivatives, for the Fisher matrix of TRPO. A tangent x_dot has the shape and the precision of its x.
//!
//! Only what is not linear is here: the tangent of `embed`, `rope`, `gather` and the residual add is the operation itself on
//! tangents, that of `linear` is two of it, y_dot = x_dot w' + x w_dot' + bias_dot.
use super::{Heads, Ops, Qkv};
use crate::mat::Mat;

/// A matrix with its tangent.
pub struct Dual<'a, T> {
    /// x.
    pub x: &'a Mat<T>,
    /// dx / d epsilon, of the same shape.
    pub x_dot: &'a Mat<T>,
}

/// What a head makes its logits h w' of.
pub struct HeadIn<'a, H, W> {
    /// (P, C).
    pub h: &'a Mat<H>,
    /// (V, C).
    pub w: &'a Mat<W>,
}

/// The operations that TRPO needs beside [`Ops`]. Shapes as there.
pub trait Tangent: Ops {
    /// Of y = w x^, x^ = x rstd: y_dot = w_dot x^ + w rstd (x_dot - x^ mean_c(x^ x_dot)).
    fn rmsnorm_jvp(
        &self,
        y_dot: &mut Mat<Self::Buf>,
        x: Dual<'_, Self::Buf>,
        w: Dual<'_, Self::Buf>,
        rstd: &Mat<Self::Acc>,
    );

    /// With p = exp(s - lse) and s_dot = (q_dot k' + q k_dot') scale: o_dot = sum p s_dot v - (sum p s_dot) o + sum p v_dot.
    #[allow(clippy::too_many_arguments)]
    fn attention_jvp(
        &self,
        o_dot: &mut Mat<Self::Buf>,
        qkv_dot: Qkv<'_, Self::Buf>,
        o: &Mat<Self::Buf>,
        lse: &Mat<Self::Acc>,
        qkv: Qkv<'_, Self::Buf>,
        tree: &Self::Tree,
        heads: Heads,
    );

    /// With s = 1 / (1 + e^-gate): y_dot = gate_dot up s (1 + gate (1 - s)) + gate s up_dot.
    fn swiglu_jvp(&self, y_dot: &mut Mat<Self::Buf>, gate: Dual<'_, Self::Buf>, up: Dual<'_, Self::Buf>);

    /// The Fisher matrix of the softmax between the tangent and the cotangent of the logits z = h w' / temperature. With
    /// z_dot = (h_dot w' + h w_dot') / temperature, p = exp(z - lse) and u = weight p (z_dot - <p, z_dot>) / temperature:
    /// dh (P, C) = u w, dw (V, C) += u' h. weight, lse (P, 1). In chunks, as [`Ops::head`].
    #[allow(clippy::too_many_arguments)]
    fn head_fisher(
        &self,
        dh: &mut Mat<Self::Buf>,
        dw: &mut Mat<Self::Acc>,
        weight: &Mat<Self::Acc>,
        lse: &Mat<Self::Acc>,
        h: Dual<'_, Self::Buf>,
        w: Dual<'_, Self::Weight>,
        temperature: f64,
    );

    /// kl (P, 1) = sum_j p_j (log p_j - log q_j), nats: p the softmax of the old logits h w' / temperature, q of the new
    /// ones, over the whole vocabulary. In chunks, as [`Ops::head`].
    fn head_kl(
        &self,
        kl: &mut Mat<Self::Acc>,
        old: HeadIn<'_, Self::Buf, Self::Weight>,
        new: HeadIn<'_, Self::Buf, Self::Weight>,
        temperature: f64,
    );
}
