use super::*;

fn list(toml: &str) -> Result<Vec<RewardConfig>, String> {
    let table: toml::Table = format!("f = {toml}").parse().unwrap();
    RewardConfig::list("reward_funcs", &table["f"]).map_err(|e| e.to_string())
}

fn names(toml: &str) -> Vec<String> {
    list(toml).unwrap().into_iter().map(|f| f.name).collect()
}

#[test]
fn names_tables_and_lists_of_them() {
    assert_eq!(names("'boxed'"), ["boxed"]);
    assert_eq!(names("'boxed,think_format'"), ["boxed", "think_format"]);
    assert_eq!(
        names("['boxed', 'think_format, length']"),
        ["boxed", "think_format", "length"]
    );
    assert_eq!(
        names("['accuracy_reward', 'get_soft_overlong_punishment', { type = 'numeric', name = 'n' }]"),
        ["accuracy_reward", "get_soft_overlong_punishment", "n"]
    );
    assert_eq!(names("{ type = 'boxed', weight = 2 }"), ["boxed"]);
    let one = &list("{ type = 'boxed', column = 'truth', mode = 'strict', weight = 0.5 }").unwrap()[0];
    assert_eq!(one.weight, Some(0.5));
    let Kind::Boxed(keys) = &one.kind else {
        panic!("{one:?}");
    };
    assert_eq!((keys.column.as_str(), keys.tolerance), ("truth", 0.0));
    // Every type but those that need a key of their own.
    for kind in KINDS.iter().filter(|k| !["regex", "model", "command"].contains(k)) {
        assert_eq!(names(&format!("'{kind}'")), [*kind]);
    }
}

#[test]
fn a_folder_is_a_reward_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("my-judge");
    std::fs::create_dir(&path).unwrap();
    let found = &list(&format!("'{}'", path.display())).unwrap()[0];
    assert_eq!(found.name, "my-judge");
    assert!(matches!(&found.kind, Kind::Model(m) if m.path == path && m.batch_tokens == 4096));
}

#[test]
fn errors_name_the_key() {
    for (toml, words) in [
        ("[]", ["reward_funcs", "at least one", "none"]),
        ("7", ["reward_funcs[0]", "name of a reward function", "7"]),
        ("'boxd'", ["reward_funcs[0]", "did you mean boxed", "\"boxd\""]),
        ("['boxed', {}]", ["reward_funcs[1].type", "one of boxed", "nothing"]),
        ("{ type = 3 }", ["reward_funcs[0].type", "a string", "3"]),
        (
            "{ type = 'boxed', colum = 'a' }",
            ["reward_funcs[0].colum", "did you mean column", "colum"],
        ),
        (
            "{ type = 'boxed', wieght = 1 }",
            ["reward_funcs[0].wieght", "did you mean weight", "wieght"],
        ),
        (
            "{ type = 'boxed', column = 3 }",
            ["reward_funcs[0].column", "right type", "integer"],
        ),
        (
            "{ type = 'boxed', mode = 'lax' }",
            ["reward_funcs[0].mode", "strict", "lax"],
        ),
        (
            "{ type = 'boxed', weight = 'x' }",
            ["reward_funcs[0].weight", "numbers", "x"],
        ),
        (
            "{ type = 'boxed', weight = [1, 2] }",
            ["reward_funcs[0].weight", "one number", "[1"],
        ),
        (
            "{ type = 'boxed', name = '' }",
            ["reward_funcs[0].name", "a name", "\"\""],
        ),
        (
            "{ type = 'think_format', column = 'a' }",
            ["reward_funcs[0].column", "one of type, name, weight", "column"],
        ),
        ("{ type = 'command' }", ["reward_funcs[0]", "command", "missing"]),
        (
            "{ type = 'command', command = 3 }",
            ["reward_funcs[0].command", "text", "right type"],
        ),
    ] {
        let error = list(toml).unwrap_err();
        for word in words {
            assert!(error.contains(word), "{toml}: {word:?} is not in {error}");
        }
    }
}

#[test]
fn weights() {
    let weights = |toml: &str| {
        let table: toml::Table = format!("w = {toml}").parse().unwrap();
        RewardConfig::weights("reward_weights", &table["w"]).map_err(|e| e.to_string())
    };
    assert_eq!(weights("[1, 0.5]"), Ok(vec![1.0, 0.5]));
    assert_eq!(weights("2"), Ok(vec![2.0]));
    assert_eq!(weights("'1, -0.5'"), Ok(vec![1.0, -0.5]));
    for bad in ["'a'", "[1, 'b']", "true", "[nan]", "[inf]", "'nan'", "[[1]]"] {
        let error = weights(bad).unwrap_err();
        assert!(error.contains("reward_weights") && error.contains("numbers"), "{error}");
    }
}

#[test]
fn serde_reads_them_too() {
    #[derive(Deserialize)]
    struct Keys {
        f: Vec<RewardConfig>,
    }
    let keys: Keys = toml::from_str("f = ['boxed', { type = 'length', weight = 0.1 }]").unwrap();
    assert_eq!(keys.f.len(), 2);
    let error = toml::from_str::<Keys>("f = ['boxd']").err().unwrap().to_string();
    assert!(error.contains("did you mean boxed"), "{error}");
}
