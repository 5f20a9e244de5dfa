//! Products of bf16 on devices of compute capability 9.0: copies by TMA, multiplications by wgmma.
use cudarc::driver::DriverError;
use kernel::mat::{Accum, Mat};

use super::{Form, Kernel, Pace, Product, View, parts, tensor};
use crate::buffer::Buffer;
use crate::compile::{Source, source};
use crate::device::{Cuda, Element, driver};
use crate::tensor_map::{Place, TensorMap};

pub(super) static SOURCE: Source = source!("gemm_sm90", Sm90a);

/// Rows of c that a block has; k of a step.
const ROWS: usize = 128;
const STEP: usize = 64;
/// The columns that it has, and the clocks that a step takes shared memory.
const TILES: [(usize, usize); 2] = [(256, 1024), (128, 640)];

/// The kernel for a product, where the device has it and tensor maps can say where the factors lie: rows begin at multiples of 16 bytes, no size is 0.
pub(super) fn kernel<T: Element>(b: &Cuda<T>, product: &Product<'_, T>, size: (usize, usize, usize)) -> Option<Kernel> {
    let sizes = [
        product.left.rows,
        product.left.cols,
        product.right.rows,
        product.right.cols,
    ];
    let fits = tensor::<T>() && b.capability() == (9, 0) && product.aligned() && !sizes.contains(&0);
    fits.then(|| of_tile(product.form, tile(size)))
}

/// The columns of a tile with which a product (m, n, k) takes the fewest clocks.
pub(super) fn tile((m, n, k): (usize, usize, usize)) -> usize {
    let time = |&(cols, clocks): &(usize, usize)| {
        let tiles = m.div_ceil(ROWS) * n.div_ceil(cols);
        parts((m, n, k), tiles, Pace { step: STEP, clocks }).1
    };
    TILES.iter().min_by_key(|x| time(x)).map_or(TILES[0].0, |x| x.0)
}

/// The kernel with tiles of so many columns, 256 or 128.
pub(super) fn of_tile(form: Form, cols: usize) -> Kernel {
    let (wide, clocks) = if cols == TILES[0].0 {
        (true, TILES[0].1)
    } else {
        (false, TILES[1].1)
    };
    Kernel {
        source: &SOURCE,
        name: match (form, wide) {
            (Form::Nt, true) => "gemm_nt_sm90",
            (Form::Nn, true) => "gemm_nn_sm90",
            (Form::Tn, true) => "gemm_tn_sm90",
            (Form::Nt, false) => "gemm_nt_sm90_128",
            (Form::Nn, false) => "gemm_nn_sm90_128",
            (Form::Tn, false) => "gemm_tn_sm90_128",
        },
        tile: (ROWS, cols),
        threads: 288,
        // Four stages of both factors' tiles, and two mbarriers for each.
        shared: 4 * ((ROWS + cols) * STEP * 2 + 16),
        pace: Pace { step: STEP, clocks },
    }
}

/// A map of a factor for a tile of `rows` rows of it: one box of rows along k, or boxes of 64 where rows lie along m (n).
fn map<N>(x: View<'_, N>, along_k: bool, rows: usize) -> Result<TensorMap, DriverError> {
    let place = Place {
        address: x.address,
        shape: x.shape(),
        stride: x.stride,
    };
    TensorMap::new(place, if along_k { rows } else { STEP } as u32)
}

/// See `Product::launch`.
pub(super) fn launch<T: Element, C: Element>(
    b: &Cuda<T>,
    c: View<'_, C>,
    product: &Product<'_, T>,
    kernel: &Kernel,
    (k, tiles, parts): (usize, usize, usize),
    bias: Option<&Mat<Buffer<T>>>,
    accum: Accum,
) {
    let (along_left, along_right) = (product.form != Form::Tn, product.form == Form::Nt);
    let left = |x| map(x, along_left, ROWS);
    let maps = left(product.left).and_then(|high| {
        let low = left(product.low.unwrap_or(product.left))?;
        Ok((high, low, map(product.right, along_right, kernel.tile.1)?))
    });
    let maps = maps.map_err(|e| driver(&format!("making tensor maps for {}", kernel.name), e));
    let Some((high, low, right)) = b.keep(maps) else {
        return;
    };
    let (m, n) = c.shape();
    b.typed(kernel.source, kernel.name)
        .grid([tiles, parts, 1])
        .block(kernel.threads)
        .shared(kernel.shared)
        .arg(c)
        .map(&high)
        .map(&low)
        .map(&right)
        .arg(bias)
        .size(m)
        .size(n)
        .size(k)
        .size(c.stride)
        .arg(u32::from(accum == Accum::Add))
        .arg(u32::from(size_of::<C>() == 4))
        .arg(u32::from(product.low.is_some()))
        .launch();
}
