//! `Memory`: storage, transfers, precision changes.
use core::ops::Range;

use kernel::backend::Memory;
use kernel::batch::Segment;
use kernel::mat::{Mat, Use, check_shape};

use super::buffer::Buffer;
use super::elem::{Elem, for_each_element};
use super::out::Out;
use super::rows;
use super::tree::Tree;
use super::weight::{self, Weight};
use crate::{Cpu, OutOfMemory};

/// Numbers in a piece of elementwise work; also the unit of a sum, so fixed.
pub(super) const CHUNK: usize = 16 << 10;

impl<T: Elem> Cpu<T> {
    /// Calls `work` with ranges that cut 0..n.
    pub(super) fn chunks(&self, n: usize, work: impl Fn(Range<usize>) + Sync) {
        self.engine.team().run(n.div_ceil(CHUNK), &|i, _| {
            work(i * CHUNK..((i + 1) * CHUNK).min(n));
        });
    }
}

fn zeros<T: bytemuck::Pod>(rows: usize, cols: usize) -> Result<Mat<Buffer<T>>, OutOfMemory> {
    let len = rows.checked_mul(cols).ok_or(OutOfMemory { bytes: usize::MAX })?;
    Ok(Mat::new(Buffer::zeroed(len)?, rows, cols))
}

for_each_element! { T;
impl Memory for Cpu<T> {
    type Real = f32;
    type Buf = Buffer<T>;
    type Acc = Buffer<f32>;
    type Weight = Weight<T>;
    type Index = Vec<u32>;
    type Tree = Tree;
    type Error = OutOfMemory;

    fn buf(&self, rows: usize, cols: usize) -> Result<Mat<Buffer<T>>, OutOfMemory> {
        zeros(rows, cols)
    }

    fn acc(&self, rows: usize, cols: usize) -> Result<Mat<Buffer<f32>>, OutOfMemory> {
        zeros(rows, cols)
    }

    fn weight(&self, rows: usize, cols: usize, usage: Use) -> Result<Mat<Weight<T>>, OutOfMemory> {
        let weight = match usage {
            Use::Inference | Use::Training => Weight::new(self.engine.level, rows, cols),
            Use::Int8 => Weight::int8(self.engine.level, rows, cols),
        };
        Ok(Mat::new(weight?, rows, cols))
    }

    fn index(&self, values: &[u32]) -> Result<Vec<u32>, OutOfMemory> {
        let mut all = Vec::new();
        all.try_reserve_exact(values.len()).map_err(|_| OutOfMemory {
            bytes: size_of_val(values),
        })?;
        all.extend_from_slice(values);
        Ok(all)
    }

    fn tree(&self, segments: &[Segment]) -> Result<Tree, OutOfMemory> {
        Ok(Tree::new(self.engine.level, segments))
    }

    #[track_caller]
    fn prepare(&self, dst: &mut Mat<Weight<T>>, src: &Mat<Buffer<f32>>) {
        check_shape("prepare", "src", src.shape(), weight::shape(dst));
        dst.data.fill(&self.engine, &src.data[..src.len()]);
    }

    #[track_caller]
    fn upload(&self, dst: &mut Mat<Buffer<f32>>, src: &[f32]) -> Result<(), OutOfMemory> {
        check_shape("upload", "src", (1, src.len()), (1, dst.len()));
        dst.data[..src.len()].copy_from_slice(src);
        Ok(())
    }

    #[track_caller]
    fn download(&self, dst: &mut [f32], src: &Mat<Buffer<f32>>) -> Result<(), OutOfMemory> {
        check_shape("download", "dst", (1, dst.len()), (1, src.len()));
        dst.copy_from_slice(&src.data[..src.len()]);
        Ok(())
    }

    #[track_caller]
    fn narrow(&self, dst: &mut Mat<Buffer<T>>, src: &Mat<Buffer<f32>>) {
        check_shape("narrow", "dst", dst.shape(), src.shape());
        let (n, level) = (src.len(), self.engine.level);
        let out = Out::new(&mut dst.data[..n]);
        self.chunks(n, |range| {
            // SAFETY: each item has a range of its own.
            let y = unsafe { out.slice(range.start, range.len()) };
            rows::narrow(level, y, &src.data[range]);
        });
    }

    #[track_caller]
    fn widen(&self, dst: &mut Mat<Buffer<f32>>, src: &Mat<Buffer<T>>) {
        check_shape("widen", "dst", dst.shape(), src.shape());
        let (n, level) = (src.len(), self.engine.level);
        let out = Out::new(&mut dst.data[..n]);
        self.chunks(n, |range| {
            // SAFETY: each item has a range of its own.
            let y = unsafe { out.slice(range.start, range.len()) };
            rows::widen(level, y, &src.data[range]);
        });
    }

    #[track_caller]
    fn copy(&self, dst: &mut Mat<Buffer<T>>, src: &Mat<Buffer<T>>) {
        check_shape("copy", "dst", dst.shape(), src.shape());
        let n = src.len();
        let out = Out::new(&mut dst.data[..n]);
        self.chunks(n, |range| {
            // SAFETY: each item has a range of its own.
            let y = unsafe { out.slice(range.start, range.len()) };
            y.copy_from_slice(&src.data[range]);
        });
    }

    fn zero(&self, x: &mut Mat<Buffer<f32>>) {
        let n = x.len();
        let out = Out::new(&mut x.data[..n]);
        self.chunks(n, |range| {
            // SAFETY: each item has a range of its own.
            unsafe { out.slice(range.start, range.len()) }.fill(0.0);
        });
    }

    fn zero_buf(&self, x: &mut Mat<Buffer<T>>) {
        let n = x.len();
        let out = Out::new(&mut x.data[..n]);
        self.chunks(n, |range| {
            // SAFETY: each item has a range of its own.
            unsafe { out.slice(range.start, range.len()) }.fill(T::default());
        });
    }
}
}
