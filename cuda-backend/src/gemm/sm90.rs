//! Products of bf16 on devices of compute capability 9.0: copies by TMA, multiplications by wgmma.
use cudarc::driver::DriverError;
use kernel::mat::{Accum, Mat};

use super::{Form, Kernel, Product, View, tensor};
use crate::buffer::Buffer;
use crate::compile::{Source, source};
use crate::device::{Cuda, Element, driver};
use crate::tensor_map::{Place, TensorMap};

pub(super) static SOURCE: Source = source!("gemm_sm90", Sm90a);

/// Rows and columns of c that a block has; k of a step.
const TILE: (usize, usize) = (128, 256);
const STEP: usize = 64;
/// Shared memory: four stages of both factors' tiles, and two mbarriers for each.
const SHARED: usize = 4 * ((TILE.0 + TILE.1) * STEP * 2 + 16);

/// The kernel for a product, where the device has it and tensor maps can say where the factors lie: rows begin at multiples of 16 bytes, no size is 0.
pub(super) fn kernel<T: Element>(b: &Cuda<T>, product: &Product<'_, T>) -> Option<Kernel> {
    let sizes = [
        product.left.rows,
        product.left.cols,
        product.right.rows,
        product.right.cols,
    ];
    let fits = tensor::<T>() && b.capability() == (9, 0) && product.aligned() && !sizes.contains(&0);
    fits.then_some(Kernel {
        source: &SOURCE,
        name: match product.form {
            Form::Nt => "gemm_nt_sm90",
            Form::Nn => "gemm_nn_sm90",
            Form::Tn => "gemm_tn_sm90",
        },
        tile: TILE,
        threads: 288,
        shared: SHARED,
    })
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
    let left = |x| map(x, along_left, TILE.0);
    let maps = left(product.left).and_then(|high| {
        let low = left(product.low.unwrap_or(product.left))?;
        Ok((high, low, map(product.right, along_right, TILE.1)?))
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
