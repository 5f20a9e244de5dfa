//! Metadata of a GGUF file -> [`HfConfig`].
use kernel::config::{Bias, Config, Head, Rope, RopeScaling};

use super::file::Gguf;
use crate::config::{Family, HfConfig, MAX_LAYERS};
use crate::error::{Error, Result};

/// llama.cpp's table of divisors of the rotary frequencies, written for Llama-3 scaling.
pub(super) const ROPE_FACTORS: &str = "rope_freqs.weight";

/// Keys under the architecture's name that are read here.
const KNOWN: [&str; 20] = [
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "vocab_size",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "attention.causal",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.finetuned",
    "expert_count",
    "expert_used_count",
];

/// The model that `gguf` describes. A key of the architecture that is not known here is an error: it may change the
/// mathematics. `dtype` stays empty; it is the converter's choice.
pub fn config(gguf: &Gguf) -> Result<HfConfig> {
    let name = gguf.text("general.architecture")?;
    let family = name
        .and_then(Family::from_model_type)
        .ok_or_else(|| gguf.invalid("general.architecture", "llama or qwen2"))?;
    let arch = family.model_type();
    let key = |key: &str| format!("{arch}.{key}");
    refuse_unsupported(gguf, arch)?;

    let optional = |name: &str| -> Result<Option<usize>> {
        let key = key(name);
        let Some(n) = gguf.uint(&key)? else {
            return Ok(None);
        };
        match usize::try_from(n) {
            Ok(n) if (1..1 << 28).contains(&n) => Ok(Some(n)),
            _ => Err(gguf.invalid(&key, "a positive integer below 2^28")),
        }
    };
    let size = |name: &str| gguf.required(&key(name), "a positive integer", optional(name)?);

    let hidden = size("embedding_length")?;
    let heads = size("attention.head_count")?;
    let kv_heads = optional("attention.head_count_kv")?.unwrap_or(heads);
    let head_dim = match optional("attention.key_length")? {
        Some(head_dim) => head_dim,
        None if hidden.is_multiple_of(heads) => hidden / heads,
        None => {
            return Err(gguf.invalid(&key("attention.head_count"), format!("a divisor of {hidden}")));
        }
    };
    if !heads.is_multiple_of(kv_heads) {
        return Err(gguf.invalid(&key("attention.head_count_kv"), format!("a divisor of {heads}")));
    }
    if !head_dim.is_multiple_of(2) || heads.saturating_mul(head_dim) >= 1 << 28 {
        return Err(gguf.invalid(
            &key("attention.key_length"),
            format!("an even head size, not {head_dim}"),
        ));
    }
    for name in ["attention.value_length", "rope.dimension_count"] {
        if optional(name)?.unwrap_or(head_dim) != head_dim {
            return Err(gguf.invalid(&key(name), format!("{head_dim}, the head size")));
        }
    }
    let layers = size("block_count")?;
    if layers >= MAX_LAYERS {
        return Err(gguf.invalid(&key("block_count"), format!("fewer than {MAX_LAYERS}")));
    }
    let max_positions = size("context_length")?;
    let eps = key("attention.layer_norm_rms_epsilon");
    let rms_eps = gguf
        .number(&eps)?
        .filter(|eps| *eps > 0.0)
        .ok_or_else(|| gguf.invalid(&eps, "a number above 0"))?;

    // The table knows the vocabulary's size best: it may be padded beyond the tokens.
    let embedding = "token_embd.weight";
    let vocab = match gguf.tensor(embedding).map(|tensor| tensor.shape.as_slice()) {
        Some(&[vocab, width]) if width == hidden && (1..1 << 28).contains(&vocab) => vocab,
        found => {
            let expected = format!("shape [vocabulary, {hidden}]");
            return Err(Error::invalid(
                gguf.path(),
                format!("tensor {embedding}"),
                expected,
                format!("{found:?}"),
            ));
        }
    };
    let has = |name: &str| gguf.tensor(name).is_some();
    let bias = match family {
        Family::Qwen2 => Bias {
            qkv: true,
            output: false,
            mlp: false,
        },
        Family::Llama => {
            let attention = has("blk.0.attn_q.bias");
            Bias {
                qkv: attention,
                output: attention,
                mlp: has("blk.0.ffn_gate.bias"),
            }
        }
    };
    let kernel = Config {
        vocab,
        hidden,
        intermediate: size("feed_forward_length")?,
        layers,
        heads,
        kv_heads,
        head_dim,
        rms_eps,
        rope: rope(gguf, arch, head_dim, max_positions)?,
        bias,
        head: if has("output.weight") { Head::Untied } else { Head::Tied },
        max_positions,
    };

    let id = |name: &str| -> Result<Option<u32>> {
        let key = format!("tokenizer.ggml.{name}_token_id");
        match gguf.uint(&key)? {
            None => Ok(None),
            Some(id) if id < vocab as u64 => Ok(Some(id as u32)),
            Some(_) => Err(gguf.invalid(&key, format!("a token id below {vocab}"))),
        }
    };
    // End of turn ends a text as well.
    let mut eos_token_ids: Vec<u32> = [id("eos")?, id("eot")?].into_iter().flatten().collect();
    eos_token_ids.dedup();
    Ok(HfConfig {
        kernel,
        family,
        dtype: None,
        eos_token_ids,
        bos_token_id: id("bos")?,
        pad_token_id: id("padding")?,
        initializer_range: 0.02,
    })
}

fn refuse_unsupported(gguf: &Gguf, arch: &str) -> Result<()> {
    for (key, _) in gguf.metadata() {
        let own = key.strip_prefix(arch).and_then(|rest| rest.strip_prefix('.'));
        if own.is_some_and(|own| !KNOWN.contains(&own)) {
            return Err(gguf.invalid(key, "no such key (it may change the mathematics)"));
        }
    }
    for name in ["expert_count", "expert_used_count"] {
        let key = format!("{arch}.{name}");
        if gguf.uint(&key)?.unwrap_or(0) != 0 {
            return Err(gguf.invalid(&key, "0 (no mixture of experts)"));
        }
    }
    let causal = format!("{arch}.attention.causal");
    if gguf.flag(&causal)? == Some(false) {
        return Err(gguf.invalid(&causal, "true"));
    }
    if gguf.uint("split.count")?.unwrap_or(1) > 1 {
        return Err(gguf.invalid("split.count", "one file, not a part of a split one"));
    }
    Ok(())
}

fn rope(gguf: &Gguf, arch: &str, head_dim: usize, max_positions: usize) -> Result<Rope> {
    let key = |key: &str| format!("{arch}.rope.{key}");
    let positive = |name: &str| -> Result<Option<f64>> {
        let key = key(name);
        match gguf.number(&key)? {
            Some(x) if x <= 0.0 => Err(gguf.invalid(&key, "a number above 0")),
            x => Ok(x),
        }
    };
    let theta = positive("freq_base")?.unwrap_or(10_000.0);
    let scaling = match gguf.text(&key("scaling.type"))? {
        None => RopeScaling::None,
        Some("none") => RopeScaling::None,
        Some("linear") => {
            let name = "scaling.factor";
            RopeScaling::Linear {
                factor: gguf.required(&key(name), "a number above 0", positive(name)?)?,
            }
        }
        Some(_) => return Err(gguf.invalid(&key("scaling.type"), "none or linear")),
    };
    let scaling = match (scaling, positive("scale_linear")?) {
        (RopeScaling::None, Some(factor)) if factor != 1.0 => RopeScaling::Linear { factor },
        (scaling, _) => scaling,
    };
    if gguf.tensor(ROPE_FACTORS).is_none() {
        return Ok(Rope { theta, scaling });
    }
    if scaling != RopeScaling::None {
        return Err(gguf.invalid(&key("scaling.type"), format!("none beside {ROPE_FACTORS}")));
    }
    Ok(Rope {
        theta,
        scaling: llama3(gguf, theta, head_dim, max_positions)?,
    })
}

/// A GGUF file holds the table that Llama-3 scaling gives, not its constants. All released models have low 1, high 4,
/// 8,192 original positions, and 8 (3.1) or 32 (3.2) as the factor: so the one is taken that gives the table.
fn llama3(gguf: &Gguf, theta: f64, head_dim: usize, max_positions: usize) -> Result<RopeScaling> {
    let table = gguf.read(ROPE_FACTORS, &[head_dim / 2])?;
    let (low, high, original) = (1.0, 4.0, 8192.0_f64.min(max_positions as f64));
    for factor in [8.0, 32.0] {
        let divisor = |i: usize| {
            let wavelength = std::f64::consts::TAU * theta.powf(2.0 * i as f64 / head_dim as f64);
            if wavelength < original / high {
                1.0
            } else if wavelength > original / low {
                factor
            } else {
                let smooth = (original / wavelength - low) / (high - low);
                1.0 / ((1.0 - smooth) / factor + smooth)
            }
        };
        // The table was computed in f32.
        if table
            .iter()
            .enumerate()
            .all(|(i, &x)| (f64::from(x) / divisor(i) - 1.0).abs() < 1e-4)
        {
            return Ok(RopeScaling::Llama3 {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_max_positions: original,
            });
        }
    }
    let expected = "the table of Llama-3 scaling with factor 8 or 32";
    Err(Error::invalid(
        gguf.path(),
        format!("tensor {ROPE_FACTORS}"),
        expected,
        "another",
    ))
}
