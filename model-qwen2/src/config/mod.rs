//! config.json and generation_config.json, as transformers 4 and 5 write them.
//!
//! What a file may say is what `LlamaConfig` and `Qwen2Config` of transformers read. A field of theirs that changes the
//! mathematics in a way the kernel does not know is an error; a field that they pass over is passed over here.

pub(crate) mod fields;
mod generation;
mod rope;
mod shapes;

pub use generation::GenerationConfig;
pub use shapes::tensor_shapes;

use std::path::Path;

use kernel::config::{Bias, Config, Head};
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::tensors::{Dtype, write_json};
use fields::{Fields, read_object};

/// The file's name in a model folder.
pub const CONFIG_FILE: &str = "config.json";

/// More layers than any model has: a file that says more lies.
pub(crate) const MAX_LAYERS: usize = 4096;

/// Which class of transformers a model is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `Qwen2ForCausalLM`: biases on q, k and v, always.
    Qwen2,
    /// `LlamaForCausalLM`: biases by `attention_bias` and `mlp_bias`.
    Llama,
}

impl Family {
    const ALL: [Self; 2] = [Self::Qwen2, Self::Llama];

    /// `model_type` in config.json, and `general.architecture` in a GGUF file.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Qwen2 => "qwen2",
            Self::Llama => "llama",
        }
    }

    /// The one entry of `architectures`.
    pub fn architecture(self) -> &'static str {
        match self {
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Llama => "LlamaForCausalLM",
        }
    }

    /// The class of the same model with a score per text in place of the head.
    fn classifier(self) -> String {
        self.architecture().replace("ForCausalLM", "ForSequenceClassification")
    }

    /// The family of a `model_type`.
    pub fn from_model_type(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.model_type() == name)
    }
}

/// What a config.json says.
#[derive(Clone, Debug, PartialEq)]
pub struct HfConfig {
    /// Shape and mathematics.
    pub kernel: Config,
    /// The model class.
    pub family: Family,
    /// How the file says the weights are stored; the tensors have the last word.
    pub dtype: Option<Dtype>,
    /// Tokens that end a text; more may be in generation_config.json.
    pub eos_token_ids: Vec<u32>,
    /// The token that begins a text.
    pub bos_token_id: Option<u32>,
    /// The padding token.
    pub pad_token_id: Option<u32>,
    /// Deviation of the initial weights. Kept for whoever trains on; nothing here draws weights by it.
    pub initializer_range: f64,
}

impl HfConfig {
    /// Reads `config.json` in `folder`.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        Self::read(folder.as_ref().join(CONFIG_FILE))
    }

    /// Reads the `config.json` of a sequence classifier in `folder`: the trunk of a language model whose last normed state
    /// goes through `score.weight`. It has no head of its own, which [`Head::Tied`] says.
    pub fn open_classifier(folder: impl AsRef<Path>) -> Result<Self> {
        let path = folder.as_ref().join(CONFIG_FILE);
        let mut map = read_object(&path)?;
        let fields = Fields {
            path: &path,
            prefix: "",
            map: &map,
        };
        let expected = Family::ALL.map(Family::classifier);
        let classes = fields.get("architectures").and_then(Value::as_array);
        let family = classes.and_then(|classes| match classes.as_slice() {
            [Value::String(class)] => Family::ALL.into_iter().find(|family| family.classifier() == *class),
            _ => None,
        });
        let family = family.ok_or_else(|| fields.invalid("architectures", expected.join(" or ")))?;
        map.insert("architectures".into(), json!([family.architecture()]));
        map.insert("tie_word_embeddings".into(), true.into());
        Self::from_json(&path, &map)
    }

    /// Reads the file `path`.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::from_json(path, &read_object(path)?)
    }

    /// Reads the content of the file `path`, which only names the errors.
    pub fn from_json(path: &Path, map: &Map<String, Value>) -> Result<Self> {
        let fields = Fields { path, prefix: "", map };
        let family = family(&fields)?;
        refuse_unsupported(&fields)?;

        let size = |key: &str| fields.required(key, "a positive integer", fields.size(key)?);
        let hidden = size("hidden_size")?;
        let heads = size("num_attention_heads")?;
        let kv_heads = fields.size("num_key_value_heads")?.unwrap_or(heads);
        if heads % kv_heads != 0 {
            return Err(fields.invalid(
                "num_key_value_heads",
                format!("a divisor of num_attention_heads, {heads}"),
            ));
        }
        let head_dim = match fields.size("head_dim")? {
            Some(head_dim) => head_dim,
            None if hidden % heads == 0 => hidden / heads,
            None => {
                let expected = format!("a divisor of hidden_size, {hidden}, as there is no head_dim");
                return Err(fields.invalid("num_attention_heads", expected));
            }
        };
        if head_dim % 2 != 0 {
            return Err(fields.invalid("head_dim", format!("an even number, not {head_dim}")));
        }
        // With it, no tensor's size can overflow.
        if heads.saturating_mul(head_dim) >= 1 << 28 {
            return Err(fields.invalid("num_attention_heads", format!("fewer of head_dim {head_dim}")));
        }
        // The list of parameters is made before the first of them is missed.
        let layers = size("num_hidden_layers")?;
        if layers >= MAX_LAYERS {
            return Err(fields.invalid("num_hidden_layers", format!("fewer than {MAX_LAYERS}")));
        }
        let max_positions = size("max_position_embeddings")?;
        let flag = |key: &str| Ok::<_, Error>(fields.flag(key)?.unwrap_or(false));
        let bias = match family {
            Family::Qwen2 => Bias {
                qkv: true,
                output: false,
                mlp: false,
            },
            Family::Llama => {
                let attention = flag("attention_bias")?;
                Bias {
                    qkv: attention,
                    output: attention,
                    mlp: flag("mlp_bias")?,
                }
            }
        };
        let kernel = Config {
            vocab: size("vocab_size")?,
            hidden,
            intermediate: size("intermediate_size")?,
            layers,
            heads,
            kv_heads,
            head_dim,
            rms_eps: fields.required("rms_norm_eps", "a number above 0", fields.positive("rms_norm_eps")?)?,
            rope: rope::read(&fields, max_positions)?,
            bias,
            head: if flag("tie_word_embeddings")? {
                Head::Tied
            } else {
                Head::Untied
            },
            max_positions,
        };
        Ok(Self {
            kernel,
            family,
            dtype: dtype(&fields)?,
            eos_token_ids: fields.ids("eos_token_id")?,
            bos_token_id: fields.id("bos_token_id")?,
            pad_token_id: fields.id("pad_token_id")?,
            initializer_range: fields.positive("initializer_range")?.unwrap_or(0.02),
        })
    }

    /// The content of a config.json that transformers 4 and 5 load. Panics where the biases are not those of the
    /// family: no config.json can say so.
    #[track_caller]
    pub fn to_json(&self) -> Value {
        let Config { bias, head, .. } = self.kernel;
        let expressible = match self.family {
            Family::Qwen2 => {
                bias == Bias {
                    qkv: true,
                    output: false,
                    mlp: false,
                }
            }
            Family::Llama => bias.qkv == bias.output,
        };
        assert!(
            expressible,
            "config.json: a {} cannot have {bias:?}",
            self.family.architecture()
        );

        let mut fields = Map::new();
        let mut put = |key: &str, value: Value| fields.insert(key.into(), value);
        put("architectures", json!([self.family.architecture()]));
        if self.family == Family::Llama {
            put("attention_bias", bias.qkv.into());
            put("mlp_bias", bias.mlp.into());
        }
        put("attention_dropout", json!(0.0));
        put("bos_token_id", self.bos_token_id.into());
        put("eos_token_id", one_or_list(&self.eos_token_ids));
        put("pad_token_id", self.pad_token_id.into());
        put("head_dim", self.kernel.head_dim.into());
        put("hidden_act", "silu".into());
        put("hidden_size", self.kernel.hidden.into());
        put("initializer_range", self.initializer_range.into());
        put("intermediate_size", self.kernel.intermediate.into());
        put("max_position_embeddings", self.kernel.max_positions.into());
        put("model_type", self.family.model_type().into());
        put("num_attention_heads", self.kernel.heads.into());
        put("num_hidden_layers", self.kernel.layers.into());
        put("num_key_value_heads", self.kernel.kv_heads.into());
        put("rms_norm_eps", self.kernel.rms_eps.into());
        put("tie_word_embeddings", (head == Head::Tied).into());
        put("use_cache", true.into());
        if self.family == Family::Qwen2 {
            put("use_sliding_window", false.into());
        }
        put("vocab_size", self.kernel.vocab.into());
        if let Some(dtype) = self.dtype {
            put("torch_dtype", dtype.torch_name().into());
        }
        rope::write(&mut fields, &self.kernel.rope);
        Value::Object(fields)
    }

    /// Writes `config.json` into `folder`.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<()> {
        write_json(folder.as_ref().join(CONFIG_FILE), &self.to_json())
    }
}

fn family(fields: &Fields<'_>) -> Result<Family> {
    let name = fields.required("model_type", "qwen2 or llama", fields.text("model_type")?)?;
    let family = Family::from_model_type(name).ok_or_else(|| fields.invalid("model_type", "qwen2 or llama"))?;
    fields.neutral("architectures", &json!([family.architecture()]))?;
    Ok(family)
}

fn refuse_unsupported(fields: &Fields<'_>) -> Result<()> {
    for (key, neutral) in [
        ("hidden_act", json!("silu")),
        ("use_sliding_window", json!(false)),
        ("partial_rotary_factor", json!(1.0)),
        ("attention_dropout", json!(0.0)),
        ("pretraining_tp", json!(1)),
        ("is_causal", json!(true)),
        ("is_encoder_decoder", json!(false)),
        ("add_cross_attention", json!(false)),
    ] {
        fields.neutral(key, &neutral)?;
    }
    fields.absent("quantization_config", "weights must be F32, F16, BF16 or F64")?;
    fields.absent("compression_config", "weights must be F32, F16, BF16 or F64")?;
    fields.absent("auto_map", "the model has code of its own")?;
    if let Some(value) = fields.get("layer_types") {
        let full = value
            .as_array()
            .is_some_and(|types| types.iter().all(|kind| kind == "full_attention"));
        if !full {
            return Err(fields.invalid("layer_types", "full_attention for every layer"));
        }
    }
    Ok(())
}

fn dtype(fields: &Fields<'_>) -> Result<Option<Dtype>> {
    let key = if fields.get("dtype").is_some() {
        "dtype"
    } else {
        "torch_dtype"
    };
    let Some(name) = fields.text(key)? else {
        return Ok(None);
    };
    match Dtype::from_torch_name(name) {
        Some(dtype) => Ok(Some(dtype)),
        None => Err(fields.invalid(key, "float32, bfloat16, float16 or float64")),
    }
}

/// Token ids as transformers writes them: `null`, a number, or a list.
fn one_or_list(ids: &[u32]) -> Value {
    match ids {
        [] => Value::Null,
        [id] => (*id).into(),
        ids => ids.into(),
    }
}

#[cfg(test)]
mod tests;
