use core::cell::RefCell;

use super::*;
use crate::config::{Bias, Rope, RopeScaling};

fn config() -> Config {
    Config {
        vocab: 11,
        hidden: 8,
        intermediate: 16,
        layers: 2,
        heads: 2,
        kv_heads: 1,
        head_dim: 6,
        rms_eps: 1e-6,
        rope: Rope {
            theta: 1e4,
            scaling: RopeScaling::None,
        },
        bias: Bias {
            qkv: true,
            ..Bias::default()
        },
        head: Head::Untied,
        max_positions: 32,
    }
}

#[test]
fn parts_iter_and_map_walk_in_one_order() {
    let specs = Params::specs(&config(), ValueHead::WeightAndBias);
    let mut mapped = Vec::new();
    let seen = RefCell::new(&mut mapped);
    specs
        .try_map(
            |s| {
                assert_eq!(s.kind, Kind::Matrix);
                seen.borrow_mut().push(s.name.clone());
                Ok::<_, ()>(())
            },
            |s| {
                assert_eq!(s.kind, Kind::Vector);
                seen.borrow_mut().push(s.name.clone());
                Ok(())
            },
        )
        .unwrap();
    let names: Vec<_> = specs.iter().map(|s| s.name.clone()).collect();
    assert_eq!(names, mapped);
    let mut copy = specs.clone();
    assert!(copy.iter_mut().map(|s| s.name.clone()).eq(names.iter().cloned()));
    assert_eq!(names.len(), 1 + 2 * 12 + 1 + 1 + 2);
    assert_eq!(
        specs.count(),
        2 * 11 * 8 + 2 * (8 + 12 * 9 + 2 * (6 * 9) + 8 * 12 + 8 + 3 * 16 * 8) + 8 + 9
    );
}
