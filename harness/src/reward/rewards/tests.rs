use super::*;
use model_qwen2::generate::Finish;
use serde_json::Map;

/// Gives what it is told to.
struct Fixed(&'static str, Vec<Option<f64>>);

impl Reward for Fixed {
    fn name(&self) -> &str {
        self.0
    }

    fn score(&mut self, _: &[Sample<'_>]) -> Result<Vec<Option<f64>>> {
        Ok(self.1.clone())
    }

    fn notes(&mut self) -> Vec<String> {
        vec![format!("{} was asked", self.0)]
    }
}

fn rewards(functions: &[(&'static str, &[Option<f64>], f64)]) -> Rewards {
    let fixed = |(name, values, weight): &(&'static str, &[Option<f64>], f64)| {
        let function: Box<dyn Reward> = Box::new(Fixed(name, values.to_vec()));
        (function, *weight)
    };
    Rewards::new(functions.iter().map(fixed).collect())
}

fn score(rewards: &mut Rewards, n: usize) -> Result<Scored> {
    let columns = Map::new();
    let sample = Sample {
        prompt: "p",
        messages: None,
        completion: "the completion",
        completion_ids: &[1],
        finished: Finish::Stop,
        columns: &columns,
    };
    rewards.score(&vec![sample; n])
}

#[test]
fn the_total_is_the_weighted_sum_of_what_was_scored() {
    let mut rewards = rewards(&[
        ("a", &[Some(1.0), None, Some(-2.0), None], 0.5),
        ("b", &[Some(3.0), Some(4.0), None, None], 2.0),
    ]);
    let scored = score(&mut rewards, 4).unwrap();
    assert_eq!(scored.total, [Some(6.5), Some(8.0), Some(-1.0), None]);
    assert_eq!(scored.by_function[1], [Some(3.0), Some(4.0), None, None]);
    assert_eq!(scored.notes, ["a was asked", "b was asked"]);
    assert_eq!(score(&mut rewards, 0).unwrap().total, []);
}

#[test]
fn names_are_told_apart() {
    let rewards = rewards(&[("a", &[], 1.0), ("a_2", &[], 1.0), ("a", &[], 1.0), ("a", &[], 1.0)]);
    assert_eq!(rewards.names(), ["a", "a_2", "a_3", "a_4"]);
}

#[test]
fn what_is_not_finite_or_not_one_each_is_an_error() {
    for (value, shown) in [(f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
        let mut rewards = rewards(&[("fine", &[Some(0.0); 2], 1.0), ("bad", &[Some(1.0), Some(value)], 1.0)]);
        let error = score(&mut rewards, 2).unwrap_err().to_string();
        for word in ["reward bad", "sample 1 of 2", shown, "the completion"] {
            assert!(error.contains(word), "{error}");
        }
    }
    let error = score(&mut rewards(&[("bad", &[None], 1.0)]), 2)
        .unwrap_err()
        .to_string();
    assert_eq!(error, "reward bad: expected 2 numbers, one for each sample, found 1");
}

#[test]
fn weights_of_the_run_or_of_the_functions() {
    let table: toml::Table = "f = ['boxed', { type = 'length', weight = 0.25 }]".parse().unwrap();
    let funcs = RewardConfig::list("reward_funcs", &table["f"]).unwrap();
    let setup = Setup {
        max_completion_length: 8,
        threads: None,
    };
    assert_eq!(Rewards::open(&funcs, None, &setup).unwrap().weights(), [1.0, 0.25]);
    let error = |weights: &[f64]| Rewards::open(&funcs, Some(weights), &setup).err().unwrap().to_string();
    assert_eq!(
        error(&[1.0]),
        "reward_weights: expected 2 numbers, one for each of reward_funcs, found 1"
    );
    assert_eq!(
        error(&[1.0, 1.0]),
        "reward_funcs[1].weight: expected either it or reward_weights, found both"
    );
    let plain = RewardConfig::list("reward_funcs", &"boxed,length".into()).unwrap();
    let opened = Rewards::open(&plain, Some(&[2.0, -1.0]), &setup).unwrap();
    assert_eq!(opened.weights(), [2.0, -1.0]);
}
