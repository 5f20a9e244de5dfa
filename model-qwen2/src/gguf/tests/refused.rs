//! Whole files of models and tokenizers that are not supported.
use super::build::{Put, Row, bytes, open};
use super::*;

/// The metadata of a tiny llama without its tokenizer, one value changed, added, or (by `None`) removed.
fn model(key: &'static str, value: Option<Put>) -> Result<HfConfig> {
    let mut metadata = vec![
        ("general.architecture", Put::Text("llama")),
        ("llama.block_count", Put::Uint(1)),
        ("llama.context_length", Put::Uint(64)),
        ("llama.embedding_length", Put::Uint(8)),
        ("llama.feed_forward_length", Put::Uint(8)),
        ("llama.attention.head_count", Put::Uint(2)),
        ("llama.attention.layer_norm_rms_epsilon", Put::Float(1e-5)),
    ];
    metadata.retain(|(own, _)| *own != key);
    metadata.extend(value.map(|value| (key, value)));
    config(&open(&bytes(
        &metadata,
        &[("token_embd.weight", vec![8, 10], 0, 0)],
        320,
    ))?)
}

#[test]
fn models() {
    assert_eq!(
        model("llama.rope.scale_linear", Some(Put::Float(1.0)))
            .unwrap()
            .kernel
            .rope
            .scaling,
        RopeScaling::None
    );
    let linear = model("llama.rope.scale_linear", Some(Put::Float(4.0)))
        .unwrap()
        .kernel
        .rope
        .scaling;
    assert_eq!(linear, RopeScaling::Linear { factor: 4.0 });
    for (key, value, expected) in [
        (
            "general.architecture",
            Some(Put::Text("gemma")),
            "llama or qwen2, found \"gemma\"",
        ),
        ("general.architecture", None, "found nothing"),
        (
            "llama.block_count",
            Some(Put::Uint(5000)),
            "fewer than 4096, found 5000",
        ),
        ("llama.block_count", None, "a positive integer, found nothing"),
        ("llama.embedding_length", Some(Put::Text("8")), "an integer"),
        (
            "llama.context_length",
            Some(Put::Uint(0)),
            "a positive integer below 2^28, found 0",
        ),
        ("llama.attention.head_count", Some(Put::Uint(3)), "a divisor of 8"),
        ("llama.attention.head_count", Some(Put::Ints(vec![2])), "an integer"),
        ("llama.attention.head_count_kv", Some(Put::Uint(4)), "a divisor of 2"),
        ("llama.attention.key_length", Some(Put::Uint(5)), "an even head size"),
        ("llama.attention.value_length", Some(Put::Uint(8)), "4, the head size"),
        (
            "llama.attention.layer_norm_rms_epsilon",
            Some(Put::Float(0.0)),
            "above 0",
        ),
        ("llama.attention.causal", Some(Put::Bool(false)), "true"),
        (
            "llama.attention.sliding_window",
            Some(Put::Uint(9)),
            "may change the mathematics",
        ),
        ("llama.expert_count", Some(Put::Uint(8)), "no mixture of experts"),
        ("llama.logit_scale", Some(Put::Float(0.5)), "may change the mathematics"),
        ("llama.rope.dimension_count", Some(Put::Uint(2)), "4, the head size"),
        ("llama.rope.freq_base", Some(Put::Float(-1.0)), "above 0"),
        (
            "llama.rope.scaling.type",
            Some(Put::Text("yarn")),
            "none or linear, found \"yarn\"",
        ),
        ("split.count", Some(Put::Uint(2)), "one file"),
        (
            "tokenizer.ggml.eos_token_id",
            Some(Put::Uint(10)),
            "a token id below 10, found 10",
        ),
    ] {
        let message = error(model(key, value));
        assert!(
            message.contains(&format!("x.gguf: {key}: expected ")) && message.contains(expected),
            "{message}"
        );
    }
    let message = error(model("llama.embedding_length", Some(Put::Uint(16))));
    assert!(
        message.contains("tensor token_embd.weight: expected shape [vocabulary, 16]"),
        "{message}"
    );
}

#[test]
fn tensors_missing_or_too_many() {
    let path = golden("qwen2.gguf");
    let whole = fs::read(&path).unwrap();
    let renamed = |from: &[u8], to: &[u8]| {
        let at = whole.windows(from.len()).position(|window| window == from).unwrap();
        let mut bytes = whole.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        let gguf = open(&bytes).unwrap();
        error(config(&gguf).and_then(|config| specs(&gguf, &config, Dtype::F32)))
    };
    let message = renamed(b"blk.1.attn_k.bias", b"blk.1.attn_k.xxxx");
    assert!(
        message.contains("tensor blk.1.attn_k.bias: expected shape [16], found no such tensor"),
        "{message}"
    );
    // Beyond the last block.
    let folder = tempdir().unwrap();
    let at = whole
        .windows(17)
        .position(|window| window == b"qwen2.block_count")
        .unwrap()
        + 17
        + 4;
    let mut bytes = whole.clone();
    assert_eq!(bytes[at], 2);
    bytes[at] = 1;
    let path = folder.path().join("x.gguf");
    fs::write(&path, bytes).unwrap();
    let message = error(convert(&path, folder.path().join("out"), Dtype::F32, 1));
    assert!(
        message.contains("tensor blk.1.") && message.contains("no such tensor in a qwen2"),
        "{message}"
    );
    assert!(!folder.path().join("out").exists());
}

#[test]
fn a_rope_table_of_another_scaling() {
    let path = golden("llama.gguf");
    let mut bytes = fs::read(&path).unwrap();
    // 32 is the divisor of the slowest frequencies.
    let at = bytes
        .windows(4)
        .rposition(|window| window == 32.0_f32.to_le_bytes())
        .unwrap();
    bytes[at..at + 4].copy_from_slice(&16.0_f32.to_le_bytes());
    let message = error(open(&bytes).and_then(|gguf| config(&gguf)));
    assert!(
        message.contains("tensor rope_freqs.weight: expected the table of Llama-3 scaling"),
        "{message}"
    );
}

fn tokens(key: &'static str, value: Option<Put>) -> Result<TokenizerFiles> {
    let mut metadata = vec![
        ("tokenizer.ggml.model", Put::Text("gpt2")),
        ("tokenizer.ggml.pre", Put::Text("gpt-2")),
        ("tokenizer.ggml.tokens", Put::Texts(vec!["a", "b", "ab", "<s>", "x"])),
        ("tokenizer.ggml.token_type", Put::Ints(vec![1, 1, 1, 3, 5])),
        ("tokenizer.ggml.merges", Put::Texts(vec!["a b"])),
        ("tokenizer.ggml.bos_token_id", Put::Uint(3)),
    ];
    metadata.retain(|(own, _)| *own != key);
    metadata.extend(value.map(|value| (key, value)));
    let row: Row = ("token_embd.weight", vec![8, 5], 0, 0);
    tokenizer(&open(&bytes(&metadata, &[row], 160))?)
}

#[test]
fn tokenizers() {
    for (key, value, expected) in [
        (
            "tokenizer.ggml.model",
            Some(Put::Text("llama")),
            "gpt2 (byte-level BPE), found \"llama\"",
        ),
        (
            "tokenizer.ggml.pre",
            Some(Put::Text("tekken")),
            "smollm, qwen2, llama-bpe or default, found \"tekken\"",
        ),
        ("tokenizer.ggml.pre", None, "found nothing"),
        ("tokenizer.ggml.tokens", None, "an array of strings, found nothing"),
        (
            "tokenizer.ggml.tokens",
            Some(Put::Texts(vec!["a", "b", "ab", "a", "x"])),
            "not \"a\" as 0 and as 3",
        ),
        (
            "tokenizer.ggml.tokens",
            Some(Put::Texts(vec!["a", "b", "ab", "<s>", "x", "y"])),
            "at most the 5 tokens",
        ),
        (
            "tokenizer.ggml.token_type",
            Some(Put::Ints(vec![1])),
            "one type for each of the 5 tokens",
        ),
        (
            "tokenizer.ggml.merges",
            Some(Put::Texts(vec!["a b", "b a"])),
            "at 1 two tokens whose union is a token, not \"b a\"",
        ),
        ("tokenizer.ggml.merges", Some(Put::Texts(vec!["ab"])), "at 0 two tokens"),
        ("tokenizer.ggml.bos_token_id", Some(Put::Uint(4)), "a token id below 4"),
        (
            "tokenizer.ggml.add_eos_token",
            Some(Put::Bool(true)),
            "false, as there is no eos_token",
        ),
    ] {
        let message = error(tokens(key, value));
        assert!(
            message.contains(&format!("x.gguf: {key}: expected ")) && message.contains(expected),
            "{message}"
        );
    }
}

#[test]
fn a_qwen2_model_with_another_pre_tokenizer() {
    let message = error(tokens("general.architecture", Some(Put::Text("qwen2"))));
    assert!(
        message.contains("tokenizer.ggml.pre: expected qwen2: AutoTokenizer") && message.ends_with("found \"gpt-2\""),
        "{message}"
    );
}

/// How a text is cut under each name of a pre-tokenizer.
#[test]
fn pre_tokenizers() {
    use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};
    let cut = |pre: &'static str| {
        let files = tokens("tokenizer.ggml.pre", Some(Put::Text(pre))).unwrap();
        let tokenizer = Tokenizer::from_bytes(files.tokenizer.to_string()).unwrap();
        let mut text = PreTokenizedString::from("It'S 1234, (no)!");
        tokenizer.get_pre_tokenizer().unwrap().pre_tokenize(&mut text).unwrap();
        let pieces = text.get_splits(OffsetReferential::Original, OffsetType::Byte);
        pieces
            .into_iter()
            .map(|(piece, ..)| piece.replace('Ġ', "_"))
            .collect::<Vec<_>>()
            .join("|")
    };
    assert_eq!(cut("gpt-2"), "It|'|S|_1234|,|_(|no|)!");
    assert_eq!(cut("smollm"), "It|'|S|_|1|2|3|4|,|_(|no|)!");
    assert_eq!(cut("qwen2"), "It|'S|_|1|2|3|4|,|_(|no|)!");
    assert_eq!(cut("llama-bpe"), "It|'S|_|123|4|,|_(|no|)!");
    assert_eq!(cut("default"), "It|'|S|_|123|4|,|_|(|no|)!");
}

#[test]
fn bos_and_eos_around_a_text() {
    let mut metadata = vec![
        ("tokenizer.ggml.model", Put::Text("gpt2")),
        ("tokenizer.ggml.pre", Put::Text("gpt-2")),
        ("tokenizer.ggml.tokens", Put::Texts(vec!["a", "b", "ab", "<s>", "</s>"])),
        ("tokenizer.ggml.token_type", Put::Ints(vec![1, 1, 1, 3, 3])),
        ("tokenizer.ggml.merges", Put::Texts(vec!["a b"])),
        ("tokenizer.ggml.bos_token_id", Put::Uint(3)),
        ("tokenizer.ggml.eos_token_id", Put::Uint(4)),
        ("tokenizer.ggml.add_bos_token", Put::Bool(true)),
    ];
    let encode = |metadata: &[(&str, Put)]| {
        let files = tokenizer(&open(&bytes(metadata, &[], 0)).unwrap()).unwrap();
        let tokenizer = Tokenizer::from_bytes(files.tokenizer.to_string()).unwrap();
        let ids = |text: tokenizers::EncodeInput<'_>| tokenizer.encode(text, true).unwrap().get_ids().to_vec();
        (ids("aba</s>".into()), ids(("a", "b").into()))
    };
    assert_eq!(encode(&metadata), (vec![3, 2, 0, 4], vec![3, 0, 3, 1]));
    metadata.push(("tokenizer.ggml.add_eos_token", Put::Bool(true)));
    assert_eq!(encode(&metadata), (vec![3, 2, 0, 4, 4], vec![3, 0, 4, 3, 1, 4]));
}
