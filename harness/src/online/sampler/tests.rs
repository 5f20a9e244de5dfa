use super::*;

#[test]
fn differences_are_of_trained_tokens_and_weights_as_the_correction_has_them() {
    let of = |old: &[f64], sampler: &[f64], trained| Experience {
        tokens: vec![0; old.len()],
        old: old.to_vec(),
        sampler: sampler.to_vec(),
        trained,
        ..Experience::default()
    };
    let all = [
        of(&[-1.0, -2.0], &[-1.5, -1.75], true),
        of(&[-1.0], &[-9.0], false),
        of(&[-3.0], &[-3.25], true),
    ];
    let run = |correction| {
        let mut meter = Meter::default();
        add_difference(&mut meter, &all, correction);
        meter.means().into_iter().collect::<std::collections::BTreeMap<_, _>>()
    };
    let near = |x: Option<&f64>, y: f64| (x.copied().unwrap_or(f64::NAN) - y).abs() < 1e-12;
    let plain = run(Correction::None);
    assert!(
        near(plain.get("sampling/sampling_logp_difference/mean"), 1.0 / 3.0),
        "{plain:?}"
    );
    assert!(near(plain.get("sampling/sampling_logp_difference/max"), 0.5));
    assert_eq!(plain.len(), 2);
    let [a, b, c] = [0.5f64, -0.25, 0.25].map(f64::exp);
    let tokens = run(Correction::TokenTruncate { cap: 1.5 });
    assert!(
        near(tokens.get("sampling/importance_sampling_ratio/min"), b),
        "{tokens:?}"
    );
    assert!(near(
        tokens.get("sampling/importance_sampling_ratio/mean"),
        (1.5 + b + c) / 3.0
    ));
    assert!(near(tokens.get("sampling/importance_sampling_ratio/max"), 1.5));
    let whole = run(Correction::SequenceMask { cap: 3.0 });
    assert!(
        near(whole.get("sampling/importance_sampling_ratio/mean"), (a * b + c) / 2.0),
        "{whole:?}"
    );
}
