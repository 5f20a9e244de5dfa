use super::*;
use kernel::config::{Rope, RopeScaling};
use serde_json::from_str;

/// A minimal file of transformers 4.
fn llama4() -> Value {
    json!({ "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 100, "hidden_size": 64,
        "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "rms_norm_eps": 1e-5,
        "max_position_embeddings": 2048, "hidden_act": "silu", "torch_dtype": "float16" })
}

fn read(value: &Value) -> Result<HfConfig> {
    HfConfig::from_json(Path::new("config.json"), value.as_object().unwrap())
}

/// The config of `change` merged into [`llama4`]; `null` removes.
fn with(change: Value) -> Value {
    let mut value = llama4();
    for (key, new) in change.as_object().unwrap() {
        value[key] = new.clone();
    }
    value
}

/// Each change must give an error that has the two texts.
fn refused(cases: impl IntoIterator<Item = (Value, &'static str, &'static str)>) {
    for (change, field, expected) in cases {
        let message = read(&with(change.clone())).expect_err(&change.to_string()).to_string();
        assert!(
            message.starts_with(&format!("config.json: {field}: ")),
            "{change}: {message}"
        );
        assert!(message.contains(expected), "{change}: {message}");
    }
}

#[test]
fn defaults_are_those_of_transformers() {
    let config = read(&llama4()).unwrap();
    assert_eq!(
        config,
        HfConfig {
            kernel: Config {
                vocab: 100,
                hidden: 64,
                intermediate: 96,
                layers: 2,
                heads: 4,
                kv_heads: 4,
                head_dim: 16,
                rms_eps: 1e-5,
                rope: Rope {
                    theta: 10_000.0,
                    scaling: RopeScaling::None
                },
                bias: Bias::default(),
                head: Head::Untied,
                max_positions: 2048,
            },
            family: Family::Llama,
            dtype: Some(Dtype::F16),
            eos_token_ids: vec![],
            bos_token_id: None,
            pad_token_id: None,
            initializer_range: 0.02,
        }
    );
}

#[test]
fn files_of_transformers_5() {
    let llama: Value = from_str(include_str!("../../golden/config/llama.json")).unwrap();
    let llama = read(&llama).unwrap();
    let scaling = RopeScaling::Llama3 {
        factor: 32.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_positions: 8192.0,
    };
    assert_eq!(
        llama.kernel.rope,
        Rope {
            theta: 500_000.0,
            scaling
        }
    );
    assert_eq!(
        llama.kernel.bias,
        Bias {
            qkv: true,
            output: true,
            mlp: false
        }
    );
    assert_eq!((llama.kernel.head_dim, llama.kernel.head), (16, Head::Untied));
    assert_eq!((llama.dtype, llama.family), (Some(Dtype::Bf16), Family::Llama));

    let qwen2: Value = from_str(include_str!("../../golden/config/qwen2.json")).unwrap();
    let qwen2 = read(&qwen2).unwrap();
    assert_eq!(
        qwen2.kernel.rope,
        Rope {
            theta: 1e6,
            scaling: RopeScaling::None
        }
    );
    assert_eq!(
        qwen2.kernel.bias,
        Bias {
            qkv: true,
            output: false,
            mlp: false
        }
    );
    assert_eq!((qwen2.kernel.head_dim, qwen2.kernel.head), (8, Head::Tied));
    assert_eq!((qwen2.family, qwen2.kernel.kv_heads), (Family::Qwen2, 2));
    assert_eq!(
        (qwen2.eos_token_ids, qwen2.bos_token_id, qwen2.pad_token_id),
        (vec![302], Some(300), None)
    );
}

#[test]
fn rope_in_every_spelling() {
    let linear = Rope {
        theta: 5e5,
        scaling: RopeScaling::Linear { factor: 2.5 },
    };
    for change in [
        json!({ "rope_theta": 500000, "rope_scaling": { "type": "linear", "factor": 2.5 } }),
        json!({ "rope_theta": 5e5, "rope_scaling": { "rope_type": "linear", "factor": 2.5 } }),
        json!({ "rope_parameters": { "rope_type": "linear", "factor": 2.5, "rope_theta": 5e5 } }),
        json!({ "rope_theta": 7.0, "rope_parameters": { "rope_type": "linear", "factor": 2.5, "rope_theta": 5e5 },
            "rope_scaling": { "rope_type": "linear", "factor": 2.5, "rope_theta": 5e5 } }),
    ] {
        assert_eq!(read(&with(change.clone())).unwrap().kernel.rope, linear, "{change}");
    }
    let llama3 = json!({ "rope_scaling": { "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0 } });
    let RopeScaling::Llama3 {
        original_max_positions, ..
    } = read(&with(llama3)).unwrap().kernel.rope.scaling
    else {
        panic!("not llama3");
    };
    assert_eq!(original_max_positions, 2048.0);
}

#[test]
fn what_would_change_the_mathematics_is_refused() {
    let rope = |rope: Value| json!({ "rope_parameters": rope });
    refused([
        (json!({ "hidden_act": "gelu" }), "hidden_act", "found \"gelu\""),
        (json!({ "use_sliding_window": true }), "use_sliding_window", "false"),
        (
            json!({ "layer_types": ["full_attention", "sliding_attention"] }),
            "layer_types",
            "full_attention",
        ),
        (
            json!({ "partial_rotary_factor": 0.5 }),
            "partial_rotary_factor",
            "found 0.5",
        ),
        (
            json!({ "quantization_config": { "bits": 4 } }),
            "quantization_config",
            "no such field",
        ),
        (json!({ "attention_dropout": 0.1 }), "attention_dropout", "0.0"),
        (json!({ "pretraining_tp": 2 }), "pretraining_tp", "found 2"),
        (json!({ "is_causal": false }), "is_causal", "true"),
        (
            json!({ "auto_map": { "AutoConfig": "x.Y" } }),
            "auto_map",
            "no such field",
        ),
        (
            json!({ "rope_scaling": { "type": "dynamic", "factor": 2.0 } }),
            "rope_scaling.type",
            "default, linear or llama3",
        ),
        (
            rope(json!({ "rope_type": "yarn", "factor": 4.0 })),
            "rope_parameters.rope_type",
            "found \"yarn\"",
        ),
        (
            rope(json!({ "rope_type": "default", "partial_rotary_factor": 0.5 })),
            "rope_parameters.partial_rotary_factor",
            "1.0",
        ),
        (
            rope(json!({ "rope_type": "default", "mrope_section": [1, 2] })),
            "rope_parameters.mrope_section",
            "unknown for",
        ),
        (
            rope(json!({ "full_attention": { "rope_theta": 1e4 } })),
            "rope_parameters.full_attention",
            "unknown for",
        ),
        (
            json!({ "rope_scaling": { "type": "linear", "factor": 2.0 }, "rope_parameters": { "rope_type": "default" } }),
            "rope_scaling",
            "same as rope_parameters",
        ),
    ]);
}

#[test]
fn other_models_are_refused() {
    refused([
        (
            json!({ "model_type": "mistral", "architectures": ["MistralForCausalLM"] }),
            "model_type",
            "found \"mistral\"",
        ),
        (json!({ "model_type": "qwen3" }), "model_type", "qwen2 or llama"),
        (json!({ "model_type": null }), "model_type", "found nothing"),
        (
            json!({ "architectures": ["LlamaForSequenceClassification"] }),
            "architectures",
            "LlamaForCausalLM",
        ),
        (json!({ "model_type": "qwen2" }), "architectures", "Qwen2ForCausalLM"),
    ]);
}

#[test]
fn missing_and_mistyped_fields_are_named() {
    for key in [
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "rms_norm_eps",
        "max_position_embeddings",
    ] {
        for (value, found) in [
            (Value::Null, "nothing"),
            (json!("x"), "\"x\""),
            (json!(-3), "-3"),
            (json!(0), "0"),
        ] {
            let mut config = llama4();
            config[key] = value;
            let message = read(&config).unwrap_err().to_string();
            assert!(message.starts_with(&format!("config.json: {key}: ")), "{message}");
            assert!(message.ends_with(&format!("found {found}")), "{message}");
        }
    }
    refused([
        (
            json!({ "num_hidden_layers": 5000 }),
            "num_hidden_layers",
            "fewer than 4096",
        ),
        (json!({ "hidden_size": 1u64 << 40 }), "hidden_size", "below 2^28"),
        (
            json!({ "num_key_value_heads": 3 }),
            "num_key_value_heads",
            "divisor of num_attention_heads, 4",
        ),
        (
            json!({ "num_attention_heads": 5 }),
            "num_attention_heads",
            "divisor of hidden_size, 64",
        ),
        (json!({ "head_dim": 15 }), "head_dim", "even"),
        (
            json!({ "num_attention_heads": 1 << 20, "head_dim": 1 << 10 }),
            "num_attention_heads",
            "fewer",
        ),
        (json!({ "attention_bias": 1 }), "attention_bias", "true or false"),
        (
            json!({ "tie_word_embeddings": "yes" }),
            "tie_word_embeddings",
            "true or false",
        ),
        (
            json!({ "eos_token_id": [1, "2"] }),
            "eos_token_id",
            "a token id or a list",
        ),
        (json!({ "bos_token_id": 1.5 }), "bos_token_id", "a token id"),
        (json!({ "torch_dtype": "float8_e4m3fn" }), "torch_dtype", "bfloat16"),
        (json!({ "rope_theta": -1.0 }), "rope_theta", "above 0"),
        (json!({ "rope_scaling": [] }), "rope_scaling", "an object"),
        (
            json!({ "rope_scaling": { "type": "linear" } }),
            "rope_scaling.factor",
            "found nothing",
        ),
        (
            json!({ "rope_scaling": { "rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4 } }),
            "rope_scaling.high_freq_factor",
            "above low_freq_factor",
        ),
    ]);
}

#[test]
fn broken_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let message = HfConfig::open(folder.path()).unwrap_err().to_string();
    assert!(message.contains("config.json: cannot read"), "{message}");
    for (text, expected) in [
        ("", "EOF"),
        ("[1]", "expected a map"),
        ("{\"a\": 1,\n x", "line 2 column 2"),
    ] {
        std::fs::write(folder.path().join(CONFIG_FILE), text).unwrap();
        let message = HfConfig::open(folder.path()).unwrap_err().to_string();
        assert!(
            message.contains("config.json: file: expected a JSON object, found "),
            "{message}"
        );
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn written_files_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let goldens = [
        include_str!("../../golden/config/llama.json"),
        include_str!("../../golden/config/qwen2.json"),
    ];
    let mut configs: Vec<HfConfig> = goldens.map(|text| read(&from_str(text).unwrap()).unwrap()).into();
    configs.push(
        read(&with(
            json!({ "rope_scaling": { "type": "linear", "factor": 4 }, "pad_token_id": -1,
        "eos_token_id": [5, 6], "attention_bias": true, "mlp_bias": true, "tie_word_embeddings": true }),
        ))
        .unwrap(),
    );
    for config in configs {
        config.save(folder.path()).unwrap();
        assert_eq!(HfConfig::open(folder.path()).unwrap(), config);
    }
}

#[test]
#[should_panic = "a Qwen2ForCausalLM cannot have Bias"]
fn biases_no_config_can_express() {
    let mut config = read(&llama4()).unwrap();
    config.family = Family::Qwen2;
    config.to_json();
}

#[test]
fn generation_config() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(GenerationConfig::open(folder.path()).unwrap(), None);
    let path = folder.path().join("generation_config.json");
    let text = r#"{"bos_token_id": 7, "eos_token_id": [3, 4], "temperature": 0.7, "pad_token_id": null}"#;
    std::fs::write(&path, text).unwrap();
    let read = GenerationConfig::open(folder.path()).unwrap().unwrap();
    assert_eq!(
        (&read.eos_token_ids, read.bos_token_id, read.pad_token_id),
        (&vec![3, 4], Some(7), None)
    );
    assert_eq!(Value::Object(read.other.clone()), json!({ "temperature": 0.7 }));

    read.save(folder.path()).unwrap();
    assert_eq!(GenerationConfig::open(folder.path()).unwrap().unwrap(), read);
    std::fs::write(&path, r#"{"eos_token_id": "x"}"#).unwrap();
    let message = GenerationConfig::open(folder.path()).unwrap_err().to_string();
    assert!(
        message.contains("generation_config.json: eos_token_id: expected a token id"),
        "{message}"
    );
}

#[test]
fn tensor_names_and_shapes() {
    let config: Value = from_str(include_str!("../../golden/config/llama.json")).unwrap();
    let shapes: Vec<_> = tensor_shapes(&read(&config).unwrap().kernel).collect();
    let find = |name: &str| {
        shapes
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, shape)| shape.as_slice())
    };
    assert_eq!(find("model.layers.0.self_attn.k_proj.weight"), Some(&[32, 32][..]));
    assert_eq!(find("model.layers.0.self_attn.o_proj.weight"), Some(&[32, 64][..]));
    assert_eq!(find("model.layers.0.self_attn.q_proj.bias"), Some(&[64][..]));
    assert_eq!(find("model.layers.0.mlp.up_proj.bias"), None);
    assert_eq!(find("lm_head.weight"), Some(&[305, 32][..]));
    // Two norms, seven weights, four biases; the embedding, the last norm, the head.
    assert_eq!(shapes.len(), (2 + 7 + 4) + 3);
}
