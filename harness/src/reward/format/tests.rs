use crate::reward::{RewardConfig, Rewards, Sample, Setup};
use model_qwen2::generate::Finish;

fn open(toml: &str) -> Result<Rewards, String> {
    let table: toml::Table = format!("f = {toml}").parse().unwrap();
    let setup = Setup {
        max_completion_length: 10,
        threads: None,
    };
    let funcs = RewardConfig::list("f", &table["f"]).map_err(|e| e.to_string())?;
    Rewards::open(&funcs, None, &setup).map_err(|e| e.to_string())
}

fn score(toml: &str, completion: &str) -> f64 {
    let sample = Sample {
        prompt: "",
        messages: None,
        completion,
        completion_ids: &[],
        finished: Finish::Stop,
        columns: &serde_json::Map::new(),
    };
    open(toml).unwrap().score(&[sample]).unwrap().total[0].unwrap()
}

#[test]
fn patterns_match_as_pythons_functions() {
    for (mode, completion, expected) in [
        ("search", "xx a1 yy", 1.0),
        ("match", "a1 yy", 1.0),
        ("match", "xx a1", 0.0),
        ("full", "a1", 1.0),
        ("full", "a1 ", 0.0),
        ("full", "a1\n", 0.0),
        ("full", "a1|b", 0.0),
        ("full", "b", 1.0),
        ("search", "a\n1", 0.0),
    ] {
        let toml = format!("{{ type = 'regex', pattern = 'a.?\\d|b', mode = '{mode}' }}");
        assert_eq!(score(&toml, completion), expected, "{mode} {completion:?}");
    }
    let both = "{ type = 'regex', pattern = '(?s)^<a>.*</a>$', value = 0.5, otherwise = -1 }";
    assert_eq!((score(both, "<a>\n</a>"), score(both, "<a>")), (0.5, -1.0));
}

#[test]
fn a_broken_pattern_is_shown() {
    for (pattern, why) in [("(a", "unclosed group"), ("(?!a)b", "look-around")] {
        let error = open(&format!(
            "['think_format', {{ type = 'regex', pattern = '{pattern}' }}]"
        ))
        .err()
        .unwrap();
        for word in ["reward_funcs[1].pattern", "regular expression", pattern, why] {
            assert!(error.contains(word), "{error}");
        }
    }
    let error = open("{ type = 'numeric', pattern = '[' }").err().unwrap();
    assert!(error.contains("reward_funcs[0].pattern"), "{error}");
    let error = open("'regex'").err().unwrap();
    assert!(error.contains("pattern"), "{error}");
}
