//! The KV cache, and attention of one new row a sequence over it.
use std::sync::Mutex;

use kernel::backend::{CacheShape, Paths};
use kernel::mat::{Mat, check_shape};

use super::plan::Plan;
use crate::buffer::{Buffer, Index};
use crate::compile::{Source, source};
use crate::device::{Cuda, Element, lock};
use crate::error::Error;
use crate::rows::{VECTOR, row_of};

const SOURCE: Source = source!("decode");
/// The widest head.
const MAX_DIM: usize = 128;
/// Heads that share keys in a block, at most.
const MAX_HEADS: usize = 8;
/// Threads of a block.
const THREADS: u32 = 128;
/// Heads of a block of `attention_combine`, a warp each, at most.
const COMBINE: usize = 8;

/// How a key is read.
struct Width {
    /// What the kernel's name ends in.
    name: &'static str,
    /// Lanes that hold a key.
    lanes: usize,
    /// Whether there is a kernel for seven heads.
    seven: bool,
}

impl Width {
    fn of<T: Element>(head_dim: usize) -> Self {
        let lanes = head_dim.div_ceil(VECTOR / size_of::<T>()).next_power_of_two();
        let (name, seven) = match (T::SUFFIX, head_dim) {
            ("bf16", 64) => ("_of_64", true),
            ("bf16", 128) => ("_of_128", true),
            _ => (row_of::<T>(head_dim, usize::MAX).0, false),
        };
        Self { name, lanes, seven }
    }

    /// The heads of the kernel for so many.
    fn together(&self, heads: usize) -> usize {
        if self.seven && heads == 7 {
            7
        } else {
            heads.next_power_of_two()
        }
    }
}

/// Keys and values of every layer, each (rows, K D), and what the layers of a step have in common.
pub struct Cache<T> {
    shape: CacheShape,
    keys: Buffer<T>,
    values: Buffer<T>,
    slots: Index,
    plan: Mutex<Plan>,
}

impl<T: Element> Cache<T> {
    pub(crate) fn new(b: &Cuda<T>, shape: CacheShape) -> Result<Self, Error> {
        let numbers = [shape.rows, shape.heads.kv_heads, shape.heads.head_dim]
            .into_iter()
            .fold(shape.layers, usize::saturating_mul);
        Ok(Self {
            shape,
            keys: Buffer::zeroed(b, numbers)?,
            values: Buffer::zeroed(b, numbers)?,
            slots: Index::new(b, &[])?,
            plan: Mutex::new(Plan::new(b)?),
        })
    }

    /// K D.
    fn cols(&self) -> usize {
        self.shape.heads.kv_heads * self.shape.heads.head_dim
    }

    /// The addresses of a layer's keys and values.
    #[track_caller]
    fn layer(&self, op: &str, layer: usize) -> [u64; 2] {
        assert!(
            layer < self.shape.layers,
            "{op}: layer {layer} of {}",
            self.shape.layers
        );
        let offset = layer * self.shape.rows * self.cols() * size_of::<T>();
        [&self.keys, &self.values].map(|x| x.address() + offset as u64)
    }
}

#[track_caller]
pub(crate) fn append<T: Element>(
    b: &Cuda<T>,
    cache: &mut Cache<T>,
    k: &Mat<Buffer<T>>,
    v: &Mat<Buffer<T>>,
    layer: usize,
    slots: &[u32],
) {
    let (n, c) = (slots.len(), cache.cols());
    check_shape("kv_append", "k", k.shape(), (n, c));
    check_shape("kv_append", "v", v.shape(), k.shape());
    let [keys, values] = cache.layer("kv_append", layer);
    // The layers of a step put their rows into the same slots.
    if cache.slots.values() != slots {
        if b.keep(cache.slots.refill(b, slots)).is_none() {
            return;
        }
        cache.slots.check("kv_append", cache.shape.rows);
    }
    let (width, vectors) = row_of::<T>(c, usize::MAX);
    let threads = 2 * THREADS;
    b.typed(&SOURCE, &format!("kv_append{width}"))
        .grid([(n * vectors).div_ceil(threads as usize), 1, 1])
        .block(threads)
        .arg(keys)
        .arg(values)
        .arg(k)
        .arg(v)
        .arg(&cache.slots)
        .size(n * vectors)
        .size(c)
        .launch();
}

#[track_caller]
pub(crate) fn attention<T: Element>(
    b: &Cuda<T>,
    o: &mut Mat<Buffer<T>>,
    q: &Mat<Buffer<T>>,
    cache: &Cache<T>,
    layer: usize,
    paths: &Paths,
) {
    let heads = cache.shape.heads;
    let (h, kv_heads, d) = (heads.heads, heads.kv_heads, heads.head_dim);
    check_shape("attention_decode", "q", q.shape(), (paths.rows(), h * d));
    check_shape("attention_decode", "o", o.shape(), q.shape());
    assert!(d <= MAX_DIM, "attention_decode: heads of {d}, at most {MAX_DIM}");
    let [keys, values] = cache.layer("attention_decode", layer);
    let mut plan = lock(&cache.plan);
    // The layers of a step go along the same paths.
    if plan.paths() != paths && b.keep(plan.refill(b, paths, cache.shape.rows)).is_none() {
        return;
    }

    let width = Width::of::<T>(d);
    let group = h / kv_heads;
    let parts = group.div_ceil(MAX_HEADS);
    let together = width.together(group.div_ceil(parts));
    let [sums, statistics] =
        [plan.tasks * h * d, plan.tasks * h * 2].map(|n| (n * size_of::<f32>()).next_multiple_of(8));
    b.room("attention_decode", sums + statistics, |parts| {
        let part_ml = parts.address() + sums as u64;
        b.typed(&SOURCE, &format!("attention_decode_{together}{}", width.name))
            .grid([plan.tasks, kv_heads * group.div_ceil(together), 1])
            .block(THREADS)
            .arg(&mut *o)
            .arg(&*parts)
            .arg(part_ml)
            .arg(q)
            .arg(keys)
            .arg(values)
            .arg(plan.tasks_at())
            .arg(plan.pieces_at())
            .arg(plan.begin_at())
            .size(h)
            .size(kv_heads)
            .size(d)
            .size(width.lanes)
            .arg(heads.scale() as f32)
            .launch();
        if plan.splits {
            b.typed(&SOURCE, "attention_combine")
                .grid([paths.rows(), h.div_ceil(COMBINE), 1])
                .block(32 * h.min(COMBINE) as u32)
                .arg(o)
                .arg(&*parts)
                .arg(part_ml)
                .arg(plan.begin_at())
                .size(h)
                .size(d)
                .launch();
        }
    });
}
