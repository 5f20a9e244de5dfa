"""usage: make_cases.py [NAME…]   makes the cases in cases/ (all, or those named) and checks each of them.

Tiny random models, every weight random (norms and biases too), reference in true float64 (see float64.py). Each case is
refused unless: transformers loads the written folder and has the same parameters; the float64 logits agree with those of
the unchanged transformers model to 1e-5; PyTorch's own float32 (and bfloat16, where the weights are) is within the default
tolerances of `proximal verify`, so that they can be met; the AdamW steps agree with AdamW written out below; and
check_cases.py, a second implementation, agrees. Prints the versions and one row of README.md's table for each case.
"""

import copy
import dataclasses
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy
import safetensors
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

import check_cases
from dump_case import dump_case, exact_module, forward, named_parameters, optimizer_steps, reference, score
from float64 import to_float64

CASES = Path(__file__).parent / "cases"
OPTIMIZER = {"learning_rate": 3e-3, "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.1, "max_grad_norm": 1.0}


@dataclasses.dataclass
class Spec:
    about: str
    config: dict  # config.json
    lengths: list  # (prompt, completion) per sequence; "=" repeats the prompt of the one before
    objective: str = "sft"
    settings: dict = dataclasses.field(default_factory=dict)  # "config" of case.json
    temperature: float | None = None
    value_head: str | None = None  # "bias" or "plain"
    steps: int = 0
    gradients: torch.dtype | None = torch.float32
    logits_first: bool = True
    metrics: bool = False
    masked: float = 0.0  # part of the completion tokens with mask 0
    given: tuple = ()  # what random_given draws for each sequence
    noise: float = 0.3  # how far old and reference log-probs are from the model's own


def qwen2(version, c, f, v, layers, heads, kv, **other):
    """config.json of a Qwen2 as transformers 4 or 5 writes it."""
    common = dict(
        architectures=["Qwen2ForCausalLM"], attention_dropout=0.0, bos_token_id=0, eos_token_id=1, hidden_act="silu",
        hidden_size=c, initializer_range=0.02, intermediate_size=f, max_position_embeddings=512,
        max_window_layers=layers, model_type="qwen2", num_attention_heads=heads, num_hidden_layers=layers, num_key_value_heads=kv,
        rms_norm_eps=1e-6, tie_word_embeddings=True, use_cache=True, use_sliding_window=False, vocab_size=v,
    )
    if version == 4:
        old = dict(
            rope_theta=1000000.0, sliding_window=512, torch_dtype="float32", transformers_version="4.46.1", use_mrope=False,
        )
        return common | old | other
    new = dict(
        dtype="float32", layer_types=["full_attention"] * layers, pad_token_id=None, sliding_window=None,
        rope_parameters={"rope_theta": 10000.0, "rope_type": "default"}, transformers_version=transformers.__version__,
    )
    return common | new | other


def llama(version, c, f, v, layers, heads, kv, **other):
    """config.json of a Llama as transformers 4 or 5 writes it."""
    common = dict(
        architectures=["LlamaForCausalLM"], attention_bias=False, attention_dropout=0.0, bos_token_id=1, eos_token_id=2,
        hidden_act="silu", hidden_size=c, initializer_range=0.02, intermediate_size=f, max_position_embeddings=512,
        mlp_bias=False, model_type="llama", num_attention_heads=heads, num_hidden_layers=layers, num_key_value_heads=kv,
        pretraining_tp=1, rms_norm_eps=1e-5, tie_word_embeddings=False, use_cache=True, vocab_size=v,
    )
    if version == 4:
        old = dict(rope_scaling=None, rope_theta=10000.0, torch_dtype="float32", transformers_version="4.47.1")
        return common | old | other
    new = dict(
        dtype="float32", head_dim=c // heads, pad_token_id=None, transformers_version=transformers.__version__,
        rope_parameters={"rope_theta": 10000.0, "rope_type": "default"},
    )
    return common | new | other


RAGGED = [(5, 7), ("=", 4), (0, 9), (3, 1), (2, 14)]
LLAMA3 = dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)
CASE = {
    "qwen2-tied": Spec(
        "Qwen2, tied, GQA 4:2, qkv bias, config of transformers 4; ten AdamW steps, six of them clipped",
        qwen2(4, 32, 64, 97, 2, 4, 2),
        RAGGED, settings={"loss_type": "nll", "optimizer": OPTIMIZER | {"max_grad_norm": 3.0}}, steps=10,
        gradients=torch.float64, masked=0.2,
    ),
    "qwen2-untied-dft": Spec(
        "Qwen2, untied, no grouping, dft, temperature 1.3, value head with bias; bf16 weights; pad_token_id in the text",
        qwen2(5, 32, 72, 131, 1, 4, 4, tie_word_embeddings=False, dtype="bfloat16", pad_token_id=3),
        RAGGED, settings={"loss_type": "dft", "optimizer": OPTIMIZER | {"max_grad_norm": 0.08}}, temperature=1.3,
        value_head="bias", steps=10, masked=0.2,
    ),
    "llama-untied": Spec(
        "Llama, untied, no bias, one KV head, config of transformers 5; ten AdamW steps, large weight decay",
        llama(5, 24, 40, 61, 2, 3, 1),
        [(4, 6), (0, 3), (9, 1), (1, 17)], settings={"optimizer": OPTIMIZER | {"weight_decay": 1.0, "eps": 1e-4}},
        steps=10, gradients=torch.float64,
    ),
    "llama-biases": Spec(
        "Llama, attention_bias and mlp_bias, rms_norm_eps 1e-2, config of transformers 4; metric.entropy",
        llama(4, 32, 40, 61, 1, 2, 2, attention_bias=True, mlp_bias=True, rms_norm_eps=1e-2),
        RAGGED, settings={"loss_type": "nll"}, metrics=True, masked=0.3,
    ),
    "llama-head-dim": Spec(
        "Llama, tied, head_dim 24 where C/H is 16; bf16 weights",
        llama(5, 32, 32, 67, 2, 2, 1, head_dim=24, tie_word_embeddings=True, dtype="bfloat16"),
        RAGGED, settings={"loss_type": "nll"},
    ),
    "qwen2-logprobs": Spec(
        "Qwen2, head_dim 16 where C/H is 8, scores only, temperature 0.7, value head without bias",
        qwen2(4, 32, 40, 61, 1, 4, 2, head_dim=16),
        [(0, 6), (8, 5), ("=", 1), ("=", 12)], objective="logprobs", temperature=0.7, value_head="plain",
    ),
    "llama-rope-llama3": Spec(
        "Llama-3 rotary scaling (rope_parameters), all three bands in use",
        llama(5, 32, 32, 61, 1, 2, 1, rope_parameters={"rope_theta": 1000.0, "rope_type": "llama3", **LLAMA3}),
        [(20, 12), (0, 45)], settings={"loss_type": "nll"}, gradients=torch.float64, masked=0.2,
    ),
    "llama-rope-llama3-v4": Spec(
        "the same scaling as transformers 4 writes it (rope_scaling); scores only",
        llama(4, 24, 24, 31, 1, 3, 3, rope_scaling={"rope_type": "llama3", **LLAMA3}),
        [(0, 60)], objective="logprobs", logits_first=False,
    ),
    "llama-rope-linear": Spec(
        "linear rotary scaling (rope_scaling with the old key `type`), value head without bias; bf16 weights",
        llama(4, 32, 32, 61, 1, 4, 2, rope_scaling={"type": "linear", "factor": 4.0}, torch_dtype="bfloat16"),
        [(20, 12), (0, 45)], settings={"loss_type": "nll"}, value_head="plain",
    ),
    "llama-long": Spec(
        "head_dim 64, 300 positions, long shared prompts: attention in more than one tile",
        llama(5, 16, 24, 61, 1, 2, 1, head_dim=64),
        [(150, 6), ("=", 90), ("=", 1), (0, 300), (129, 128)], settings={"loss_type": "nll"}, masked=0.1,
    ),
}
# Every weight in the product: biases, grouped and ungrouped attention, both kinds of head, both temperatures.
CASE |= {
    "fisher-qwen2": Spec(
        "F v by double backward: Qwen2, tied, GQA 4:2, qkv bias",
        qwen2(4, 16, 24, 41, 2, 4, 2), RAGGED, objective="fisher", logits_first=False, masked=0.2,
    ),
    "fisher-llama": Spec(
        "F v by double backward: Llama, untied, attention_bias and mlp_bias, one KV head, temperature 1.6; bf16 weights",
        llama(5, 24, 32, 37, 1, 3, 1, attention_bias=True, mlp_bias=True, dtype="bfloat16"),
        [(4, 6), ("=", 3), (0, 5), (9, 1), (1, 17)], objective="fisher", logits_first=False, masked=0.2, temperature=1.6,
    ),
}
SMALL = llama(5, 8, 16, 29, 1, 1, 1)
PAIRS = [(4, 6), ("=", 3), (2, 5), ("=", 5), (3, 1), ("=", 7)]
GROUPS = [(4, 6), ("=", 3), ("=", 5), (2, 7), ("=", 1), ("=", 4)]
F64 = dict(gradients=torch.float64, metrics=True, logits_first=False)
OBJECTIVE_CASES = {
    "dpo-sigmoid": ("dpo", dict(loss_type="sigmoid", beta=0.3), "ref_logps pair", PAIRS),
    "dpo-cdpo-ld": ("dpo", dict(beta=0.3, label_smoothing=0.1, ld_alpha=0.4), "ref_logps pair", PAIRS),
    "dpo-mix": (
        "dpo", dict(loss_type=["ipo", "aot", "sft"], loss_weights=[0.5, 1.0, 0.2], beta=0.2), "ref_logps pair", PAIRS,
    ),
    "dpo-pairs-apart": (
        "dpo", dict(loss_type=["aot_unpaired", "nca_pair"], beta=0.5, label_smoothing=0.2), "ref_logps apart", PAIRS,
    ),
    "dpo-js-divergence": ("dpo", dict(f_divergence_type="js_divergence", beta=0.5), "ref_logps pair", PAIRS),
    "dpo-alpha-wpo": (
        "dpo", dict(loss_type=["robust", "discopop", "exo_pair"], label_smoothing=0.1, f_divergence_type="alpha_divergence",
                    f_alpha_divergence_coef=0.7, use_weighting=True), "ref_logps pair", PAIRS,
    ),
    "grpo-dapo": ("grpo", dict(loss_type="dapo", beta=0.1, epsilon_high=0.28), "old_logps ref_logps group", GROUPS),
    "grpo-sequence": (
        "grpo", dict(loss_type="grpo", importance_sampling_level="sequence", delta=1.2, epsilon=0.1, beta=0.05,
                     scale_rewards="batch"), "old_logps ref_logps group", GROUPS,
    ),
    "grpo-dr-entropy": (
        "grpo", dict(loss_type="dr_grpo", max_completion_length=9, entropy_coef=0.05, top_entropy_quantile=0.6,
                     scale_rewards="none"), "old_logps group", GROUPS,
    ),
    "grpo-cispo": (
        "grpo", dict(loss_type="cispo", epsilon_high=1.1, importance_sampling_cap=1.1), "old_logps sampler_logps advantage",
        GROUPS,
    ),
    "grpo-sapo": (
        "grpo", dict(loss_type="sapo", beta=0.1, use_bias_correction_kl=False), "old_logps ref_logps advantage", GROUPS,
    ),
    "grpo-vespo": (
        "grpo", dict(loss_type="vespo", importance_sampling_cap=1.2), "old_logps sampler_logps group", GROUPS,
    ),
    "grpo-luspo-off-policy": (
        "grpo", dict(loss_type="luspo", off_policy_mask_threshold=0.02), "old_logps group", GROUPS,
    ),
    "rloo": ("rloo", dict(beta=0.1, normalize_advantages=True), "old_logps ref_logps group", GROUPS),
    "ppo-value-head": (
        "ppo", dict(cliprange=0.1, cliprange_value=0.15, vf_coef=0.5, ent_coef=0.02), "old_logps advantages values", GROUPS,
    ),
    "trpo": ("trpo", {}, "old_logps advantages", GROUPS),
}
for key, (objective, settings, drawn, lengths) in OBJECTIVE_CASES.items():
    CASE[key] = Spec(
        f"{objective} on a tiny Llama: {', '.join(f'{k} {v}' for k, v in settings.items()) or 'no settings'}", SMALL, lengths,
        objective=objective, settings=settings, temperature=1.3 if key in ("grpo-dapo", "trpo") else None,
        value_head="bias" if objective == "ppo" else None, masked=0.2, given=tuple(drawn.split()), **F64,
    )


def main(names):
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, "
          f"safetensors {safetensors.__version__}, numpy {numpy.__version__}")
    for name in names or CASE:
        print(make(name, CASE[name]))
    return check_cases.main([str(CASES / name) for name in names or CASE])


def make(name, spec):
    """Write and check one case; returns its row of the table."""
    folder = CASES / name
    shutil.rmtree(folder, ignore_errors=True)
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    model, head = random_model(spec, generator)
    case = random_case(spec, generator, model.config)
    random_given(spec, generator, model, head, case)
    direction = random_direction(model, generator) if spec.objective == "fisher" else None
    expected = dump_case(
        folder, model, case, value_head=head, steps=spec.steps, gradients=spec.gradients,
        logits_first=spec.logits_first, metrics=spec.metrics, config_json=spec.config, direction=direction,
    )
    unpatched = check_against_transformers(folder, model, case)
    lower = check_lower_precision(name, model, head, case, expected, direction)
    check_steps(model, head, case, expected)
    clipped = sum(v > spec.settings["optimizer"]["max_grad_norm"] for k, v in expected.items() if "grad_norm" in k)
    doubles = all(v.dtype == torch.float64 for k, v in expected.items() if not k.startswith("v."))
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    return (f"| `{name}` | {spec.about} | {'f64' if doubles else 'f64, gradients f32'} | {clipped} of {spec.steps} | "
            f"{unpatched:.0e} | {lower} | {size / 1000:.0f} KB |")


def random_model(spec, generator):
    """A model of spec.config with random weights in its dtype, and its value head."""
    with tempfile.TemporaryDirectory() as folder:
        write_config(folder, spec.config)
        config = AutoConfig.from_pretrained(folder)
    dtype = getattr(torch, spec.config.get("dtype") or spec.config["torch_dtype"])
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    c = config.hidden_size
    head = torch.nn.Linear(c, 1, bias=spec.value_head == "bias", dtype=dtype) if spec.value_head else None
    with torch.no_grad():
        for name, p in named_parameters(model, head).items():
            draw = torch.randn(p.shape, generator=generator)
            if "norm" in name:
                draw = 1 + 0.3 * draw
            elif name.endswith("bias"):
                draw = 0.3 * draw
            elif "embed_tokens" in name or "lm_head" in name:
                draw = (0.3 if dtype == torch.float32 else 0.15) * draw  # bf16: small logits keep logps within 5e-2
            else:  # q and k a little larger, so that attention is far from uniform
                draw = draw * (1.3 if "q_proj" in name or "k_proj" in name else 1.0) / p.shape[1] ** 0.5
            p.copy_(draw)
    return model, head


def random_case(spec, generator, config):
    draw = lambda n: torch.randint(0, config.vocab_size, (n,), generator=generator).tolist()
    sequences = []
    for prompt, completion in spec.lengths:
        ids = sequences[-1]["prompt"] if prompt == "=" else draw(prompt)
        sequence = {"prompt": ids, "completion": draw(completion)}
        if config.pad_token_id is not None:
            sequence["completion"][completion // 2] = config.pad_token_id
        rows = completion - (not ids)
        if spec.masked and completion > 1:
            sequence["mask"] = (torch.rand(rows, generator=generator) >= spec.masked).int().tolist()
        sequences.append(sequence)
    case = {"objective": spec.objective, "config": spec.settings, "sequences": sequences}
    if spec.temperature is not None:
        case["temperature"] = spec.temperature
    if spec.value_head:
        case["value_head"] = True
    return case


def random_direction(model, generator):
    """A direction in which every parameter changes the logits by about as much; bf16 numbers, so that every dtype has it."""
    draw = lambda p: torch.randn(p.shape, generator=generator) * (0.3 if p.dim() == 1 else 1 / p.shape[1] ** 0.5)
    return {name: draw(p).bfloat16().float() for name, p in named_parameters(model, None).items()}


def random_given(spec, generator, model, head, case):
    """What the objectives read of a sequence, as if from a policy near this one."""
    if not spec.given:
        return
    draw = lambda n, scale: scale * torch.randn(n, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        tokens, _ = score(to_float64(model), head and exact_module(head), case)
    for i, sequence in enumerate(case["sequences"]):
        own = tokens.logp[tokens.sequence == i]
        n = len(own)
        for key in ("old_logps", "ref_logps", "sampler_logps"):
            if key in spec.given:
                sequence[key] = (own + draw(n, spec.noise)).clamp(max=-1e-3).tolist()
        if "advantage" in spec.given:
            sequence["advantage"] = draw(1, 1.0).item()
        if "advantages" in spec.given:
            sequence["advantage"] = draw(n, 1.0).tolist()
        if "group" in spec.given:
            # The second group has a reward that is missing.
            sequence |= {"reward": None if i == 4 else draw(1, 1.0).item(), "group": i // 3}
        if "pair" in spec.given:
            sequence |= {"pair": i // 2, "role": "chosen" if i % 2 == 0 else "rejected"}
        if "apart" in spec.given:
            sequence |= {"pair": i % 3, "role": "rejected" if i < 3 else "chosen"}
        if "values" in spec.given:
            value = tokens.value[tokens.sequence == i]
            sequence["old_values"] = (value + draw(n, 0.2)).tolist()
            sequence["returns"] = (value + draw(n, 0.5)).tolist()


def check_against_transformers(folder, model, case):
    """transformers loads the folder and has these parameters; returns its largest logit difference from float64."""
    loaded = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float64)
    for (name, a), (_, b) in zip(loaded.named_parameters(), model.named_parameters(), strict=True):
        assert torch.equal(a, b.double()), f"{folder.name}: transformers reads another {name}"
    exact, worst = to_float64(model), 0.0
    with torch.no_grad():
        for sequence in case["sequences"]:
            ids = torch.tensor(sequence["prompt"] + sequence["completion"])
            difference = (forward(loaded, ids)[1] - forward(exact, ids)[1]).abs().max().item()
            # transformers rounds the rotary angles, up to N radians, to float32: an error of up to N * 6e-8 each
            assert difference < max(1e-5, len(ids) * 1e-7), f"{folder.name}: logits of transformers off by {difference}"
            worst = max(worst, difference)
    assert worst > 0, f"{folder.name}: float64 and transformers' float32 steps give the same bits: not float64"
    return worst


def check_lower_precision(name, model, head, case, expected, direction):
    """PyTorch in float32, and in bfloat16 where the weights are, meets the default tolerances; returns the worst errors."""
    errors = []
    for dtype in sorted({torch.float32, model.dtype}, key=str, reverse=True):
        lower = copy.deepcopy(model).to(dtype)
        lower.get_input_embeddings().padding_idx = None  # see float64.py
        if direction:
            lower.set_attn_implementation("eager")  # the others have no second derivative
        lower_head = head and copy.deepcopy(head).to(dtype)
        found = reference(lower, lower_head, case, direction=direction)
        if dtype == torch.float32:
            found |= optimizer_steps(lower, lower_head, case, sum(k.endswith(".grad_norm") for k in expected))
        worst = 0.0
        for key in found.keys() & expected.keys():
            a, b = found[key].double(), expected[key].double()
            error = ((a - b).norm() / (b.norm() if b.norm() > 0 else 1)).item()
            limit = 1e-4
            if dtype == torch.bfloat16:
                limit = 2e-2 if key == "loss" else 1e-1
                if key == "logps":
                    error, limit = (a - b).abs().max().item(), 5e-2
            assert error <= limit, f"{name}: {key} in {dtype}: {error:.2e} > {limit:.0e}"
            worst = max(worst, error)
        errors.append(f"{'f32' if dtype == torch.float32 else 'bf16'} {worst:.0e}")
    return ", ".join(errors)


def check_steps(model, head, case, expected):
    """Replay the steps with AdamW and clipping written out; torch's optimizer and these lines must agree."""
    steps = sum(name.endswith(".grad_norm") for name in expected)
    if not steps:
        return
    o = case["config"]["optimizer"]
    model, head = to_float64(model), head and exact_module(head)
    parameters = named_parameters(model, head)
    first, second = ({n: torch.zeros_like(p) for n, p in parameters.items()} for _ in range(2))
    for k in range(1, steps + 1):
        found = reference(model, head, case)
        gradients = {n: found[f"grad.{n}"] for n in parameters}
        norm = sum(g.square().sum() for g in gradients.values()).sqrt()
        for name, value in ((f"step.{k}.loss", found["loss"]), (f"step.{k}.grad_norm", norm)):
            torch.testing.assert_close(value, expected[name], rtol=1e-11, atol=0, msg=f"{name} {value} {expected[name]}")
        scale = min(1.0, o["max_grad_norm"] / (norm.item() + 1e-6))
        with torch.no_grad():
            for n, p in parameters.items():
                g = gradients[n] * scale
                first[n] = o["betas"][0] * first[n] + (1 - o["betas"][0]) * g
                second[n] = o["betas"][1] * second[n] + (1 - o["betas"][1]) * g * g
                m, v = first[n] / (1 - o["betas"][0] ** k), second[n] / (1 - o["betas"][1] ** k)
                p.mul_(1 - o["learning_rate"] * o["weight_decay"])
                p.sub_(o["learning_rate"] * m / (v.sqrt() + o["eps"]))


def write_config(folder, config):
    (Path(folder) / "config.json").write_text(json.dumps(config))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
