use super::*;
use serde_json::json;

fn list(value: Value) -> Vec<Message> {
    messages(value.as_array().unwrap()).unwrap()
}

fn fault(value: Value) -> String {
    let fault = messages(value.as_array().unwrap()).unwrap_err();
    format!("expected {}, found {}", fault.expected, fault.found)
}

#[test]
fn from_value_becomes_role_content_and_other_keys_stay() {
    let parsed = list(json!([
        {"from": "system", "value": "s"},
        {"from": "human", "value": "Varför?", "weight": 0.5},
        {"from": "gpt", "value": "Därför."},
        {"role": "user", "content": "x", "from": null, "value": null, "name": "Åsa"},
        {"content": null, "role": "assistant", "tool_calls": [{"function": {"name": "f"}}]},
        {"from": "tool", "value": [{"type": "text", "text": "r"}]},
    ]));
    assert_eq!(
        serde_json::to_string(&parsed).unwrap(),
        json!([
            {"role": "system", "content": "s"},
            {"role": "user", "content": "Varför?", "weight": 0.5},
            {"role": "assistant", "content": "Därför."},
            {"role": "user", "content": "x", "name": "Åsa"},
            {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f"}}]},
            {"role": "tool", "content": [{"type": "text", "text": "r"}]},
        ])
        .to_string(),
        "also the keys' order"
    );
}

#[test]
fn what_is_no_message() {
    assert_eq!(
        fault(json!([{"role": "user", "content": "x"}, "y"])),
        "expected a message, an object with role and content or from and value, found a string at message 2"
    );
    assert_eq!(
        fault(json!([{"speaker": "a", "text": "b"}])),
        "expected a message with role and content or from and value, found one with speaker, text at message 1"
    );
    assert_eq!(
        fault(json!([{"role": 1, "content": "b"}])),
        "expected a role that is a string, found a number at message 1"
    );
    assert_eq!(
        fault(json!([{"role": "user", "content": 5}])),
        "expected content that is a string or a list of parts, found a number at message 1"
    );
}

#[test]
fn turns_of_every_kind() {
    assert_eq!(Turns::parse(&json!("x")).unwrap(), Turns::Text("x".into()));
    assert_eq!(Turns::parse(&json!(13)).unwrap(), Turns::Text("13".into()));
    assert_eq!(Turns::parse(&Value::Null).unwrap(), Turns::Text(String::new()));
    assert_eq!(
        Turns::parse(&json!({"role": "user"})).unwrap_err(),
        Fault::new("a text or a list of messages", "an object")
    );
    let message = |content: Value| {
        Turns::parse(&json!([{"role": "system", "content": "s"}, {"role": "user", "content": content}])).unwrap()
    };
    assert!(message(json!(" \n")).is_empty() && message(json!(null)).is_empty() && message(json!([])).is_empty());
    assert!(!message(json!("x")).is_empty());
}

#[test]
fn system_message_is_added_once() {
    let mut dialogue = list(json!([{"role": "user", "content": "x"}]));
    with_system(&mut dialogue, "s");
    assert_eq!(
        dialogue,
        list(json!([{"role": "system", "content": "s"}, {"role": "user", "content": "x"}]))
    );
    with_system(&mut dialogue, "other");
    assert_eq!(dialogue[0]["content"], "s");
    assert_eq!(dialogue.len(), 2);
}

#[test]
fn the_prompt_of_a_dialogue() {
    let dialogue = list(json!([
        {"role": "user", "content": "1"}, {"role": "assistant", "content": "2"},
        {"role": "user", "content": "3"}, {"role": "assistant", "content": "4"},
    ]));
    assert_eq!(
        Sample::Messages(dialogue.clone()).prompt(),
        Some(Turns::Messages(dialogue[..3].to_vec()))
    );
    assert_eq!(
        Sample::Messages(dialogue[..1].to_vec()).prompt(),
        Some(Turns::Messages(dialogue[..1].to_vec()))
    );
    // A question that nobody has answered yet is asked with all that was said before it.
    assert_eq!(
        Sample::Messages(dialogue[..3].to_vec()).prompt(),
        Some(Turns::Messages(dialogue[..3].to_vec()))
    );
    assert_eq!(Sample::Messages(dialogue[1..2].to_vec()).prompt(), None);
    assert_eq!(Sample::Text("x".into()).prompt(), None);
}

#[test]
fn prompts_extracted_as_trl_does() {
    // (chosen, rejected) -> (prompt, chosen, rejected) by trl.data_utils.extract_prompt of TRL 1.16.
    for (chosen, rejected, at) in [
        ("The sky is blue.", "The sky is green.", 10),
        ("Varför? Därför.", "Varför? Nej.", 7),
        ("ab", "abc", 1),
        ("same", "same", 3),
        ("x", "y", 0),
    ] {
        let cut = |s: &str| {
            (
                s.chars().take(at).collect::<String>(),
                s.chars().skip(at).collect::<String>(),
            )
        };
        let text = |s: String| Turns::Text(s);
        let expected = (text(cut(chosen).0), text(cut(chosen).1), text(cut(rejected).1));
        assert_eq!(
            extract_prompt(text(chosen.into()), text(rejected.into())).unwrap(),
            expected,
            "{chosen}"
        );
    }
    let turns = |answer: &str| {
        Turns::Messages(list(
            json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": answer}]),
        ))
    };
    let (prompt, chosen, rejected) = extract_prompt(turns("a"), turns("b")).unwrap();
    let part = |role: &str, content: &str| Turns::Messages(vec![message(role, content.into())]);
    assert_eq!(
        (prompt, chosen, rejected),
        (part("user", "q"), part("assistant", "a"), part("assistant", "b"))
    );
    assert!(extract_prompt(turns("a"), Turns::Text("b".into())).is_err());
}
