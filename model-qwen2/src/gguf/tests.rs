use super::*;
use crate::config::Family;
use crate::tensors::{DEFAULT_SHARD_BYTES, Tensors};
use kernel::config::{Head, RopeScaling};
use std::fs;
use std::path::PathBuf;
use tempfile::{TempDir, tempdir};
use tokenizers::Tokenizer;

mod build;
mod damaged;
mod refused;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name)
}

fn json(path: impl AsRef<Path>) -> serde_json::Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn error<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => panic!("no error"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_format_has_the_bits_of_the_python_package() {
    let bytes = fs::read(golden("quants.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut seen = 0;
    for number in 0..64 {
        let Ok(kind) = Kind::from_number(number) else {
            continue;
        };
        let name = format!("{kind:?}").to_uppercase().replace('K', "_K");
        let blocks = file.tensor(&format!("{name}.bytes")).unwrap().data();
        let expected = file.tensor(&format!("{name}.values")).unwrap();
        let mut out = vec![0.0_f32; expected.shape()[0]];
        let (numbers, size) = kind.block();
        assert_eq!(out.len() / numbers, blocks.len() / size, "{name}");
        kind.dequantise(&mut out, blocks);
        let bits: Vec<u8> = out.iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(bits, expected.data(), "{name}");
        seen += 1;
    }
    assert_eq!(seen * 2, file.len());
}

/// Converts the golden `name`, and compares tensors and token ids with those of the model it was made from.
fn converted(name: &str) -> (TempDir, Converted) {
    let folder = tempdir().unwrap();
    let done = convert(
        golden(&format!("{name}.gguf")),
        folder.path(),
        Dtype::F32,
        DEFAULT_SHARD_BYTES,
    )
    .unwrap();
    assert_eq!(HfConfig::open(folder.path()).unwrap(), done.config);

    let (ours, theirs) = (
        Tensors::open(folder.path()).unwrap(),
        Tensors::open_file(golden(&format!("{name}.safetensors"))).unwrap(),
    );
    assert_eq!(
        (ours.iter().count(), theirs.iter().count()),
        (done.tensors, done.tensors)
    );
    let mut parameters = 0;
    for (name, shape) in theirs.iter() {
        let [ours, theirs] = [&ours, &theirs].map(|file| file.get(name, shape).unwrap().to_vec::<f32>().unwrap());
        assert!(
            ours.iter().zip(&theirs).all(|(a, b)| a.to_bits() == b.to_bits()),
            "{name}"
        );
        parameters += theirs.len();
    }
    assert_eq!(done.parameters, parameters);

    let tokenizer = Tokenizer::from_file(folder.path().join("tokenizer.json")).unwrap();
    let golden = json(golden(&format!("{name}.json")));
    let texts = golden["texts"].as_array().unwrap();
    for (text, ids) in texts.iter().zip(golden["ids"].as_array().unwrap()) {
        let encoded = tokenizer.encode(text.as_str().unwrap(), true).unwrap();
        assert_eq!(serde_json::json!(encoded.get_ids()), *ids, "{text}");
    }
    (folder, done)
}

#[test]
fn a_llama_model() {
    let (folder, done) = converted("llama");
    let config = HfConfig::read(golden("config/llama.json")).unwrap();
    assert_eq!(
        done.config,
        HfConfig {
            dtype: Some(Dtype::F32),
            ..config
        }
    );
    assert!(matches!(
        done.config.kernel.rope.scaling,
        RopeScaling::Llama3 { factor: 32.0, .. }
    ));
    let tokenizer = json(folder.path().join("tokenizer_config.json"));
    assert_eq!(tokenizer["tokenizer_class"], "PreTrainedTokenizerFast");
    assert_eq!(
        tokenizer["chat_template"],
        "{% for m in messages %}{{ m['content'] }}é{% endfor %}"
    );
    assert_eq!(tokenizer["added_tokens_decoder"]["302"]["content"], "<|im_end|>");
    assert_eq!(tokenizer["added_tokens_decoder"]["302"]["special"], true);
    assert_eq!(tokenizer["added_tokens_decoder"]["303"]["special"], false);
    let special = serde_json::json!({ "bos_token": "<|endoftext|>", "eos_token": "<|im_end|>" });
    assert_eq!(json(folder.path().join("special_tokens_map.json")), special);
}

#[test]
fn a_qwen2_model() {
    let (folder, done) = converted("qwen2");
    let config = HfConfig::read(golden("config/qwen2.json")).unwrap();
    // The GGUF file has an end of turn and a padding token besides.
    let expected = HfConfig {
        dtype: Some(Dtype::F32),
        eos_token_ids: vec![302, 300],
        pad_token_id: Some(300),
        ..config
    };
    assert_eq!(done.config, expected);
    assert_eq!(
        (done.config.family, done.config.kernel.head),
        (Family::Qwen2, Head::Tied)
    );
    let generation = GenerationConfig::open(folder.path()).unwrap().unwrap();
    assert_eq!(generation.eos_token_ids, [302, 300]);
    // Three rows of the embedding have no token.
    let tokenizer = Tokenizer::from_file(folder.path().join("tokenizer.json")).unwrap();
    assert_eq!((done.config.kernel.vocab, tokenizer.get_vocab_size(true)), (308, 305));
}

#[test]
fn other_dtypes_and_shards() {
    let folder = tempdir().unwrap();
    let path = golden("qwen2.gguf");
    convert(&path, folder.path(), Dtype::Bf16, 10_000).unwrap();
    assert!(folder.path().join("model.safetensors.index.json").exists());
    let (ours, gguf) = (Tensors::open(folder.path()).unwrap(), Gguf::open(&path).unwrap());
    let single = gguf.read("blk.1.ffn_up.weight", &[32, 32]).unwrap();
    let view = ours.get("model.layers.1.mlp.up_proj.weight", &[32, 32]).unwrap();
    assert_eq!(view.dtype(), Dtype::Bf16);
    let brain: Vec<half::bf16> = view.to_vec().unwrap();
    assert_eq!(
        brain,
        single.iter().map(|x| half::bf16::from_f32(*x)).collect::<Vec<_>>()
    );
    assert_eq!(HfConfig::open(folder.path()).unwrap().dtype, Some(Dtype::Bf16));
    assert!(error(convert(&path, folder.path(), Dtype::F32, 10_000)).contains("a new or empty folder"));
}

#[test]
fn names_of_tensors() {
    assert_eq!(
        gguf_name("model.layers.12.self_attn.q_proj.bias").as_deref(),
        Some("blk.12.attn_q.bias")
    );
    assert_eq!(gguf_name("lm_head.weight").as_deref(), Some("output.weight"));
    assert_eq!(gguf_name("model.layers.1.self_attn.q_norm.weight"), None);
    assert_eq!(gguf_name("score.weight"), None);
}
