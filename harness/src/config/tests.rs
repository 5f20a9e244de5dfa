use super::*;
use model_qwen2::Error;
use std::io::Write;

const NEEDED: [&str; 4] = ["--model", "m", "--dataset.path", "d"];

/// The arguments after those that every run needs.
fn run(args: &[&str]) -> Result<SftConfig, Error> {
    match parse::<Sft>(NEEDED.iter().chain(args).map(|arg| arg.to_string()))? {
        Parsed::Run(config) => Ok(*config),
        Parsed::Help(text) => panic!("{text}"),
    }
}

fn complaint(args: &[&str]) -> String {
    run(args).unwrap_err().to_string()
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn with_file(text: &str, args: &[&str]) -> Result<SftConfig, Error> {
    let file = file(text);
    let path = file.path().to_str().unwrap();
    let args = ["--config", path]
        .iter()
        .chain(args)
        .map(|arg| arg.to_string())
        .collect::<Vec<_>>();
    match parse::<Sft>(args)? {
        Parsed::Run(config) => Ok(*config),
        Parsed::Help(text) => panic!("{text}"),
    }
}

/// The message without the file's random path.
fn file_complaint(text: &str, args: &[&str]) -> String {
    let message = with_file(text, args).unwrap_err().to_string();
    message.split_once(".toml: ").expect("names the file").1.to_owned()
}

#[test]
fn defaults_are_those_of_trl_1_16() {
    // From SFTConfig(output_dir=..., use_cpu=True) of TRL 1.16 with transformers 5.23.
    let config = run(&[]).unwrap();
    let shared = &config.shared;
    assert_eq!(
        (shared.learning_rate, shared.weight_decay, shared.max_grad_norm),
        (2e-5, 0.0, 1.0)
    );
    assert_eq!(
        (shared.adam_beta1, shared.adam_beta2, shared.adam_epsilon),
        (0.9, 0.999, 1e-8)
    );
    assert_eq!(
        (shared.per_device_train_batch_size, shared.per_device_eval_batch_size),
        (8, 8)
    );
    assert_eq!(
        (
            shared.gradient_accumulation_steps,
            shared.num_train_epochs,
            shared.max_steps
        ),
        (1, 3.0, -1)
    );
    assert_eq!(
        (shared.logging_steps, shared.save_steps, shared.eval_steps),
        (Steps::Count(10), Steps::Count(500), None)
    );
    assert_eq!(
        (shared.save_strategy, shared.eval_strategy),
        (Strategy::Steps, Strategy::No)
    );
    assert_eq!((shared.lr_scheduler_type, shared.warmup(100)), (Scheduler::Linear, 0));
    assert_eq!(
        (shared.seed, shared.data_seed(), shared.gradient_checkpointing),
        (42, 42, true)
    );
    assert_eq!(
        (config.own.max_length, config.own.packing, config.own.packing_strategy),
        (Some(1024), false, PackingStrategy::Bfd)
    );
    assert_eq!(
        (
            config.own.completion_only_loss,
            config.own.assistant_only_loss,
            config.own.loss_type
        ),
        (None, false, LossType::Nll)
    );
}

#[test]
fn flags_are_read_in_every_spelling() {
    for args in [
        ["--learning_rate", "1e-4"].as_slice(),
        &["--learning-rate", "1e-4"],
        &["--learning_rate=1e-4"],
    ] {
        assert_eq!(run(args).unwrap().shared.learning_rate, 1e-4);
    }
    let config = run(&[
        "--packing",
        "--max_length",
        "none",
        "--packing",
        "false",
        "--max_steps",
        "-1",
        "--run_name",
        "7",
    ])
    .unwrap();
    assert_eq!(
        (config.own.packing, config.own.max_length, config.shared.max_steps),
        (false, None, -1)
    );
    assert_eq!(config.shared.run_name.as_deref(), Some("7"));
    let config = run(&["--questions", "Who?", "2 + 2 =", "--bf16", "--resume"]).unwrap();
    assert_eq!(config.shared.questions, ["Who?", "2 + 2 ="]);
    assert_eq!(
        (config.shared.precision(), config.switches.resume),
        (Ok(Dtype::Bf16), Resume::Latest)
    );
    assert_eq!(
        run(&["--resume", "out/checkpoint-3"]).unwrap().switches.resume,
        Resume::From("out/checkpoint-3".into())
    );
    assert_eq!(
        run(&["--questions", "[\"a\", \"b\"]"]).unwrap().shared.questions,
        ["a", "b"]
    );
}

#[test]
fn flags_win_over_the_file() {
    let text = "model = \"m\"\nlearning_rate = 1\nseed = 3\n[dataset]\npath = \"d\"\nlimit = 5\n";
    let config = with_file(
        text,
        &["--seed", "4", "--dataset.limit", "6", "--dataset.columns.query-id", "q"],
    )
    .unwrap();
    assert_eq!((config.shared.learning_rate, config.shared.seed), (1.0, 4));
    let expected = "path = \"d\"\nlimit = 6\ncolumns = { query-id = \"q\" }"
        .parse::<toml::Table>()
        .unwrap();
    assert_eq!(config.shared.dataset, Some(toml::Value::Table(expected)));
}

#[test]
fn an_unknown_key_names_the_nearest_one() {
    assert_eq!(
        complaint(&["--learnin_rate", "1"]),
        "command line: --learnin_rate: expected a known key; the nearest is learning_rate, found the unknown key learnin_rate"
    );
    assert_eq!(
        file_complaint("model = \"m\"\nper_device_batch_size = 3\n", &[]),
        "line 2: per_device_batch_size: expected a known key; the nearest is per_device_eval_batch_size, found the unknown key per_device_batch_size"
    );
    assert!(complaint(&["--zzzzzzzz", "1"]).contains("--help lists them"));
}

#[test]
fn a_key_of_trl_that_means_nothing_here_says_why() {
    assert_eq!(
        file_complaint("model = \"m\"\n\nfp16 = true\n", &[]),
        "line 3: fp16: expected a key that this trainer takes: there is no float16 training; use bf16 = true or dtype = \"f32\", found TRL's fp16"
    );
    for key in ["deepspeed", "hub_model_id", "dataloader_num_workers", "torch_compile"] {
        assert!(complaint(&[&format!("--{key}"), "1"]).contains(&format!("found TRL's {key}")));
    }
}

/// Every key of TRL's SFTConfig is either taken or refused with a reason: none is just "unknown".
#[test]
fn every_key_of_trl_is_known() {
    let names = include_str!("trl_keys.txt");
    assert!(names.lines().count() > 100);
    let mut unknown = Vec::new();
    for name in names.lines() {
        if let Err(error) = run(&[&format!("--{name}"), "7"])
            && error.to_string().contains("unknown key")
        {
            unknown.push(name);
        }
    }
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn a_wrong_value_names_key_expected_and_found() {
    for (args, expected) in [
        (
            ["--learning_rate", "-1e-5"],
            "--learning_rate: expected a number (0 or more), found -1e-5",
        ),
        (
            ["--learning_rate", "nan"],
            "--learning_rate: expected a number (0 or more), found nan",
        ),
        (
            ["--per_device_train_batch_size", "0"],
            "--per_device_train_batch_size: expected a whole number (1 or more), found 0",
        ),
        (
            ["--per_device_train_batch_size", "1.5"],
            "--per_device_train_batch_size: expected a whole number (1 or more), found 1.5",
        ),
        (
            ["--max_length", "0"],
            "--max_length: expected a whole number, or \"none\" (1 or more), found 0",
        ),
        (
            ["--adam_beta1", "1"],
            "--adam_beta1: expected a number (0 or more, below 1), found 1",
        ),
        (
            ["--num_train_epochs", "0"],
            "--num_train_epochs: expected a number (above 0), found 0",
        ),
        (
            ["--logging_steps", "1.5"],
            "--logging_steps: expected a whole number, or a share of all steps below 1 (above 0), found 1.5",
        ),
        (["--packing", "maybe"], "--packing: expected true or false, found maybe"),
        (
            ["--lr_scheduler_type", "polynomial"],
            "--lr_scheduler_type: expected one of linear, cosine, constant, constant_with_warmup, found polynomial",
        ),
    ] {
        assert_eq!(complaint(&args), format!("command line: {expected}"));
    }
    assert_eq!(
        complaint(&["--seed"]),
        "command line: --seed: expected a whole number, 0 or more, found no value"
    );
    assert_eq!(
        complaint(&["--seed", "1", "2"]),
        "command line: --seed: expected a whole number, 0 or more, found 1 2"
    );
    assert_eq!(
        file_complaint("# first\nlearning_rate = \"1e-5\"\n", &[]),
        "line 2: learning_rate: expected a number (0 or more), found \"1e-5\""
    );
    assert_eq!(
        file_complaint("[learning_rate]\nx = 1\n", &[]),
        "line 1: learning_rate: expected a number (0 or more), found a table"
    );
}

#[test]
fn keys_that_exclude_each_other_are_named() {
    for (args, expected) in [
        (
            ["--warmup_steps", "3", "--warmup_ratio", "0.1"].as_slice(),
            "--warmup_ratio: expected warmup_steps or warmup_ratio, not both",
        ),
        (
            &["--lr_scheduler_type", "constant", "--warmup_steps", "3"],
            "--lr_scheduler_type: expected constant_with_warmup",
        ),
        (
            &["--bf16", "--dtype", "f32"],
            "--bf16: expected bf16 and dtype that agree, found bf16 = true and dtype = f32",
        ),
        (
            &["--master_dtype", "bf16"],
            "--master_dtype: expected f32, or bf16 beside dtype = \"bf16\", found bf16 beside dtype = \"f32\"",
        ),
        (
            &["--master_dtype", "f16", "--bf16"],
            "--master_dtype: expected one of f32, bf16, found f16",
        ),
        (
            &["--packing", "--max_length", "none"],
            "--max_length: expected a whole number, since packing = true",
        ),
        (
            &["--load_best_model_at_end"],
            "--load_best_model_at_end: expected the same eval_strategy and save_strategy",
        ),
        (
            &[
                "--load_best_model_at_end",
                "--eval_strategy",
                "steps",
                "--eval_steps",
                "3",
                "--save_steps",
                "4",
            ],
            "--load_best_model_at_end: expected save_steps that is a multiple of eval_steps",
        ),
    ] {
        let message = complaint(args);
        assert!(message.starts_with(&format!("command line: {expected}")), "{message}");
    }
    let missing = parse::<Sft>(["--model".into(), "m".into()]).unwrap_err().to_string();
    assert_eq!(
        missing,
        "configuration: dataset: expected a table that names the data, found nothing"
    );
    assert!(file_complaint("model = \"a\"\nmodel_name_or_path = \"b\"\n", &[]).contains("found both"));
}

#[test]
fn a_broken_file_names_its_line() {
    assert!(file_complaint("seed = 1\nlearning_rate = = 2\n", &[]).starts_with("line 2: expected TOML, found "));
    assert!(file_complaint("seed = 1\nseed = 2\n", &[]).starts_with("line 2: expected TOML, found duplicate key"));
    let missing = parse::<Sft>(["--config".into(), "no/such.toml".into()]).unwrap_err();
    assert!(missing.to_string().starts_with("no/such.toml: cannot read"));
    assert!(
        parse::<Sft>(["run.toml".into()])
            .unwrap_err()
            .to_string()
            .contains("expected a --flag, found run.toml")
    );
}

#[derive(Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    path: String,
    #[serde(default)]
    limit: usize,
    inner: Option<Box<Section>>,
}

#[test]
fn a_section_is_read_and_its_errors_name_the_line() {
    let read = |text: &str, args: &[&str]| {
        let config = with_file(text, args).unwrap();
        config
            .section::<Section>("dataset", config.shared.dataset.as_ref().unwrap())
            .map_err(|error| error.to_string())
    };
    let good = read("model = \"m\"\ndataset = { path = \"d\" }\n", &["--dataset.limit", "5"]);
    assert_eq!(
        good,
        Ok(Section {
            path: "d".into(),
            limit: 5,
            inner: None
        })
    );
    let unknown = read("model = \"m\"\n[dataset]\npath = \"d\"\nlimt = 3\n", &[]).unwrap_err();
    assert!(
        unknown
            .ends_with("line 4: dataset.limt: expected a known key; the nearest is limit, found the unknown key limt"),
        "{unknown}"
    );
    let nested = read(
        "model = \"m\"\n[dataset]\npath = \"d\"\n[dataset.inner]\npth = 1\n",
        &[],
    )
    .unwrap_err();
    assert!(
        nested.contains("line 5: dataset.inner.pth: expected a known key; the nearest is path"),
        "{nested}"
    );
    let flag = read("model = \"m\"\n[dataset]\npath = \"d\"\n", &["--dataset.limt", "5"]).unwrap_err();
    assert!(
        flag.starts_with("command line: --dataset.limt: expected a known key; the nearest is limit"),
        "{flag}"
    );
    let kind = read("model = \"m\"\n[dataset]\npath = 3\n", &[]).unwrap_err();
    assert!(
        kind.contains("line 3: dataset.path: expected a value of the right type, found invalid type: integer `3`"),
        "{kind}"
    );
    let text = "model = \"m\"\ndataset = \"d\"\n";
    let scalar = with_file(text, &["--dataset.limit", "5"]).unwrap_err().to_string();
    assert_eq!(
        scalar,
        "command line: --dataset.limit: expected a table in the place of \"d\", found \"d\""
    );
}

#[test]
fn the_saved_configuration_reads_back_equal() {
    let args = [
        "--max_length",
        "none",
        "--warmup_ratio",
        "0.1",
        "--save_steps",
        "0.25",
        "--bf16",
        "--questions",
        "a",
        "--loss_type",
        "dft",
    ];
    let config = run(&args).unwrap();
    let saved = config.to_toml();
    let again = with_file(&toml::to_string(&saved).unwrap(), &[]).unwrap();
    assert_eq!((again.shared, again.own), (config.shared.clone(), config.own.clone()));
    assert!(config.differences(&saved).is_empty());
    let changed = run(&[args.as_slice(), &["--learning_rate", "1e-3", "--data_seed", "1"]].concat()).unwrap();
    assert_eq!(
        changed.differences(&saved),
        ["learning_rate: 0.00002 -> 0.001", "data_seed: unset -> 1"]
    );
}

#[test]
fn steps_and_the_best_metric_are_those_of_transformers() {
    assert_eq!((Steps::Share(0.1).of(101), Steps::Count(7).of(101)), (11, 7));
    let shared = run(&[
        "--warmup_ratio",
        "0.03",
        "--eval_strategy",
        "steps",
        "--logging_steps",
        "4",
    ])
    .unwrap()
    .shared;
    assert_eq!((shared.warmup(50), shared.eval_interval(50)), (2, 4));
    assert_eq!(shared.best_metric(), ("eval_loss".into(), Direction::Less));
    let shared = run(&["--metric_for_best_model", "mean_token_accuracy"]).unwrap().shared;
    assert_eq!(
        shared.best_metric(),
        ("eval_mean_token_accuracy".into(), Direction::Greater)
    );
}

#[test]
fn help_lists_every_key_with_its_default() {
    let Parsed::Help(text) = parse::<Sft>(["--help".into()]).unwrap() else {
        panic!("no help")
    };
    assert!(
        text.contains("  --max_length <a whole number, or \"none\" (1 or more)>\n"),
        "{text}"
    );
    assert!(text.contains("[default: 1024]") && text.contains("--overwrite_output_dir"));
}

#[test]
fn the_distance_is_levenshteins() {
    for (a, b, expected) in [
        ("", "abc", 3),
        ("kitten", "sitting", 3),
        ("abc", "abc", 0),
        ("ab", "ba", 2),
    ] {
        assert_eq!(crate::edit_distance::distance(a, b), expected);
    }
}
