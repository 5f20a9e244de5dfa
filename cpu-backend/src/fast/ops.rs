//! `Ops`: shapes are checked here, the work is done in the modules beside.
use kernel::backend::{HeadCotangent, HeadOut, Heads, LinearLayer, Ops, Qkv, QkvMut};
use kernel::mat::{Accum, Direction, Mat, check_shape};
use kernel::params::Linear;

use super::attention::attention;
use super::attention_bwd::attention_bwd;
use super::buffer::Buffer;
use super::elem::{Elem, for_each_element};
use super::head::head;
use super::head_bwd::head_bwd;
use super::linear::{Backward, Forward, Gradient, Target, linear, linear_bwd_w, linear_bwd_x};
use super::out::Out;
use super::rows;
use super::tree::Tree;
use super::weight::{Weight, shape};
use crate::Cpu;

/// Rows in a piece of row-wise work; the unit of sums over rows, so fixed.
const ROWS: usize = 32;

/// Columns in a piece of work that goes through rows in order.
const COLUMNS: usize = 64;

type Buf<T> = Mat<Buffer<T>>;
type Acc = Mat<Buffer<f32>>;

impl<T: Elem> Cpu<T> {
    /// Calls `work(first row, rows)` with blocks that cut 0..n.
    pub(super) fn rows(&self, n: usize, work: impl Fn(usize, usize) + Sync) {
        self.engine.team().run(n.div_ceil(ROWS), &|i, _| {
            work(i * ROWS, ROWS.min(n - i * ROWS));
        });
    }

    /// Calls `work(first column, columns)` with blocks that cut 0..c.
    fn columns(&self, c: usize, work: impl Fn(usize, usize) + Sync) {
        self.engine.team().run(c.div_ceil(COLUMNS), &|i, _| {
            work(i * COLUMNS, COLUMNS.min(c - i * COLUMNS));
        });
    }
}

/// Shapes of what the head says of so many targets, and the targets themselves.
#[track_caller]
pub(super) fn check_head(op: &str, out: &HeadOut<'_, Buffer<f32>>, targets: &[u32], vocab: usize) {
    for (what, x) in [
        ("logp", &out.logp),
        ("entropy", &out.entropy),
        ("lse", &out.lse),
        ("best", &out.best),
    ] {
        check_shape(op, what, x.shape(), (targets.len(), 1));
    }
    check_rows(op, targets, vocab);
}

#[track_caller]
fn check_rows(op: &str, rows: &[u32], below: usize) {
    if let Some(row) = rows.iter().find(|&&row| row as usize >= below) {
        panic!("{op}: row {row} of {below}");
    }
}

for_each_element! { T;
impl Ops for Cpu<T> {
    #[track_caller]
    fn embed(&self, y: &mut Buf<T>, table: &Mat<Weight<T>>, ids: &Vec<u32>) {
        let (vocab, c) = shape(table);
        check_shape("embed", "y", y.shape(), (ids.len(), c));
        check_rows("embed", ids, vocab);
        let out = Out::new(&mut y.data[..]);
        self.rows(ids.len(), |first, n| {
            for (i, &id) in ids.iter().enumerate().skip(first).take(n) {
                // SAFETY: each item has rows of its own.
                table.data.row(unsafe { out.slice(i * c, c) }, id as usize);
            }
        });
    }

    #[track_caller]
    fn embed_bwd(&self, d_table: &mut Acc, dy: &Buf<T>, ids: &Vec<u32>) {
        let c = d_table.cols;
        check_shape("embed_bwd", "dy", dy.shape(), (ids.len(), c));
        check_rows("embed_bwd", ids, d_table.rows);
        let level = self.engine.level;
        let out = Out::new(&mut d_table.data[..]);
        self.columns(c, |first, n| {
            for (i, &id) in ids.iter().enumerate() {
                // SAFETY: each item has columns of its own.
                let d = unsafe { out.slice(id as usize * c + first, n) };
                rows::accumulate(level, d, &dy.data[i * c + first..][..n]);
            }
        });
    }

    #[track_caller]
    fn gather(&self, y: &mut Buf<T>, x: &Buf<T>, from: &Vec<u32>) {
        let c = x.cols;
        check_shape("gather", "y", y.shape(), (from.len(), c));
        check_rows("gather", from, x.rows);
        let out = Out::new(&mut y.data[..]);
        self.rows(from.len(), |first, n| {
            for (i, &row) in from.iter().enumerate().skip(first).take(n) {
                // SAFETY: each item has rows of its own.
                let y = unsafe { out.slice(i * c, c) };
                y.copy_from_slice(&x.data[row as usize * c..][..c]);
            }
        });
    }

    #[track_caller]
    fn scatter_add(&self, dx: &mut Buf<T>, dy: &Buf<T>, to: &Vec<u32>) {
        let c = dx.cols;
        check_shape("scatter_add", "dy", dy.shape(), (to.len(), c));
        check_rows("scatter_add", to, dx.rows);
        let level = self.engine.level;
        let mut team = self.engine.team();
        let team = &mut *team;
        // Those of one row together, in their order: the row's sum is rounded once.
        let order = team.rooms.a.get::<u32>(to.len());
        order.iter_mut().zip(0..).for_each(|(order, i)| *order = i);
        order.sort_unstable_by_key(|&i| (to[i as usize], i));
        let order = &*order;
        let out = Out::new(&mut dx.data[..]);
        team.pool.run(c.div_ceil(COLUMNS), &|item, _| {
            let first = item * COLUMNS;
            for same in order.chunk_by(|&i, &j| to[i as usize] == to[j as usize]) {
                let row = to[same[0] as usize] as usize;
                // SAFETY: each item has columns of its own.
                let dx = unsafe { out.slice(row * c + first, COLUMNS.min(c - first)) };
                rows::add_rows(level, dx, &dy.data[first..], c, same);
            }
        });
    }

    #[track_caller]
    fn rmsnorm(&self, y: &mut Buf<T>, rstd: &mut Acc, x: &Buf<T>, w: &Buf<T>, eps: f64) {
        let (n, c) = x.shape();
        check_shape("rmsnorm", "y", y.shape(), (n, c));
        check_shape("rmsnorm", "rstd", rstd.shape(), (n, 1));
        check_shape("rmsnorm", "w", w.shape(), (1, c));
        let level = self.engine.level;
        let (y, rstd) = (Out::new(&mut y.data[..]), Out::new(&mut rstd.data[..]));
        self.rows(n, |first, n| {
            // SAFETY: each item has rows of its own.
            let (y, rstd) = unsafe { (y.slice(first * c, n * c), rstd.slice(first, n)) };
            let x = &x.data[first * c..][..n * c];
            rows::rmsnorm(level, y, rstd, x, &w.data[..c], eps as f32);
        });
    }

    #[track_caller]
    fn rmsnorm_bwd(
        &self,
        dx: &mut Buf<T>,
        dw: &mut Acc,
        dy: &Buf<T>,
        x: &Buf<T>,
        w: &Buf<T>,
        rstd: &Acc,
        accum: Accum,
    ) {
        let (n, c) = x.shape();
        check_shape("rmsnorm_bwd", "dx", dx.shape(), (n, c));
        check_shape("rmsnorm_bwd", "dw", dw.shape(), (1, c));
        check_shape("rmsnorm_bwd", "dy", dy.shape(), (n, c));
        check_shape("rmsnorm_bwd", "w", w.shape(), (1, c));
        check_shape("rmsnorm_bwd", "rstd", rstd.shape(), (n, 1));
        let level = self.engine.level;
        let mut team = self.engine.team();
        let team = &mut *team;
        // The sum over rows: by blocks of rows, then the blocks in order.
        let blocks = n.div_ceil(ROWS);
        let partial = team.rooms.a.get::<f32>(blocks * c);
        let (sums, dx) = (Out::new(&mut *partial), Out::new(&mut dx.data[..]));
        team.pool.run(blocks, &|i, _| {
            let rows = ROWS.min(n - i * ROWS);
            let range = i * ROWS * c..(i * ROWS + rows) * c;
            // SAFETY: each item has rows of its own.
            let (dx, sum) = unsafe { (dx.slice(range.start, rows * c), sums.slice(i * c, c)) };
            let (dy, x) = (&dy.data[range.clone()], &x.data[range]);
            rows::rmsnorm_bwd(
                level,
                dx,
                sum,
                dy,
                x,
                &w.data[..c],
                &rstd.data[i * ROWS..][..rows],
                accum,
            );
        });
        for sum in partial.chunks_exact(c.max(1)) {
            rows::axpy(level, &mut dw.data[..c], 1.0, sum);
        }
    }

    #[track_caller]
    fn linear(&self, y: &mut Buf<T>, x: &Buf<T>, w: &Mat<Weight<T>>, bias: Option<&Buf<T>>, accum: Accum) {
        linear(&self.engine, &[forward(y, x, w, bias, accum)], &x.data[..x.len()]);
    }

    #[track_caller]
    fn linear_each<const L: usize>(&self, layers: [(&mut Buf<T>, &LinearLayer<Self>); L], x: &Buf<T>) {
        let layers = layers.map(|(y, layer)| forward(y, x, &layer.weight, layer.bias.as_ref(), Accum::Replace));
        linear(&self.engine, &layers, &x.data[..x.len()]);
    }

    #[track_caller]
    fn linear_bwd_x(&self, dx: &mut Buf<T>, dy: &Buf<T>, w: &Mat<Weight<T>>, accum: Accum) {
        let layer = backward(dx, dy, w);
        linear_bwd_x(&self.engine, Target::Buf(Out::new(&mut dx.data), None, accum), &[layer]);
    }

    #[track_caller]
    fn linear_each_bwd_x<const L: usize>(&self, dx: &mut Buf<T>, layers: [(&Buf<T>, &Mat<Weight<T>>); L]) {
        let layers = layers.map(|(dy, w)| backward(dx, dy, w));
        linear_bwd_x(&self.engine, Target::Buf(Out::new(&mut dx.data), None, Accum::Replace), &layers);
    }

    #[track_caller]
    fn linear_bwd_w(&self, dw: &mut Acc, db: Option<&mut Acc>, dy: &Buf<T>, x: &Buf<T>) {
        linear_bwd_w(&self.engine, [gradient(dw, db, dy, x)], &x.data[..x.len()], x.cols);
    }

    #[track_caller]
    fn linear_each_bwd_w<const L: usize>(&self, layers: [(&mut Linear<Acc>, &Buf<T>); L], x: &Buf<T>) {
        let layers = layers.map(|(grad, dy)| gradient(&mut grad.weight, grad.bias.as_mut(), dy, x));
        linear_bwd_w(&self.engine, layers, &x.data[..x.len()], x.cols);
    }

    #[track_caller]
    fn rope(&self, x: &mut Buf<T>, table: &Acc, positions: &Vec<u32>, head_dim: usize, direction: Direction) {
        let (n, c) = x.shape();
        check_shape("rope", "positions", (positions.len(), 1), (n, 1));
        check_shape("rope", "table", table.shape(), (table.rows, head_dim));
        assert!(
            c % head_dim == 0,
            "rope: x has {c} columns, expected heads of {head_dim}"
        );
        check_rows("rope", positions, table.rows);
        let level = self.engine.level;
        let x = Out::new(&mut x.data[..]);
        self.rows(n, |first, n| {
            // SAFETY: each item has rows of its own.
            let x = unsafe { x.slice(first * c, n * c) };
            rows::rope(
                level,
                x,
                &table.data,
                &positions[first..first + n],
                c,
                head_dim,
                direction,
            );
        });
    }

    #[track_caller]
    fn attention(&self, o: &mut Buf<T>, lse: &mut Acc, qkv: Qkv<'_, Buffer<T>>, tree: &Tree, heads: Heads) {
        check_qkv("attention", [qkv.q.shape(), qkv.k.shape(), qkv.v.shape()], tree, heads);
        check_shape("attention", "o", o.shape(), qkv.q.shape());
        check_shape("attention", "lse", lse.shape(), (tree.rows, heads.heads));
        attention(&self.engine, &mut o.data, &mut lse.data, &qkv, tree, heads);
    }

    #[track_caller]
    fn attention_bwd(
        &self,
        d: QkvMut<'_, Buffer<T>>,
        d_o: &Buf<T>,
        o: &Buf<T>,
        lse: &Acc,
        qkv: Qkv<'_, Buffer<T>>,
        tree: &Tree,
        heads: Heads,
    ) {
        check_qkv(
            "attention_bwd",
            [qkv.q.shape(), qkv.k.shape(), qkv.v.shape()],
            tree,
            heads,
        );
        check_qkv("attention_bwd", [d.q.shape(), d.k.shape(), d.v.shape()], tree, heads);
        check_shape("attention_bwd", "d_o", d_o.shape(), qkv.q.shape());
        check_shape("attention_bwd", "o", o.shape(), qkv.q.shape());
        check_shape("attention_bwd", "lse", lse.shape(), (tree.rows, heads.heads));
        attention_bwd(&self.engine, d, &d_o.data, &o.data, &lse.data, &qkv, tree, heads);
    }

    #[track_caller]
    fn swiglu(&self, y: &mut Buf<T>, gate: &Buf<T>, up: &Buf<T>) {
        check_shape("swiglu", "y", y.shape(), gate.shape());
        check_shape("swiglu", "up", up.shape(), gate.shape());
        let level = self.engine.level;
        let y = Out::new(&mut y.data[..]);
        self.chunks(gate.len(), |range| {
            // SAFETY: each item has a range of its own.
            let y = unsafe { y.slice(range.start, range.len()) };
            rows::swiglu(level, y, &gate.data[range.clone()], &up.data[range]);
        });
    }

    #[track_caller]
    fn swiglu_bwd(&self, d_gate: &mut Buf<T>, d_up: &mut Buf<T>, dy: &Buf<T>, gate: &Buf<T>, up: &Buf<T>) {
        swiglu_bwd(self, None, [d_gate, d_up], dy, gate, up);
    }

    #[track_caller]
    fn swiglu_fwd_bwd(
        &self,
        y: &mut Buf<T>,
        d_gate: &mut Buf<T>,
        d_up: &mut Buf<T>,
        dy: &Buf<T>,
        gate: &Buf<T>,
        up: &Buf<T>,
    ) {
        check_shape("swiglu_fwd_bwd", "y", y.shape(), gate.shape());
        swiglu_bwd(self, Some(y), [d_gate, d_up], dy, gate, up);
    }

    #[track_caller]
    fn head(
        &self,
        out: HeadOut<'_, Buffer<f32>>,
        h: &Buf<T>,
        w: &Mat<Weight<T>>,
        targets: &Vec<u32>,
        temperature: f64,
    ) {
        let (vocab, c) = shape(w);
        let p = targets.len();
        check_shape("head", "h", h.shape(), (p, c));
        check_head("head", &out, targets, vocab);
        head(&self.engine, out, &h.data[..h.len()], &w.data, targets, temperature);
    }

    #[track_caller]
    fn head_bwd(
        &self,
        dh: &mut Buf<T>,
        dw: &mut Acc,
        cotangent: HeadCotangent<'_, Buffer<f32>>,
        h: &Buf<T>,
        w: &Mat<Weight<T>>,
        targets: &Vec<u32>,
        temperature: f64,
    ) {
        let (vocab, c) = shape(w);
        let p = targets.len();
        check_shape("head_bwd", "h", h.shape(), (p, c));
        check_shape("head_bwd", "dh", dh.shape(), (p, c));
        check_shape("head_bwd", "dw", dw.shape(), (vocab, c));
        let HeadCotangent {
            dlogp,
            dentropy,
            lse,
            entropy,
        } = &cotangent;
        for (what, x) in [
            ("dlogp", dlogp),
            ("dentropy", dentropy),
            ("lse", lse),
            ("entropy", entropy),
        ] {
            check_shape("head_bwd", what, x.shape(), (p, 1));
        }
        check_rows("head_bwd", targets, vocab);
        let (dh, dw) = (&mut dh.data[..p * c], &mut dw.data[..vocab * c]);
        head_bwd(
            &self.engine,
            dh,
            dw,
            &cotangent,
            &h.data[..p * c],
            &w.data,
            targets,
            temperature,
        );
    }
}
}

/// The cotangents, and y where it is asked for.
#[track_caller]
fn swiglu_bwd<T: Elem>(
    b: &Cpu<T>,
    y: Option<&mut Buf<T>>,
    [d_gate, d_up]: [&mut Buf<T>; 2],
    dy: &Buf<T>,
    gate: &Buf<T>,
    up: &Buf<T>,
) {
    let shapes = [
        ("d_gate", d_gate.shape()),
        ("d_up", d_up.shape()),
        ("dy", dy.shape()),
        ("up", up.shape()),
    ];
    for (what, shape) in shapes {
        check_shape("swiglu_bwd", what, shape, gate.shape());
    }
    let y = y.map(|y| Out::new(&mut y.data[..]));
    let (d_gate, d_up) = (Out::new(&mut d_gate.data[..]), Out::new(&mut d_up.data[..]));
    b.chunks(gate.len(), |range| {
        // SAFETY: each item has a range of its own.
        let (y, [d_gate, d_up]) = unsafe {
            let n = range.len();
            (
                y.map(|y| y.slice(range.start, n)),
                [d_gate, d_up].map(|d| d.slice(range.start, n)),
            )
        };
        let [dy, gate, up] = [dy, gate, up].map(|x| &x.data[range.clone()]);
        rows::swiglu_bwd(b.engine.level, y, d_gate, d_up, dy, gate, up);
    });
}

/// One layer of a product's, its shapes checked.
#[track_caller]
fn forward<'a, T: Elem>(
    y: &'a mut Buf<T>,
    x: &Buf<T>,
    w: &'a Mat<Weight<T>>,
    bias: Option<&'a Buf<T>>,
    accum: Accum,
) -> Forward<'a, T> {
    let (n, k) = shape(w);
    check_shape("linear", "x", x.shape(), (x.rows, k));
    check_shape("linear", "y", y.shape(), (x.rows, n));
    if let Some(bias) = bias {
        check_shape("linear", "bias", bias.shape(), (1, n));
    }
    let bias = bias.map(|b| &b.data[..n]);
    (Target::Buf(Out::new(&mut y.data), bias, accum), &w.data)
}

#[track_caller]
fn backward<'a, T: Elem>(dx: &Buf<T>, dy: &'a Buf<T>, w: &'a Mat<Weight<T>>) -> Backward<'a, T> {
    let (n, k) = shape(w);
    check_shape("linear_bwd_x", "dy", dy.shape(), (dx.rows, n));
    check_shape("linear_bwd_x", "dx", dx.shape(), (dx.rows, k));
    (&dy.data[..dy.len()], &w.data)
}

#[track_caller]
fn gradient<'a, T: Elem>(dw: &'a mut Acc, db: Option<&'a mut Acc>, dy: &'a Buf<T>, x: &Buf<T>) -> Gradient<'a, T> {
    let (n, k) = dw.shape();
    check_shape("linear_bwd_w", "dy", dy.shape(), (x.rows, n));
    check_shape("linear_bwd_w", "x", x.shape(), (x.rows, k));
    if let Some(db) = &db {
        check_shape("linear_bwd_w", "db", db.shape(), (1, n));
    }
    Gradient {
        dw: &mut dw.data[..n * k],
        db: db.map(|db| &mut db.data[..n]),
        dy: &dy.data[..dy.len()],
        n,
    }
}

#[track_caller]
fn check_qkv(op: &str, [q, k, v]: [(usize, usize); 3], tree: &Tree, heads: Heads) {
    assert!(
        heads.kv_heads > 0 && heads.heads.is_multiple_of(heads.kv_heads),
        "{op}: {} heads do not share {} kv heads evenly",
        heads.heads,
        heads.kv_heads
    );
    check_shape(op, "q", q, (tree.rows, heads.heads * heads.head_dim));
    check_shape(op, "k", k, (tree.rows, heads.kv_heads * heads.head_dim));
    check_shape(op, "v", v, (tree.rows, heads.kv_heads * heads.head_dim));
}
