use super::super::config::Split;
use super::super::load::tests::{rows, text, turns};
use super::super::sample::Sample;
use serde_json::{Value, json};

#[test]
fn templates_functions_and_system_prompt() {
    let toml = r#"
        prompt_template = "{task}: {query} ({num} words)"
        columns = { completion = "answer" }
        functions = { num = "word_count(query)" }
        conversational = true
        system_prompt = "Be {brief}."
        chat_template_kwargs = { enable_thinking = false, n = 1 }
    "#;
    let row = json!({"task": "Svara", "query": "hur mår du", "answer": "bra", "chat_template_kwargs": {"n": 2}});
    let (dataset, _) = rows(&[row], toml).load(Split::Train).unwrap();
    let item = &dataset.items[0];
    let expected = Sample::PromptCompletion {
        prompt: turns(
            json!([{"role": "system", "content": "Be {brief}."}, {"role": "user", "content": "Svara: hur mår du (3 words)"}]),
        ),
        completion: turns(json!([{"role": "assistant", "content": "bra"}])),
    };
    assert_eq!(item.sample, expected);
    assert_eq!(
        Value::Object(dataset.variables(0)),
        json!({"enable_thinking": false, "n": 2})
    );
    assert_eq!(
        Value::Object(item.columns.clone()),
        json!({"task": "Svara", "query": "hur mår du", "num": 3})
    );
}

#[test]
fn completion_template_and_tools() {
    let toml = r#"
        prompt_template = "Q: {q}\nA:"
        completion_template = " {a}"
    "#;
    let row = json!({"q": "q", "a": "a", "tools": "[{\"name\": \"f\"}]"});
    let items = rows(&[row], toml).items();
    assert_eq!(
        items[0].sample,
        Sample::PromptCompletion {
            prompt: text("Q: q\nA:"),
            completion: text(" a")
        }
    );
    assert_eq!(
        Value::Object(items[0].variables.clone()),
        json!({"tools": [{"name": "f"}]})
    );
    let broken = rows(&[json!({"prompt": "q", "tools": "[{"})], "").error(Split::Train);
    assert!(
        broken.starts_with("a.jsonl: line 1, column \"tools\": expected tools, a list or JSON in a string, found EOF"),
        "{broken}"
    );
}

#[test]
fn template_errors_name_the_field() {
    let row = json!({"query": "q", "none": null});
    let error = |toml: &str| rows(std::slice::from_ref(&row), toml).error(Split::Train);
    assert_eq!(
        error("prompt_template = '{qery}'"),
        "a.jsonl: prompt_template: expected a column that is one of query, none (did you mean query?), found \"qery\""
    );
    assert_eq!(
        error("prompt_template = '{none}'"),
        "a.jsonl: line 1, column \"prompt_template\": expected a value in column \"none\" (default(none, 'text') stands in for one), found null"
    );
    assert!(
        error("functions = { num = 'wordcount(query)' }")
            .contains("a.jsonl: functions.num: expected a function that is one of word_count, ")
    );
    assert!(
        error("functions = { num = 'upper(quer)' }")
            .contains("a.jsonl: functions.num: expected a column that is one of query, none (did you")
    );
    assert_eq!(
        error("functions = { query = 'upper(query)' }"),
        "a.jsonl: functions.query: expected a name that no column has, found \"query\", which is there"
    );
    assert!(
        error("functions = { n = 'round_to(query, 5)' }")
            .contains("a.jsonl: line 1, functions.n: expected a number to round, found \"q\"")
    );
    assert_eq!(
        error("prompt_template = '{query}'\ncolumns = { prompt = 'query' }"),
        "a.jsonl: prompt_template: expected either prompt_template or columns.prompt, found both"
    );
}

#[test]
fn options_that_would_be_ignored_are_errors() {
    let error = |row: Value, toml: &str| rows(&[row], toml).error(Split::Train);
    assert_eq!(
        error(json!({"prompt": "q"}), "system_prompt = 's'"),
        "a.jsonl: line 1, column \"prompt\": expected messages, for system_prompt (conversational = true makes them), found a text"
    );
    assert_eq!(
        error(json!({"text": "q"}), "conversational = true"),
        "a.jsonl: conversational: expected prompts or messages, found plain text, which has no turns"
    );
    assert_eq!(
        error(json!({"text": "q"}), "system_prompt = 's'"),
        "a.jsonl: system_prompt: expected prompts or messages, found plain text, which has no turns"
    );
}

#[test]
fn what_makes_no_sample() {
    let error = |row: Value| rows(&[json!({"prompt": "x", "completion": "y"}), row], "").error(Split::Train);
    assert_eq!(
        error(json!({"prompt": [{"role": "user", "content": "q"}], "completion": "a"})),
        "a.jsonl: line 2, column \"completion\": expected a list of messages, as the prompt is (conversational = true makes messages of texts), found a text"
    );
    assert_eq!(
        error(json!({"prompt": {"role": "user"}, "completion": "a"})),
        "a.jsonl: line 2, column \"prompt\": expected a text or a list of messages, found an object"
    );
    let error = rows(&[json!({"messages": "q"})], "").error(Split::Train);
    assert_eq!(
        error,
        "a.jsonl: line 1, column \"messages\": expected a list of messages, found a string"
    );
    let error = rows(&[json!({"text": [1]})], "").error(Split::Train);
    assert!(
        error.starts_with("a.jsonl: line 1, column \"text\": expected a message, an object"),
        "{error}"
    );
}
