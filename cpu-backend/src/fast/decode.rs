//! `Decode`: the cache of keys and values, attention over it, logits.
//!
//! Keys lie with lanes across the rows and values with lanes along D, as attention lays them out for itself, so that a row
//! goes through the same sums in the same order and gets the same bits.
use kernel::backend::{CacheShape, Decode, HeadOut, Heads, Paths};
use kernel::mat::{Mat, check_shape};

use super::attention::{normalise, score_stride, softmax};
use super::buffer::Buffer;
use super::elem::for_each_element;
use super::gemm::{Lhs, Mac, Start, tiles};
use super::head;
use super::linear::{Target, Tile, linear, widen};
use super::ops::check_head;
use super::out::Out;
use super::pool::Scratch;
use super::simd::{MAX_ROWS, kernels};
use super::weight::{self, Weight};
use crate::{Cpu, OutOfMemory};

/// Keys and values of every layer. Rows that follow one another should belong to one sequence: a panel of keys is
/// multiplied whole, however few of its rows a path names.
pub struct Cache<T> {
    shape: CacheShape,
    /// For each layer, kv head and panel of rows: D x NR.
    keys: Buffer<T>,
    /// For each layer, kv head and NR of D: rows x NR.
    values: Buffer<T>,
    width: usize,
}

impl<T> Cache<T> {
    fn panels(&self) -> usize {
        self.shape.rows.div_ceil(self.width)
    }

    fn parts(&self) -> usize {
        self.shape.heads.head_dim.div_ceil(self.width)
    }

    /// Numbers of keys, and of values, in one layer and kv head.
    fn head_len(&self) -> (usize, usize) {
        let keys = self.panels() * self.shape.heads.head_dim * self.width;
        (keys, self.parts() * self.shape.rows * self.width)
    }
}

for_each_element! { T;
impl Decode for Cpu<T> {
    type Cache = Cache<T>;

    fn cache(&self, shape: CacheShape) -> Result<Cache<T>, OutOfMemory> {
        let mut cache = Cache {
            shape,
            keys: Buffer::zeroed(0)?,
            values: Buffer::zeroed(0)?,
            width: self.engine.level.tile().0,
        };
        let (keys, values) = cache.head_len();
        let heads = shape.layers * shape.heads.kv_heads;
        let too_many = OutOfMemory { bytes: usize::MAX };
        cache.keys = Buffer::zeroed(heads.checked_mul(keys).ok_or(too_many)?)?;
        cache.values = Buffer::zeroed(heads.checked_mul(values).ok_or(too_many)?)?;
        Ok(cache)
    }

    #[track_caller]
    fn kv_append(&self, cache: &mut Cache<T>, k: &Mat<Buffer<T>>, v: &Mat<Buffer<T>>, layer: usize, slots: &[u32]) {
        let CacheShape { layers, rows, heads } = cache.shape;
        let (kv_heads, d) = (heads.kv_heads, heads.head_dim);
        check_shape("kv_append", "k", k.shape(), (slots.len(), kv_heads * d));
        check_shape("kv_append", "v", v.shape(), k.shape());
        assert!(layer < layers, "kv_append: layer {layer} of {layers}");
        if let Some(slot) = slots.iter().find(|&&slot| slot as usize >= rows) {
            panic!("kv_append: cache row {slot} of {rows}");
        }
        let width = cache.width;
        let parts = cache.parts();
        let (keys_len, values_len) = cache.head_len();
        let (keys, values) = (Out::new(&mut cache.keys), Out::new(&mut cache.values));
        self.engine.team().run(kv_heads, &|kv_head, _| {
            let head = layer * kv_heads + kv_head;
            // SAFETY: each item has a head of its own.
            let (keys, values) = unsafe {
                (
                    keys.slice(head * keys_len, keys_len),
                    values.slice(head * values_len, values_len),
                )
            };
            for (i, &slot) in slots.iter().enumerate() {
                let slot = slot as usize;
                let at = i * kv_heads * d + kv_head * d;
                let panel = &mut keys[slot / width * d * width..][..d * width];
                for (column, &x) in panel.chunks_exact_mut(width).zip(&k.data[at..at + d]) {
                    column[slot % width] = x;
                }
                for part in 0..parts {
                    let columns = width.min(d - part * width);
                    values[(part * rows + slot) * width..][..columns]
                        .copy_from_slice(&v.data[at + part * width..][..columns]);
                }
            }
        });
    }

    #[track_caller]
    fn attention_decode(
        &self,
        o: &mut Mat<Buffer<T>>,
        q: &Mat<Buffer<T>>,
        cache: &Cache<T>,
        layer: usize,
        paths: &Paths,
    ) {
        let CacheShape { layers, rows, heads } = cache.shape;
        check_shape(
            "attention_decode",
            "q",
            q.shape(),
            (paths.rows(), heads.heads * heads.head_dim),
        );
        check_shape("attention_decode", "o", o.shape(), q.shape());
        assert!(layer < layers, "attention_decode: layer {layer} of {layers}");
        for span in (0..paths.rows()).flat_map(|i| paths.row(i)) {
            assert!(
                span.start <= rows && span.len <= rows - span.start,
                "attention_decode: {span:?} of {rows} cache rows"
            );
        }
        let level = self.engine.level;
        let (n, o) = (q.len(), Out::new(&mut o.data[..]));
        let q = &q.data[..n];
        // The heads that share keys go together, so that keys are read once, unless that leaves threads without work.
        let threads = self.engine.settings.threads;
        let together = if threads == 1 || paths.rows() * heads.kv_heads >= 4 * threads {
            heads.heads / heads.kv_heads
        } else {
            1
        };
        let pieces = heads.heads / together;
        self.engine.team().run(paths.rows() * pieces, &|item, scratch| {
            let (i, first) = (item / pieces, item % pieces * together);
            attend(level, o, q, cache, layer, paths, i, first..first + together, scratch);
        });
    }

    #[track_caller]
    fn logits(&self, z: &mut Mat<Buffer<f32>>, h: &Mat<Buffer<T>>, w: &Mat<Weight<T>>) {
        let (vocab, hidden) = weight::shape(w);
        check_shape("logits", "h", h.shape(), (h.rows, hidden));
        check_shape("logits", "z", z.shape(), (h.rows, vocab));
        let target = Target::Acc(Out::new(&mut z.data));
        linear(&self.engine, target, &h.data[..h.len()], &w.data);
    }

    #[track_caller]
    fn logp(&self, out: HeadOut<'_, Buffer<f32>>, z: &Mat<Buffer<f32>>, targets: &Vec<u32>, temperature: f64) {
        check_shape("logp", "z", z.shape(), (targets.len(), z.cols));
        check_head("logp", &out, targets, z.cols);
        head::logp(&self.engine, out, &z.data[..z.len()], z.cols, targets, temperature);
    }
}
}

kernels! {
    /// Heads `range`, which share a kv head, of row i.
    fn attend<T>(
        s, o: Out<'_, T>, q: &[T], cache: &Cache<T>, layer: usize, paths: &Paths, i: usize,
        range: core::ops::Range<usize>, scratch: &mut Scratch,
    ) {
        let Heads { heads, kv_heads, head_dim: d } = cache.shape.heads;
        let kv_head = range.start / (heads / kv_heads);
        let spans = paths.row(i);
        let seen: usize = spans.iter().map(|span| span.len).sum();
        let ld = score_stride::<S>(seen);
        let count = range.len();
        let head = layer * kv_heads + kv_head;
        let (keys_len, values_len) = cache.head_len();
        let keys = &cache.keys[head * keys_len..][..keys_len];
        let values = &cache.values[head * values_len..][..values_len];
        let Scratch { a, b, .. } = scratch;
        let queries = a.get::<f32>(count * d);
        let scores = b.get::<f32>(count * ld);
        widen(s, queries, &q[(i * heads + range.start) * d..][..count * d]);

        let tile = &mut Tile::new().0;
        let mut at = 0;
        for span in spans {
            let end = span.start + span.len;
            let mut from = span.start;
            while from < end {
                let to = ((from / S::NR + 1) * S::NR).min(end);
                let panel = &keys[from / S::NR * d * S::NR..][..d * S::NR];
                for (first, height) in tiles(count, S::MR) {
                    let lhs = Lhs::rows::<f32, f32>(&queries[first * d..(first + height) * d], d);
                    // SAFETY: `height` rows of d numbers, a panel of d, a tile.
                    unsafe {
                        let c = tile.as_mut_ptr();
                        T::Stored::<S>::product(s, c, S::NR, height, lhs, panel.as_ptr(), d, Start::Zero);
                    }
                    for r in 0..height {
                        let columns = &tile[r * S::NR + from % S::NR..][..to - from];
                        scores[(first + r) * ld + at..][..to - from].copy_from_slice(columns);
                    }
                }
                at += to - from;
                from = to;
            }
        }

        let scale = cache.shape.heads.scale() as f32;
        for (first, height) in tiles(count, S::MR) {
            let mut inverse = [0.0; MAX_ROWS];
            for (r, inverse) in inverse.iter_mut().enumerate().take(height) {
                let (_, sum) = softmax(s, &mut scores[(first + r) * ld..][..ld], seen, scale);
                *inverse = 1.0 / sum;
            }
            for part in 0..cache.parts() {
                let (mut at, mut start) = (0, Start::Zero);
                for span in spans {
                    let panel = &values[(part * cache.shape.rows + span.start) * S::NR..][..span.len * S::NR];
                    let lhs = Lhs::rows::<f32, f32>(&scores[first * ld + at..], ld);
                    // SAFETY: `height` rows of scores, `span.len` of values, a tile.
                    unsafe {
                        let (c, k) = (tile.as_mut_ptr(), span.len);
                        T::Stored::<S>::product(s, c, S::NR, height, lhs, panel.as_ptr(), k, start);
                    }
                    start = Start::Output;
                    at += span.len;
                }
                let columns = S::NR.min(d - part * S::NR);
                for r in 0..height {
                    let at = (i * heads + range.start + first + r) * d + part * S::NR;
                    // SAFETY: the piece of work has these heads of this row to itself.
                    let o = unsafe { o.slice(at, columns) };
                    normalise(s, o, &tile[r * S::NR..], inverse[r]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
