//! The demo reaches its goal: what the README promises.
#![allow(clippy::unwrap_used)]

use serde_json::Value;
use tests::lab::Lab;
use tests::program::Ran;

fn demo(seeds: &[&str]) -> Vec<Value> {
    let lab = Lab::new();
    let args = [&["demo", "--json", "--output=out", "--seeds"], seeds].concat();
    let ran = Ran::from(lab.command("run", &args).output().unwrap()).good();
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let trainer = &report["trainers"][0];
    assert_eq!(trainer["trainer"], "sft");
    assert_eq!(trainer["metric"], "accuracy");
    for outcome in trainer["seeds"].as_array().unwrap() {
        // And the folder that it made answers.
        let model = outcome["model"].as_str().unwrap();
        let ask = ["generate", "--model", model, "--prompt", "12+34"];
        let ran = Ran::from(lab.command("run", &ask).output().unwrap()).good();
        assert!(ran.stdout.trim().parse::<u32>().is_ok(), "{ran:#?}");
    }
    trainer["seeds"].as_array().unwrap().clone()
}

#[test]
#[ignore = "three trainings to the end: about two minutes on two free cores; .ci/run asks for it"]
fn it_learns_to_add_whatever_the_seed() {
    let outcomes = demo(&["0", "1", "2"]);
    assert_eq!(outcomes.len(), 3);
    for (seed, outcome) in outcomes.iter().enumerate() {
        assert_eq!(outcome["seed"], seed);
        assert!(outcome["before"].as_f64().unwrap() < 0.05, "{outcome}");
        assert!(outcome["after"].as_f64().unwrap() > 0.9, "{outcome}");
    }
}
