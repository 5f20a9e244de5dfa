//! `Decode`: the cache of keys and values, attention over it, logits.
//!
//! Keys lie with lanes across the rows and values with lanes along D, as attention lays them out for itself, so that a row
//! goes through the same sums in the same order and gets the same bits. Panels of NR positions of a path that do not lie as a panel of the
//! cache are put together first.
use kernel::backend::{CacheShape, Decode, HeadOut, Heads, Paths, Span};
use kernel::mat::{Mat, check_shape};
use kernel::sample::{Draw, Sampling};

use super::attention::{Left, normalise, score_stride, softmax, weights_from, whole};
use super::buffer::Buffer;
use super::elem::{Elem, convert, for_each_element};
use super::gemm::{Lhs, Mac, Start, tiles};
use super::head;
use super::linear::{Target, Tile, linear};
use super::ops::check_head;
use super::out::Out;
use super::pool::Scratch;
use super::sample;
use super::simd::{MAX_ROWS, Simd, kernels};
use super::weight::{self, Weight};
use crate::{Cpu, OutOfMemory};

/// Keys and values of every layer, in panels of NR rows. Fastest where positions i NR .. (i + 1) NR of a path lie in one panel.
pub struct Cache<T> {
    shape: CacheShape,
    /// For each layer, kv head and panel: D x NR, in units.
    keys: Buffer<T>,
    /// For each layer, kv head, NR of D and panel: NR x NR, in units.
    values: Buffer<T>,
    width: usize,
    /// Numbers in a unit.
    per_unit: usize,
}

impl<T> Cache<T> {
    fn panels(&self) -> usize {
        self.shape.rows.div_ceil(self.width)
    }

    fn parts(&self) -> usize {
        self.shape.heads.head_dim.div_ceil(self.width)
    }

    /// Numbers in a panel of keys.
    fn keys_size(&self) -> usize {
        self.shape.heads.head_dim.next_multiple_of(self.per_unit) * self.width
    }

    /// Numbers of keys, and of values, in one layer and kv head.
    fn head_len(&self) -> (usize, usize) {
        let keys = self.panels() * self.keys_size();
        (keys, self.parts() * self.panels() * self.width * self.width)
    }

    /// Where number `lane` of step `i` is in a panel.
    #[inline(always)]
    fn at(&self, i: usize, lane: usize) -> usize {
        unit_at(self.per_unit, self.width, i, lane)
    }
}

/// Where number `lane` of step `i` is in a panel of `width` lanes.
#[inline(always)]
fn unit_at(per_unit: usize, width: usize, i: usize, lane: usize) -> usize {
    (i / per_unit * width + lane) * per_unit + i % per_unit
}

impl<T: Copy> Cache<T> {
    /// Row `lane` of a panel of values = row `row` of `values`.
    #[inline(always)]
    fn copy_value(&self, panel: &mut [T], lane: usize, values: &[T], row: usize) {
        let src = &values[row / self.width * self.width * self.width..];
        for j in 0..self.width {
            panel[self.at(lane, j)] = src[self.at(row % self.width, j)];
        }
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
            per_unit: if T::BF16 && self.engine.level.pairs() { 2 } else { 1 },
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
        let (keys_len, values_len) = cache.head_len();
        let (width, panels, size, per_unit) = (cache.width, cache.panels(), cache.keys_size(), cache.per_unit);
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
                let (panel, lane) = (slot as usize / width, slot as usize % width);
                let at = i * kv_heads * d + kv_head * d;
                let key = &mut keys[panel * size..][..size];
                for (i, &x) in k.data[at..at + d].iter().enumerate() {
                    key[unit_at(per_unit, width, i, lane)] = x;
                }
                for (part, v) in v.data[at..at + d].chunks(width).enumerate() {
                    let value = &mut values[(part * panels + panel) * width * width..][..width * width];
                    for (column, &x) in v.iter().enumerate() {
                        value[unit_at(per_unit, width, lane, column)] = x;
                    }
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
        linear(&self.engine, &[(target, &w.data)], &h.data[..h.len()]);
    }

    #[track_caller]
    fn logp(&self, out: HeadOut<'_, Buffer<f32>>, z: &Mat<Buffer<f32>>, targets: &Vec<u32>, temperature: f64) {
        check_shape("logp", "z", z.shape(), (targets.len(), z.cols));
        check_head("logp", &out, targets, z.cols);
        head::logp(&self.engine, out, &z.data[..z.len()], z.cols, targets, temperature);
    }

    #[track_caller]
    fn sample(
        &self,
        z: &Mat<Buffer<f32>>,
        draws: &[Draw<'_>],
        how: &Sampling,
    ) -> Result<Vec<Option<u32>>, OutOfMemory> {
        if let Some(draw) = draws.iter().find(|draw| draw.row >= z.rows) {
            panic!("sample: row {} of {}", draw.row, z.rows);
        }
        Ok(sample::sample(&self.engine, &z.data[..z.len()], z.cols, draws, how))
    }
}
}

/// Up to NR positions of a path from a multiple of NR on: a panel.
#[derive(Clone, Copy)]
struct Chunk<'a> {
    /// The path from the span on in which the positions begin.
    path: &'a [Span],
    /// Rows of its first span that are before them.
    skip: usize,
    len: usize,
}

impl<'a> Chunk<'a> {
    /// The panels of a path.
    fn all(path: &'a [Span], width: usize) -> impl Iterator<Item = Self> {
        let mut left: usize = path.iter().map(|span| span.len).sum();
        let mut next = Self { path, skip: 0, len: 0 };
        core::iter::from_fn(move || {
            while next.path.first().is_some_and(|span| next.skip >= span.len) {
                next.skip -= next.path[0].len;
                next.path = &next.path[1..];
            }
            next.len = width.min(left);
            left -= next.len;
            let chunk = next;
            next.skip += chunk.len;
            (chunk.len > 0).then_some(chunk)
        })
    }

    /// The panel of the cache whose first rows these positions are.
    fn in_cache(self, width: usize) -> Option<usize> {
        let Span { start, len } = self.path[0];
        let first = start + self.skip;
        (first.is_multiple_of(width) && len - self.skip >= self.len).then_some(first / width)
    }

    /// The positions' rows, in order.
    fn rows(self) -> impl Iterator<Item = usize> {
        let rows =
            move |(i, span): (usize, &Span)| span.start + if i == 0 { self.skip } else { 0 }..span.start + span.len;
        self.path.iter().enumerate().flat_map(rows).take(self.len)
    }
}

/// c (+)= lhs panel, the panel as the cache has it.
///
/// # Safety
/// As `gemm::product`.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn cached_product<S: Simd, T: Elem>(
    s: S,
    c: *mut f32,
    ldc: usize,
    rows: usize,
    lhs: Lhs,
    panel: *const T,
    k: usize,
    start: Start,
) {
    // SAFETY: the caller's promise.
    unsafe {
        if <T::Mac<S> as Mac<S, T>>::PAIRS {
            <T::Mac<S> as Mac<S, T>>::product(s, c, ldc, rows, lhs, panel.cast(), k, start);
        } else {
            T::Stored::<S>::product(s, c, ldc, rows, lhs, panel, k, start);
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
        let seen: usize = paths.row(i).iter().map(|span| span.len).sum();
        let ld = score_stride::<S>(seen);
        let count = range.len();
        let head = layer * kv_heads + kv_head;
        let (keys_len, values_len) = cache.head_len();
        let keys = &cache.keys[head * keys_len..][..keys_len];
        let values = &cache.values[head * values_len..][..values_len];
        let (size, parts, whole_d) = (cache.keys_size(), cache.parts(), cache.keys_size() / S::NR);
        let Scratch { a, b, c, d: e, .. } = scratch;
        let queries = a.get::<Left<S, T>>(count * whole_d);
        let scores = b.get::<f32>(count * ld);
        for (dst, q) in queries.chunks_exact_mut(whole_d).zip(q[(i * heads + range.start) * d..].chunks_exact(d)) {
            convert(s, &mut dst[..d], q);
            dst[d..].fill(Default::default());
        }

        let whole_panel = S::NR * S::NR;
        let (own_key, own_value) = (c.get::<T>(size), e.get::<T>(whole_panel));
        for (at, chunk) in Chunk::all(paths.row(i), S::NR).enumerate() {
            let panel = match chunk.in_cache(S::NR) {
                // Scores of the rows past the path's end are not looked at.
                Some(n) => &keys[n * size..][..size],
                None => {
                    own_key.fill(T::default());
                    for (lane, row) in chunk.rows().enumerate() {
                        let key = &keys[row / S::NR * size..][..size];
                        for i in 0..d {
                            own_key[cache.at(i, lane)] = key[cache.at(i, row % S::NR)];
                        }
                    }
                    &*own_key
                }
            };
            for (first, height) in tiles(count, S::MR) {
                let lhs = Lhs::rows::<Left<S, T>, f32>(&queries[first * whole_d..(first + height) * whole_d], whole_d);
                let c = &mut scores[first * ld + at * S::NR..][..(height - 1) * ld + S::NR];
                // SAFETY: `height` rows of D numbers, a panel of D, rows of scores with room for a panel.
                unsafe { cached_product(s, c.as_mut_ptr(), ld, height, lhs, panel.as_ptr(), whole_d, Start::Zero) };
            }
        }

        let tile = &mut Tile::new().0;
        let scale = cache.shape.heads.scale() as f32;
        for (first, height) in tiles(count, S::MR) {
            let mut inverse = [0.0; MAX_ROWS];
            for (r, inverse) in inverse.iter_mut().enumerate().take(height) {
                let (_, sum) = softmax::<S, T>(s, &mut scores[(first + r) * ld..][..ld], seen, seen, scale);
                *inverse = 1.0 / sum;
            }
            for part in 0..parts {
                let mut start = Start::Zero;
                let values = &values[part * cache.panels() * whole_panel..][..cache.panels() * whole_panel];
                for (at, chunk) in Chunk::all(paths.row(i), S::NR).enumerate() {
                    let k = whole::<S, T>(chunk.len);
                    let panel = match chunk.in_cache(S::NR) {
                        Some(n) if k == chunk.len => &values[n * whole_panel..][..whole_panel],
                        in_cache => {
                            // Rows past the path's end have no weight, but must be numbers.
                            own_value.fill(T::default());
                            match in_cache {
                                Some(n) => {
                                    let whole_units = chunk.len / cache.per_unit * cache.per_unit * S::NR;
                                    own_value[..whole_units].copy_from_slice(&values[n * whole_panel..][..whole_units]);
                                    if chunk.len % cache.per_unit != 0 {
                                        cache.copy_value(own_value, chunk.len - 1, values, n * S::NR + chunk.len - 1);
                                    }
                                }
                                None => {
                                    for (lane, row) in chunk.rows().enumerate() {
                                        cache.copy_value(own_value, lane, values, row);
                                    }
                                }
                            }
                            &*own_value
                        }
                    };
                    let lhs = weights_from::<S, T>(&scores[first * ld..], ld, at * S::NR);
                    // SAFETY: `height` rows of weights to whole panels, a panel, a tile.
                    unsafe { cached_product(s, tile.as_mut_ptr(), S::NR, height, lhs, panel.as_ptr(), k, start) };
                    start = Start::Output;
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
