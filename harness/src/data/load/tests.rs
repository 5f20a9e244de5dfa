use super::super::sample::{Turns, message};
use super::*;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder with these files, and the configuration in it.
pub(in super::super) struct Fixture {
    dir: TempDir,
    config: DatasetConfig,
}

fn fixture(files: &[(&str, &str)], toml: &str) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    Fixture {
        dir,
        config: toml::from_str(toml).unwrap(),
    }
}

impl Fixture {
    pub(in super::super) fn load(&self, split: Split) -> Result<(Dataset, Report)> {
        load(&self.config, self.dir.path(), split)
    }

    pub(in super::super) fn items(&self) -> Vec<Item> {
        self.load(Split::Train).unwrap().0.items
    }

    /// The error without the folder's name.
    pub(in super::super) fn error(&self, split: Split) -> String {
        let prefix = format!("{}/", self.dir.path().display());
        self.load(split).unwrap_err().to_string().replace(&prefix, "")
    }
}

/// One file of these rows.
pub(in super::super) fn rows(rows: &[Value], toml: &str) -> Fixture {
    let content: String = rows.iter().map(|row| format!("{row}\n")).collect();
    fixture(&[("a.jsonl", &content)], &format!("path = 'a.jsonl'\n{toml}"))
}

pub(in super::super) fn text(s: &str) -> Turns {
    Turns::Text(s.to_owned())
}

pub(in super::super) fn turns(value: Value) -> Turns {
    Turns::parse(&value).unwrap()
}

#[test]
fn every_type_is_found_by_its_columns() {
    let dialogue = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]);
    let (q, a) = (
        json!([{"role": "user", "content": "q"}]),
        json!([{"role": "assistant", "content": "a"}]),
    );
    let Turns::Messages(messages) = turns(dialogue.clone()) else {
        panic!()
    };
    let cases = [
        (
            json!({"text": "t"}),
            DatasetType::LanguageModeling,
            Sample::Text("t".into()),
        ),
        (
            json!({"prompt": "q"}),
            DatasetType::PromptOnly,
            Sample::PromptOnly { prompt: text("q") },
        ),
        (
            json!({"completion": "a", "prompt": "q", "text": "t"}),
            DatasetType::PromptCompletion,
            Sample::PromptCompletion {
                prompt: text("q"),
                completion: text("a"),
            },
        ),
        (
            json!({"prompt": q, "completion": a}),
            DatasetType::PromptCompletion,
            Sample::PromptCompletion {
                prompt: turns(q.clone()),
                completion: turns(a.clone()),
            },
        ),
        (
            json!({"messages": dialogue, "prompt": "q"}),
            DatasetType::Messages,
            Sample::Messages(messages.clone()),
        ),
        (
            json!({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}),
            DatasetType::Messages,
            Sample::Messages(messages),
        ),
        (
            json!({"prompt": "q", "chosen": "a", "rejected": "b"}),
            DatasetType::Preference,
            Sample::Preference {
                prompt: text("q"),
                chosen: text("a"),
                rejected: text("b"),
            },
        ),
        (
            json!({"chosen": "is it? yes", "rejected": "is it? no"}),
            DatasetType::Preference,
            Sample::Preference {
                prompt: text("is it?"),
                chosen: text(" yes"),
                rejected: text(" no"),
            },
        ),
    ];
    for (row, kind, sample) in cases {
        let (dataset, report) = rows(std::slice::from_ref(&row), "").load(Split::Train).unwrap();
        assert_eq!(dataset.kind, kind, "{row}");
        assert_eq!(dataset.items[0].sample, sample, "{row}");
        assert_eq!((report.rows, report.samples, report.warnings()), (1, 1, Vec::new()));
    }
}

#[test]
fn columns_by_name_and_what_passes_through() {
    let row = json!({"index": 3, "question": "2 + 2?", "answer": 4, "id": "å"});
    let items = rows(
        std::slice::from_ref(&row),
        "columns = { prompt = 'question', completion = 'answer' }",
    )
    .items();
    assert_eq!(
        items[0].sample,
        Sample::PromptCompletion {
            prompt: text("2 + 2?"),
            completion: text("4")
        }
    );
    assert_eq!(Value::Object(items[0].columns.clone()), json!({"index": 3, "id": "å"}));
    let items = rows(
        &[row],
        "columns = { prompt = 'question' }\npass_through = ['answer', 'question']",
    )
    .items();
    assert_eq!(items[0].sample, Sample::PromptOnly { prompt: text("2 + 2?") });
    assert_eq!(
        Value::Object(items[0].columns.clone()),
        json!({"question": "2 + 2?", "answer": 4})
    );
}

/// Grade-school maths as people configure it: the truth by a regular expression, null where it has none.
#[test]
fn a_row_of_grade_school_maths() {
    let row = |question: &str, answer: &str| json!({"question": question, "answer": answer});
    let data = [
        row("skipped", "#### 0"),
        row("How many?", "2 + 2 = 4\nso 4\n#### 4"),
        row("How much?", "#### -1,234"),
        row("Who?", "nobody knows"),
    ];
    let items = rows(
        &data,
        r#####"split = 'train[1:]'
columns = { prompt = 'question' }
conversational = true
system_prompt = 'Put the answer in \boxed{}.'
[functions]
truth = 'extract(answer, "####\s*(-?\d+)", null)'
thousands = 'replace(extract(answer, "####\s*(-?[\d,]+)", null), ",", "")'
"#####,
    )
    .items();
    let system = message("system", "Put the answer in \\boxed{}.".into());
    let prompt = Turns::Messages(vec![system, message("user", "How many?".into())]);
    assert_eq!(items[0].sample, Sample::PromptOnly { prompt });
    // Rewards see every column, the prompt's too.
    let expected = json!({
        "question": "How many?",
        "answer": "2 + 2 = 4\nso 4\n#### 4",
        "truth": "4",
        "thousands": "4",
    });
    assert_eq!(Value::Object(items[0].row.clone()), expected);
    let column = |name: &str| items.iter().map(|item| item.row[name].clone()).collect::<Vec<_>>();
    assert_eq!(column("truth"), [json!("4"), json!("-1"), json!(null)]);
    assert_eq!(column("thousands"), [json!("4"), json!("-1234"), json!(null)]);
}

#[test]
fn a_template_needs_a_text() {
    let error = rows(
        &[json!({"prompt": "a", "n": "b"})],
        r#"prompt_template = "{extract(n, 'x', null)}""#,
    )
    .error(Split::Train);
    assert!(error.contains("a text") && error.contains("null"), "{error}");
}

#[test]
fn a_declared_role_or_type_decides() {
    let row = json!({"prompt": "q", "completion": "a", "text": "t", "body": "b"});
    let kind = |toml: &str| {
        rows(std::slice::from_ref(&row), toml)
            .load(Split::Train)
            .unwrap()
            .0
            .kind
    };
    assert_eq!(kind(""), DatasetType::PromptCompletion);
    assert_eq!(kind("columns = { text = 'body' }"), DatasetType::LanguageModeling);
    assert_eq!(kind("columns = { prompt = 'body' }"), DatasetType::PromptCompletion);
    assert_eq!(kind("type = 'prompt_only'"), DatasetType::PromptOnly);
}

#[test]
fn missing_columns_list_those_there() {
    let row = json!({"question": "q", "answer": "a"});
    let error = |toml: &str| rows(std::slice::from_ref(&row), toml).error(Split::Train);
    assert_eq!(
        error("columns = { prompt = 'questions' }"),
        "a.jsonl: column \"questions\" (columns.prompt): expected one of question, answer (did you mean question?), found no such column"
    );
    assert_eq!(
        error(""),
        "a.jsonl: columns: expected chosen and rejected; or prompt and completion; or messages or conversations; or text; or prompt \
         (columns = { prompt = \"…\", completion = \"…\" } says which columns they are), found question, answer"
    );
    assert_eq!(
        error("type = 'messages'\ncolumns = { prompt = 'question' }"),
        "a.jsonl: columns: expected messages or conversations (columns = { prompt = \"…\", completion = \"…\" } says which columns they \
         are), found question, answer, with prompt set in the configuration"
    );
    assert_eq!(
        error("columns = { text = 'answer' }\npass_through = ['idx']"),
        "a.jsonl: pass_through column \"idx\": expected one of question, answer, found no such column"
    );
    let one_row = rows(&[json!({"text": "a"}), json!({"txt": "b"})], "");
    assert_eq!(
        one_row.error(Split::Train),
        "a.jsonl: line 2, column \"text\": expected a column that is one of txt (did you mean txt?), found \"text\""
    );
}

#[test]
fn empty_samples_stop_or_are_dropped_and_counted() {
    let all = [
        json!({"prompt": "a", "completion": " \n"}),
        json!({"prompt": "b", "completion": null}),
        json!({"prompt": "c", "completion": []}),
        json!({"prompt": "", "completion": "fine"}),
    ];
    assert_eq!(
        rows(&all, "").error(Split::Train),
        "a.jsonl: line 1, completion: expected completion with something in it (empty = \"drop\" leaves such samples out), found an empty one"
    );
    let dropping = rows(&all, "empty = 'drop'");
    let (dataset, report) = dropping.load(Split::Train).unwrap();
    assert_eq!((dataset.items.len(), dataset.items[0].index), (1, 3));
    assert_eq!((report.empty, report.rows, report.samples), (3, 4, 1));
    let file = dropping.dir.path().join("a.jsonl");
    let place = |n| format!("{}: line {n}, completion", file.display());
    assert_eq!(
        report.warnings(),
        [format!(
            "3 empty samples dropped (first: {}; {}; {})",
            place(1),
            place(2),
            place(3)
        )]
    );
    assert_eq!(
        rows(&all[..2], "empty = 'drop'").error(Split::Train),
        "a.jsonl: dataset: expected at least one sample, found none of 2 rows makes one"
    );
    for (row, part) in [
        (json!({"text": ""}), "text"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": [{"role": "system", "content": "s"}]}), "messages"),
        (json!({"prompt": null}), "prompt"),
        (json!({"prompt": "q", "chosen": "a", "rejected": ""}), "rejected"),
    ] {
        let error = rows(std::slice::from_ref(&row), "").error(Split::Train);
        assert!(
            error.starts_with(&format!(
                "a.jsonl: line 1, {part}: expected {part} with something in it "
            )),
            "{row}: {error}"
        );
    }
}

#[test]
fn splits_and_slices() {
    let lines = |range: std::ops::Range<u32>| range.map(|i| format!("{{\"text\": \"{i}\"}}\n")).collect::<String>();
    let (train, test) = (lines(0..20), lines(100..110));
    let files = [("data/train.jsonl", train.as_str()), ("data/test.jsonl", test.as_str())];
    let texts = |toml: &str, split: Split| -> Vec<String> {
        let (dataset, _) = fixture(&files, &format!("path = 'data'\n{toml}")).load(split).unwrap();
        dataset
            .items
            .into_iter()
            .map(|item| match item.sample {
                Sample::Text(text) => text,
                other => panic!("{other:?}"),
            })
            .collect()
    };
    assert_eq!(texts("", Split::Train).len(), 20);
    assert_eq!(texts("", Split::HeldOut).len(), 10);
    assert_eq!(texts("", Split::Eval)[0], "100");
    assert_eq!(texts("split = 'train[10%:20%]'", Split::Train), ["2", "3"]);
    assert_eq!(texts("split = 'test[:1]+train[-2:]'", Split::Eval), ["100", "18", "19"]);
    assert_eq!(texts("split = '[:1]'", Split::Eval), ["100"]);
    assert_eq!(texts("test_split = 'train[:2]'", Split::HeldOut), ["0", "1"]);
    let held_out = texts("split = 'train[:10]'\ntest_size = 0.25", Split::HeldOut);
    let rest = texts("split = 'train[:10]'\ntest_size = 0.25", Split::Train);
    assert_eq!((held_out.len(), rest.len()), (3, 7));
    let (_, report) = fixture(&files, "path = 'data'\ntest_size = 3")
        .load(Split::Train)
        .unwrap();
    assert_eq!((report.rows, report.samples, report.set_aside), (20, 17, 3));
    let mut both = [held_out.clone(), rest].concat();
    both.sort();
    assert_eq!(both, (0..10).map(|i| i.to_string()).collect::<Vec<_>>());
    assert_ne!(
        held_out,
        texts("split = 'train[:10]'\ntest_size = 3\ntest_seed = 1", Split::HeldOut)
    );
    let error = |toml: &str, split: Split| fixture(&files, &format!("path = 'data'\n{toml}")).error(split);
    assert_eq!(
        error("split = 'train[30:]'", Split::Train),
        format!(
            "{}: split \"train[30:]\": expected at least one row, found none",
            "data"
        )
    );
    assert_eq!(
        error("split = 'dev'", Split::Train),
        "data: split \"dev\": expected one of train, test, found no such split"
    );
    assert!(error("split = 'train[1'", Split::Train).starts_with("data: split: expected a split such as train, "));
    assert_eq!(
        error("test_size = 20", Split::Train),
        "data/train.jsonl: test_size: expected 1 to 19 of 20 samples, found 20"
    );
    assert_eq!(
        error("test_size = 1.5", Split::Train),
        "data/train.jsonl: test_size: expected a fraction above 0 and below 1, or a whole number, found 1.5"
    );
    assert!(
        error("test_size = 2\ntest_split = 'test'", Split::Train)
            .ends_with("expected either test_size or test_split, found both")
    );
    assert!(error("test_size = 2", Split::Eval).contains("expected neither test_size nor test_split in a section"));
    let lone = fixture(&[("a.jsonl", &train)], "path = 'a.jsonl'");
    assert!(
        lone.error(Split::HeldOut).ends_with(
            "held-out split: expected test_size, test_split or a folder with a test split, found none of them"
        )
    );
}

#[test]
fn the_stack_exchange_set() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/parquet/stack");
    let toml = r#"
        path = "."
        prompt_template = "Answer in {num} words: {query}"
        columns = { completion = "answer" }
        functions = { num = "round_to(word_count(answer), 2)" }

        [[join]]
        column = "query-id"
        table = "queries.parquet"
        take = { text = "query" }

        [[join]]
        column = "corpus-id"
        table = "corpus.parquet"
        take = { text = "answer" }
    "#;
    let (dataset, report) = load(&toml::from_str(toml).unwrap(), &folder, Split::Train).unwrap();
    let pair = |q: &str, a: &str| Sample::PromptCompletion {
        prompt: text(q),
        completion: text(a),
    };
    let samples: Vec<&Sample> = dataset.items.iter().map(|item| &item.sample).collect();
    assert_eq!(
        samples,
        [
            &pair("Answer in 2 words: How do I exit vim?", "Type :q!"),
            &pair("Answer in 2 words: Why is the sky blue?", "Rayleigh scattering."),
            &pair("Answer in 2 words: Varför?", "Därför."),
        ]
    );
    assert_eq!(
        dataset.items.iter().map(|item| item.index).collect::<Vec<_>>(),
        [0, 1, 4]
    );
    assert_eq!(dataset.items[2].columns["score"], json!(0.25));
    assert_eq!(dataset.items[2].place.to_string(), "row 3", "of the second shard");
    assert!(dataset.file(2).ends_with("train-00001-of-00002.parquet"));
    assert_eq!((report.rows, report.samples), (5, 3));
    assert_eq!(
        report.warnings(),
        [
            "1 of 5 rows skipped: queries.parquet has no such query-id (first: q9)",
            "1 of 5 rows skipped: corpus.parquet has no such corpus-id (first: 3)",
        ]
    );
}

#[test]
fn rows_of_several_files_keep_their_places() {
    let files = [("a.jsonl", "{\"text\": \"1\"}\n"), ("b.csv", "text,n\n2,x\n,y\n")];
    let several = fixture(&files, "path = ['a.jsonl', 'b.csv']");
    assert_eq!(
        several.error(Split::Train),
        "b.csv: line 3, text: expected text with something in it (empty = \"drop\" leaves such samples out), found an empty one"
    );
}
