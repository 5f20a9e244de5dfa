//! Matrices of eight-bit integers and products with them: for drawing completions, never for training.
//!
//! A row of w is scale_o q_o with integers q from -127 to 127 and scale_o = max |w_o| / 127, made when the matrix is prepared. A row of x becomes
//! integers of sixteen bits when it is multiplied, scale_x = max |x| / 32767: activations have a few numbers a hundred times as large as the
//! others, of which eight bits leave next to nothing. y_o = (scale_x scale_o) sum_i q_i q_oi, and with q + 32768 = 256 high + low, two bytes
//! without a sign as the machines' instructions take them, the sum is 256 (sum_i high_i q_oi - 128 sum_i q_oi) + sum_i low_i q_oi. Both sums are
//! of integers and exact in any order: a row's bits depend neither on the rows beside it nor on the instruction set.
use core::ops::Range;

use bytemuck::Zeroable;

use super::Engine;
use super::buffer::Buffer;
use super::elem::{Elem, convert};
use super::gemm::{LINE, tiles};
use super::linear::{MAX_TILE, Pieces, Target, Tile, finish, panel_bytes};
use super::out::Out;
use super::settings::Isa;
#[cfg(target_arch = "x86_64")]
use super::simd::avx512::{amx, vnni};
use super::simd::{Simd, kernels};
use super::weight::Panels;
use crate::OutOfMemory;

/// Inputs whose integers lie side by side in a panel, four bytes that an instruction multiplies and adds up.
const GROUP: usize = 4;

/// Inputs that a row is filled up to, with zeros: what a tile of the machine's takes at once.
const WHOLE: usize = 64;

/// Inputs up to which no sum of products leaves 32 bits.
const MOST_INPUTS: usize = 1 << 16;

/// Rows of x that are made integers in one piece of work.
const ROWS: usize = 16;

/// The largest integer of w, and of x.
const LARGEST: f32 = 127.0;
const LARGEST_OF_X: f32 = 32767.0;

/// What high bytes of x lie with added.
const OFFSET: i32 = 128;

/// 2^23 and a half of it: a number below 2^22 added to it has its units in the lowest bit.
const UNITS: f32 = 12_582_912.0;

/// Rows of bytes that a row of x has: the high ones and the low ones.
const PLANES: usize = 2;

/// A prepared matrix of integers: panels of outputs, in each the groups of one after the other, a group's outputs side by side.
pub(super) struct Int8 {
    layout: Panels,
    integers: Buffer<i8>,
    /// Of each output.
    scales: Buffer<f32>,
    /// -128 sum_i q_oi of each output.
    offsets: Buffer<i32>,
}

impl Int8 {
    /// Of zeros. Errors: out of memory.
    #[track_caller]
    pub fn new(layout: Panels) -> Result<Self, OutOfMemory> {
        let inputs = layout.cols;
        assert!(
            inputs <= MOST_INPUTS,
            "weight: int8 takes {MOST_INPUTS} inputs, found {inputs}"
        );
        let outputs = layout.count() * layout.width;
        let len = outputs.checked_mul(stride(inputs));
        Ok(Self {
            layout,
            integers: Buffer::zeroed(len.ok_or(OutOfMemory { bytes: usize::MAX })?)?,
            scales: Buffer::zeroed(outputs)?,
            offsets: Buffer::zeroed(outputs)?,
        })
    }

    /// Bytes of a panel.
    fn panel(&self) -> usize {
        stride(self.layout.cols) * self.layout.width
    }

    /// Takes the numbers of src (out, in) as T rounds them: what the policy's own weights are.
    pub fn fill<T: Elem>(&mut self, engine: &Engine, src: &[f32]) {
        let (Panels { rows, cols, width, .. }, len, stride) = (self.layout, self.panel(), stride(self.layout.cols));
        let integers = Out::new(&mut self.integers);
        let (scales, offsets) = (Out::new(&mut self.scales), Out::new(&mut self.offsets));
        engine.team().run(self.layout.count(), &|p, scratch| {
            // SAFETY: each item has a panel of its own.
            let panel = unsafe { integers.slice(p * len, len) };
            let (groups, row): (&mut [[i8; GROUP]], &mut [i8]) =
                (bytemuck::cast_slice_mut(panel), scratch.a.get(stride));
            for (lane, o) in (p * width..rows.min((p + 1) * width)).enumerate() {
                let src = &src[o * cols..(o + 1) * cols];
                let rooms = (scratch.b.get(cols), scratch.c.get(cols));
                let scale = quantise_weight::<T>(engine.level, row, src, rooms.0, rooms.1);
                let mut sum = 0;
                for (group, four) in row.chunks_exact(GROUP).enumerate() {
                    let four = [four[0], four[1], four[2], four[3]];
                    sum += four.map(i32::from).iter().sum::<i32>();
                    groups[group * width + lane] = four;
                }
                // SAFETY: as above.
                unsafe {
                    scales.put(o, scale);
                    offsets.put(o, -OFFSET * sum);
                }
            }
        });
    }
}

/// Bytes of a row of integers.
fn stride(inputs: usize) -> usize {
    inputs.next_multiple_of(WHOLE)
}

/// How integers are multiplied: whatever the instruction set, the same sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dot {
    /// Plain Rust.
    Plain,
    /// `vpdpbusd` of AVX-512 VNNI.
    Vnni,
    /// `tdpbusd` of AMX.
    Tiles,
}

impl Dot {
    /// The best that there is beside this instruction set.
    fn of(isa: Isa) -> Self {
        #[cfg(target_arch = "x86_64")]
        match isa {
            Isa::Amx if amx::bytes::is_available() => return Self::Tiles,
            Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx if is_x86_feature_detected!("avx512vnni") => return Self::Vnni,
            _ => {}
        }
        let _ = isa;
        Self::Plain
    }

    /// Rows of a tile, at most.
    fn height(self) -> usize {
        match self {
            Self::Plain => 4,
            Self::Vnni => 12,
            Self::Tiles => 32,
        }
    }

    /// sums (rows, NR) of `rows` rows of x, `stride` bytes apart, and a panel of as many.
    ///
    /// # Safety
    /// The machine has the instructions, and where they are AVX-512's NR is 32; `rows` is at most `height`, there are so many of `stride` bytes
    /// at x, and `stride` x NR at panel.
    #[inline(always)]
    unsafe fn product<S: Simd>(self, sums: &mut Sums, rows: usize, x: &[u8], stride: usize, panel: &[i8]) {
        debug_assert!(x.len() >= rows * stride && panel.len() == stride * S::NR && rows * S::NR <= MAX_TILE);
        match self {
            Self::Plain => plain::<S>(&mut sums.0, rows, x, stride, panel),
            // SAFETY: the caller's promise.
            #[cfg(target_arch = "x86_64")]
            Self::Vnni => unsafe { vnni::product(sums.0.as_mut_ptr(), rows, x.as_ptr(), stride, panel.as_ptr()) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Tiles => unsafe {
                amx::bytes::product(sums.0.as_mut_ptr(), rows, x.as_ptr(), stride, panel.as_ptr())
            },
            #[cfg(not(target_arch = "x86_64"))]
            Self::Vnni | Self::Tiles => unreachable!("instructions of x86-64"),
        }
    }
}

/// A tile's sums, on cache lines.
#[repr(C, align(64))]
struct Sums([i32; MAX_TILE]);

#[inline(always)]
fn plain<S: Simd>(sums: &mut [i32], rows: usize, x: &[u8], stride: usize, panel: &[i8]) {
    sums[..rows * S::NR].fill(0);
    for (group, outputs) in panel.chunks_exact(GROUP * S::NR).enumerate() {
        for (row, sums) in sums.chunks_exact_mut(S::NR).take(rows).enumerate() {
            let x = &x[row * stride + group * GROUP..][..GROUP];
            for (sum, w) in sums.iter_mut().zip(outputs.chunks_exact(GROUP)) {
                let product = |i: usize| i32::from(x[i]) * i32::from(w[i]);
                *sum += product(0) + product(1) + product(2) + product(3);
            }
        }
    }
}

/// Rows of integers: of each its high bytes, then its low ones.
#[derive(Clone, Copy)]
struct Rows<'a> {
    bytes: &'a [u8],
    stride: usize,
    scales: &'a [f32],
}

/// y (rows, n) (+)= x (rows, k) w' + bias, both operands as integers.
pub(super) fn linear<T: Elem>(engine: &Engine, target: Target<'_, T>, x: &[T], w: &Int8) {
    let k = w.layout.cols;
    let (rows, stride) = (x.len().checked_div(k).unwrap_or(0), stride(k));
    let mut team = engine.team();
    let team = &mut *team;
    let (bytes, scales) = (
        team.rooms.a.get::<u8>(PLANES * rows * stride),
        team.rooms.b.get::<f32>(rows),
    );
    let (to, to_scale) = (Out::new(&mut *bytes), Out::new(&mut *scales));
    team.pool.run(rows.div_ceil(ROWS), &|item, scratch| {
        for r in item * ROWS..rows.min((item + 1) * ROWS) {
            // SAFETY: each item has rows of its own.
            unsafe {
                let row = to.slice(PLANES * r * stride, PLANES * stride);
                to_scale.put(r, quantise(engine.level, row, &x[r * k..(r + 1) * k], scratch.b.get(k)));
            }
        }
    });
    let x = Rows { bytes, stride, scales };
    let dot = Dot::of(engine.settings.isa);
    let most = panel_bytes(engine.level) / w.panel().max(1);
    let pieces = Pieces::new(w.layout.count(), most, rows, engine);
    team.pool.run(pieces.number, &|item, _| {
        forward(engine.level, target, x, w, dot, pieces.range(item));
    });
}

/// largest / max |x|, and the scale max |x| / largest, which is not a number where one of x is not finite.
#[inline(always)]
fn scales<S: Simd>(s: S, x: &[f32], largest: f32) -> (f32, f32) {
    let (mut most, mut finite) = (s.splat(0.0), s.splat(0.0));
    let whole = x.len() / S::LANES * S::LANES;
    for x in x[..whole].chunks_exact(S::LANES) {
        let x = s.load(x);
        most = s.max(s.max(x, s.sub(s.splat(0.0), x)), most);
        finite = s.fma(x, s.splat(0.0), finite);
    }
    let (mut most, mut finite) = (s.largest(most), s.sum(finite));
    for &x in &x[whole..] {
        most = if x.abs() > most { x.abs() } else { most };
        finite += 0.0 * x;
    }
    // Where all are next to nothing they are nothing.
    let inverse = if most < f32::MIN_POSITIVE * largest {
        0.0
    } else {
        largest / most
    };
    (inverse, most / largest + finite)
}

kernels! {
    /// q = x / scale rounded to nearest even, zeros past x; the scale, which is not a number where one of x is not finite.
    fn quantise_weight<T>(s, q: &mut [i8], x: &[f32], widened: &mut [f32], narrow: &mut [T]) -> f32 {
        convert(s, narrow, x);
        convert(s, widened, narrow);
        let (inverse, scale) = scales(s, widened, LARGEST);
        let (own, rest) = q.split_at_mut(widened.len());
        for (q, &x) in own.iter_mut().zip(&*widened) {
            *q = (x * inverse + UNITS).to_bits() as i8;
        }
        rest.fill(0);
        scale
    }

    /// The same of x, 32768 added: high bytes, then low ones.
    fn quantise<T>(s, bytes: &mut [u8], x: &[T], widened: &mut [f32]) -> f32 {
        convert(s, widened, x);
        let (inverse, scale) = scales(s, widened, LARGEST_OF_X);
        let (high, low) = bytes.split_at_mut(bytes.len() / PLANES);
        for ((high, low), &x) in high.iter_mut().zip(&mut *low).zip(&*widened) {
            let bits = (x * inverse + (UNITS + (OFFSET << 8) as f32)).to_bits();
            (*high, *low) = ((bits >> 8) as u8, bits as u8);
        }
        // What they are multiplied by is 0.
        high[widened.len()..].fill(0);
        low[widened.len()..].fill(0);
        scale
    }

    fn forward<T>(s, target: Target<'_, T>, x: Rows<'_>, w: &Int8, dot: Dot, panels: Range<usize>) {
        #[cfg(target_arch = "x86_64")]
        if dot == Dot::Tiles {
            amx::begin();
        }
        let len = w.panel();
        let (mut sums, mut tile) = (Sums(Zeroable::zeroed()), Tile::new());
        for (first, height) in tiles(x.scales.len(), dot.height() / PLANES) {
            let rows = &x.bytes[PLANES * first * x.stride..PLANES * (first + height) * x.stride];
            for p in panels.clone() {
                if first == 0 && dot == Dot::Tiles && p + 1 < panels.end {
                    for line in w.integers[(p + 1) * len..(p + 2) * len].chunks(LINE) {
                        s.prefetch(line.as_ptr());
                    }
                }
                // SAFETY: `of` chose what the machine has; rows and a panel of `stride` bytes; the tile is of an instruction set's own size.
                unsafe { dot.product::<S>(&mut sums, PLANES * height, rows, x.stride, &w.integers[p * len..(p + 1) * len]) };
                let outputs = p * S::NR..(p + 1) * S::NR;
                let (scales, offsets) = (&w.scales[outputs.clone()], &w.offsets[outputs]);
                let rows = sums.0.chunks_exact(PLANES * S::NR).zip(tile.0.chunks_exact_mut(S::NR));
                for ((sums, y), scale) in rows.zip(&x.scales[first..first + height]) {
                    let (high, low) = sums.split_at(S::NR);
                    let of_outputs = offsets.iter().zip(scales);
                    for (((y, high), low), (offset, of_output)) in y.iter_mut().zip(high).zip(low).zip(of_outputs) {
                        *y = (256.0 * high.wrapping_add(*offset) as f32 + *low as f32) * (scale * of_output);
                    }
                }
                finish(s, target, &tile.0, (first, height), p * S::NR, w.layout.rows);
            }
        }
    }
}

#[cfg(test)]
mod tests;
