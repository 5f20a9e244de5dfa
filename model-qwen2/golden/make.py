#!/usr/bin/env python3
"""Makes the goldens of model-qwen2's formats. usage: make.py FOLDER   (the one this file is in)

Made with gguf 0.19.0, transformers 5.23.0, tokenizers 0.23.3, torch 2.15.0, safetensors 0.8.0, numpy 2.4.6.
  quants.safetensors   random blocks of every number format, and what gguf.dequantize makes of them
  NAME.gguf            a tiny model (llama: biases, untied, head_dim of its own, Llama-3 rope; qwen2: tied, padded vocabulary)
  NAME.safetensors     its tensors in Hugging Face order, after the round trip through the number formats
  NAME.json            token ids of some texts by the tokenizer that the GGUF file was made from
  config/*.json        config.json as transformers 5 writes it
"""
import json, sys
from pathlib import Path
import numpy as np, torch
from gguf import GGMLQuantizationType as Q, GGUFWriter, TokenType, dequantize, quantize
from gguf.constants import GGML_QUANT_SIZES
from safetensors.numpy import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

OUT = Path(sys.argv[1])
rng = np.random.default_rng(7)


def quants():
    # Bytes of the half-precision scales in a block: any other byte may be anything.
    scales = {Q.Q4_0: [0], Q.Q4_1: [0, 2], Q.Q5_0: [0], Q.Q5_1: [0, 2], Q.Q8_0: [0], Q.Q4_K: [0, 2], Q.Q5_K: [0, 2], Q.Q6_K: [208]}
    out = {}
    for kind in [Q.F32, Q.F16, Q.BF16, *scales]:
        _, size = GGML_QUANT_SIZES[kind]
        if kind in scales:
            blocks = rng.integers(0, 256, (4, size), dtype=np.uint8)
            for at in scales[kind]:
                # The last scale is subnormal.
                scale = np.array([0.013, -0.7, 65504.0, 3e-7], np.float16)
                blocks[:, at:at + 2] = scale.view(np.uint8).reshape(4, 2)
        else:
            values = np.array([1.0, -0.1, 3e-5, 1e-7, 60000.0, -0.0, 1 / 3, 5e-6], np.float32)
            stored = values if kind == Q.F32 else values.astype(np.float16) if kind == Q.F16 else quantize(values.reshape(1, 8), kind)
            blocks = np.ascontiguousarray(stored).view(np.uint8).reshape(1, -1)
        with np.errstate(over="ignore"):
            values = dequantize(blocks, kind).astype(np.float32).reshape(-1)
        assert np.isfinite(values).all()
        out[f"{kind.name}.bytes"], out[f"{kind.name}.values"] = blocks.reshape(-1), values
    save_file(out, OUT / "quants.safetensors")


TEXTS = [
    "Hello, world! It's 12345 o'clock.", "  two  spaces\n\n\tand a tab \r\n", "naïve café, e\u0301 and é, Ünïcödé",
    "数字 ١٢٣ ½ Ⅷ 🙂👩‍👩‍👧", "<|im_start|>user\nHi<|im_end|>\n", "a<tool_call>b</tool_call> c", "x = foo(bar[0])**2 != 3.14 # WE'LL SEE", "",
]
SPLIT = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|%s| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"


def tokenizer(pre):
    tk = Tokenizer(models.BPE(ignore_merges=pre == "llama-bpe"))
    digits = "\\p{N}" if pre == "qwen2" else "\\p{N}{1,3}"
    tk.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(SPLIT % digits), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    if pre == "qwen2":
        tk.normalizer = normalizers.NFC()
    tk.decoder = decoders.ByteLevel()
    tk.train_from_iterator(TEXTS * 3, trainers.BpeTrainer(vocab_size=300, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tk.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]])
    tk.add_tokens([AddedToken(t, normalized=False) for t in ["<tool_call>", "</tool_call>"]])
    if pre == "llama-bpe":
        bos = "<|endoftext|>"
        tk.post_processor = processors.TemplateProcessing(single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, tk.token_to_id(bos))])
    return tk


def permute(w, heads):  # as llama.cpp's converter does for `llama`
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


PARTS = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
         "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
TOP = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}


def gguf_name(name):
    if name in TOP:
        return TOP[name]
    _, _, layer, rest = name.split(".", 3)
    part, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{PARTS[part]}.{kind}"


def rope_table(dim, theta, factor, low=1.0, high=4.0, original=8192):  # as llama.cpp's converter does
    freqs = 1.0 / theta ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim)
    out = []
    for freq in freqs:
        wavelength = 2 * torch.pi / freq
        if wavelength < original / high: out.append(1)
        elif wavelength > original / low: out.append(factor)
        else:
            smooth = (original / wavelength - low) / (high - low)
            out.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(out, dtype=np.float32)


def model(arch, pre, layers, kinds):
    torch.manual_seed(3)
    tk = tokenizer(pre)
    size = tk.get_vocab_size()
    vocab = size + (3 if arch == "qwen2" else 0)
    common = dict(vocab_size=vocab, hidden_size=32, intermediate_size=32, num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=131072,
                  rms_norm_eps=1e-6, eos_token_id=size - 3, bos_token_id=size - 5, pad_token_id=None)
    if arch == "llama":
        rope = dict(rope_type="llama3", rope_theta=500000.0, factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192)
        cfg = LlamaConfig(**common, head_dim=16, attention_bias=True, tie_word_embeddings=False, rope_parameters=rope)
        net = LlamaForCausalLM(cfg)
    else:
        cfg = Qwen2Config(**common, tie_word_embeddings=True, rope_parameters=dict(rope_type="default", rope_theta=1000000.0))
        net = Qwen2ForCausalLM(cfg)
    # Norms are not one, biases not zero.
    torch.nn.utils.vector_to_parameters(torch.randn(sum(p.numel() for p in net.parameters())) * 0.3, net.parameters())
    sd = {k: v for k, v in net.state_dict().items() if k in dict(net.named_parameters())}

    w = GGUFWriter(None, arch)
    w.add_block_count(layers); w.add_context_length(131072); w.add_embedding_length(32); w.add_feed_forward_length(32); w.add_head_count(4); w.add_head_count_kv(2)
    w.add_layer_norm_rms_eps(1e-6); w.add_rope_freq_base(cfg.rope_parameters["rope_theta"]); w.add_file_type(0)
    if arch == "llama":
        w.add_vocab_size(vocab); w.add_rope_dimension_count(16); w.add_key_length(16); w.add_value_length(16)
        w.add_tensor("rope_freqs.weight", rope_table(16, 500000.0, 32.0))
    inner = json.loads(tk.to_str())
    by_id = {i: t for t, i in tk.get_vocab(with_added_tokens=True).items()}
    tokens = [by_id.get(i, f"[PAD{i}]") for i in range(vocab)]
    added = {t["id"]: t for t in inner["added_tokens"]}
    types = [TokenType.UNUSED if i not in by_id else TokenType.NORMAL if i not in added else TokenType.CONTROL if added[i]["special"] else TokenType.USER_DEFINED for i in range(vocab)]
    w.add_tokenizer_model("gpt2"); w.add_tokenizer_pre(pre); w.add_token_list(tokens); w.add_token_types(types)
    w.add_token_merges([" ".join(m) for m in inner["model"]["merges"]])
    w.add_bos_token_id(size - 5); w.add_eos_token_id(size - 3)
    if arch == "qwen2":
        w.add_eot_token_id(size - 5); w.add_pad_token_id(size - 5); w.add_add_bos_token(False)
    w.add_chat_template("{% for m in messages %}{{ m['content'] }}é{% endfor %}")

    expected = {}
    for name, value in sd.items():
        value = value.detach().numpy()
        kind = Q.F32 if value.ndim == 1 else kinds[len(expected) % len(kinds)]
        expected[name] = dequantize(quantize(value, kind), kind).astype(np.float32).reshape(value.shape)
        heads = {"q_proj": 4, "k_proj": 2}.get(name.split(".")[-2]) if arch == "llama" else None
        value = permute(value, heads) if heads else value
        w.add_tensor(gguf_name(name), quantize(np.ascontiguousarray(value), kind), raw_dtype=kind)
    w.write_header_to_file(OUT / f"{arch}.gguf"); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
    save_file(expected, OUT / f"{arch}.safetensors")
    golden = dict(texts=TEXTS, ids=[tk.encode(t).ids for t in TEXTS])
    (OUT / f"{arch}.json").write_text(json.dumps(golden, ensure_ascii=False) + "\n")
    (OUT / "config").mkdir(exist_ok=True)
    cfg.architectures = [type(net).__name__]
    cfg.dtype = torch.bfloat16
    cfg.to_json_file(OUT / "config" / f"{arch}.json")


quants()
model("llama", "llama-bpe", 1, [Q.F16, Q.F32, Q.Q8_0, Q.Q4_1, Q.BF16])
model("qwen2", "qwen2", 2, [Q.Q8_0, Q.Q4_0, Q.Q5_1, Q.F16])
