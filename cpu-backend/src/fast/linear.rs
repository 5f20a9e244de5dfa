//! Products with a prepared matrix, and the gradient of one.
use core::ops::Range;

use kernel::mat::Accum;

use super::Engine;
use super::elem::{Elem, get, put};
use super::gemm::{Lhs, Mac, Start, pack_columns, tiles};
use super::int8;
use super::out::Out;
use super::pool::Scratch;
use super::settings::{Isa, Level};
use super::simd::{Simd, kernels};
use super::weight::{Panels, Weight, transpose, transposed_len};

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

/// Where the rows of a product go.
#[derive(Clone, Copy)]
pub(super) enum Target<'a, T> {
    /// To activations, rounded: with the bias, and with what is there.
    Buf(Out<'a, T>, Option<&'a [T]>, Accum),
    /// As they are.
    Acc(Out<'a, f32>),
}

/// y (rows, n) (+)= x (rows, k) w' + bias.
pub(super) fn linear<T: Elem>(engine: &Engine, target: Target<'_, T>, x: &[T], w: &Weight<T>) {
    if let Some(w) = w.as_int8() {
        return int8::linear(engine, target, x, w);
    }
    let Panels { rows: n, cols: k, .. } = w.layout();
    let rows = x.len().checked_div(k).unwrap_or(0);
    let layout = w.layout();
    let most = panel_bytes(engine.level) / (layout.len() * size_of::<T>()).max(1);
    let pieces = Pieces::new(layout.count(), most, rows, engine);
    let mut team = engine.team();
    team.run(pieces.number, &|item, scratch| {
        let panels = pieces.range(item);
        // Threads take the pieces in turn, more or less.
        let next = item + engine.settings.threads;
        let next = (next < pieces.number).then(|| pieces.range(next).start);
        forward(
            engine.level,
            target,
            rows,
            x,
            k,
            w.panels(),
            layout,
            n,
            panels,
            next,
            scratch,
        );
    });
}

/// dx (rows, k) (+)= dy (rows, n) w.
pub(super) fn linear_bwd_x<T: Elem>(engine: &Engine, target: Target<'_, T>, dy: &[T], w: &Weight<T>) {
    let layout = w.layout();
    let rows = dy.len().checked_div(layout.rows).unwrap_or(0);
    let width = layout.width;
    let count = layout.cols.div_ceil(width);
    let most = panel_bytes(engine.level) / (width * layout.rows * size_of::<T>()).max(1);
    let pieces = Pieces::new(count, most, rows, engine);
    let mut team = engine.team();
    team.run(pieces.number, &|item, scratch| {
        let panels = pieces.range(item);
        backward(engine.level, target, rows, dy, w.panels(), layout, panels, scratch);
    });
}

/// Rows from which on they are not read in no time.
const MANY: usize = 64;

/// `count` panels cut into pieces of work that differ by one at most.
#[derive(Clone, Copy)]
pub(super) struct Pieces {
    count: usize,
    pub number: usize,
}

impl Pieces {
    /// Pieces of at most `most`, as many for every thread. Each goes through `rows` rows.
    pub fn new(count: usize, most: usize, rows: usize, engine: &Engine) -> Self {
        let threads = engine.settings.threads;
        // Where products take little time, the rows that every piece reads again weigh more than an even end.
        let each = if engine.level.isa() == Isa::Amx && rows > MANY {
            2
        } else {
            4
        };
        let number = count.div_ceil(most.max(1)).max(each * threads);
        Self {
            count,
            number: number.next_multiple_of(threads).min(count),
        }
    }

    pub fn range(self, i: usize) -> Range<usize> {
        i * self.count / self.number..(i + 1) * self.count / self.number
    }
}

/// dw (out, in) += dy' x, db (out) += sum dy.
pub(super) fn linear_bwd_w<T: Elem>(
    engine: &Engine,
    dw: &mut [f32],
    db: Option<&mut [f32]>,
    dy: &[T],
    x: &[T],
    (n, k): (usize, usize),
) {
    if n == 0 || k == 0 {
        return;
    }
    let level = engine.level;
    let (width, height) = level.tile();
    let rows = x.len() / k;
    let mut team = engine.team();
    let team = &mut *team;
    if let Some(db) = db {
        let db = Out::new(db);
        team.pool.run(n.div_ceil(width), &|item, _| {
            let columns = item * width..((item + 1) * width).min(n);
            // SAFETY: each item has columns of its own.
            let db = unsafe { db.slice(columns.start, columns.len()) };
            sum_rows(level, db, dy, n, columns.start);
        });
    }
    let dw = Out::new(dw);
    let panels = k.div_ceil(width);
    for first in (0..rows).step_by(ROW_BLOCK) {
        let block = first..(first + ROW_BLOCK).min(rows);
        // Bytes enough for units of either kind: at most four a row and column.
        let panel = 4 * width * block.len().next_multiple_of(2);
        let packed = team.rooms.a.get::<u8>(panels * panel);
        let out = Out::new(packed);
        let (x, dy) = (&x[block.start * k..block.end * k], &dy[block.start * n..block.end * n]);
        team.pool.run(panels, &|p, _| {
            // SAFETY: each item has a panel of its own.
            let dst = unsafe { out.slice(p * panel, panel) };
            pack(level, dst, x, k, block.len(), p * width, width);
        });
        let packed = &*packed;
        let pieces = Pieces::new(n.div_ceil(height), TILES, block.len(), engine);
        team.pool.run(pieces.number, &|item, scratch| {
            let tiles = pieces.range(item);
            let outputs = tiles.start * height..(tiles.end * height).min(n);
            gradient(level, dw, dy, block.len(), n, k, outputs, packed, panel, scratch);
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

/// Rows of x times panels of `size` units: each tile of rows by all panels, so that its rows stay in the nearest cache. `after` is the panel that
/// this thread is going to need next, or nothing.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn rows_by_panels<S: Simd, T: Elem>(
    s: S,
    target: Target<'_, T>,
    rows: usize,
    x: &[T],
    k: usize,
    packed: &[<T::Mac<S> as Mac<S, T>>::X],
    size: usize,
    n: usize,
    panels: Range<usize>,
    after: &[<T::Mac<S> as Mac<S, T>>::X],
    widened: &mut [f32],
) {
    type M<S, T> = <T as Elem>::Mac<S>;
    let tile = &mut Tile::new().0;
    for (first, height) in tiles(rows, S::MR) {
        let x = &x[first * k..(first + height) * k];
        let lhs = left::<S, T>(s, x, k, widened);
        for (i, p) in panels.clone().enumerate() {
            let panel = &packed[i * size..(i + 1) * size];
            let ahead = match (first, i + 1 < panels.len()) {
                (0, true) => &packed[(i + 1) * size..(i + 2) * size],
                (0, false) => after,
                _ => &[],
            };
            // SAFETY: x has `height` rows of k numbers, the panel k of NR, the tile MR x NR.
            unsafe {
                M::<S, T>::product_ahead(s, tile.as_mut_ptr(), S::NR, height, lhs, panel.as_ptr(), k, ahead);
            }
            finish(s, target, tile, (first, height), p * S::NR, n);
        }
    }
}

/// Rows of x as the left operand: where they lie, or widened.
#[inline(always)]
pub(super) fn left<S: Simd, T: Elem>(s: S, x: &[T], k: usize, widened: &mut [f32]) -> Lhs {
    if <T::Mac<S> as Mac<S, T>>::DIRECT {
        return Lhs::rows::<T, <T::Mac<S> as Mac<S, T>>::X>(x, k);
    }
    let widened = &mut widened[..x.len()];
    convert(s, widened, x);
    Lhs::rows::<f32, f32>(widened, k)
}

/// y = x: exactly, where y can hold it.
#[inline(always)]
pub(super) fn convert<S: Simd, A: Elem, T: Elem>(s: S, y: &mut [A], x: &[T]) {
    let n = y.len();
    for i in (0..n).step_by(S::LANES) {
        put(s, &mut y[i..], get(s, &x[i..n]));
    }
}

/// Prepared panels as the product reads them: where they lie, or widened.
#[inline(always)]
pub(super) fn right<'a, S: Simd, T: Elem>(
    s: S,
    panels: &'a [T],
    widened: &'a mut [f32],
) -> &'a [<T::Mac<S> as Mac<S, T>>::X] {
    if <T::Mac<S> as Mac<S, T>>::DIRECT {
        return bytemuck::cast_slice(panels);
    }
    let widened = &mut widened[..panels.len()];
    convert(s, widened, panels);
    bytemuck::cast_slice(widened)
}

kernels! {
    fn forward<T>(
        s, target: Target<'_, T>, rows: usize, x: &[T], k: usize, w: &[T], layout: Panels, n: usize,
        panels: Range<usize>, next: Option<usize>, scratch: &mut Scratch,
    ) {
        let len = layout.len();
        let Scratch { a, b, .. } = scratch;
        let after = match next {
            Some(p) if <T::Mac<S> as Mac<S, T>>::DIRECT => bytemuck::cast_slice(&w[p * len..(p + 1) * len]),
            _ => &[],
        };
        let w = &w[panels.start * len..panels.end * len];
        let packed = right::<S, T>(s, w, b.get(if T::BF16 { w.len() } else { 0 }));
        let size = S::NR * <T::Mac<S> as Mac<S, T>>::steps(k);
        let widened = a.get(if T::BF16 { S::MR * k } else { 0 });
        rows_by_panels(s, target, rows, x, k, packed, size, n, panels, after, widened);
    }

    fn backward<T>(
        s, target: Target<'_, T>, rows: usize, dy: &[T], w: &[T], layout: Panels,
        panels: Range<usize>, scratch: &mut Scratch,
    ) {
        let k = layout.rows;
        let size = transposed_len::<S, T>(k);
        let Scratch { a, b, .. } = scratch;
        let packed = b.get(panels.len() * size);
        for (p, dst) in panels.clone().zip(packed.chunks_exact_mut(size.max(1))) {
            transpose(s, dst, w, layout, p * S::NR..((p + 1) * S::NR).min(layout.cols), 0..k);
        }
        let widened = a.get(if T::BF16 { S::MR * k } else { 0 });
        rows_by_panels(s, target, rows, dy, k, packed, size, layout.cols, panels, &[], widened);
    }

    pub(super) fn pack<T>(_s, dst: &mut [u8], x: &[T], stride: usize, k: usize, first: usize, width: usize) {
        let dst = bytemuck::cast_slice_mut(dst);
        pack_columns::<S, T, T::Mac<S>>(dst, x, stride, k, first, stride - first, width);
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
        type M<S, T> = <T as Elem>::Mac<S>;
        let steps = M::<S, T>::steps(rows);
        let left = scratch.a.get(TILES * S::MR * steps);
        let count = outputs.len().div_ceil(S::MR);
        for (t, left) in left.chunks_exact_mut(S::MR * steps).take(count).enumerate() {
            let first = outputs.start + t * S::MR;
            M::<S, T>::pack_left(s, left, dy, n, rows, first, n - first);
        }
        let tile = &mut Tile::new().0;
        let panels: &[<M<S, T> as Mac<S, T>>::X] = bytemuck::cast_slice(packed);
        let panel_units = panel_bytes / size_of::<<M<S, T> as Mac<S, T>>::X>();
        // The left operand stays in the nearest cache, the panels of a group in the one behind it, and a row of dw is gone through in order.
        let groups = panels.len().div_ceil(GROUP_BYTES / size_of::<<M<S, T> as Mac<S, T>>::X>());
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
                        let steps = if M::<S, T>::PAIRS { 2 * steps } else { steps };
                        let c = tile.as_mut_ptr();
                        M::<S, T>::product(s, c, S::NR, height, lhs, panel.as_ptr(), steps, Start::Zero);
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
