use std::ops::Range;

use serde_json::{Value, json};

use super::*;
use crate::tokenizer::{HfTokenizer, TextStream, chatml_bytes};

const TEMPLATES: &str = include_str!("../../../tests/golden/chat.json");
const TOKENIZER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/tokenizer");

fn chat(value: &Value) -> Vec<Message> {
    serde_json::from_value(value.clone()).unwrap()
}

fn golden_template(tokenizer: &HfTokenizer, name: &str) -> ChatTemplate {
    let golden: Value = serde_json::from_str(TEMPLATES).unwrap();
    let mut specials: Vec<_> = tokenizer.named().collect();
    if name == "llama3" {
        specials.push(("bos_token", "<|begin_of_text|>"));
    }
    ChatTemplate::new(name, golden["templates"][name].as_str().unwrap(), specials).unwrap()
}

fn bits(mask: &[u8]) -> String {
    mask.iter().map(u8::to_string).collect()
}

/// Tokenises every row of a golden file.
fn check(tokenizer: &HfTokenizer, golden: &str) {
    let golden: Value = serde_json::from_str(golden).unwrap();
    let rows = golden["rows"].as_array().unwrap();
    let (mut wrong, mut partial) = (Vec::new(), 0);
    for (i, golden) in rows.iter().enumerate() {
        let row = &golden["row"];
        let trained = match (golden["completion"] == true, golden["assistant"] == true) {
            (false, false) => Trained::All,
            (true, false) => Trained::Completion,
            (false, true) => Trained::Assistant,
            (true, true) => Trained::CompletionAndAssistant,
        };
        let tools: Option<Vec<Value>> = row["tools"].as_str().map(|json| serde_json::from_str(json).unwrap());
        let inputs = Inputs {
            tools: tools.as_deref(),
            ..Inputs::default()
        };
        let template = golden["template"].as_str().map(|name| golden_template(tokenizer, name));
        let sample = match (&template, row.get("text"), row.get("messages")) {
            (None, Some(plain), _) => text(tokenizer, plain.as_str().unwrap()),
            (None, ..) => {
                let part = |name: &str| row[name].as_str().unwrap();
                prompt_completion(tokenizer, part("prompt"), part("completion"), trained)
            }
            (Some(template), _, Some(conversation)) => {
                messages(tokenizer, template, &chat(conversation), inputs, trained)
            }
            (Some(template), ..) => {
                let (prompt, completion) = (chat(&row["prompt"]), chat(&row["completion"]));
                chat_completion(tokenizer, template, (&prompt, &completion), inputs, trained)
            }
        };
        match (sample, golden.get("mask").and_then(Value::as_str)) {
            (Ok(sample), Some(mask)) => {
                partial += usize::from(mask.contains('0') && mask.contains('1'));
                if json!(sample.ids) != golden["ids"] || bits(&sample.mask) != mask {
                    wrong.push(format!("{i} {golden}\n{:?}\n{}", sample.ids, bits(&sample.mask)));
                }
            }
            (Err(e), None) if e.to_string().contains("assistant_only_loss") => {}
            (found, _) => wrong.push(format!("{i} {golden}\n{found:?}")),
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} wrong:\n{}",
        wrong.len(),
        rows.len(),
        wrong.join("\n\n")
    );
    assert!(
        rows.len() > 60 && partial > 30,
        "{} rows, {partial} with a mask",
        rows.len()
    );
    for row in golden["decoded"].as_array().unwrap() {
        let ids: Vec<u32> = serde_json::from_value(row["ids"].clone()).unwrap();
        for (decoding, text) in [
            (Decoding::KeepSpecials, &row["text"]),
            (Decoding::SkipSpecials, &row["skipped"]),
        ] {
            assert_eq!(
                tokenizer.decode(&ids, decoding).unwrap(),
                text.as_str().unwrap(),
                "{ids:?}"
            );
            let mut stream = TextStream::new(tokenizer, decoding);
            let mut streamed: String = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
            streamed += &stream.finish().unwrap();
            assert_eq!(streamed, text.as_str().unwrap(), "{ids:?}");
        }
    }
}

#[test]
fn samples_are_tokenised_as_trl_does() {
    check(
        &HfTokenizer::load(TOKENIZER).unwrap(),
        include_str!("../../../tests/golden/samples.json"),
    );
}

#[test]
fn samples_are_tokenised_as_trl_does_with_the_qwen_tokenizer() {
    match std::env::var("PROXIMAL_QWEN_TOKENIZER") {
        Ok(folder) => {
            let tokenizer = HfTokenizer::load(folder).unwrap();
            assert_eq!(tokenizer.vocab_size(), 151_665);
            check(&tokenizer, include_str!("../../../tests/golden/samples_qwen.json"));
        }
        Err(_) => println!("skipped: PROXIMAL_QWEN_TOKENIZER names no folder with Qwen2.5's tokenizer"),
    }
}

/// What is trained of a conversation, as text.
fn trained_text(tokenizer: &HfTokenizer, template: &ChatTemplate, conversation: &[Message]) -> String {
    let sample = messages(tokenizer, template, conversation, Inputs::default(), Trained::Assistant).unwrap();
    let ids: Vec<u32> = sample
        .ids
        .iter()
        .zip(&sample.mask)
        .filter(|(_, m)| **m == 1)
        .map(|(id, _)| *id)
        .collect();
    tokenizer.decode(&ids, Decoding::KeepSpecials).unwrap()
}

#[test]
fn a_turn_without_marker_trains_content_and_end() {
    let tokenizer = HfTokenizer::load(TOKENIZER).unwrap();
    let conversation = chat(&json!([
        {"role": "user", "content": "One"}, {"role": "assistant", "content": "Two ü"},
        {"role": "user", "content": "Three"}, {"role": "assistant", "content": "Four"},
    ]));
    for name in ["qwen2_5", "smollm2", "chatml", "chatml_marked"] {
        let template = golden_template(&tokenizer, name);
        assert_eq!(
            trained_text(&tokenizer, &template, &conversation),
            "Two ü<|im_end|>\nFour<|im_end|>\n",
            "{name}"
        );
    }
    let llama = trained_text(&tokenizer, &golden_template(&tokenizer, "llama3"), &conversation);
    assert_eq!(llama, "Two ü<|eot_id|>Four<|eot_id|>");
}

/// TRL's own training template for Qwen2.5 marks one token more: the line end after `assistant`.
#[test]
fn trl_trains_one_token_more_for_qwen() {
    let tokenizer = HfTokenizer::load(TOKENIZER).unwrap();
    let conversation = chat(&json!([{"role": "user", "content": "One"}, {"role": "assistant", "content": "Two"}]));
    let template = golden_template(&tokenizer, "qwen2_5_training");
    assert_eq!(trained_text(&tokenizer, &template, &conversation), "\nTwo<|im_end|>\n");
}

fn refusal(source: &str, conversation: &Value) -> String {
    let tokenizer = chatml_bytes(0..=255).unwrap();
    let template = ChatTemplate::new("folder/chat_template.jinja", source, []).unwrap();
    messages(
        &tokenizer,
        &template,
        &chat(conversation),
        Inputs::default(),
        Trained::Assistant,
    )
    .unwrap_err()
    .to_string()
}

#[test]
fn turns_that_cannot_be_found_are_refused() {
    let conversation = json!([
        {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"},
    ]);
    let header = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}";
    let cases = [
        (
            format!("{header}{{% if add_generation_prompt %}}<bot>{{% endif %}}"),
            "messages[1]",
            "generation prompt",
        ),
        (
            format!("{{{{ messages | length }}}}{header}"),
            "messages[1]",
            "generation prompt",
        ),
        (
            format!("{header}{{% if add_generation_prompt %}}<assistant>{{% else %}}.{{% endif %}}"),
            "messages[1]",
            "others follow",
        ),
        (header.to_owned(), "messages[1]", "no generation prompt"),
    ];
    for (source, turn, reason) in cases {
        let error = refusal(&source, &conversation);
        assert!(
            error.starts_with("folder/chat_template.jinja: ") && error.contains(turn) && error.contains(reason),
            "{error}"
        );
    }
    let first = refusal(crate::chat::CHATML, &json!([{"role": "assistant", "content": "a"}]));
    assert!(first.contains("messages[0]") && first.contains("begins"), "{first}");
    let silent = refusal(crate::chat::CHATML, &json!([{"role": "user", "content": "a"}]));
    assert!(
        silent.contains("assistant_only_loss") && silent.contains("without any"),
        "{silent}"
    );
}

#[test]
fn a_template_without_generation_prompt_may_start_with_the_content() {
    let tokenizer = chatml_bytes(0..=255).unwrap();
    let source = "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %} {{ m.content }}</s>{% endif %}{% endfor %}";
    let template = ChatTemplate::new("t", source, []).unwrap();
    let conversation = chat(&json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]));
    assert_eq!(trained_text(&tokenizer, &template, &conversation), " b</s>");
}

#[test]
fn a_prompt_that_is_no_prefix_is_noted() {
    let tokenizer = HfTokenizer::load(TOKENIZER).unwrap();
    let merged = prompt_completion(&tokenizer, "the ass", "istant", Trained::Completion).unwrap();
    assert_eq!(merged.note, Some(Note::PromptIsNoPrefix { tail: "ss".to_owned() }));
    assert!(merged.note.unwrap().to_string().contains("\"ss\""));
    assert_eq!(merged.mask[0], 0);
    let clean = prompt_completion(&tokenizer, "Q:", " A", Trained::Completion).unwrap();
    assert_eq!(clean.note, None);
}

#[test]
fn without_eos_nothing_is_appended_and_it_is_said() {
    let made = chatml_bytes(0..=255).unwrap();
    let folder = tempfile::tempdir().unwrap();
    made.save(folder.path()).unwrap();
    std::fs::write(folder.path().join("tokenizer_config.json"), "{}").unwrap();
    let tokenizer = HfTokenizer::load(folder.path()).unwrap();
    let sample = text(&tokenizer, "ab").unwrap();
    assert_eq!((sample.ids.len(), sample.note), (2, Some(Note::NoEos)));
    let with = text(&made, "ab").unwrap();
    assert_eq!((with.ids.len(), with.note), (3, None));
    assert_eq!(text(&made, "ab<|im_end|>").unwrap().ids, with.ids);
}

#[test]
fn tokens_of_a_span() {
    let text = "a  bü c";
    // "a", white space that no token covers, "b", "ü" in two tokens, " c".
    let covered = [0..1, 3..4, 4..6, 4..6, 6..8];
    let find = |span: Range<usize>| spans::tokens(text, &covered, &span);
    assert_eq!(find(0..1), 0..1);
    assert_eq!(find(0..3), 0..1, "ends where nothing is covered");
    assert_eq!(find(1..4), 1..2, "begins where nothing is covered");
    assert_eq!(find(1..3), 1..1, "nothing is covered at all");
    assert_eq!(find(3..6), 1..3, "the first of two tokens, as transformers");
    assert_eq!(find(4..8), 2..5);
    assert_eq!(find(3..3), 0..0);
}

#[test]
fn pairs_are_tokenised_as_trl_does() {
    let tokenizer = HfTokenizer::load(TOKENIZER).unwrap();
    let golden: Value = serde_json::from_str(include_str!("../../../tests/golden/pairs.json")).unwrap();
    let rows = golden["rows"].as_array().unwrap();
    let mut parted = 0;
    for row in rows {
        let text = |name: &str| row[name].as_str().unwrap();
        let pair = match row["template"].as_str() {
            None => preference(&tokenizer, text("prompt"), text("chosen"), text("rejected")),
            Some(name) => {
                let [prompt, chosen, rejected] = ["prompt", "chosen", "rejected"].map(|part| chat(&row[part]));
                let template = golden_template(&tokenizer, name);
                chat_preference(&tokenizer, &template, &prompt, [&chosen, &rejected], Inputs::default())
            }
        }
        .unwrap();
        parted += usize::from(pair.note.is_some());
        assert_eq!(
            json!([pair.prompt, pair.chosen, pair.rejected]),
            json!([row["prompt_ids"], row["chosen_ids"], row["rejected_ids"]]),
            "{row}"
        );
    }
    assert!(rows.len() == 50 && parted > 2, "{} rows, {parted} parted", rows.len());
}
