//! The demo reaches its goal: what the README promises.
#![allow(clippy::unwrap_used)]

use std::{env, fs};

use serde_json::Value;
use tests::lab::Lab;
use tests::program::Ran;

/// The outcomes of a trainer, one for each seed.
fn of<'a>(report: &'a Value, trainer: &str) -> &'a Vec<Value> {
    let trainers = report["trainers"].as_array().unwrap();
    let found = trainers.iter().find(|t| t["trainer"] == trainer);
    found
        .and_then(|t| t["seeds"].as_array())
        .unwrap_or_else(|| panic!("no {trainer}: {report}"))
}

#[test]
#[ignore = "fifteen trainings to the end: about five minutes on two free cores; .ci/run asks for it"]
fn every_trainer_improves_its_model_whatever_the_seed() {
    let lab = Lab::new();
    // What such a run printed, where one was made before: .ci/run makes it with the release build.
    let report = match env::var_os("PROXIMAL_DEMO_REPORT") {
        Some(file) => fs::read_to_string(file).unwrap(),
        None => {
            let args = ["demo", "--json", "--output=out", "--seeds", "0", "1", "2"];
            Ran::from(lab.command("run", &args).output().unwrap()).good().stdout
        }
    };
    let report: Value = serde_json::from_str(&report).unwrap();
    for trainer in ["sft", "dpo", "grpo", "ppo", "trpo"] {
        let outcomes = of(&report, trainer);
        assert_eq!(outcomes.len(), 3);
        for (seed, outcome) in outcomes.iter().enumerate() {
            assert_eq!(outcome["seed"], seed);
            let [before, after, kl] = ["before", "after", "kl"].map(|k| outcome[k].as_f64().unwrap());
            assert!(kl > 0.0, "{outcome}");
            if trainer == "sft" {
                assert!(before < 0.05 && after > 0.9, "{outcome}");
            } else {
                // The standard error of a mean over 200 problems is 0.035 at most, but both are of the same problems.
                assert!(after > before + 0.02, "{outcome}");
            }
            // And the folder that it made answers.
            let model = outcome["model"].as_str().unwrap();
            let ask = ["generate", "--model", model, "--prompt", "12+34"];
            let ran = Ran::from(lab.command("run", &ask).output().unwrap()).good();
            assert!(ran.stdout.trim().parse::<u32>().is_ok(), "{ran:#?}");
        }
    }
}
