//! The operations of a transformer, forward and backward.
use super::Memory;
use crate::mat::{Accum, Direction, Mat};
use crate::params::Linear;

/// Sizes of multi-head attention: H query heads share K key heads in groups of H / K, each D wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// H.
    pub heads: usize,
    /// K.
    pub kv_heads: usize,
    /// D.
    pub head_dim: usize,
}

impl Heads {
    /// 1 / sqrt(D), the factor on the scores.
    pub fn scale(&self) -> f64 {
        1.0 / libm::sqrt(self.head_dim as f64)
    }
}

/// Queries (N, H D), keys and values (N, K D), after the rotary embedding.
pub struct Qkv<'a, T> {
    /// (N, H D).
    pub q: &'a Mat<T>,
    /// (N, K D).
    pub k: &'a Mat<T>,
    /// (N, K D).
    pub v: &'a Mat<T>,
}

/// Cotangents of queries, keys and values, in their shapes.
pub struct QkvMut<'a, T> {
    /// (N, H D).
    pub q: &'a mut Mat<T>,
    /// (N, K D).
    pub k: &'a mut Mat<T>,
    /// (N, K D).
    pub v: &'a mut Mat<T>,
}

/// What the head says of each of P predictions, each (P, 1).
pub struct HeadOut<'a, T> {
    /// log softmax(z)_y.
    pub logp: &'a mut Mat<T>,
    /// H = -sum_j p_j log p_j, in nats.
    pub entropy: &'a mut Mat<T>,
    /// log sum_j exp(z_j), for the backward pass.
    pub lse: &'a mut Mat<T>,
    /// max_j log softmax(z)_j: the prediction is right where logp is not below it.
    pub best: &'a mut Mat<T>,
}

/// Cotangents of the head's outputs and what its forward pass saved, each (P, 1).
pub struct HeadCotangent<'a, T> {
    /// d loss / d logp.
    pub dlogp: &'a Mat<T>,
    /// d loss / d entropy.
    pub dentropy: &'a Mat<T>,
    /// Saved log-sum-exp.
    pub lse: &'a Mat<T>,
    /// Saved entropy.
    pub entropy: &'a Mat<T>,
}

/// A device's activations.
pub type Activations<B> = Mat<<B as Memory>::Buf>;
/// A device's prepared matrix.
pub type Prepared<B> = Mat<<B as Memory>::Weight>;
/// Gradients of a linear layer.
pub type LinearGrads<B> = Linear<Mat<<B as Memory>::Acc>>;
/// A linear layer of a device.
pub type LinearLayer<B> = Linear<Mat<<B as Memory>::Weight>, Mat<<B as Memory>::Buf>>;

/// The operations of a transformer. Shapes: N rows, C hidden, F intermediate, V vocabulary, P predictions.
pub trait Ops: Memory {
    /// y (N, C): `y_i = table[ids_i]`. Every id is below V (the batch's constructor is given V and checks).
    fn embed(&self, y: &mut Mat<Self::Buf>, table: &Mat<Self::Weight>, ids: &Self::Index);
    /// d_table (V, C): `d_table[ids_i] += dy_i`, in the order of i.
    fn embed_bwd(&self, d_table: &mut Mat<Self::Acc>, dy: &Mat<Self::Buf>, ids: &Self::Index);

    /// y (P, C): `y_i = x[rows_i]`.
    fn gather(&self, y: &mut Mat<Self::Buf>, x: &Mat<Self::Buf>, rows: &Self::Index);
    /// dx (N, C): `dx[rows_i] += dy_i`; a row named more than once gets the sum.
    fn scatter_add(&self, dx: &mut Mat<Self::Buf>, dy: &Mat<Self::Buf>, rows: &Self::Index);

    /// y = w x r with r = 1 / sqrt(mean_c x_c^2 + eps); y, x (N, C), w (1, C), rstd (N, 1) = r.
    fn rmsnorm(
        &self,
        y: &mut Mat<Self::Buf>,
        rstd: &mut Mat<Self::Acc>,
        x: &Mat<Self::Buf>,
        w: &Mat<Self::Buf>,
        eps: f64,
    );
    /// With x^ = x r and g = w dy: dx (+)= r (g - x^ mean_c(g x^)), dw (1, C) += sum_n dy x^.
    #[allow(clippy::too_many_arguments)]
    fn rmsnorm_bwd(
        &self,
        dx: &mut Mat<Self::Buf>,
        dw: &mut Mat<Self::Acc>,
        dy: &Mat<Self::Buf>,
        x: &Mat<Self::Buf>,
        w: &Mat<Self::Buf>,
        rstd: &Mat<Self::Acc>,
        accum: Accum,
    );

    /// y (N, out) (+)= x (N, in) w' + bias, w (out, in), bias (1, out).
    fn linear(
        &self,
        y: &mut Mat<Self::Buf>,
        x: &Mat<Self::Buf>,
        w: &Mat<Self::Weight>,
        bias: Option<&Mat<Self::Buf>>,
        accum: Accum,
    );
    /// dx (N, in) (+)= dy (N, out) w.
    fn linear_bwd_x(&self, dx: &mut Mat<Self::Buf>, dy: &Mat<Self::Buf>, w: &Mat<Self::Weight>, accum: Accum);
    /// dw (out, in) += dy' x, and db (1, out) += sum_n dy.
    fn linear_bwd_w(
        &self,
        dw: &mut Mat<Self::Acc>,
        db: Option<&mut Mat<Self::Acc>>,
        dy: &Mat<Self::Buf>,
        x: &Mat<Self::Buf>,
    );

    /// y_i (N, out_i) = x (N, in) w_i' + bias_i of layers that read the same x. Each y_i has the bits of [`Ops::linear`]; a device may make them
    /// together.
    fn linear_each<const L: usize>(
        &self,
        layers: [(&mut Activations<Self>, &LinearLayer<Self>); L],
        x: &Mat<Self::Buf>,
    ) {
        for (y, layer) in layers {
            self.linear(y, x, &layer.weight, layer.bias.as_ref(), Accum::Replace);
        }
    }
    /// dx (N, in) = sum_i dy_i (N, out_i) w_i: the cotangent of what [`Ops::linear_each`] reads. A device may round dx once, or after every layer.
    fn linear_each_bwd_x<const L: usize>(
        &self,
        dx: &mut Mat<Self::Buf>,
        layers: [(&Activations<Self>, &Prepared<Self>); L],
    ) {
        let mut accum = Accum::Replace;
        for (dy, w) in layers {
            self.linear_bwd_x(dx, dy, w, accum);
            accum = Accum::Add;
        }
    }
    /// dw_i (out_i, in) += dy_i' x and db_i (1, out_i) += sum_n dy_i, with the bits of [`Ops::linear_bwd_w`].
    fn linear_each_bwd_w<const L: usize>(
        &self,
        layers: [(&mut LinearGrads<Self>, &Activations<Self>); L],
        x: &Mat<Self::Buf>,
    ) {
        for (grad, dy) in layers {
            self.linear_bwd_w(&mut grad.weight, grad.bias.as_mut(), dy, x);
        }
    }

    /// Turns each head of x (N, heads D) in place: (a, b) = (x_i, x_{i + D/2}) becomes (a cos - b sin, b cos + a sin),
    /// the angle from `table` (positions, D), whose row is D/2 cosines, then D/2 sines.
    fn rope(
        &self,
        x: &mut Mat<Self::Buf>,
        table: &Mat<Self::Acc>,
        positions: &Self::Index,
        head_dim: usize,
        direction: Direction,
    );

    /// o (N, H D) = softmax(q k' / sqrt(D)) v per head, each row over the rows of its segment up to itself and all rows
    /// of its segment's ancestors; lse (N, H) the log-sum-exp of the scaled scores.
    fn attention(
        &self,
        o: &mut Mat<Self::Buf>,
        lse: &mut Mat<Self::Acc>,
        qkv: Qkv<'_, Self::Buf>,
        tree: &Self::Tree,
        heads: Heads,
    );
    /// With p = exp(s - lse), D_i = do_i . o_i: ds = p (do v' - D), dq = ds k scale, dk = ds' q scale, dv = p' do.
    #[allow(clippy::too_many_arguments)]
    fn attention_bwd(
        &self,
        d: QkvMut<'_, Self::Buf>,
        d_o: &Mat<Self::Buf>,
        o: &Mat<Self::Buf>,
        lse: &Mat<Self::Acc>,
        qkv: Qkv<'_, Self::Buf>,
        tree: &Self::Tree,
        heads: Heads,
    );

    /// y = silu(gate) up, silu(a) = a / (1 + e^-a); all (N, F).
    fn swiglu(&self, y: &mut Mat<Self::Buf>, gate: &Mat<Self::Buf>, up: &Mat<Self::Buf>);
    /// With s = 1 / (1 + e^-gate): d_gate = dy up s (1 + gate (1 - s)), d_up = dy gate s.
    fn swiglu_bwd(
        &self,
        d_gate: &mut Mat<Self::Buf>,
        d_up: &mut Mat<Self::Buf>,
        dy: &Mat<Self::Buf>,
        gate: &Mat<Self::Buf>,
        up: &Mat<Self::Buf>,
    );
    /// [`Ops::swiglu`] and [`Ops::swiglu_bwd`], with the bits of each: for a backward pass that did not keep y. A device may go through gate and up
    /// once.
    #[allow(clippy::too_many_arguments)]
    fn swiglu_fwd_bwd(
        &self,
        y: &mut Mat<Self::Buf>,
        d_gate: &mut Mat<Self::Buf>,
        d_up: &mut Mat<Self::Buf>,
        dy: &Mat<Self::Buf>,
        gate: &Mat<Self::Buf>,
        up: &Mat<Self::Buf>,
    ) {
        self.swiglu(y, gate, up);
        self.swiglu_bwd(d_gate, d_up, dy, gate, up);
    }

    /// z = (h w') / temperature, h (P, C), w (V, C); log-softmax at the targets, entropy, log-sum-exp. Works in chunks
    /// of rows: (P, V) is never in memory at once.
    fn head(
        &self,
        out: HeadOut<'_, Self::Acc>,
        h: &Mat<Self::Buf>,
        w: &Mat<Self::Weight>,
        targets: &Self::Index,
        temperature: f64,
    );
    /// dz = (dlogp (e_y - p) - dentropy p (log p + H)) / temperature, dh (P, C) = dz w, dw (V, C) += dz' h.
    #[allow(clippy::too_many_arguments)]
    fn head_bwd(
        &self,
        dh: &mut Mat<Self::Buf>,
        dw: &mut Mat<Self::Acc>,
        cotangent: HeadCotangent<'_, Self::Acc>,
        h: &Mat<Self::Buf>,
        w: &Mat<Self::Weight>,
        targets: &Self::Index,
        temperature: f64,
    );
}
