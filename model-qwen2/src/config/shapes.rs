//! The tensors that transformers expects of a model.
use kernel::config::{Config, Head};

/// Names and shapes of a model's tensors, embedding first, in the order of its layers. Linear weights are
/// (outputs, inputs). Lazy: a file that lies about its layers must not cost memory before its first tensor is missed.
pub fn tensor_shapes(config: &Config) -> impl Iterator<Item = (String, Vec<usize>)> {
    let (c, f, d) = (config.hidden, config.intermediate, config.head_dim);
    let (q, kv) = (config.heads * d, config.kv_heads * d);
    let (vocab, bias) = (config.vocab, config.bias);
    let parts = [
        ("input_layernorm", vec![c], false),
        ("self_attn.q_proj", vec![q, c], bias.qkv),
        ("self_attn.k_proj", vec![kv, c], bias.qkv),
        ("self_attn.v_proj", vec![kv, c], bias.qkv),
        ("self_attn.o_proj", vec![c, q], bias.output),
        ("post_attention_layernorm", vec![c], false),
        ("mlp.gate_proj", vec![f, c], bias.mlp),
        ("mlp.up_proj", vec![f, c], bias.mlp),
        ("mlp.down_proj", vec![c, f], bias.mlp),
    ];
    let layer = move |layer: usize| {
        let tensors = parts.iter().flat_map(|(part, shape, bias)| {
            let weight = (format!("model.layers.{layer}.{part}.weight"), shape.clone());
            let bias = bias.then(|| (format!("model.layers.{layer}.{part}.bias"), shape[..1].to_vec()));
            [Some(weight), bias].into_iter().flatten()
        });
        tensors.collect::<Vec<_>>()
    };
    let head = (config.head == Head::Untied).then(|| ("lm_head.weight".to_owned(), vec![vocab, c]));
    std::iter::once(("model.embed_tokens.weight".to_owned(), vec![vocab, c]))
        .chain((0..config.layers).flat_map(layer))
        .chain([("model.norm.weight".to_owned(), vec![c])])
        .chain(head)
}
