//! Operations on one row at a time: norms, the rotary embedding, the gate; and elementwise work.
use kernel::mat::{Accum, Direction};

use super::elem::{convert, get, put};
use super::simd::{kernels, sigmoid};

kernels! {
    /// y = w x r, r = 1 / sqrt(mean x^2 + eps), for rows of w's length.
    pub(super) fn rmsnorm<T>(s, y: &mut [T], rstd: &mut [f32], x: &[T], w: &[T], eps: f32) {
        let c = w.len();
        for ((y, x), r) in y.chunks_exact_mut(c).zip(x.chunks_exact(c)).zip(rstd) {
            let mut sum = s.splat(0.0);
            for i in (0..c).step_by(S::LANES) {
                let x = get(s, &x[i..]);
                sum = s.fma(x, x, sum);
            }
            *r = 1.0 / (s.sum(sum) / c as f32 + eps).sqrt();
            let r = s.splat(*r);
            for i in (0..c).step_by(S::LANES) {
                put(s, &mut y[i..], s.mul(s.mul(get(s, &x[i..]), r), get(s, &w[i..])));
            }
        }
    }

    /// With x^ = x r and g = w dy: dx (+)= r (g - x^ mean(g x^)), dw = sum dy x^ over these rows.
    pub(super) fn rmsnorm_bwd<T>(
        s, dx: &mut [T], dw: &mut [f32], dy: &[T], x: &[T], w: &[T], rstd: &[f32], accum: Accum,
    ) {
        let c = w.len();
        dw.fill(0.0);
        let rows = dx.chunks_exact_mut(c).zip(dy.chunks_exact(c)).zip(x.chunks_exact(c)).zip(rstd);
        for (((dx, dy), x), &rstd) in rows {
            let r = s.splat(rstd);
            let mut sum = s.splat(0.0);
            for i in (0..c).step_by(S::LANES) {
                let (dy, x) = (get(s, &dy[i..]), s.mul(get(s, &x[i..]), r));
                sum = s.fma(s.mul(get(s, &w[i..]), dy), x, sum);
                let dw = &mut dw[i..];
                put(s, dw, s.fma(dy, x, get(s, dw)));
            }
            let mean = s.splat(-s.sum(sum) / c as f32);
            for i in (0..c).step_by(S::LANES) {
                let x = s.mul(get(s, &x[i..]), r);
                let mut d = s.mul(r, s.fma(x, mean, s.mul(get(s, &w[i..]), get(s, &dy[i..]))));
                let dx = &mut dx[i..];
                if accum == Accum::Add {
                    d = s.add(get(s, dx), d);
                }
                put(s, dx, d);
            }
        }
    }

    /// With x^ = x r: y_dot = w_dot x^ + w r (x_dot - x^ mean(x^ x_dot)), for rows of w's length.
    pub(super) fn rmsnorm_jvp<T>(
        s, y_dot: &mut [T], x: &[T], x_dot: &[T], w: &[T], w_dot: &[T], rstd: &[f32],
    ) {
        let c = w.len();
        let rows = y_dot.chunks_exact_mut(c).zip(x.chunks_exact(c)).zip(x_dot.chunks_exact(c)).zip(rstd);
        for (((y_dot, x), x_dot), &rstd) in rows {
            let r = s.splat(rstd);
            let mut sum = s.splat(0.0);
            for i in (0..c).step_by(S::LANES) {
                sum = s.fma(s.mul(get(s, &x[i..]), r), get(s, &x_dot[i..]), sum);
            }
            let mean = s.splat(-s.sum(sum) / c as f32);
            for i in (0..c).step_by(S::LANES) {
                let x = s.mul(get(s, &x[i..]), r);
                let x_dot = s.mul(r, s.fma(x, mean, get(s, &x_dot[i..])));
                put(s, &mut y_dot[i..], s.fma(get(s, &w_dot[i..]), x, s.mul(get(s, &w[i..]), x_dot)));
            }
        }
    }

    /// Turns each head of rows of `c` numbers by the angles of its position.
    pub(super) fn rope<T>(
        s, x: &mut [T], table: &[f32], positions: &[u32], c: usize, head_dim: usize, direction: Direction,
    ) {
        let half = head_dim / 2;
        let sign = s.splat(if direction == Direction::Forward { 1.0 } else { -1.0 });
        for (row, &position) in x.chunks_exact_mut(c).zip(positions) {
            let (cos, sin) = table[position as usize * head_dim..][..head_dim].split_at(half);
            for head in row.chunks_exact_mut(head_dim) {
                let (a, b) = head.split_at_mut(half);
                for i in (0..half).step_by(S::LANES) {
                    let (u, v) = (get(s, &a[i..]), get(s, &b[i..]));
                    let (cos, sin) = (get(s, &cos[i..]), s.mul(sign, get(s, &sin[i..])));
                    put(s, &mut a[i..], s.sub(s.mul(u, cos), s.mul(v, sin)));
                    put(s, &mut b[i..], s.add(s.mul(v, cos), s.mul(u, sin)));
                }
            }
        }
    }

    /// y = silu(gate) up.
    pub(super) fn swiglu<T>(s, y: &mut [T], gate: &[T], up: &[T]) {
        let n = y.len();
        for i in (0..n).step_by(S::LANES) {
            let g = get(s, &gate[i..n]);
            put(s, &mut y[i..], s.mul(s.mul(g, sigmoid(s, g)), get(s, &up[i..n])));
        }
    }

    /// With q = sigmoid(gate): d_gate = dy up q (1 + gate (1 - q)), d_up = dy gate q; and where there is a y, what `swiglu` makes.
    pub(super) fn swiglu_bwd<T>(
        s, y: Option<&mut [T]>, d_gate: &mut [T], d_up: &mut [T], dy: &[T], gate: &[T], up: &[T],
    ) {
        let n = dy.len();
        let one = s.splat(1.0);
        let mut y = y;
        for i in (0..n).step_by(S::LANES) {
            let (g, u, dy) = (get(s, &gate[i..n]), get(s, &up[i..n]), get(s, &dy[i..n]));
            let q = sigmoid(s, g);
            let (slope, silu) = (s.mul(q, s.fma(g, s.sub(one, q), one)), s.mul(g, q));
            if let Some(y) = &mut y {
                put(s, &mut y[i..], s.mul(silu, u));
            }
            put(s, &mut d_gate[i..], s.mul(s.mul(dy, u), slope));
            put(s, &mut d_up[i..], s.mul(dy, silu));
        }
    }

    /// With q = sigmoid(gate): y_dot = gate_dot up q (1 + gate (1 - q)) + gate q up_dot.
    pub(super) fn swiglu_jvp<T>(s, y_dot: &mut [T], gate: &[T], gate_dot: &[T], up: &[T], up_dot: &[T]) {
        let n = y_dot.len();
        let one = s.splat(1.0);
        for i in (0..n).step_by(S::LANES) {
            let [g, g_dot, u, u_dot] = [gate, gate_dot, up, up_dot].map(|x| get(s, &x[i..n]));
            let q = sigmoid(s, g);
            let slope = s.mul(q, s.fma(g, s.sub(one, q), one));
            put(s, &mut y_dot[i..], s.fma(s.mul(g_dot, u), slope, s.mul(s.mul(g, q), u_dot)));
        }
    }

    /// y += the rows of x, `stride` apart, in f32 and in order.
    pub(super) fn add_rows<T>(s, y: &mut [T], x: &[T], stride: usize, rows: &[u32]) {
        let n = y.len();
        for i in (0..n).step_by(S::LANES) {
            let mut sum = get(s, &y[i..]);
            for &row in rows {
                let at = row as usize * stride;
                sum = s.add(sum, get(s, &x[at + i..at + n]));
            }
            put(s, &mut y[i..], sum);
        }
    }

    /// y += x, y in f32.
    pub(super) fn accumulate<T>(s, y: &mut [f32], x: &[T]) {
        let n = y.len();
        for i in (0..n).step_by(S::LANES) {
            let y = &mut y[i..];
            put(s, y, s.add(get(s, y), get(s, &x[i..n])));
        }
    }

    /// y = x rounded.
    pub(super) fn narrow<T>(s, y: &mut [T], x: &[f32]) {
        let n = y.len();
        for i in (0..n).step_by(S::LANES) {
            put(s, &mut y[i..], get(s, &x[i..n]));
        }
    }

    /// y = x.
    pub(super) fn widen<T>(s, y: &mut [f32], x: &[T]) {
        convert(s, y, x);
    }

    /// y += alpha x.
    pub(super) fn axpy(s, y: &mut [f32], alpha: f32, x: &[f32]) {
        let (n, alpha) = (y.len(), s.splat(alpha));
        for i in (0..n).step_by(S::LANES) {
            let y = &mut y[i..];
            put(s, y, s.fma(alpha, get(s, &x[i..n]), get(s, y)));
        }
    }

    /// x *= alpha.
    pub(super) fn scale(s, x: &mut [f32], alpha: f32) {
        let alpha = s.splat(alpha);
        for i in (0..x.len()).step_by(S::LANES) {
            let x = &mut x[i..];
            put(s, x, s.mul(get(s, x), alpha));
        }
    }

    /// sum x y in f64, in eight chains.
    pub(super) fn dot(_s, x: &[f32], y: &[f32]) -> f64 {
        let mut sums = [0.0; 8];
        let (xs, ys) = (x.chunks_exact(8), y.chunks_exact(8));
        let rest: f64 = xs.remainder().iter().zip(ys.remainder()).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
        for (x, y) in xs.zip(ys) {
            for j in 0..8 {
                sums[j] += f64::from(x[j]) * f64::from(y[j]);
            }
        }
        sums.iter().sum::<f64>() + rest
    }

    /// One AdamW step: `kernel::backend::Vector::adamw`.
    pub(super) fn adamw(s, p: &mut [f32], m: &mut [f32], v: &mut [f32], grad: &[f32], k: Constants) {
        let n = p.len();
        let [grad_scale, keep, b1, c1, b2, c2, rate, root, eps] = [
            k.grad_scale, k.keep, k.b1, k.c1, k.b2, k.c2, k.rate, k.root, k.eps,
        ].map(|x| s.splat(x));
        for i in (0..n).step_by(S::LANES) {
            let g = s.mul(grad_scale, get(s, &grad[i..n]));
            let (p, m, v) = (&mut p[i..], &mut m[i..], &mut v[i..]);
            let m1 = s.fma(b1, get(s, m), s.mul(c1, g));
            let v1 = s.fma(b2, get(s, v), s.mul(c2, s.mul(g, g)));
            put(s, m, m1);
            put(s, v, v1);
            let step = s.div(m1, s.fma(s.sqrt(v1), root, eps));
            put(s, p, s.fma(rate, step, s.mul(keep, get(s, p))));
        }
    }
}

/// The numbers of an AdamW step, made in f64 and rounded once.
#[derive(Clone, Copy)]
pub(super) struct Constants {
    pub grad_scale: f32,
    /// 1 - lr weight_decay
    pub keep: f32,
    pub b1: f32,
    /// 1 - b1
    pub c1: f32,
    pub b2: f32,
    /// 1 - b2
    pub c2: f32,
    /// -lr / (1 - b1^t)
    pub rate: f32,
    /// 1 / sqrt(1 - b2^t)
    pub root: f32,
    pub eps: f32,
}

#[cfg(test)]
mod tests;
