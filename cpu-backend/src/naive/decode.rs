//! The KV cache: the keys and the values of each layer, one position a row.
use alloc::vec::Vec;

use kernel::backend::{CacheShape, Decode, HeadOut, Heads, Paths, Qkv};
use kernel::mat::{Accum, Mat, check_shape};

use super::memory::{OutOfMemory, zeros};
use super::rows::{Matrix, Rows};
use super::{attention, head, linear};
use crate::Cpu;

/// Keys and values of every layer, each (rows, K D).
#[derive(Clone, Debug)]
pub struct Cache {
    layers: Vec<(Matrix, Matrix)>,
    heads: Heads,
}

impl Decode for Cpu<f64> {
    type Cache = Cache;

    fn cache(&self, shape: CacheShape) -> Result<Cache, OutOfMemory> {
        let CacheShape { layers, rows, heads } = shape;
        let cols = heads.kv_heads * heads.head_dim;
        let layers = (0..layers)
            .map(|_| Ok((zeros(rows, cols)?, zeros(rows, cols)?)))
            .collect::<Result<_, _>>()?;
        Ok(Cache { layers, heads })
    }

    #[track_caller]
    fn kv_append(&self, cache: &mut Cache, k: &Mat<Vec<f64>>, v: &Mat<Vec<f64>>, layer: usize, slots: &[u32]) {
        let (keys, values) = &mut cache.layers[layer];
        check_shape("kv_append", "k", k.shape(), (slots.len(), keys.cols));
        check_shape("kv_append", "v", v.shape(), (slots.len(), keys.cols));
        for (i, &slot) in slots.iter().enumerate() {
            keys.row_mut(slot as usize).copy_from_slice(k.row(i));
            values.row_mut(slot as usize).copy_from_slice(v.row(i));
        }
    }

    #[track_caller]
    fn attention_decode(&self, o: &mut Mat<Vec<f64>>, q: &Mat<Vec<f64>>, cache: &Cache, layer: usize, paths: &Paths) {
        let (k, v) = &cache.layers[layer];
        let no_lse = |_, _, _| ();
        attention::attend_all("attention_decode", o, no_lse, Qkv { q, k, v }, paths, cache.heads);
    }

    #[track_caller]
    fn logits(&self, z: &mut Mat<Vec<f64>>, h: &Mat<Vec<f64>>, w: &Mat<Vec<f64>>) {
        linear::linear("logits", z, h, w, None, Accum::Replace);
    }

    #[track_caller]
    fn logp(&self, out: HeadOut<'_, Vec<f64>>, z: &Mat<Vec<f64>>, targets: &Vec<u32>, temperature: f64) {
        head::logp(out, z, targets, temperature);
    }
}
