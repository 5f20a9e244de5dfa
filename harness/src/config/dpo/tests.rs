use super::*;
use crate::config::{Parsed, parse};

fn run(args: &[&str]) -> Result<DpoConfig, model_qwen2::Error> {
    let needed = ["--model", "m", "--dataset.path", "d"];
    match parse::<Dpo>(needed.iter().chain(args).map(|arg| arg.to_string()))? {
        Parsed::Run(config) => Ok(*config),
        Parsed::Help(text) => panic!("{text}"),
    }
}

fn complaint(args: &[&str]) -> String {
    run(args).unwrap_err().to_string()
}

#[test]
fn defaults_are_those_of_trl_1_16() {
    // From DPOConfig(output_dir=..., use_cpu=True) of TRL 1.16.
    let config = run(&[]).unwrap();
    assert_eq!(config.shared.learning_rate, 1e-6);
    let own = &config.own;
    assert_eq!(
        (own.max_length, own.ref_model_mixup_alpha, own.ref_model_sync_steps),
        (Some(1024), 0.6, 512)
    );
    assert_eq!(
        (
            own.precompute_ref_log_probs,
            own.sync_ref_model,
            own.f_alpha_divergence_coef
        ),
        (false, false, 0.5)
    );
    assert_eq!(own.preference(), Preference::default());
    let Parsed::Help(help) = parse::<Dpo>(["--help".into()]).unwrap() else {
        panic!("no help")
    };
    assert!(
        help.contains("Peak learning rate. [default: 0.000001]") && help.contains("Micro-batches in an optimizer step"),
        "{help}"
    );
}

#[test]
fn losses_are_one_or_several() {
    let several = run(&[
        "--loss_type",
        "sigmoid",
        "bco_pair",
        "sft",
        "--loss_weights",
        "0.8",
        "0.2",
        "1",
    ]);
    let terms = several.unwrap().own.preference().terms;
    assert_eq!(
        terms,
        [(PairLoss::Sigmoid, 0.8), (PairLoss::BcoPair, 0.2), (PairLoss::Sft, 1.0)]
    );
    let one = run(&["--loss_type=aot"]).unwrap();
    assert_eq!(one.own.preference().terms, [(PairLoss::Aot, 1.0)]);
    assert!(complaint(&["--loss_type=sigmiod"]).contains("--loss_type: expected a list, each one of sigmoid, hinge"));
    assert_eq!(
        complaint(&["--loss_type", "sigmoid", "sft", "--loss_weights", "1"]),
        "command line: --loss_weights: expected 2 numbers, one for each loss_type, found 1"
    );
    let saved = toml::to_string(&several_toml()).unwrap();
    assert!(saved.contains("loss_type = [\"ipo\"]"), "{saved}");
}

fn several_toml() -> toml::Table {
    run(&["--loss_type=ipo"]).unwrap().to_toml()
}

#[test]
fn settings_that_exclude_each_other_are_named() {
    for (args, expected) in [
        (
            ["--beta", "0"].as_slice(),
            "--beta: expected a number (above 0), found 0",
        ),
        (
            &["--loss_type=exo_pair"],
            "label_smoothing: expected a number between 0 and 1 for exo_pair, found 0.0",
        ),
        (
            &["--loss_type=robust", "--label_smoothing=0.5"],
            "--label_smoothing: expected a number below 0.5 for robust, found 0.5",
        ),
        (
            &["--loss_type=apo_zero", "--f_divergence_type=forward_kl"],
            "--f_divergence_type: expected reverse_kl",
        ),
        (
            &["--loss_type=aot", "--use_weighting"],
            "--use_weighting: expected false with aot",
        ),
        (
            &["--sync_ref_model", "--precompute_ref_log_probs"],
            "--sync_ref_model: expected false with precompute_ref_log_probs",
        ),
        (
            &["--sync_ref_model", "--bf16", "--master_dtype=bf16"],
            "--sync_ref_model: expected false with master_dtype = \"bf16\"",
        ),
        (
            &["--truncation_mode=keep_end"],
            "--truncation_mode: expected one of keep_start, found keep_end",
        ),
        (
            &["--rpo_alpha=1"],
            "--rpo_alpha: expected a key that this trainer takes: use loss_type = [\"sigmoid\", \"sft\"]",
        ),
    ] {
        let message = complaint(args);
        assert!(message.contains(expected), "{message}");
    }
}

/// Every key of TRL's DPOConfig is either taken or refused with a reason: none is just "unknown".
#[test]
fn every_key_of_trl_is_known() {
    let names = include_str!("../trl_dpo_keys.txt");
    assert!(names.lines().count() > 100);
    let unknown: Vec<_> = names
        .lines()
        .filter(|name| run(&[&format!("--{name}"), "7"]).is_err_and(|e| e.to_string().contains("unknown key")))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
