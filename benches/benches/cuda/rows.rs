//! The operations of the table: their sizes, what they must touch, and how each is called.
use cuda_backend::{Cuda, Element, GroupTokens, Tokens};
use kernel::backend::{
    AdamW, CacheShape, Decode, HeadCotangent, HeadOut, Heads, Memory, Ops, Paths, Qkv, QkvMut, Span, Vector,
};
use kernel::batch::Segment;
use kernel::mat::{Accum, Direction, Use};
use kernel::objective::group::{GroupPolicy, Whole};
use kernel::params::Part;
use kernel::rounding::Dither;

/// SmolLM2-135M.
const C: usize = 576;
const F: usize = 1536;
const V: usize = 49152;
const WIDE: Heads = Heads {
    heads: 2,
    kv_heads: 1,
    head_dim: 128,
};
const NARROW: Heads = Heads {
    heads: 3,
    kv_heads: 1,
    head_dim: 64,
};
const CACHED: Heads = Heads {
    heads: 9,
    kv_heads: 3,
    head_dim: 64,
};
/// Tokens.
const N: usize = 512;
/// Keys of a sequence in decoding.
const T: usize = 2048;
/// Qwen2.5-0.5B, for the products of compute capability 9.0.
const WIDTH: usize = 896;
const HIDDEN: usize = 4864;
const TOKENS: usize = 2048;
/// Rows and columns of a square product.
const SQUARE: usize = 1024;

/// An operation at one size.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// Bytes that it must touch, where that is what bounds it; the width of a number is an argument.
    pub(crate) ideal: fn(usize) -> usize,
    /// Floating-point operations, where those do.
    pub(crate) flops: usize,
}

const NO_IDEAL: fn(usize) -> usize = |_| 0;

#[rustfmt::skip]
pub(crate) const ROWS: &[Row] = &[
    Row { name: "rmsnorm", ideal: |w| N * (2 * w * C + 4) + w * C, flops: 0 },
    Row { name: "rmsnorm_bwd", ideal: |w| N * (3 * w * C + 4) + w * C + 8 * C, flops: 0 },
    Row { name: "rope", ideal: |w| N * (2 * w * C + 4 * 64 + 4), flops: 0 },
    Row { name: "swiglu", ideal: |w| N * 3 * w * F, flops: 0 },
    Row { name: "swiglu_bwd", ideal: |w| N * 5 * w * F, flops: 0 },
    Row { name: "gather", ideal: |w| N * (2 * w * C + 4), flops: 0 },
    Row { name: "adamw", ideal: |_| 28 * N * C, flops: 0 },
    Row { name: "adamw_narrow", ideal: |w| (6 * w + 4) * N * C, flops: 0 },
    Row { name: "dot", ideal: |_| 8 * N * C, flops: 0 },
    Row { name: "narrow", ideal: |w| N * C * (4 + w), flops: 0 },
    Row { name: "linear", ideal: NO_IDEAL, flops: 2 * SQUARE * SQUARE * SQUARE },
    Row { name: "linear_bwd_x", ideal: NO_IDEAL, flops: 2 * SQUARE * SQUARE * SQUARE },
    Row { name: "linear_bwd_w", ideal: NO_IDEAL, flops: 2 * SQUARE * SQUARE * SQUARE },
    Row { name: "bias gradient", ideal: NO_IDEAL, flops: 0 },
    Row { name: "linear of 1 row", ideal: |w| w * (C * F + C + F), flops: 2 * C * F },
    Row { name: "attention d=64", ideal: NO_IDEAL, flops: 2 * T * T * 64 * 3 },
    Row { name: "attention d=128", ideal: NO_IDEAL, flops: 2 * T * T * 128 * 2 },
    Row { name: "attention_bwd d=64", ideal: NO_IDEAL, flops: 5 * N * N * 64 * 3 },
    Row { name: "kv_append", ideal: |w| N * (4 * w * CACHED.kv_heads * CACHED.head_dim + 4), flops: 0 },
    Row { name: "attention_decode", ideal: |w| 2 * w * 64 * T, flops: 0 },
    Row { name: "head", ideal: NO_IDEAL, flops: 2 * 64 * C * V },
    Row { name: "head_bwd", ideal: NO_IDEAL, flops: 6 * 64 * C * V },
    Row { name: "logp", ideal: |_| 16 * V * 4, flops: 0 },
    Row { name: "surrogate", ideal: |_| 32 * N * 21, flops: 0 },
];

/// Products in bf16 on devices of compute capability 9.0, of the up projection of an MLP.
#[rustfmt::skip]
pub(crate) const ROWS_90: &[Row] = &[
    Row { name: "linear of an mlp", ideal: NO_IDEAL, flops: 2 * TOKENS * WIDTH * HIDDEN },
    Row { name: "linear_bwd_x of it", ideal: NO_IDEAL, flops: 2 * TOKENS * WIDTH * HIDDEN },
    Row { name: "linear_bwd_w of it", ideal: NO_IDEAL, flops: 2 * TOKENS * WIDTH * HIDDEN },
];

type Buf<T> = kernel::mat::Mat<<Cuda<T> as Memory>::Buf>;
type Acc<T> = kernel::mat::Mat<<Cuda<T> as Memory>::Acc>;

fn buf<T: Element>(b: &Cuda<T>, rows: usize, cols: usize) -> Buf<T> {
    b.buf(rows, cols).unwrap_or_else(|e| panic!("{e}"))
}

pub(crate) fn acc<T: Element>(b: &Cuda<T>, rows: usize, cols: usize) -> Acc<T> {
    b.acc(rows, cols).unwrap_or_else(|e| panic!("{e}"))
}

pub(crate) fn operation<'a, T: Element>(b: &'a Cuda<T>, name: &str) -> Box<dyn FnMut() + 'a> {
    let index = |n: usize, of: usize| {
        let values: Vec<u32> = (0..n).map(|i| (i % of) as u32).collect();
        b.index(&values).unwrap_or_else(|e| panic!("{e}"))
    };
    let weight = |rows, cols| b.weight(rows, cols, Use::Training).unwrap_or_else(|e| panic!("{e}"));
    match name {
        "rmsnorm" | "rmsnorm_bwd" => {
            let (x, w, mut y, mut rstd) = (buf(b, N, C), buf(b, 1, C), buf(b, N, C), acc(b, N, 1));
            let (dy, mut dw) = (buf(b, N, C), acc(b, 1, C));
            match name {
                "rmsnorm" => Box::new(move || b.rmsnorm(&mut y, &mut rstd, &x, &w, 1e-5)),
                _ => Box::new(move || b.rmsnorm_bwd(&mut y, &mut dw, &dy, &x, &w, &rstd, Accum::Replace)),
            }
        }
        "rope" => {
            let (mut x, table, positions) = (buf(b, N, C), acc(b, N, 64), index(N, N));
            Box::new(move || b.rope(&mut x, &table, &positions, 64, Direction::Forward))
        }
        "swiglu" | "swiglu_bwd" => {
            let (gate, up, dy) = (buf(b, N, F), buf(b, N, F), buf(b, N, F));
            let (mut y, mut z) = (buf(b, N, F), buf(b, N, F));
            match name {
                "swiglu" => Box::new(move || b.swiglu(&mut y, &gate, &up)),
                _ => Box::new(move || b.swiglu_bwd(&mut y, &mut z, &dy, &gate, &up)),
            }
        }
        "gather" => {
            let (mut y, x, rows) = (buf(b, N, C), buf(b, N, C), index(N, N));
            Box::new(move || b.gather(&mut y, &x, &rows))
        }
        "adamw" | "adamw_narrow" => {
            let step = AdamW {
                learning_rate: 1e-3,
                beta1: 0.9,
                beta2: 0.999,
                eps: 1e-8,
                weight_decay: 0.01,
                step: 1,
                grad_scale: 1.0,
            };
            let grad = acc(b, N, C);
            if name == "adamw" {
                let (mut p, mut m, mut v) = (acc(b, N, C), acc(b, N, C), acc(b, N, C));
                return Box::new(move || b.adamw(&mut p, &mut m, &mut v, &grad, &step));
            }
            let (mut p, mut m, mut v) = (buf(b, N, C), buf(b, N, C), buf(b, N, C));
            let dither = Dither { seed: 1, tensor: 0 };
            Box::new(move || b.adamw_narrow(Part::Vector(&mut p), &mut m, &mut v, &grad, &step, dither))
        }
        "dot" => {
            let (x, y) = (acc(b, N, C), acc(b, N, C));
            Box::new(move || {
                b.dot(&x, &y).unwrap_or_else(|e| panic!("{e}"));
            })
        }
        "narrow" => {
            let (mut y, x) = (buf(b, N, C), acc(b, N, C));
            Box::new(move || b.narrow(&mut y, &x))
        }
        "linear" | "linear_bwd_x" | "linear_bwd_w" => {
            let (x, mut y, w, mut dw) = (
                buf(b, SQUARE, SQUARE),
                buf(b, SQUARE, SQUARE),
                weight(SQUARE, SQUARE),
                acc(b, SQUARE, SQUARE),
            );
            match name {
                "linear" => Box::new(move || b.linear(&mut y, &x, &w, None, Accum::Replace)),
                "linear_bwd_x" => Box::new(move || b.linear_bwd_x(&mut y, &x, &w, Accum::Replace)),
                _ => Box::new(move || b.linear_bwd_w(&mut dw, None, &y, &x)),
            }
        }
        "linear of an mlp" | "linear_bwd_x of it" | "linear_bwd_w of it" => {
            let (mut x, mut y, w, mut dw) = (
                buf(b, TOKENS, WIDTH),
                buf(b, TOKENS, HIDDEN),
                weight(HIDDEN, WIDTH),
                acc(b, HIDDEN, WIDTH),
            );
            match name {
                "linear of an mlp" => Box::new(move || b.linear(&mut y, &x, &w, None, Accum::Replace)),
                "linear_bwd_x of it" => Box::new(move || b.linear_bwd_x(&mut x, &y, &w, Accum::Replace)),
                _ => Box::new(move || b.linear_bwd_w(&mut dw, None, &y, &x)),
            }
        }
        // Of a product that is as small as it can be.
        "bias gradient" => {
            let (dy, x, mut dw, mut db) = (buf(b, N, F), buf(b, N, 8), acc(b, F, 8), acc(b, 1, F));
            Box::new(move || b.linear_bwd_w(&mut dw, Some(&mut db), &dy, &x))
        }
        "linear of 1 row" => {
            let (x, mut y, w) = (buf(b, 1, C), buf(b, 1, F), weight(F, C));
            Box::new(move || b.linear(&mut y, &x, &w, None, Accum::Replace))
        }
        "attention d=64" => attention(b, NARROW, T),
        "attention d=128" => attention(b, WIDE, T),
        "attention_bwd d=64" => attention_bwd(b, NARROW, N),
        "kv_append" => {
            let shape = CacheShape {
                layers: 1,
                rows: N,
                heads: CACHED,
            };
            let mut cache = b.cache(shape).unwrap_or_else(|e| panic!("{e}"));
            let cols = CACHED.kv_heads * CACHED.head_dim;
            let (k, v, slots) = (buf(b, N, cols), buf(b, N, cols), (0..N as u32).collect::<Vec<_>>());
            Box::new(move || b.kv_append(&mut cache, &k, &v, 0, &slots))
        }
        "attention_decode" => {
            let shape = CacheShape {
                layers: 1,
                rows: T,
                heads: NARROW,
            };
            let cache = b.cache(shape).unwrap_or_else(|e| panic!("{e}"));
            let (q, mut o) = (buf(b, 1, 3 * 64), buf(b, 1, 3 * 64));
            let mut paths = Paths::new();
            paths.push([Span { start: 0, len: T }]);
            Box::new(move || b.attention_decode(&mut o, &q, &cache, 0, &paths))
        }
        "head" | "head_bwd" => head(b, name),
        "logp" => {
            let (z, targets) = (acc(b, 16, V), index(16, V));
            let [mut logp, mut entropy, mut lse, mut best] = [0; 4].map(|_| acc(b, 16, 1));
            Box::new(move || {
                let out = HeadOut {
                    logp: &mut logp,
                    entropy: &mut entropy,
                    lse: &mut lse,
                    best: &mut best,
                };
                b.logp(out, &z, &targets, 1.0);
            })
        }
        "surrogate" => surrogate(b),
        _ => panic!("no row {name}"),
    }
}

/// 32 completions of N tokens, with policies at rollout and of reference.
fn surrogate<T: Element>(b: &Cuda<T>) -> Box<dyn FnMut() + '_> {
    let n = 32 * N;
    let [logp, old, reference, advantage, mut dlogp] = [0; 5].map(|_| acc(b, n, 1));
    let mask = b.mask(&vec![true; n]).unwrap_or_else(|e| panic!("{e}"));
    let starts: Vec<u32> = (0..=32).map(|i| i * N as u32).collect();
    let starts = b.index(&starts).unwrap_or_else(|e| panic!("{e}"));
    let policy = GroupPolicy {
        beta: 0.04,
        ..GroupPolicy::default()
    };
    let whole = Whole {
        completions: 32.0,
        tokens: n as f64,
        entropy_threshold: f64::NEG_INFINITY,
        entropy_tokens: n as f64,
    };
    Box::new(move || {
        let x = Tokens {
            logp: &logp,
            mask: &mask,
            old: Some(&old),
            starts: &starts,
        };
        let own = GroupTokens {
            advantage: &advantage,
            entropy: None,
            reference: Some(&reference),
            sampler: None,
        };
        b.group_loss(&mut dlogp, None, &policy, x, own, whole)
            .unwrap_or_else(|e| panic!("{e}"));
    })
}

fn tree<T: Element>(b: &Cuda<T>, n: usize) -> <Cuda<T> as Memory>::Tree {
    let one = Segment {
        start: 0,
        len: n,
        parent: None,
    };
    b.tree(&[one]).unwrap_or_else(|e| panic!("{e}"))
}

fn attention<T: Element>(b: &Cuda<T>, heads: Heads, n: usize) -> Box<dyn FnMut() + '_> {
    let (wide, narrow) = (heads.heads * heads.head_dim, heads.kv_heads * heads.head_dim);
    let (q, k, v, mut o, mut lse) = (
        buf(b, n, wide),
        buf(b, n, narrow),
        buf(b, n, narrow),
        buf(b, n, wide),
        acc(b, n, heads.heads),
    );
    let tree = tree(b, n);
    Box::new(move || {
        let qkv = Qkv { q: &q, k: &k, v: &v };
        b.attention(&mut o, &mut lse, qkv, &tree, heads);
    })
}

fn attention_bwd<T: Element>(b: &Cuda<T>, heads: Heads, n: usize) -> Box<dyn FnMut() + '_> {
    let (wide, narrow) = (heads.heads * heads.head_dim, heads.kv_heads * heads.head_dim);
    let (q, k, v, o, d_o, lse) = (
        buf(b, n, wide),
        buf(b, n, narrow),
        buf(b, n, narrow),
        buf(b, n, wide),
        buf(b, n, wide),
        acc(b, n, heads.heads),
    );
    let (mut dq, mut dk, mut dv) = (buf(b, n, wide), buf(b, n, narrow), buf(b, n, narrow));
    let tree = tree(b, n);
    Box::new(move || {
        let d = QkvMut {
            q: &mut dq,
            k: &mut dk,
            v: &mut dv,
        };
        b.attention_bwd(d, &d_o, &o, &lse, Qkv { q: &q, k: &k, v: &v }, &tree, heads);
    })
}

fn head<'a, T: Element>(b: &'a Cuda<T>, name: &str) -> Box<dyn FnMut() + 'a> {
    const P: usize = 64;
    let (h, mut dh, mut dw) = (buf(b, P, C), buf(b, P, C), acc(b, V, C));
    let w = b.weight(V, C, Use::Training).unwrap_or_else(|e| panic!("{e}"));
    let targets: Vec<u32> = (0..P as u32).collect();
    let targets = b.index(&targets).unwrap_or_else(|e| panic!("{e}"));
    let [mut logp, mut entropy, mut lse, mut best, dlogp, dentropy] = [0; 6].map(|_| acc(b, P, 1));
    match name {
        "head" => Box::new(move || {
            let out = HeadOut {
                logp: &mut logp,
                entropy: &mut entropy,
                lse: &mut lse,
                best: &mut best,
            };
            b.head(out, &h, &w, &targets, 1.0);
        }),
        _ => Box::new(move || {
            let cotangent = HeadCotangent {
                dlogp: &dlogp,
                dentropy: &dentropy,
                lse: &lse,
                entropy: &entropy,
            };
            b.head_bwd(&mut dh, &mut dw, cotangent, &h, &w, &targets, 1.0);
        }),
    }
}
