//! The tensors that transformers expects of a model.
use kernel::config::{Config, Head};

/// Names and shapes of a model's tensors, embedding first, in the order of its layers. Linear weights are
/// (outputs, inputs).
pub fn tensor_shapes(config: &Config) -> Vec<(String, Vec<usize>)> {
    let (c, f, d) = (config.hidden, config.intermediate, config.head_dim);
    let (q, kv) = (config.heads * d, config.kv_heads * d);
    let linear = [
        ("self_attn.q_proj", q, c, config.bias.qkv),
        ("self_attn.k_proj", kv, c, config.bias.qkv),
        ("self_attn.v_proj", kv, c, config.bias.qkv),
        ("self_attn.o_proj", c, q, config.bias.output),
        ("mlp.gate_proj", f, c, config.bias.mlp),
        ("mlp.up_proj", f, c, config.bias.mlp),
        ("mlp.down_proj", c, f, config.bias.mlp),
    ];
    let mut shapes = vec![(
        "model.embed_tokens.weight".to_owned(),
        vec![config.vocab, c],
    )];
    for layer in 0..config.layers {
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            shapes.push((format!("model.layers.{layer}.{norm}.weight"), vec![c]));
        }
        for (name, outputs, inputs, bias) in linear {
            shapes.push((
                format!("model.layers.{layer}.{name}.weight"),
                vec![outputs, inputs],
            ));
            if bias {
                shapes.push((format!("model.layers.{layer}.{name}.bias"), vec![outputs]));
            }
        }
    }
    shapes.push(("model.norm.weight".to_owned(), vec![c]));
    if config.head == Head::Untied {
        shapes.push(("lm_head.weight".to_owned(), vec![config.vocab, c]));
    }
    shapes
}
