use kernel::backend::{CacheShape, Decode, Heads, Memory};
use kernel::mat::Mat;

use crate::Cpu;
use crate::fast::{Isa, Settings};

const SHAPE: CacheShape = CacheShape {
    layers: 2,
    rows: 8,
    heads: Heads {
        heads: 2,
        kv_heads: 1,
        head_dim: 8,
    },
};

fn cpu() -> Cpu<f32> {
    Cpu::new(Settings {
        threads: 1,
        isa: Isa::Portable,
    })
}

#[test]
#[should_panic(expected = "kv_append: cache row 8 of 8")]
fn a_slot_outside_the_cache_is_a_bug() {
    let b = cpu();
    let mut cache = b.cache(SHAPE).unwrap();
    let k = b.buf(1, 8).unwrap();
    b.kv_append(&mut cache, &k, &k, 0, &[8]);
}

#[test]
#[should_panic(expected = "attention_decode: layer 2 of 2")]
fn a_layer_outside_the_cache_is_a_bug() {
    let b = cpu();
    let cache = b.cache(SHAPE).unwrap();
    let q = b.buf(0, 16).unwrap();
    let mut o: Mat<_> = b.buf(0, 16).unwrap();
    b.attention_decode(&mut o, &q, &cache, 2, &kernel::backend::Paths::new());
}

#[test]
fn a_cache_that_does_not_fit_is_an_error() {
    let shape = CacheShape { rows: 1 << 50, ..SHAPE };
    assert!(cpu().cache(shape).is_err());
}
