use super::*;
use crate::reward::{RewardConfig, Rewards};
use model_qwen2::generate::Finish;
use serde_json::{Map, Value, json};

fn open(toml: &str) -> Rewards {
    let table: toml::Table = format!("f = {toml}").parse().unwrap();
    let setup = Setup {
        max_completion_length: 10,
        threads: None,
    };
    Rewards::open(&RewardConfig::list("f", &table["f"]).unwrap(), None, &setup).unwrap()
}

/// The rewards of completions whose row is `columns`.
fn score(toml: &str, columns: &Value, completions: &[&str]) -> Vec<Option<f64>> {
    let columns: &Map<String, Value> = columns.as_object().unwrap();
    let samples: Vec<_> = completions
        .iter()
        .map(|completion| Sample {
            prompt: "",
            messages: None,
            completion,
            completion_ids: &[1, 2, 3, 4, 5],
            finished: Finish::Stop,
            columns,
        })
        .collect();
    open(toml).score(&samples).unwrap().total
}

const RIGHT: Option<f64> = Some(1.0);
const WRONG: Option<f64> = Some(0.0);

#[test]
fn boxed() {
    let row = json!({ "answer": "1234", "half": 0.5, "none": null });
    let completions = [
        "so \\boxed{1,234}",
        "\\boxed{1} no: \\boxed{1234 \\text{ eggs}}",
        "1234",
        "\\boxed{4}",
        "",
    ];
    assert_eq!(
        score("'boxed'", &row, &completions),
        [RIGHT, RIGHT, WRONG, WRONG, WRONG]
    );
    assert_eq!(
        score(
            "{ type = 'boxed', column = 'half' }",
            &row,
            &["\\boxed{\\frac{1}{2}}", "\\boxed{50\\%}", "\\boxed{5}"]
        ),
        [RIGHT, RIGHT, WRONG]
    );
    assert_eq!(
        score("{ type = 'boxed', column = 'none' }", &row, &["\\boxed{1}"]),
        [None]
    );
    assert_eq!(
        score(
            "{ type = 'boxed', column = 'half', tolerance = 0.01 }",
            &row,
            &["\\boxed{0.505}", "\\boxed{0.52}"]
        ),
        [RIGHT, WRONG]
    );
}

#[test]
fn boxed_as_users_scripts_have_it() {
    let row = json!({ "answer": "1234", "empty": "", "none": null, "number": 1234 });
    let strict = |column: &str, completions: &[&str]| {
        score(
            &format!("{{ type = 'boxed', mode = 'strict', column = '{column}' }}"),
            &row,
            completions,
        )
    };
    assert_eq!(
        strict(
            "answer",
            &[
                "\\boxed{1234}",
                "\\boxed{1,234}",
                "\\boxed{ 1234}",
                "\\boxed{1} \\boxed{1234}",
                "1234"
            ]
        ),
        [RIGHT, WRONG, WRONG, WRONG, WRONG]
    );
    // A script's answer without a match is the empty text.
    assert_eq!(
        strict("empty", &["nothing boxed", "\\boxed{}", "\\boxed{1}"]),
        [RIGHT, RIGHT, WRONG]
    );
    assert_eq!(strict("none", &["\\boxed{1}"]), [None]);
    assert_eq!(strict("number", &["\\boxed{1234}"]), [RIGHT]);
}

#[test]
fn exact() {
    let row = json!({ "answer": "Paris" });
    assert_eq!(
        score("'exact'", &row, &[" Paris\n", "paris", "It is Paris"]),
        [RIGHT, WRONG, WRONG]
    );
    assert_eq!(
        score("{ type = 'exact', ignore_case = true }", &row, &["pARIS"]),
        [RIGHT]
    );
    let pattern = "{ type = 'exact', pattern = '<answer>(.*?)</answer>' }";
    let completions = ["<answer>Rome</answer> <answer> Paris </answer>", "Paris"];
    assert_eq!(score(pattern, &row, &completions), [RIGHT, WRONG]);
}

#[test]
fn numeric() {
    let row = json!({ "answer": "so it is\n#### 1,234", "word": "none" });
    assert_eq!(
        score("'numeric'", &row, &["12 and then 1234.", "1234 or 5", "no number"]),
        [RIGHT, WRONG, WRONG]
    );
    let pattern = r"{ type = 'numeric', pattern = 'answer: (\S+)' }";
    assert_eq!(score(pattern, &row, &["answer: $1,234, not 5", "1234"]), [RIGHT, WRONG]);
    assert_eq!(score("{ type = 'numeric', column = 'word' }", &row, &["5"]), [None]);
}

#[test]
fn accuracy_and_what_follows_the_reasoning() {
    let row = json!({ "solution": "\\frac{1}{3}", "formula": "We get $x = 7$.", "word": "x + y" });
    // The examples of TRL's documentation.
    let completions = [
        "My answer is \\boxed{\\frac{1}{3}}",
        "My answer is \\boxed{\\frac{1}{2}}",
        "It is $1/3$.",
        "1/3",
    ];
    assert_eq!(
        score("'accuracy_reward'", &row, &completions),
        [RIGHT, WRONG, RIGHT, WRONG]
    );
    assert_eq!(
        score("{ type = 'accuracy', column = 'formula' }", &row, &["\\boxed{7}"]),
        [RIGHT]
    );
    assert_eq!(
        score("{ type = 'accuracy', column = 'word' }", &row, &["\\boxed{x + y}"]),
        [None]
    );
    let completions = [
        "<think> Reasoning content </think> The final answer is \\boxed{\\frac{1}{3}}",
        "<think> Reasoning content </think> The final answer is \\boxed{\\frac{1}{2}}",
        "<think> Reasoning content with partial answers \\boxed{\\frac{1}{3}} but no final answer",
        "<think> \\boxed{\\frac{1}{3}} </think> so",
    ];
    assert_eq!(
        score("'reasoning_accuracy'", &row, &completions),
        [RIGHT, WRONG, WRONG, WRONG]
    );
    let own = "{ type = 'reasoning_accuracy', reasoning_delimiters = ['###', '</think>'] }";
    assert_eq!(score(own, &row, &["</think> \\boxed{1} ### \\boxed{1/3}"]), [RIGHT]);
}

#[test]
fn cosine_leaves_out_what_accuracy_does() {
    let row = json!({ "solution": "1/3", "word": "x" });
    let completions = ["\\boxed{1/3}", "\\boxed{1}"];
    // Half of the longest: the middle of the schedule, as in TRL's documentation.
    assert_eq!(score("'cosine_scaled'", &row, &completions), [Some(0.75), Some(-0.75)]);
    assert_eq!(
        score("{ type = 'cosine_scaled', column = 'word' }", &row, &completions),
        [None, None]
    );
}

#[test]
fn a_column_that_is_not_there_is_named_before_training() {
    let rewards = open("['think_format', { type = 'boxed', column = 'anser', name = 'maths' }]");
    let error = rewards.check_columns(&["question", "answer"]).unwrap_err().to_string();
    for word in ["reward_funcs", "maths", "\"anser\"", "did you mean answer"] {
        assert!(error.contains(word), "{error}");
    }
    assert_eq!(open("'boxed'").check_columns(&["question", "answer"]), Ok(()));
    assert!(open("'boxed'").check_columns::<&str>(&[]).is_err());
}
