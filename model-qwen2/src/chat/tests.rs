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
            let error = row["error"].as_str().unwrap();
            match render(GenerationPrompt::Omit) {
                Err(e)
                    if error
                        .strip_prefix("TemplateError: ")
                        .is_none_or(|said| e.to_string().ends_with(said)) =>
                {
                    errors += 1
                }
                found => wrong.push(format!("{id}: {error} expected, found {found:?}")),
            }
            continue;
        };
        if let Some(spans) = row.get("generated") {
            let rendered = template
                .render_spans(&messages(&conversation["messages"]), inputs, GenerationPrompt::Omit)
                .unwrap();
            let chars = |byte: usize| text[..byte].chars().count();
            let found = rendered
                .generated
                .iter()
                .map(|span| [chars(span.start), chars(span.end)])
                .collect::<Vec<_>>();
            if json!(found) != *spans {
                wrong.push(format!("{id}: generated {found:?}, expected {spans}"));
            }
            texts += 1;
        }
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

#[test]
fn fallback_is_chatml() {
    let text = template(CHATML)
        .render(&user("Hi"), Inputs::default(), GenerationPrompt::Add)
        .unwrap();
    assert_eq!(text, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

#[test]
fn line_ends_are_read_as_jinja2_reads_them() {
    let text = template("{% if true %}\r\na\r\nb\r{% endif %}\r\n").render(
        &user(""),
        Inputs::default(),
        GenerationPrompt::Omit,
    );
    assert_eq!(text.unwrap(), "a\nb\n");
}

#[test]
fn generation_marks_and_scope() {
    let source = "{# {% generation %} #}{{ '{% generation %}' }}{% set x = 1 %}{%- for m in messages -%}\n  {%- generation -%}\n {% set x = 2 \
                  %}<{{ m.content }}{{ loop.index }}>{% endgeneration +%}\n{{ x }}{% endfor %}";
    let template = template(source);
    assert!(template.marks_generation());
    let rendered = template
        .render_spans(&user("é"), Inputs::default(), GenerationPrompt::Omit)
        .unwrap();
    assert_eq!(rendered.text, "{% generation %}<é1>\n1");
    assert_eq!(&rendered.text[rendered.generated[0].clone()], "<é1>");
    assert_eq!(rendered.generated.len(), 1);
    assert!(
        !self::template("{# {% generation %} #}{{ '{% generation %}' }}{% raw %}{% generation %}{% endraw %}")
            .marks_generation()
    );
}

#[test]
fn clock() {
    let source = "{{ strftime_now('%Y-%m-%d %H:%M:%S %j %A') }}";
    let at = |time| {
        template(source)
            .at(time)
            .render(&user(""), Inputs::default(), GenerationPrompt::Omit)
            .unwrap()
    };
    assert_eq!(at(0), "1970-01-01 00:00:00 001 Thursday");
    assert_eq!(at(951_827_696), "2000-02-29 12:34:56 060 Tuesday");
    assert_eq!(at(1_735_689_599), "2024-12-31 23:59:59 366 Tuesday");
    assert_eq!(at(u32::MAX), "2106-02-07 06:28:15 038 Sunday");
    let year: i32 = template("{{ strftime_now('%Y') }}")
        .render(&user(""), Inputs::default(), GenerationPrompt::Omit)
        .unwrap()
        .parse()
        .unwrap();
    assert!((2024..2200).contains(&year));
}

/// What an error says: the file, the line and its text, and what was found there.
fn refusal(source: &str) -> String {
    let rendered = ChatTemplate::new("folder/chat_template.jinja", source, [])
        .and_then(|template| template.render(&user("Hi"), Inputs::default(), GenerationPrompt::Omit));
    rendered.unwrap_err().to_string()
}

#[test]
fn refusals_name_file_line_and_reason() {
    assert_eq!(
        refusal("a\n{% generation %}\n{{ raise_exception('no ' + messages[0].role) }}\n{% endgeneration %}"),
        "folder/chat_template.jinja: chat template line 3 `{{ raise_exception('no ' + messages[0].role) }}`: expected a \
         conversation that this template can render, found no user"
    );
    let syntax = refusal("{% for m in messages %}\n{{ m.content }\n{% endfor %}");
    assert!(
        syntax.contains("chat template line 2 `{{ m.content }`: expected valid Jinja, found"),
        "{syntax}"
    );
    let unclosed = refusal("{%- generation %}\nx");
    assert!(
        unclosed.starts_with("folder/chat_template.jinja: chat template line"),
        "{unclosed}"
    );
    let undefined = refusal("\n{{ message.content }}");
    assert!(
        undefined.contains("line 2 `{{ message.content }}`") && undefined.contains("undefined"),
        "{undefined}"
    );
    let unknown = refusal("{{ 'a' | pretty }}{{ x.y.z() }}");
    assert!(unknown.contains("pretty"), "{unknown}");
    let method = refusal("{{ 'a'.frobnicate() }}");
    assert!(method.contains("frobnicate"), "{method}");
    let long = refusal(&format!("{{{{ '{}' + none }}}}", "é".repeat(200)));
    assert!(long.contains("é …`"), "{long}");
    assert!(refusal("{{ strftime_now('%Q') }}").contains("%Q"));
    assert!(refusal("{{ nothing | tojson }}").contains("undefined"));
}

#[test]
fn an_empty_conversation_is_refused() {
    let error = template("x")
        .render(&[], Inputs::default(), GenerationPrompt::Add)
        .unwrap_err()
        .to_string();
    assert!(error.contains("at least one message"), "{error}");
}

#[test]
fn variables_win_over_special_tokens_and_not_over_messages() {
    let template = ChatTemplate::new(
        "t",
        "{{ eos_token }}{{ bos_token }}{{ messages[0].content }}",
        [("eos_token", "E"), ("bos_token", "B")],
    )
    .unwrap();
    let variables: Map<String, Value> = serde_json::from_value(json!({"bos_token": "V", "messages": 3})).unwrap();
    let inputs = Inputs {
        variables: Some(&variables),
        ..Inputs::default()
    };
    assert_eq!(
        template.render(&user("m"), inputs, GenerationPrompt::Omit).unwrap(),
        "EVm"
    );
}

#[test]
fn reasoning_has_its_names() {
    let template = template("{{ messages[0] | tojson }}");
    let text = |message: Value| {
        template
            .render(&messages(&json!([message])), Inputs::default(), GenerationPrompt::Omit)
            .unwrap()
    };
    assert_eq!(text(json!({"role": "a", "content": null})), r#"{"role": "a"}"#);
    assert_eq!(
        text(json!({"role": "a", "reasoning": "r", "thinking": null})),
        r#"{"thinking": "r", "role": "a", "reasoning": "r", "reasoning_content": "r"}"#
    );
    assert_eq!(
        text(json!({"thinking": "t", "role": "a"})),
        r#"{"thinking": "t", "role": "a", "reasoning_content": "t"}"#
    );
}
