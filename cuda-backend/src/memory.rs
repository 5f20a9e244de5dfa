//! `Memory`: storage, transfers, precision changes.
use cudarc::driver::{DeviceRepr, ValidAsZeroBits};
use kernel::backend::Memory;
use kernel::batch::Segment;
use kernel::mat::{Mat, Use, check_shape};

use crate::attention::Tree;
use crate::buffer::{Buffer, Index};
use crate::compile::{Source, source};
use crate::device::{Cuda, Element};
use crate::error::Error;

const SOURCE: Source = source!("memory");
/// Numbers that a block converts.
const BLOCK: usize = 1024;
/// Bytes that a block copies.
const COPIED: usize = 4096;

fn zeros<T: Element, N: DeviceRepr + ValidAsZeroBits>(
    b: &Cuda<T>,
    rows: usize,
    cols: usize,
) -> Result<Mat<Buffer<N>>, Error> {
    Ok(Mat::new(Buffer::zeroed(b, rows.saturating_mul(cols))?, rows, cols))
}

/// y = x, number by number, by the kernel of this name.
fn convert<T: Element, Y, X>(b: &Cuda<T>, name: &str, y: &mut Mat<Buffer<Y>>, x: &Mat<Buffer<X>>) {
    check_shape(name, "dst", y.shape(), x.shape());
    let n = x.len();
    b.typed(&SOURCE, name)
        .grid([n.div_ceil(BLOCK), 1, 1])
        .block(256)
        .arg(y)
        .arg(x)
        .size(n)
        .launch();
}

impl<T: Element> Memory for Cuda<T> {
    type Real = f32;
    type Buf = Buffer<T>;
    type Acc = Buffer<f32>;
    type Weight = Buffer<T>;
    type Index = Index;
    type Tree = Tree;
    type Error = Error;

    fn buf(&self, rows: usize, cols: usize) -> Result<Mat<Buffer<T>>, Error> {
        zeros(self, rows, cols)
    }

    fn acc(&self, rows: usize, cols: usize) -> Result<Mat<Buffer<f32>>, Error> {
        zeros(self, rows, cols)
    }

    #[track_caller]
    fn weight(&self, rows: usize, cols: usize, usage: Use) -> Result<Mat<Buffer<T>>, Error> {
        assert!(usage != Use::Int8, "weight: CUDA has no int8");
        zeros(self, rows, cols)
    }

    fn index(&self, values: &[u32]) -> Result<Index, Error> {
        Index::new(self, values)
    }

    fn refill(&self, index: &mut Index, values: &[u32]) -> Result<(), Error> {
        index.refill(self, values)
    }

    fn tree(&self, segments: &[Segment]) -> Result<Tree, Error> {
        Tree::new(self, segments)
    }

    #[track_caller]
    fn prepare(&self, dst: &mut Mat<Buffer<T>>, src: &Mat<Buffer<f32>>) {
        convert(self, "narrow", dst, src);
    }

    #[track_caller]
    fn upload(&self, dst: &mut Mat<Buffer<f32>>, src: &[f32]) -> Result<(), Error> {
        check_shape("upload", "src", (1, src.len()), (1, dst.len()));
        self.check()?;
        dst.data.write(self, src)
    }

    #[track_caller]
    fn download(&self, dst: &mut [f32], src: &Mat<Buffer<f32>>) -> Result<(), Error> {
        check_shape("download", "dst", (1, dst.len()), (1, src.len()));
        src.data.read(self, dst)
    }

    #[track_caller]
    fn narrow(&self, dst: &mut Mat<Buffer<T>>, src: &Mat<Buffer<f32>>) {
        convert(self, "narrow", dst, src);
    }

    #[track_caller]
    fn widen(&self, dst: &mut Mat<Buffer<f32>>, src: &Mat<Buffer<T>>) {
        convert(self, "widen", dst, src);
    }

    #[track_caller]
    fn copy(&self, dst: &mut Mat<Buffer<T>>, src: &Mat<Buffer<T>>) {
        check_shape("copy", "dst", dst.shape(), src.shape());
        let n = src.len();
        self.typed(&SOURCE, "copy")
            .grid([n.div_ceil(COPIED / size_of::<T>()), 1, 1])
            .block(256)
            .arg(dst)
            .arg(src)
            .size(n)
            .launch();
    }

    fn zero(&self, x: &mut Mat<Buffer<f32>>) {
        let n = x.len();
        self.keep(x.data.fill_zero(self, n));
    }

    fn zero_buf(&self, x: &mut Mat<Buffer<T>>) {
        let n = x.len();
        self.keep(x.data.fill_zero(self, n));
    }
}
