use super::*;
use tempfile::TempDir;

/// A folder with empty files at these paths.
fn tree(files: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        let path = dir.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }
    dir
}

/// Every split found, with its files relative to the folder.
fn splits(files: &[&str]) -> Vec<(String, Vec<String>)> {
    let dir = tree(files);
    let source = Source::find(&[dir.path().to_owned()]).unwrap();
    let relative = |f: &PathBuf| f.strip_prefix(dir.path()).unwrap().to_str().unwrap().to_owned();
    source
        .splits
        .iter()
        .map(|(name, files)| (name.clone(), files.iter().map(relative).collect()))
        .collect()
}

fn expect(files: &[&str], expected: &[(&str, &[&str])]) {
    let expected: Vec<(String, Vec<String>)> = expected
        .iter()
        .map(|(n, f)| ((*n).to_owned(), f.iter().map(|f| (*f).to_owned()).collect()))
        .collect();
    assert_eq!(splits(files), expected);
}

#[test]
fn shards_come_first() {
    expect(
        &[
            "data/train-00001-of-00002.parquet",
            "data/train-00000-of-00002.parquet",
            "data/test_sft-00000-of-00001-a1b2.parquet",
            "train/other.jsonl",
        ],
        &[
            (
                "train",
                &["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"],
            ),
            ("test_sft", &["data/test_sft-00000-of-00001-a1b2.parquet"]),
        ],
    );
}

#[test]
fn sub_folders_then_names_then_everything() {
    expect(
        &[
            "test/x.jsonl",
            "train/b.jsonl",
            "train/a.parquet",
            "train/.cache/c.jsonl",
            "train/__x/d.jsonl",
            "readme.md",
            "dev/e.csv",
        ],
        &[
            ("train", &["train/a.parquet", "train/b.jsonl"]),
            ("validation", &["dev/e.csv"]),
            ("test", &["test/x.jsonl"]),
        ],
    );
    expect(
        &[
            "train_1.parquet",
            "train2.jsonl",
            "my-test.jsonl",
            "latest.jsonl",
            "corpus.jsonl",
        ],
        &[
            ("train", &["train2.jsonl", "train_1.parquet"]),
            ("test", &["my-test.jsonl"]),
        ],
    );
    expect(
        &["b.jsonl", "a.csv", "dataset_info.json"],
        &[("train", &["a.csv", "b.jsonl"])],
    );
}

#[test]
fn files_are_train_and_answer_to_their_name() {
    let dir = tree(&["gsm_test.jsonl", "faq.jsonl"]);
    let (test, faq) = (dir.path().join("gsm_test.jsonl"), dir.path().join("faq.jsonl"));
    let source = Source::find(std::slice::from_ref(&test)).unwrap();
    for files in [
        source.train(),
        source.eval(),
        source.split("train"),
        source.split("test"),
    ] {
        assert_eq!(files.unwrap(), std::slice::from_ref(&test));
    }
    assert!(source.held_out().is_none());
    let both = Source::find(&[test, faq]).unwrap();
    assert_eq!(both.train().unwrap().len(), 2);
    let error = both.split("test").unwrap_err().to_string();
    assert!(
        error.ends_with("gsm_test.jsonl: split \"test\": expected one of train, found no such split"),
        "{error}"
    );
}

#[test]
fn defaults_of_a_folder() {
    let dir = tree(&["train.jsonl", "valid.jsonl"]);
    let source = Source::find(&[dir.path().to_owned()]).unwrap();
    assert!(source.train().unwrap()[0].ends_with("train.jsonl"));
    assert!(source.eval().unwrap()[0].ends_with("valid.jsonl"));
    assert!(source.held_out().unwrap()[0].ends_with("valid.jsonl"));
    assert_eq!(source.all().len(), 2);
    let error = source.split("tran").unwrap_err().to_string();
    assert!(
        error.ends_with("expected one of train, validation (did you mean train?), found no such split"),
        "{error}"
    );
}

#[test]
fn nothing_there() {
    let dir = tree(&["a.arrow"]);
    let error = Source::find(&[dir.path().to_owned()]).unwrap_err().to_string();
    assert!(
        error.ends_with(": folder: expected files ending in jsonl, ndjson, json, parquet, csv, tsv, txt, found none"),
        "{error}"
    );
    let error = Source::find(&[dir.path().join("no")]).unwrap_err().to_string();
    assert!(error.contains("no: cannot find: "), "{error}");
    assert!(
        Source::find(&[])
            .unwrap_err()
            .to_string()
            .contains("expected a path, found an empty list")
    );
}
