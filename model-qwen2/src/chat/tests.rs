use serde_json::{Map, Value, json};

use super::*;

/// The templates, conversations and texts of tests/golden/chat_templates.py.
const GOLDEN: &str = include_str!("../../../tests/golden/chat.json");

fn messages(value: &Value) -> Vec<Message> {
    serde_json::from_value(value.clone()).unwrap()
}

fn template(source: &str) -> ChatTemplate {
    ChatTemplate::new("folder/chat_template.jinja", source, []).unwrap()
}

fn user(content: &str) -> Vec<Message> {
    messages(&json!([{"role": "user", "content": content}]))
}

/// Renders every row of a golden file; returns how many texts and errors agreed.
fn check(golden: &str) -> (usize, usize) {
    let golden: Value = serde_json::from_str(golden).unwrap();
    let specials: Vec<_> = golden["special_tokens"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str().unwrap()))
        .collect();
    let (mut texts, mut errors, mut wrong) = (0, 0, Vec::new());
    for row in golden["renders"].as_array().unwrap() {
        let name = row["template"].as_str().unwrap();
        let id = format!("{name} on {}", row["conversation"]);
        let source = golden["templates"][name].as_str().unwrap();
        let template = match ChatTemplate::new(name, source, specials.iter().copied()) {
            Ok(template) => template.at(golden["now"].as_u64().unwrap() as u32),
            Err(e) => {
                wrong.push(format!("{id}: {e}"));
                continue;
            }
        };
        let conversation = &golden["conversations"][row["conversation"].as_str().unwrap()];
        let list = |name: &str| conversation.get(name).map(|v| v.as_array().unwrap().as_slice());
        let variables = conversation.get("variables").map(|v| v.as_object().unwrap());
        let inputs = Inputs {
            tools: list("tools"),
            documents: list("documents"),
            variables,
        };
        let render = |prompt| template.render(&messages(&conversation["messages"]), inputs, prompt);
        let Some(text) = row.get("text").and_then(Value::as_str) else {
            match render(GenerationPrompt::Omit) {
                Ok(text) => wrong.push(format!("{id}: {} expected, found {text:?}", row["error"])),
                Err(_) => errors += 1,
            }
            continue;
        };
        let prompted = match row.get("prompt").and_then(Value::as_str) {
            Some(prompt) => Some(format!("{text}{prompt}")),
            None => row["prompted"].as_str().map(str::to_owned),
        };
        for (prompt, expected) in [
            (GenerationPrompt::Omit, Some(text.to_owned())),
            (GenerationPrompt::Add, prompted),
        ] {
            match (render(prompt), expected) {
                (Ok(found), Some(expected)) if found == expected => texts += 1,
                (Err(_), None) => errors += 1,
                (found, expected) => wrong.push(format!("{id}, {prompt:?}:\n{found:?}\nexpected\n{expected:?}")),
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong, {texts} right:\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
    (texts, errors)
}

#[test]
fn renders_as_transformers() {
    let (texts, errors) = check(GOLDEN);
    assert!(texts > 200 && errors > 10, "{texts} texts, {errors} errors");
}

/// The same with a larger file, made with `--all`.
#[test]
fn renders_more_as_transformers() {
    match std::env::var("PROXIMAL_GOLDEN_CHAT") {
        Ok(path) => println!("{:?}", check(&std::fs::read_to_string(path).unwrap())),
        Err(_) => println!("skipped: PROXIMAL_GOLDEN_CHAT names no golden file"),
    }
}
