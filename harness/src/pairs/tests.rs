use super::*;

fn message(role: &str, content: &str) -> Message {
    Map::from_iter([("role".to_owned(), role.into()), ("content".to_owned(), content.into())])
}

#[test]
fn a_dialogue_is_asked_its_last_human_turn() {
    let [system, one, two, three, four] = [
        message("system", "s"),
        message("user", "1"),
        message("assistant", "2"),
        message("user", "3"),
        message("assistant", "4"),
    ];
    let ask = |messages: &[&Message], history| {
        let sample = Sample::Messages(messages.iter().copied().cloned().collect());
        asked(&sample, history).map(|turns| prompt_value(&turns))
    };
    let whole = [&system, &one, &two, &three, &four];
    assert_eq!(ask(&whole, History::Leave), Some(json!([system, three])));
    assert_eq!(ask(&whole, History::Keep), Some(json!([system, one, two, three])));
    assert_eq!(ask(&whole[1..4], History::Leave), Some(json!([three])));
    assert_eq!(ask(&[&system, &two], History::Leave), None);
}

#[test]
fn rules_change_texts() {
    let name = Rule::replace("SmolLM=Nova").unwrap();
    assert_eq!(name.apply("I am SmolLM, SmolLM!"), "I am Nova, Nova!");
    assert_eq!(Rule::replace("a= b=c").unwrap().apply("xax"), "x b=cx");
    assert_eq!(Rule::replace("a=").unwrap().apply("xax"), "xx");
    let pattern = Rule::pattern(r"(?i)hugging\s*face('s)?=Acme$1").unwrap();
    assert_eq!(pattern.apply("HuggingFace's and Hugging Face"), "Acme's and Acme");
    for (bad, part) in [("SmolLM", "FROM=TO"), ("=x", "FROM=TO")] {
        assert!(Rule::replace(bad).unwrap_err().to_string().contains(part));
    }
    let error = Rule::pattern("(=x").unwrap_err().to_string();
    assert!(
        error.contains("a regular expression") && error.contains("unclosed"),
        "{error}"
    );
}
