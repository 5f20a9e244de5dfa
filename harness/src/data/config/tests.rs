use super::*;
use serde_json::json;

#[derive(Debug, Deserialize)]
struct Config {
    dataset: DatasetConfig,
}

fn parse(text: &str) -> Result<DatasetConfig, String> {
    toml::from_str::<Config>(text)
        .map(|c| c.dataset)
        .map_err(|e| e.message().to_owned())
}

#[test]
fn a_bare_path_or_a_list() {
    assert_eq!(parse("dataset = 'faq.jsonl'").unwrap(), DatasetConfig::new("faq.jsonl"));
    let list = parse("dataset = ['a.jsonl', 'b.csv']").unwrap();
    assert_eq!(list.path.0, [PathBuf::from("a.jsonl"), "b.csv".into()]);
    assert_eq!(list.test_seed, 42);
    assert_eq!(
        parse("[dataset]\npath = 'faq.jsonl'").unwrap(),
        DatasetConfig::new("faq.jsonl")
    );
    assert_eq!(
        parse("dataset = 3").unwrap_err(),
        "invalid type: integer `3`, expected a path, a list of paths or a dataset section"
    );
}

#[test]
fn a_whole_section() {
    let config = parse(
        r#"
        [dataset]
        path = ["pairs"]
        split = "train[:1000]"
        test_size = 0.1
        type = "prompt_completion"
        columns = { completion = "answer" }
        prompt_template = "In {num} words: {query}"
        conversational = true
        system_prompt = "Be brief."
        chat_template_kwargs = { enable_thinking = false }
        pass_through = ["score"]
        empty = "drop"
        functions = { num = 'round_to(word_count(query), 10)' }

        [[dataset.join]]
        column = "query-id"
        table = "queries.parquet"
        take = { text = "query" }
        "#,
    )
    .unwrap();
    assert_eq!(config.join[0].key, "_id");
    assert_eq!(config.columns[&Role::Completion], "answer");
    assert_eq!(config.test_size, Some(TestSize::Fraction(0.1)));
    assert_eq!(config.chat_template_kwargs["enable_thinking"], json!(false));
    assert!(config.holds_out());
    let again: DatasetConfig = serde_json::from_value(serde_json::to_value(&config).unwrap()).unwrap();
    assert_eq!(again, config, "as a checkpoint stores it");
}

#[test]
fn names_and_aliases() {
    for (text, kind) in [
        ("preference", DatasetType::Preference),
        ("prompt_completion", DatasetType::PromptCompletion),
        ("conversations", DatasetType::Messages),
        ("messages", DatasetType::Messages),
        ("text", DatasetType::LanguageModeling),
        ("language_modeling", DatasetType::LanguageModeling),
        ("prompt_only", DatasetType::PromptOnly),
    ] {
        assert_eq!(
            parse(&format!("[dataset]\npath = 'x'\ntype = '{text}'")).unwrap().kind,
            Some(kind)
        );
    }
    let count = parse("[dataset]\npath = 'x'\ntest_split_size = 10\ncolumns = { conversations = 'chat' }").unwrap();
    assert_eq!(count.test_size, Some(TestSize::Count(10)));
    assert_eq!(count.columns[&Role::Messages], "chat");
}

#[test]
fn unknown_keys_are_errors() {
    let error = parse("[dataset]\npath = 'x'\nsplits = 'train'").unwrap_err();
    assert!(
        error.starts_with("unknown field `splits`, expected one of `path`, `split`, "),
        "{error}"
    );
    let error = parse("[dataset]\npath = 'x'\ncolumns = { prompts = 'q' }").unwrap_err();
    assert!(
        error.starts_with("unknown variant `prompts`, expected one of `text`, `prompt`, "),
        "{error}"
    );
    let error = parse("[dataset]\npath = 'x'\n[[dataset.join]]\ncolumn = 'id'\ntable = 't'\nkeys = 'id'\ntake = {}")
        .unwrap_err();
    assert!(
        error.starts_with("unknown field `keys`, expected one of `column`, `table`, `key`, `take`"),
        "{error}"
    );
    assert_eq!(parse("[dataset]\nsplit = 'train'").unwrap_err(), "missing field `path`");
}
