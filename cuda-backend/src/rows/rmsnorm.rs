//! RMSNorm.
use kernel::backend::Dual;
use kernel::mat::{Accum, Mat, check_shape};

use super::{VECTOR, block_of, row_of};
use crate::buffer::Buffer;
use crate::compile::{Source, source};
use crate::device::{Cuda, Element};

const SOURCE: Source = source!("rmsnorm");
/// Threads along a row at most: the size of the largest block.
const LONGEST: usize = 1024;
/// Threads of a block of the backward pass, which needs twice the registers.
const BACKWARD: usize = 512;
/// Rows that a thread has under way at once.
const AT_ONCE: usize = 4;

#[track_caller]
pub(crate) fn rmsnorm<T: Element>(
    b: &Cuda<T>,
    y: &mut Mat<Buffer<T>>,
    rstd: &mut Mat<Buffer<f32>>,
    x: &Mat<Buffer<T>>,
    w: &Mat<Buffer<T>>,
    eps: f64,
) {
    let (n, c) = x.shape();
    check_shape("rmsnorm", "y", y.shape(), (n, c));
    check_shape("rmsnorm", "rstd", rstd.shape(), (n, 1));
    check_shape("rmsnorm", "w", w.shape(), (1, c));
    let (width, vectors) = row_of::<T>(c, usize::MAX);
    let (along, rows) = block_of(vectors, 512, LONGEST);
    b.typed(&SOURCE, &format!("rmsnorm{width}"))
        .grid([n.div_ceil(rows * AT_ONCE), 1, 1])
        .block3([along as u32, rows as u32, 1])
        .shared(along * VECTOR)
        .arg(y)
        .arg(rstd)
        .arg(x)
        .arg(w)
        .size(n)
        .size(c)
        .arg(eps as f32)
        .launch();
}

#[track_caller]
#[allow(clippy::too_many_arguments)]
pub(crate) fn rmsnorm_bwd<T: Element>(
    b: &Cuda<T>,
    dx: &mut Mat<Buffer<T>>,
    dw: &mut Mat<Buffer<f32>>,
    dy: &Mat<Buffer<T>>,
    x: &Mat<Buffer<T>>,
    w: &Mat<Buffer<T>>,
    rstd: &Mat<Buffer<f32>>,
    accum: Accum,
) {
    let (n, c) = x.shape();
    check_shape("rmsnorm_bwd", "dx", dx.shape(), (n, c));
    check_shape("rmsnorm_bwd", "dw", dw.shape(), (1, c));
    check_shape("rmsnorm_bwd", "dy", dy.shape(), (n, c));
    check_shape("rmsnorm_bwd", "w", w.shape(), (1, c));
    check_shape("rmsnorm_bwd", "rstd", rstd.shape(), (n, 1));
    let (width, vectors) = row_of::<T>(c, usize::MAX);
    let (along, rows) = block_of(vectors, BACKWARD, BACKWARD);
    // Enough blocks for the device, but not so few rows a block that the partial sums, 8 bytes a column, were more than 3 % of x, dy and dx.
    let per_block = n.div_ceil(128).clamp(96 / size_of::<T>(), 128).next_multiple_of(rows);
    let blocks = n.div_ceil(per_block);
    let add = match accum {
        Accum::Replace => "",
        Accum::Add => "_add",
    };
    // The numbers of a vector, and beside each as many unused ones as keep the banks apart.
    let lanes = if width.is_empty() { VECTOR / size_of::<T>() } else { 1 };
    let columns = rows * lanes * (along + 32 / lanes);
    b.room("rmsnorm_bwd", blocks * c * size_of::<f32>(), |partial| {
        b.typed(&SOURCE, &format!("rmsnorm_bwd{add}{width}"))
            .grid([blocks, 1, 1])
            .block3([along as u32, rows as u32, 1])
            .shared(columns * size_of::<f32>())
            .arg(dx)
            .arg(&*partial)
            .arg(dy)
            .arg(x)
            .arg(w)
            .arg(rstd)
            .size(n)
            .size(c)
            .size(per_block)
            .launch();
        if blocks > 0 {
            b.kernel(&SOURCE, "rmsnorm_dw")
                .grid([c.div_ceil(32), 1, 1])
                .block(256)
                .arg(dw)
                .arg(&*partial)
                .size(blocks)
                .size(c)
                .launch();
        }
    });
}

#[track_caller]
pub(crate) fn rmsnorm_jvp<T: Element>(
    b: &Cuda<T>,
    y_dot: &mut Mat<Buffer<T>>,
    x: Dual<'_, Buffer<T>>,
    w: Dual<'_, Buffer<T>>,
    rstd: &Mat<Buffer<f32>>,
) {
    let (n, c) = y_dot.shape();
    check_shape("rmsnorm_jvp", "x", x.x.shape(), (n, c));
    check_shape("rmsnorm_jvp", "x_dot", x.x_dot.shape(), (n, c));
    check_shape("rmsnorm_jvp", "w", w.x.shape(), (1, c));
    check_shape("rmsnorm_jvp", "w_dot", w.x_dot.shape(), (1, c));
    check_shape("rmsnorm_jvp", "rstd", rstd.shape(), (n, 1));
    let (width, vectors) = row_of::<T>(c, usize::MAX);
    let (along, rows) = block_of(vectors, 256, LONGEST);
    b.typed(&SOURCE, &format!("rmsnorm_jvp{width}"))
        .grid([n.div_ceil(rows), 1, 1])
        .block3([along as u32, rows as u32, 1])
        .arg(y_dot)
        .arg(x.x)
        .arg(x.x_dot)
        .arg(w.x)
        .arg(w.x_dot)
        .arg(rstd)
        .size(n)
        .size(c)
        .launch();
}
