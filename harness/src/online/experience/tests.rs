use super::*;

fn division(group: usize, prompts: usize, parts: usize, iterations: usize) -> Division {
    Division {
        group,
        prompts,
        per_step: group * prompts / parts,
        parts,
        iterations,
    }
}

#[test]
fn every_completion_is_trained_on_once_an_iteration() {
    for shuffle in [Shuffle::Once, Shuffle::EachIteration] {
        let d = division(4, 6, 3, 2);
        let steps: Vec<At> = (0..12).map(|step| d.at(step, 5, shuffle)).collect();
        for iteration in 0..4 {
            let of = &steps[3 * iteration..3 * iteration + 3];
            let mut members: Vec<usize> = of.iter().flat_map(|at| at.members.clone()).collect();
            members.sort_unstable();
            assert_eq!(members, (0..24).collect::<Vec<_>>());
            assert!(of.iter().all(|at| at.generation == iteration as u64 / 2));
        }
        let same = steps[0].members == steps[3].members;
        assert_eq!(same, shuffle == Shuffle::Once);
        assert_eq!(steps.iter().filter(|at| at.last).count(), 2);
    }
}

#[test]
fn an_epoch_has_each_prompt_at_most_once_and_whole_generations_only() {
    let d = division(2, 3, 1, 1);
    assert_eq!(d.generations_per_epoch(11), 3);
    for seed in [None, Some(9)] {
        for epoch in 0..2 {
            let mut seen: Vec<usize> = (0..3).flat_map(|g| d.prompts_of(3 * epoch + g, 11, seed)).collect();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), 9);
        }
        assert_eq!(d.prompts_of(0, 11, seed) == d.prompts_of(3, 11, seed), seed.is_none());
    }
}

#[test]
fn a_prompt_is_packed_once_for_neighbours() {
    let prompt = |ids: &[u32]| Prompt {
        ids: ids.to_vec(),
        text: String::new(),
        messages: None,
        columns: Default::default(),
    };
    let prompts = [prompt(&[1, 2, 3]), prompt(&[4])];
    let e = |prompt, tokens: &[u32]| Experience {
        prompt,
        tokens: tokens.to_vec(),
        ..Experience::default()
    };
    let all = [e(0, &[5, 6]), e(0, &[7]), e(1, &[8, 9, 5])];
    let packed = pack(10, &prompts, &all, &[0, 1, 2]).expect("a sound batch");
    // Prompts of 3 and 1, completions without their last token: 1, 0 and 2.
    assert_eq!(packed.batch.tokens(), 3 + 1 + 1 + 2);
    assert_eq!(packed.ranges, [0..2, 2..3, 3..6]);
    assert_eq!(packed.batch.targets(), [5, 6, 7, 8, 9, 5]);
    assert_eq!(packed.batch.ids(), [1, 2, 3, 5, 4, 8, 9]);
}

#[test]
fn a_buffer_survives_a_checkpoint_bit_for_bit() {
    let mut e = Experience {
        old: vec![-0.1, f64::from(-1e-7f32), -12.345_678_901_234_567],
        reward: Some(1.0 / 3.0),
        rewards: vec![None, Some(0.1)],
        ..Experience::default()
    };
    e.tokens = vec![1, 2, 3];
    let buffer = Buffer {
        generation: 7,
        experiences: vec![e],
        ended: true,
    };
    let text = serde_json::to_vec(&buffer).expect("JSON");
    let back: Buffer = serde_json::from_slice(&text).expect("the same JSON");
    assert_eq!(back, buffer);
}
