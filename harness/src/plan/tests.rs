use super::*;

fn sizes(rows: usize) -> Sizes {
    Sizes {
        dtype: Dtype::Bf16,
        masters: Dtype::F32,
        keep: Keep::Inputs,
        rows,
        context: 1024,
        cache_rows: 0,
        beside: Method::Sft.beside(),
    }
}

/// 494,032,768 parameters: 2 bytes of weight, 4 of master, 4 of gradient, 8 of moments each.
#[test]
fn parameters_are_counted_by_hand() {
    let numbers = 494_032_768;
    let plan = MemoryPlan::new(&qwen_0_5b(), Method::Sft, &sizes(1));
    let part = |name| plan.parts.iter().find(|p| p.0 == name).expect("a part").1;
    // With the weights comes the rotary table: 1024 positions of 64 f32.
    assert_eq!(part("working weights"), 2 * numbers + 4 * 1024 * 64);
    assert_eq!(part("f32 masters"), 4 * numbers);
    assert_eq!(part("gradients"), 4 * numbers);
    assert_eq!(part("moments"), 8 * numbers);
    let seven: u64 = Params::specs(&qwen_7b(), ValueHead::None).iter().map(count).sum();
    assert_eq!(seven, 7_615_616_512);
}

/// Nothing in f32 but the gradients.
#[test]
fn narrow_masters_are_the_weights() {
    let numbers = 494_032_768;
    let of = |masters| MemoryPlan::new(&qwen_0_5b(), Method::Sft, &Sizes { masters, ..sizes(1) });
    let (full, narrow) = (of(Dtype::F32), of(Dtype::Bf16));
    let part = |name| narrow.parts.iter().find(|p| p.0 == name).map(|p| p.1);
    assert_eq!(part("f32 masters"), None);
    assert_eq!(part("gradients"), Some(4 * numbers));
    assert_eq!(part("moments"), Some(4 * numbers));
    assert_eq!(full.total() - narrow.total(), 8 * numbers);
    // The same of a critic of its own.
    let beside = Beside {
        reference: Reference::None,
        critic: Critic::Model,
        sampler: Sampler::Policy,
    };
    let critic = |masters| {
        MemoryPlan::new(
            &qwen_0_5b(),
            Method::Ppo,
            &Sizes {
                masters,
                beside,
                ..sizes(1)
            },
        )
    };
    let saved = critic(Dtype::F32).total() - critic(Dtype::Bf16).total();
    assert_eq!(saved, 8 * (numbers + numbers + 896));
}

#[test]
fn generation_holds_weights_and_cache() {
    let plan = MemoryPlan::new(
        &qwen_0_5b(),
        Method::Generate,
        &Sizes {
            cache_rows: 1000,
            ..sizes(1)
        },
    );
    let names: Vec<_> = plan.parts.iter().map(|p| p.0).collect();
    assert_eq!(names, ["working weights", "activations", "KV cache"]);
    // 24 layers, 2 heads of 64, keys and values, 2 bytes.
    assert_eq!(plan.parts[2].1, 1000 * 24 * 2 * 64 * 2 * 2);
}

#[test]
fn the_largest_batch_fits_and_one_token_more_does_not() {
    let config = qwen_0_5b();
    let room = 24 << 30;
    let rows = MemoryPlan::largest_batch(&config, Method::Sft, &sizes(1), room).expect("it fits");
    assert!(rows > 1000, "{rows}");
    assert!(MemoryPlan::new(&config, Method::Sft, &sizes(rows)).total() <= room);
    assert!(MemoryPlan::new(&config, Method::Sft, &sizes(rows + 1)).total() > room);
    assert_eq!(
        MemoryPlan::largest_batch(&qwen_7b(), Method::Sft, &sizes(1), 80 << 30),
        None
    );
}

#[test]
fn what_stands_beside_the_policy_is_counted() {
    let of = |method: Method, beside| {
        let sizes = Sizes { beside, ..sizes(100) };
        MemoryPlan::new(&qwen_0_5b(), method, &sizes)
    };
    let part = |plan: &MemoryPlan, name| plan.parts.iter().find(|p| p.0 == name).map_or(0, |p| p.1);
    let numbers = 494_032_768;
    let beside = |reference, critic| Beside {
        reference,
        critic,
        sampler: Sampler::Policy,
    };
    let frozen = of(Method::Dpo, beside(Reference::Frozen, Critic::None));
    let moving = of(Method::Dpo, beside(Reference::Moving, Critic::None));
    assert!(part(&frozen, "reference") > 2 * numbers);
    assert_eq!(part(&moving, "reference"), part(&frozen, "reference") + 4 * numbers);
    let none = of(Method::Ppo, beside(Reference::None, Critic::Model));
    assert_eq!(part(&none, "reference"), 0);
    // A head of 896 numbers; weights of 2 bytes; masters, gradients and moments of 16; its own rows.
    let alone = of(Method::Ppo, beside(Reference::None, Critic::Head));
    assert_eq!(part(&none, "critic"), alone.total() - part(&alone, "KV cache"));
}

/// 357,826,560 numbers are in the blocks' matrices, 24 (2 x 896 x 896 + 2 x 896 x 128 + 3 x 896 x 4864), of 304,128 rows in all.
#[test]
fn an_int8_sampler_has_a_byte_for_a_number_of_the_blocks() {
    let of = |sampler| {
        let beside = Beside {
            sampler,
            ..Method::Grpo.beside()
        };
        MemoryPlan::new(&qwen_0_5b(), Method::Grpo, &Sizes { beside, ..sizes(100) })
    };
    let (plain, int8) = (of(Sampler::Policy), of(Sampler::Int8));
    let matrices = 24 * (2 * 896 * 896 + 2 * 896 * 128 + 3 * 896 * 4864);
    let rows = 24 * (2 * 896 + 2 * 128 + 2 * 4864 + 896);
    let others = 494_032_768 - matrices;
    let sampler = matrices + 8 * rows + 2 * others + 4 * 1024 * 64;
    assert_eq!(
        int8.parts.iter().find(|p| p.0 == "int8 sampler").map(|p| p.1),
        Some(sampler)
    );
    assert_eq!(int8.total() - plain.total(), sampler);
}
