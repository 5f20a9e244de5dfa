//! The oracle with one bug in its tangents: what the checks of the Fisher matrix must find. Everything else is the oracle.
use std::cell::Cell;

use cpu_backend::{Cpu, OutOfMemory};
use kernel::backend::{AdamW, Dual, HeadCotangent, HeadIn, HeadOut, Heads, Memory, Ops, Qkv, QkvMut, Tangent, Vector};
use kernel::batch::Segment;
use kernel::mat::{Accum, Direction, Mat, Use};
use kernel::params::Part;
use kernel::rounding::Dither;

/// The bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// None.
    None,
    /// The tangent of attention lacks - (sum p s_dot) o: the softmax's normaliser does not move.
    AttentionMean,
    /// The head lacks <p, z_dot>: its curvature is diag p, not diag p - p p'.
    HeadMean,
    /// The tangents of queries and keys are turned by minus the angle.
    RopeInverse,
    /// Query heads that share keys get the mean of their tangents.
    GroupedMean,
    /// The tangent of RMSNorm holds the root mean square fixed.
    NormScale,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::AttentionMean,
        Self::HeadMean,
        Self::RopeInverse,
        Self::GroupedMean,
        Self::NormScale,
    ];
}

/// The oracle with a bug.
pub struct Mutant {
    inner: Cpu<f64>,
    bug: Bug,
    /// Whether the forward pass is over: from then on a forward turn is that of a tangent.
    in_tangent: Cell<bool>,
}

impl Mutant {
    /// With this bug.
    pub fn new(bug: Bug) -> Self {
        Self {
            inner: Cpu::oracle(),
            bug,
            in_tangent: Cell::new(false),
        }
    }
}

type V = Vec<f64>;
type M = Mat<V>;
type Tree = <Cpu<f64> as Memory>::Tree;

/// Methods that are the oracle's.
macro_rules! as_the_oracle {
    ($($name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)?;)*) => {$(
        fn $name(&self, $($arg: $ty),*) $(-> $ret)? {
            self.inner.$name($($arg),*)
        }
    )*};
}

impl Memory for Mutant {
    type Real = f64;
    type Buf = V;
    type Acc = V;
    type Weight = V;
    type Index = Vec<u32>;
    type Tree = Tree;
    type Error = OutOfMemory;

    as_the_oracle! {
        buf(rows: usize, cols: usize) -> Result<M, OutOfMemory>;
        acc(rows: usize, cols: usize) -> Result<M, OutOfMemory>;
        weight(rows: usize, cols: usize, usage: Use) -> Result<M, OutOfMemory>;
        index(values: &[u32]) -> Result<Vec<u32>, OutOfMemory>;
        tree(segments: &[Segment]) -> Result<Tree, OutOfMemory>;
        prepare(dst: &mut M, src: &M);
        upload(dst: &mut M, src: &[f64]) -> Result<(), OutOfMemory>;
        download(dst: &mut [f64], src: &M) -> Result<(), OutOfMemory>;
        narrow(dst: &mut M, src: &M);
        widen(dst: &mut M, src: &M);
        copy(dst: &mut M, src: &M);
        zero(x: &mut M);
        zero_buf(x: &mut M);
    }
}

impl Ops for Mutant {
    as_the_oracle! {
        embed(y: &mut M, table: &M, ids: &Vec<u32>);
        embed_bwd(d_table: &mut M, dy: &M, ids: &Vec<u32>);
        gather(y: &mut M, x: &M, rows: &Vec<u32>);
        scatter_add(dx: &mut M, dy: &M, rows: &Vec<u32>);
        rmsnorm(y: &mut M, rstd: &mut M, x: &M, w: &M, eps: f64);
        rmsnorm_bwd(dx: &mut M, dw: &mut M, dy: &M, x: &M, w: &M, rstd: &M, accum: Accum);
        linear(y: &mut M, x: &M, w: &M, bias: Option<&M>, accum: Accum);
        linear_bwd_x(dx: &mut M, dy: &M, w: &M, accum: Accum);
        linear_bwd_w(dw: &mut M, db: Option<&mut M>, dy: &M, x: &M);
        attention(o: &mut M, lse: &mut M, qkv: Qkv<'_, V>, tree: &Tree, heads: Heads);
        attention_bwd(
            d: QkvMut<'_, V>, d_o: &M, o: &M, lse: &M, qkv: Qkv<'_, V>, tree: &Tree, heads: Heads
        );
        swiglu(y: &mut M, gate: &M, up: &M);
        swiglu_bwd(d_gate: &mut M, d_up: &mut M, dy: &M, gate: &M, up: &M);
        head_bwd(
            dh: &mut M, dw: &mut M, d: HeadCotangent<'_, V>, h: &M, w: &M, targets: &Vec<u32>, temperature: f64
        );
    }

    fn head(&self, out: HeadOut<'_, V>, h: &M, w: &M, targets: &Vec<u32>, temperature: f64) {
        self.inner.head(out, h, w, targets, temperature);
        self.in_tangent.set(true);
    }

    fn rope(&self, x: &mut M, table: &M, positions: &Vec<u32>, head_dim: usize, direction: Direction) {
        let wrong = self.bug == Bug::RopeInverse && self.in_tangent.get();
        let direction = if wrong { Direction::Inverse } else { direction };
        self.inner.rope(x, table, positions, head_dim, direction);
    }
}

impl Vector for Mutant {
    as_the_oracle! {
        dot(x: &M, y: &M) -> Result<f64, OutOfMemory>;
        axpy(y: &mut M, alpha: f64, x: &M);
        scale(x: &mut M, alpha: f64);
        adamw(p: &mut M, m: &mut M, v: &mut M, grad: &M, step: &AdamW);
        adamw_narrow(p: Part<&mut M, &mut M>, m: &mut M, v: &mut M, grad: &M, step: &AdamW, dither: Dither);
    }
}

impl Tangent for Mutant {
    as_the_oracle! {
        swiglu_jvp(y_dot: &mut M, gate: Dual<'_, V>, up: Dual<'_, V>);
        head_kl(kl: &mut M, old: HeadIn<'_, V, V>, new: HeadIn<'_, V, V>, temperature: f64);
    }

    fn rmsnorm_jvp(&self, y_dot: &mut M, x: Dual<'_, V>, w: Dual<'_, V>, rstd: &M) {
        let c = x.x.cols;
        let (at, at_dot) = (x.x, x.x_dot);
        let (weight, weight_dot) = (w.x, w.x_dot);
        self.inner.rmsnorm_jvp(y_dot, x, w, rstd);
        if self.bug == Bug::NormScale {
            for i in 0..y_dot.len() {
                let moved = weight_dot.data[i % c] * at.data[i] + weight.data[i % c] * at_dot.data[i];
                y_dot.data[i] = rstd.data[i / c] * moved;
            }
        }
    }

    fn attention_jvp(
        &self,
        o_dot: &mut M,
        dot: Qkv<'_, V>,
        o: &M,
        lse: &M,
        qkv: Qkv<'_, V>,
        tree: &Tree,
        heads: Heads,
    ) {
        // The term is linear in o, which is read for nothing else.
        let mut o = o.clone();
        if self.bug == Bug::AttentionMean {
            o.data.fill(0.0);
        }
        self.inner.attention_jvp(o_dot, dot, &o, lse, qkv, tree, heads);
        if self.bug == Bug::GroupedMean {
            let (d, group) = (heads.head_dim, heads.heads / heads.kv_heads);
            for shared in o_dot.data.chunks_mut(group * d) {
                let mean = |i: usize| (0..group).map(|g| shared[g * d + i]).sum::<f64>() / group as f64;
                let mean: Vec<f64> = (0..d).map(mean).collect();
                shared.chunks_mut(d).for_each(|head| head.copy_from_slice(&mean));
            }
        }
    }

    fn head_fisher(
        &self,
        dh: &mut M,
        dw: &mut M,
        weight: &M,
        lse: &M,
        h: Dual<'_, V>,
        w: Dual<'_, V>,
        temperature: f64,
    ) {
        if self.bug != Bug::HeadMean {
            return self.inner.head_fisher(dh, dw, weight, lse, h, w, temperature);
        }
        let row = |x: &M, i: usize| x.data[i * x.cols..][..x.cols].to_vec();
        let dot = |x: &M, i: usize, y: &M, j: usize| row(x, i).iter().zip(row(y, j)).map(|(x, y)| x * y).sum::<f64>();
        dh.data.fill(0.0);
        for i in 0..h.x.rows {
            for j in 0..w.x.rows {
                let p = (dot(h.x, i, w.x, j) / temperature - lse.data[i]).exp();
                let z_dot = (dot(h.x_dot, i, w.x, j) + dot(h.x, i, w.x_dot, j)) / temperature;
                let u = weight.data[i] * p * z_dot / temperature;
                for c in 0..h.x.cols {
                    dh.data[i * h.x.cols + c] += u * w.x.data[j * h.x.cols + c];
                    dw.data[j * h.x.cols + c] += u * h.x.data[i * h.x.cols + c];
                }
            }
        }
    }
}
