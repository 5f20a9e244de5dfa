//! Products with a prepared matrix, and the gradient of one.
use core::ops::Range;

use kernel::mat::Accum;

use super::elem::{Elem, get, put};
use super::gemm::{Lhs, Start, tiles};
use super::int8;
use super::matmul::{Matmul, Rows, right, room_of_panel};
use super::out::Out;
use super::pool::Scratch;
use super::settings::{Isa, Level};
use super::simd::{Simd, kernels};
use super::weight::{Panels, Weight, transpose, transposed_len};
use super::{Engine, Team};

/// Numbers in the largest tile of any instruction set.
pub(super) const MAX_TILE: usize = 1024;

/// A tile's sums. On cache lines: rows that straddle two cost AMX half of its speed.
#[repr(C, align(64))]
pub(super) struct Tile(pub [f32; MAX_TILE]);

impl Tile {
    #[inline(always)]
    pub fn new() -> Self {
        Self([0.0; MAX_TILE])
    }
}

/// Bytes of panels that one piece of work goes through: they stay in the second-level cache. Machines with AMX have 2 MiB of it.
pub(super) fn panel_bytes(level: Level) -> usize {
    match level.isa() {
        Isa::Amx => 1 << 20,
        _ => 448 << 10,
    }
}

/// Rows of activations that one pass of the weights' gradient sums over.
const ROW_BLOCK: usize = 512;

/// Tiles of output rows in a piece of the weights' gradient: so often a group of panels is used that comes from a farther cache.
const TILES: usize = 4;

/// Bytes of panels that the weights' gradient goes through for a tile of output rows: they stay in the second-level cache.
const GROUP_BYTES: usize = 640 << 10;

/// Layers that one call multiplies, at most: queries, keys and values.
const MOST_LAYERS: usize = 3;

/// Where the rows of a product go.
#[derive(Clone, Copy)]
pub(super) enum Target<'a, T> {
    /// To activations, rounded: with the bias, and with what is there.
    Buf(Out<'a, T>, Option<&'a [T]>, Accum),
    /// As they are.
    Acc(Out<'a, f32>),
}

/// A layer of several that read the same input: where its rows go, and its matrix.
pub(super) type Forward<'a, T> = (Target<'a, T>, &'a Weight<T>);

/// y (rows, n) (+)= x (rows, k) w' + bias of each layer.
pub(super) fn linear<T: Elem>(engine: &Engine, layers: &[Forward<'_, T>], x: &[T]) {
    if let [(target, w)] = layers
        && let Some(w) = w.as_int8()
    {
        return int8::linear(engine, *target, x, w);
    }
    if layers.iter().any(|(_, w)| w.as_int8().is_some()) {
        return layers.chunks(1).for_each(|layer| linear(engine, layer, x));
    }
    assert!(layers.len() <= MOST_LAYERS, "linear: {} layers at once", layers.len());
    let Some((_, first)) = layers.first() else { return };
    let (k, len) = (first.layout().cols, first.layout().len());
    let rows = x.len().checked_div(k).unwrap_or(0);
    let most = panel_bytes(engine.level) / (len * size_of::<T>()).max(1);
    let counts = || layers.iter().map(|(_, w)| w.layout().count());
    let pieces = Pieces::new(counts().sum(), most, rows, engine);
    let panel = |i: usize| {
        let (layer, panels) = parts(i..i + 1, counts()).next()?;
        layers[layer].1.panels().get(panels.start * len..panels.end * len)
    };
    let mut team = engine.team();
    let Team { pool, rooms } = &mut *team;
    let x = Rows::new(x, k);
    for block in x.blocks(engine.level) {
        let x = x.lay(engine.level, pool, &mut rooms.a, block.clone());
        pool.run(pieces.number, &|item, scratch| {
            // Threads take the pieces in turn, more or less.
            let next = item + engine.settings.threads;
            let next = (next < pieces.number).then(|| pieces.range(next).start);
            let after = next.and_then(panel).unwrap_or_default();
            forward(
                engine.level,
                layers,
                pieces.range(item),
                x,
                block.clone(),
                k,
                after,
                scratch,
            );
        });
    }
}

/// A layer of several that read the same input: its output's cotangent, and its matrix.
pub(super) type Backward<'a, T> = (&'a [T], &'a Weight<T>);

/// dx (rows, k) (+)= sum over layers of dy (rows, n) w.
pub(super) fn linear_bwd_x<T: Elem>(engine: &Engine, target: Target<'_, T>, layers: &[Backward<'_, T>]) {
    assert!(
        layers.len() <= MOST_LAYERS,
        "linear_bwd_x: {} layers at once",
        layers.len()
    );
    let Some(&(dy, first)) = layers.first() else { return };
    let Panels {
        rows: n, cols, width, ..
    } = first.layout();
    let rows = dy.len().checked_div(n).unwrap_or(0);
    let outputs: usize = layers.iter().map(|(_, w)| w.layout().rows).sum();
    let most = panel_bytes(engine.level) / (width * outputs * size_of::<T>()).max(1);
    let pieces = Pieces::new(cols.div_ceil(width), most, rows, engine);
    let mut team = engine.team();
    let Team { pool, rooms } = &mut *team;
    let all: [_; MOST_LAYERS] = core::array::from_fn(|i| {
        let (dy, w) = layers.get(i).copied().unwrap_or((&[], first));
        (Rows::new(dy, w.layout().rows), w)
    });
    for block in all[0].0.blocks(engine.level) {
        let (mut all, rooms) = (all, [&mut rooms.a, &mut rooms.b, &mut rooms.c]);
        for ((dy, _), room) in all.iter_mut().take(layers.len()).zip(rooms) {
            *dy = dy.lay(engine.level, pool, room, block.clone());
        }
        let layers = &all[..layers.len()];
        pool.run(pieces.number, &|item, scratch| {
            backward(engine.level, target, layers, pieces.range(item), block.clone(), scratch);
        });
    }
}

/// Of things that stand one after the other, so many of each kind: which of `range` are of which kind, counted from the kind's first.
fn parts(range: Range<usize>, counts: impl Iterator<Item = usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
    let starts = counts.scan(0, |end, count| {
        let start = *end;
        *end += count;
        Some((start, count))
    });
    starts.enumerate().filter_map(move |(kind, (start, count))| {
        let mine = range.start.max(start)..range.end.min(start + count);
        (!mine.is_empty()).then(|| (kind, mine.start - start..mine.end - start))
    })
}

/// Rows from which on they are not read in no time.
const MANY: usize = 64;

/// Panels in a piece of work, at least: it reads all rows, whatever it multiplies them by.
const LEAST: usize = 2;

/// `count` panels cut into pieces of work: rounds of a piece for each thread, each a part of what is left. Large ones come first, so that rows are
/// read again seldom, small ones at the end, where a thread whose core is slower (another machine's thread may share it) would keep the others
/// waiting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pieces {
    count: usize,
    most: usize,
    threads: usize,
    /// The part of what is left: one of so many.
    part: usize,
    /// Pieces of `most`, before the rounds: a large matrix has hundreds.
    whole: usize,
    pub number: usize,
}

impl Pieces {
    /// Pieces of at most `most`. Each goes through `rows` rows.
    pub fn new(count: usize, most: usize, rows: usize, engine: &Engine) -> Self {
        // Where products take little time, the rows that every piece reads again weigh more than an even end.
        let each = if engine.level.isa() == Isa::Amx && rows > MANY {
            2
        } else {
            4
        };
        let (most, threads) = (most.max(1), engine.settings.threads);
        // One thread has nobody to wait for.
        let part = if threads == 1 { 1 } else { each * threads };
        let whole = count.saturating_sub(part * (most - 1)) / most;
        let mut pieces = Self {
            count,
            most,
            threads,
            part,
            whole,
            number: whole,
        };
        let mut start = whole * most;
        while start < count {
            let size = pieces.size(start);
            pieces.number += threads.min((count - start).div_ceil(size));
            start += threads * size;
        }
        pieces
    }

    /// Panels in each piece of the round that begins at `start`.
    fn size(self, start: usize) -> usize {
        (self.count - start).div_ceil(self.part).max(LEAST).min(self.most)
    }

    /// Where piece i begins, or the last one ends.
    fn start(self, i: usize) -> usize {
        let whole = i.min(self.whole);
        let (mut start, mut left) = (whole * self.most, i - whole);
        while left > 0 && start < self.count {
            let pieces = left.min(self.threads);
            start += pieces * self.size(start);
            left -= pieces;
        }
        start.min(self.count)
    }

    pub fn range(self, i: usize) -> Range<usize> {
        self.start(i)..self.start(i + 1)
    }
}

/// A layer of several that read the same input: its matrix's gradient (n, k), that of its bias, its output's cotangent, n.
pub(super) struct Gradient<'a, T> {
    pub dw: &'a mut [f32],
    pub db: Option<&'a mut [f32]>,
    pub dy: &'a [T],
    pub n: usize,
}

/// dw (n, k) += dy' x, db (n) += sum dy of each layer.
pub(super) fn linear_bwd_w<T: Elem, const L: usize>(
    engine: &Engine,
    mut layers: [Gradient<'_, T>; L],
    x: &[T],
    k: usize,
) {
    if k == 0 {
        return;
    }
    let level = engine.level;
    let (width, height) = level.tile();
    let rows = x.len() / k;
    let mut team = engine.team();
    let team = &mut *team;
    for &mut Gradient { ref mut db, dy, n, .. } in &mut layers {
        let Some(db) = db else { continue };
        let db = Out::new(db);
        team.pool.run(n.div_ceil(width), &|item, _| {
            let columns = item * width..((item + 1) * width).min(n);
            // SAFETY: each item has columns of its own.
            let db = unsafe { db.slice(columns.start, columns.len()) };
            sum_rows(level, db, dy, n, columns.start);
        });
    }
    let layers = layers.map(|layer| (Out::new(layer.dw), layer.dy, layer.n));
    let counts = || layers.iter().map(|(.., n)| n.div_ceil(height));
    let panels = k.div_ceil(width);
    for first in (0..rows).step_by(ROW_BLOCK) {
        let block = first..(first + ROW_BLOCK).min(rows);
        let panel = packed_bytes::<T>(level, block.len());
        let packed = team.rooms.a.get::<u8>(panels * panel);
        let out = Out::new(packed);
        let x = &x[block.start * k..block.end * k];
        team.pool.run(panels, &|p, _| {
            // SAFETY: each item has a panel of its own.
            let dst = unsafe { out.slice(p * panel, panel) };
            pack(level, dst, x, k, block.len(), p * width);
        });
        let packed = &*packed;
        let pieces = Pieces::new(counts().sum(), TILES, block.len(), engine);
        team.pool.run(pieces.number, &|item, scratch| {
            for (layer, tiles) in parts(pieces.range(item), counts()) {
                let (dw, dy, n) = layers[layer];
                let dy = &dy[block.start * n..block.end * n];
                let outputs = tiles.start * height..(tiles.end * height).min(n);
                gradient(level, dw, dy, block.len(), n, k, outputs, packed, panel, scratch);
            }
        });
    }
}

/// Asks for a tile of dw, rows of k numbers, which the product's sums are going to be added to: it lies in as many places as it has rows.
#[inline(always)]
pub(super) fn fetch_rows<S: Simd>(s: S, dw: Out<'_, f32>, (first, rows): (usize, usize), k: usize, column: usize) {
    for r in first..first + rows {
        for half in [0, S::LANES] {
            s.prefetch(dw.address(r * k + column + half));
        }
    }
}

/// Writes a tile of `rows` rows from row `first`, columns from `column`, to where the product goes.
#[inline(always)]
pub(super) fn finish<S: Simd, T: Elem>(
    s: S,
    target: Target<'_, T>,
    tile: &[f32],
    (first, rows): (usize, usize),
    column: usize,
    n: usize,
) {
    let columns = S::NR.min(n - column);
    for r in 0..rows {
        let t = &tile[r * S::NR..][..S::NR];
        let at = (first + r) * n + column;
        match target {
            Target::Buf(y, bias, accum) => {
                // SAFETY: the piece of work has these columns of these rows to itself.
                let y = unsafe { y.slice(at, columns) };
                for i in (0..columns).step_by(S::LANES) {
                    let mut v = s.load(&t[i..]);
                    if let Some(bias) = bias {
                        v = s.add(v, get(s, &bias[column + i..n.min(column + columns)]));
                    }
                    if accum == Accum::Add {
                        v = s.add(get(s, &y[i..]), v);
                    }
                    put(s, &mut y[i..], v);
                }
            }
            Target::Acc(z) => {
                // SAFETY: as above.
                let z = unsafe { z.slice(at, columns) };
                for i in (0..columns).step_by(S::LANES) {
                    put(s, &mut z[i..], s.load(&t[i..]));
                }
            }
        }
    }
}

kernels! {
    /// Rows of x times these panels of the layers: each tile of rows by all panels, so that its rows stay in the nearest cache. `after` is the panel
    /// that this thread is going to need next, or nothing.
    fn forward<T>(
        s, layers: &[Forward<'_, T>], panels: Range<usize>, x: Rows<'_, T>, rows: Range<usize>, k: usize, after: &[T],
        scratch: &mut Scratch,
    ) {
        type M<S, T> = <T as Elem>::Large<S>;
        let Scratch { a, b, .. } = scratch;
        let room = a.get(S::MR * M::<S, T>::room(k));
        let counts = || layers.iter().map(|(_, w)| w.layout().count());
        let tile = &mut Tile::new().0;
        if M::<S, T>::ONCE && rows.len() <= S::MR {
            let rows = (rows.start, rows.len());
            let lhs = x.left(s, rows, room);
            for (layer, panels) in parts(panels, counts()) {
                let (target, w) = layers[layer];
                let len = w.layout().len();
                for p in panels {
                    // SAFETY: as below.
                    unsafe {
                        let panel = &w.panels()[p * len..(p + 1) * len];
                        M::<S, T>::product_once(s, tile.as_mut_ptr(), S::NR, rows.1, lhs, panel);
                    }
                    finish(s, target, tile, rows, p * S::NR, w.layout().rows);
                }
            }
            return;
        }
        // What is multiplied where it lies asks for the panel after it.
        let after: &[<M<S, T> as Matmul<S, T>>::X] = if M::<S, T>::DIRECT { bytemuck::cast_slice(after) } else { &[] };
        let size = S::NR * M::<S, T>::steps(k);
        let each = room_of_panel::<S, T, M<S, T>>(k);
        let mut rest = b.get(panels.len() * each);
        let mut all = [const { None }; MOST_LAYERS];
        for ((layer, panels), place) in parts(panels, counts()).zip(&mut all) {
            let (target, w) = layers[layer];
            let len = w.layout().len();
            let mine = &w.panels()[panels.start * len..panels.end * len];
            let (room, others) = core::mem::take(&mut rest).split_at_mut(panels.len() * each);
            rest = others;
            *place = Some((target, right::<S, T, M<S, T>>(s, mine, len, room), w.layout().rows, panels));
        }
        for (first, height) in tiles(rows.len(), S::MR) {
            let first = rows.start + first;
            let lhs = x.left(s, (first, height), room);
            for (i, part) in all.iter().enumerate() {
                let Some((target, packed, n, panels)) = part else { break };
                for (panel, p) in packed.chunks_exact(size.max(1)).zip(panels.clone()) {
                    let following = packed.get((p + 1 - panels.start) * size..(p + 2 - panels.start) * size);
                    let ahead = match (following, all.get(i + 1)) {
                        // Panels that were laid out anew are near, and after the first rows all are.
                        _ if first > rows.start || !M::<S, T>::DIRECT => &[],
                        (Some(following), _) => following,
                        (None, Some(Some((_, packed, ..)))) => &packed[..size],
                        (None, _) => after,
                    };
                    // SAFETY: x has `height` rows of k numbers, the panel k of NR, the tile MR x NR.
                    unsafe {
                        M::<S, T>::product_ahead(s, tile.as_mut_ptr(), S::NR, height, lhs, panel.as_ptr(), k, ahead);
                    }
                    finish(s, *target, tile, (first, height), p * S::NR, *n);
                }
            }
        }
    }

    /// Rows of dy times the panels' worth of each transposed matrix, the layers' sums in one chain.
    fn backward<T>(
        s, target: Target<'_, T>, layers: &[(Rows<'_, T>, &Weight<T>)], panels: Range<usize>, rows: Range<usize>,
        scratch: &mut Scratch,
    ) {
        type M<S, T> = <T as Elem>::Large<S>;
        let Scratch { a, b, .. } = scratch;
        let sizes = || layers.iter().map(|(_, w)| transposed_len::<S, T>(w.layout().rows));
        let all = b.get(panels.len() * sizes().sum::<usize>());
        let mut rest = &mut *all;
        for (&(_, w), size) in layers.iter().zip(sizes()) {
            let (packed, others) = rest.split_at_mut(panels.len() * size);
            rest = others;
            let layout = w.layout();
            for (p, dst) in panels.clone().zip(packed.chunks_exact_mut(size.max(1))) {
                transpose(s, dst, w.panels(), layout, p * S::NR..((p + 1) * S::NR).min(layout.cols), 0..layout.rows);
            }
        }
        let columns = layers[0].1.layout().cols;
        let room_of = |w: &Weight<T>| S::MR * M::<S, T>::room(w.layout().rows);
        let room = a.get(layers.iter().map(|(_, w)| room_of(w)).sum());
        let tile = &mut Tile::new().0;
        for (first, height) in tiles(rows.len(), S::MR) {
            let first = rows.start + first;
            let mut lhs = [Lhs::packed::<T>(&[], 0); MOST_LAYERS];
            let mut rest = &mut room[..];
            for (lhs, &(dy, w)) in lhs.iter_mut().zip(layers) {
                let (room, others) = rest.split_at_mut(room_of(w));
                rest = others;
                *lhs = dy.left(s, (first, height), room);
            }
            for (i, p) in panels.clone().enumerate() {
                let (mut packed, mut start) = (&*all, Start::Zero);
                for ((&(_, w), size), lhs) in layers.iter().zip(sizes()).zip(lhs) {
                    let panel = &packed[i * size..(i + 1) * size];
                    packed = &packed[panels.len() * size..];
                    // SAFETY: dy has `height` rows of as many numbers as the matrix, so has the panel of NR; the tile MR x NR.
                    unsafe {
                        let c = tile.as_mut_ptr();
                        M::<S, T>::product(s, c, S::NR, height, lhs, panel.as_ptr(), w.layout().rows, start);
                    }
                    start = Start::Output;
                }
                finish(s, target, tile, (first, height), p * S::NR, columns);
            }
        }
    }

    /// Bytes of a panel of k numbers that `pack` fills.
    pub(super) fn packed_bytes<T>(_s, k: usize) -> usize {
        S::NR * T::Large::<S>::steps(k) * size_of::<<T::Large<S> as Matmul<S, T>>::X>()
    }

    pub(super) fn pack<T>(s, dst: &mut [u8], x: &[T], stride: usize, k: usize, first: usize) {
        T::Large::<S>::pack(s, bytemuck::cast_slice_mut(dst), x, stride, k, first, stride - first);
    }

    fn sum_rows<T>(s, db: &mut [f32], dy: &[T], n: usize, column: usize) {
        for i in (0..db.len()).step_by(S::LANES) {
            let mut sum = s.splat(0.0);
            for row in dy.chunks_exact(n) {
                sum = s.add(sum, get(s, &row[column + i..column + db.len()]));
            }
            let db = &mut db[i..];
            put(s, db, s.add(get(s, db), sum));
        }
    }

    fn gradient<T>(
        s, dw: Out<'_, f32>, dy: &[T], rows: usize, n: usize, k: usize, outputs: Range<usize>,
        packed: &[u8], panel_bytes: usize, scratch: &mut Scratch,
    ) {
        type M<S, T> = <T as Elem>::Large<S>;
        let steps = M::<S, T>::steps(rows);
        let left = scratch.a.get(TILES * S::MR * steps);
        let count = outputs.len().div_ceil(S::MR);
        for (t, left) in left.chunks_exact_mut(S::MR * steps).take(count).enumerate() {
            let first = outputs.start + t * S::MR;
            M::<S, T>::pack_left(s, left, dy, n, rows, first, n - first);
        }
        let tile = &mut Tile::new().0;
        let panels: &[<M<S, T> as Matmul<S, T>>::X] = bytemuck::cast_slice(packed);
        let panel_units = panel_bytes / size_of::<<M<S, T> as Matmul<S, T>>::X>();
        // The left operand stays in the nearest cache, the panels of a group in the one behind it, and a row of dw is gone through in order.
        let groups = panels.len().div_ceil(GROUP_BYTES / size_of::<<M<S, T> as Matmul<S, T>>::X>());
        let group = (panels.len() / panel_units).div_ceil(groups.max(1));
        for (g, panels) in panels.chunks(group * panel_units).enumerate() {
            for (t, left) in left.chunks_exact(S::MR * steps).take(count).enumerate() {
                let first = outputs.start + t * S::MR;
                let height = S::MR.min(outputs.end - first);
                let lhs = M::<S, T>::packed_left(left, steps);
                for (p, panel) in panels.chunks_exact(panel_units).enumerate() {
                    let column = (g * group + p) * S::NR;
                    let columns = S::NR.min(k - column);
                    fetch_rows(s, dw, (first, height), k, column);
                    // SAFETY: `left` has `rows` of MR units, the panel `rows` of NR, both to whole units; the tile MR x NR.
                    unsafe {
                        let (c, k) = (tile.as_mut_ptr(), steps * M::<S, T>::PER_UNIT);
                        M::<S, T>::product(s, c, S::NR, height, lhs, panel.as_ptr(), k, Start::Zero);
                    }
                    for r in 0..height {
                        // SAFETY: the piece of work has these rows to itself.
                        let dw = unsafe { dw.slice((first + r) * k + column, columns) };
                        for i in (0..columns).step_by(S::LANES) {
                            let sum = s.add(get(s, &dw[i..]), s.load(&tile[r * S::NR + i..]));
                            put(s, &mut dw[i..], sum);
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
