//! Names of tensors in Hugging Face folders and in GGUF files, and the order of the rows of q and k.
use kernel::config::Config;

use crate::config::Family;

const LAYER_PARTS: [(&str, &str); 9] = [
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

/// The GGUF name of the tensor that Hugging Face calls `name` ("model.layers.3.self_attn.q_proj.bias"); `None` for a
/// name that is no part of these models.
pub fn gguf_name(name: &str) -> Option<String> {
    let top = match name {
        "model.embed_tokens.weight" => "token_embd.weight",
        "model.norm.weight" => "output_norm.weight",
        "lm_head.weight" => "output.weight",
        _ => {
            let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
            let (part, kind) = rest.rsplit_once('.')?;
            let (_, own) = LAYER_PARTS.into_iter().find(|(theirs, _)| *theirs == part)?;
            return Some(format!("blk.{layer}.{own}.{kind}"));
        }
    };
    Some(top.to_owned())
}

/// Heads by which the rows of the Hugging Face tensor `name` stand pair-interleaved in a GGUF file: llama.cpp rotates
/// neighbours for `llama`, so its converter reorders q and k, weights and biases; `qwen2` keeps its order.
pub(super) fn interleaved_heads(name: &str, family: Family, config: &Config) -> Option<usize> {
    match family {
        Family::Qwen2 => None,
        Family::Llama if name.contains(".q_proj.") => Some(config.heads),
        Family::Llama if name.contains(".k_proj.") => Some(config.kv_heads),
        Family::Llama => None,
    }
}

/// Undoes the interleaving: row `2 i + half` of a head becomes row `half * D / 2 + i`. `data` is (rows, columns) with
/// `rows` a multiple of `heads`.
pub(super) fn uninterleave(data: &[f32], rows: usize, heads: usize) -> Vec<f32> {
    let columns = data.len() / rows;
    let head_dim = rows / heads;
    let mut out = Vec::with_capacity(data.len());
    for row in 0..rows {
        let (head, j) = (row / head_dim, row % head_dim);
        let (half, i) = (j / (head_dim / 2), j % (head_dim / 2));
        let from = head * head_dim + 2 * i + half;
        out.extend_from_slice(&data[from * columns..(from + 1) * columns]);
    }
    out
}
