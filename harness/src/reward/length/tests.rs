use super::*;
use crate::reward::{RewardConfig, Rewards, Sample};
use model_qwen2::generate::Finish;

const SETUP: Setup = Setup {
    max_completion_length: 100,
    threads: None,
};

fn open(toml: &str) -> Result<Rewards, String> {
    let table: toml::Table = format!("f = {toml}").parse().unwrap();
    let funcs = RewardConfig::list("f", &table["f"]).map_err(|e| e.to_string())?;
    Rewards::open(&funcs, None, &SETUP).map_err(|e| e.to_string())
}

fn score(toml: &str, tokens: usize) -> f64 {
    let sample = Sample {
        prompt: "",
        messages: None,
        completion: "",
        completion_ids: &vec![7; tokens],
        finished: Finish::Length,
        columns: &serde_json::Map::new(),
    };
    open(toml).unwrap().score(&[sample]).unwrap().total[0].unwrap()
}

#[test]
fn shorter_or_nearer_is_better() {
    for (tokens, expected) in [(0, 0.0), (25, -0.25), (100, -1.0), (150, -1.5)] {
        assert_eq!(score("'length'", tokens), expected);
    }
    assert!(score("'length'", 0).is_sign_positive());
    let target = "{ type = 'length', target = 20, max = 10 }";
    for (tokens, expected) in [(20, 0.0), (15, -0.5), (30, -1.0)] {
        assert_eq!(score(target, tokens), expected);
    }
}

#[test]
fn the_run_gives_the_punishments_lengths() {
    for (tokens, expected) in [(80, 0.0), (90, -0.5), (100, -1.0), (101, -1.0)] {
        assert_eq!(score("'soft_overlong_punishment'", tokens), expected);
    }
}

#[test]
fn numbers_out_of_range_are_refused() {
    for (toml, words) in [
        ("{ type = 'length', max = 0 }", ["reward_funcs[0].max", "above 0", "0"]),
        ("{ type = 'length', max = -1 }", ["max", "right type", "-1"]),
        (
            "{ type = 'soft_overlong_punishment', soft_punish_cache = 101 }",
            ["soft_punish_cache", "at most max_completion_len, 100", "101"],
        ),
        (
            "{ type = 'repetition_penalty', ngram_size = 0 }",
            ["ngram_size", "above 0", "0"],
        ),
        (
            "{ type = 'repetition_penalty', max_penalty = 0.5 }",
            ["max_penalty", "at most 0", "0.5"],
        ),
        ("{ type = 'cosine_scaled', max_len = 0 }", ["max_len", "above 0", "0"]),
    ] {
        let error = open(toml).err().unwrap();
        for word in words {
            assert!(error.contains(word), "{error}");
        }
    }
}
