//! `Decode`: the KV cache and logits.
use kernel::backend::{CacheShape, Decode, HeadOut, Paths};
use kernel::mat::Mat;
use kernel::sample::{Draw, Sampling};

use crate::attention::decode::{self, Cache};
use crate::buffer::{Buffer, Index};
use crate::device::{Cuda, Element};
use crate::error::Error;
use crate::{head, linear, sample};

impl<T: Element> Decode for Cuda<T> {
    type Cache = Cache<T>;

    fn together(&self, work: impl FnOnce()) {
        Cuda::together(self, work);
    }

    fn cache(&self, shape: CacheShape) -> Result<Cache<T>, Error> {
        Cache::new(self, shape)
    }

    #[track_caller]
    fn kv_append(&self, cache: &mut Cache<T>, k: &Mat<Buffer<T>>, v: &Mat<Buffer<T>>, layer: usize, slots: &[u32]) {
        decode::append(self, cache, k, v, layer, slots);
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
        decode::attention(self, o, q, cache, layer, paths);
    }

    #[track_caller]
    fn logits(&self, z: &mut Mat<Buffer<f32>>, h: &Mat<Buffer<T>>, w: &Mat<Buffer<T>>) {
        linear::logits(self, z, h, w);
    }

    #[track_caller]
    fn logp(&self, out: HeadOut<'_, Buffer<f32>>, z: &Mat<Buffer<f32>>, targets: &Index, temperature: f64) {
        head::logp(self, out, z, targets, temperature);
    }

    #[track_caller]
    fn sample(&self, z: &Mat<Buffer<f32>>, draws: &[Draw<'_>], how: &Sampling) -> Result<Vec<Option<u32>>, Error> {
        sample::sample(self, z, draws, how)
    }
}
