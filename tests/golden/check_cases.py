"""usage: check_cases.py CASE…   checks verify cases with a second implementation, in numpy, written apart from the first.

For each case: the forward pass in float64 (no torch, no transformers) gives the stored logits, logps, entropies, values
and loss to 1e-10 (1e-6 where they are stored as float32), and the stored gradients agree with central differences of
that loss along a random direction of every tensor and in single random entries. Of the objectives it knows "sft" and
"fisher"; for the others it checks the scores, and check_trl.py checks the losses. Exits 1 when a case fails.
"""

import json
import sys
from pathlib import Path

import numpy as np


def main(folders):
    failed = []
    for folder in map(Path, folders):
        problems = check(folder)
        print(f"{folder.name:28} {'ok' if not problems else 'FAILED'}")
        for problem in problems:
            print(f"    {problem}")
        failed += problems
    return 1 if failed or not folders else 0


def check(folder):
    """The problems of one case, as a list of sentences; empty when it is right."""
    case = json.loads((folder / "case.json").read_text())
    config = json.loads((folder / "model/config.json").read_text())
    weights = read_safetensors(folder / "model/model.safetensors")
    expected = read_safetensors(folder / "expected.safetensors")
    problems = []

    found, loss = evaluate(config, weights, case)
    for name, value in found.items():
        if name in expected:
            limit = 1e-10 if expected[name].dtype == np.float64 else 1e-6
            error = np.abs(value - expected[name]).max() if value.shape == expected[name].shape else np.inf
            if not error <= limit:
                problems.append(f"{name}: max abs difference {error:.2e} > {limit:.0e}")
    gradients = {name[5:]: g for name, g in expected.items() if name.startswith("grad.")}
    if gradients and set(gradients) != set(weights):
        problems.append(f"gradients and weights differ in {sorted(set(gradients) ^ set(weights))}")
    if case["objective"] == "fisher":
        return problems + check_fisher(config, weights, case, expected)
    if loss is None:  # scores only, or an objective that check_trl.py and `proximal verify` check
        return problems
    rng = np.random.default_rng(0)
    for name, gradient in gradients.items():
        loss_of = lambda w: evaluate(config, w, case, dft_weight=np.exp(found["logps"]))[1]
        problems += check_gradient(loss_of, weights, name, gradient, rng)
    problems += check_first_step(case, expected, gradients, loss)
    return problems


def check_gradient(loss_of, weights, name, gradient, rng):
    """Central differences (h = 1e-5, error about h^2 of the third derivative) against the stored gradient."""
    directions = [rng.standard_normal(gradient.shape)]
    for _ in range(2):
        one = np.zeros(gradient.shape)
        one[tuple(rng.integers(0, n) for n in gradient.shape)] = 1
        directions.append(one)
    h, problems = 1e-5, []
    for direction in directions:
        losses = [loss_of(weights | {name: weights[name] + s * h * direction}) for s in (1, -1)]
        slope, stated = (losses[0] - losses[1]) / (2 * h), float((gradient * direction).sum())
        scale = np.sqrt((gradient.astype(np.float64) ** 2).mean()) * np.sqrt((direction**2).sum())
        if not abs(slope - stated) <= 1e-6 * scale + 1e-9:
            problems.append(f"grad.{name}: along a direction {slope:.12g} by differences, {stated:.12g} stored")
    return problems


def check_fisher(config, weights, case, expected):
    """<u, F v> = mean_t Cov_p(z_u, z_v), z_u and z_v the changes of the logits along u and v by central differences, for a
    random u in each tensor."""
    rng, h = np.random.default_rng(0), 1e-5
    v = {name[2:]: x.astype(np.float64) for name, x in expected.items() if name.startswith("v.")}
    masks = [s.get("mask", [1] * (len(s["completion"]) - (not s["prompt"]))) for s in case["sequences"]]
    mask = np.concatenate(masks).astype(np.float64)

    def logits(step, direction):
        moved = {name: w + step * direction.get(name, 0.0) for name, w in weights.items()}
        return np.concatenate([z for z, *_ in predictions(config, moved, case)])

    slope = lambda direction: (logits(h, direction) - logits(-h, direction)) / (2 * h)
    z, problems = logits(0, {}), []
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    centred = lambda x: x - (p * x).sum(1, keepdims=True)
    along_v = centred(slope(v))
    for name in v:
        u = rng.standard_normal(v[name].shape)
        along_u = centred(slope({name: u}))
        stated = float((u * expected[f"fv.{name}"]).sum())
        found, scale = (float((mask * (p * x).sum(1)).sum() / mask.sum()) for x in (along_u * along_v, abs(along_u * along_v)))
        if not abs(found - stated) <= 1e-7 * scale:
            problems.append(f"fv.{name}: <u, F v> by differences {found:.12g}, {stated:.12g} stored")
    if set(v) != set(weights):
        problems.append(f"directions and weights differ in {sorted(set(v) ^ set(weights))}")
    return problems


def check_first_step(case, expected, gradients, loss):
    """step.1 is the case's own loss and the norm of its own gradient."""
    if "step.1.loss" not in expected:
        return []
    norm = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in gradients.values()))
    problems = []
    for name, value in (("step.1.loss", loss), ("step.1.grad_norm", norm)):
        if not abs(expected[name] - value) <= 1e-6 * abs(value):
            problems.append(f"{name}: {expected[name]} stored, {value} found")
    return problems


def evaluate(config, weights, case, dft_weight=None):
    """(found tensors by their name in expected.safetensors, loss or None). Only "logprobs" and "sft".

    dft_weight (per token) stands for the detached probability of dft, which its gradient holds constant."""
    logps, entropies, values, masks, first = [], [], [], [], None
    for sequence, (logits, hidden) in zip(case["sequences"], predictions(config, weights, case)):
        ids = np.array(sequence["prompt"] + sequence["completion"])
        start = max(1, len(sequence["prompt"]))
        shifted = logits - logits.max(1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        logps.append(log_p[np.arange(len(ids) - start), ids[start:]])
        entropies.append(-(np.exp(log_p) * log_p).sum(1))
        masks.append(np.array(sequence.get("mask", [1] * (len(ids) - start)), dtype=np.float64))
        if case.get("value_head"):
            values.append(hidden @ weights["v_head.weight"][0] + weights.get("v_head.bias", np.zeros(1))[0])
        first = logits if first is None else first
    found = {"logps": np.concatenate(logps), "entropy": np.concatenate(entropies), "logits_first": first}
    if values:
        found["values"] = np.concatenate(values)
    if case["objective"] != "sft":
        return found, None
    logp, mask = found["logps"], np.concatenate(masks)
    factor = 1.0
    if case["config"].get("loss_type", "nll") == "dft":
        factor = np.exp(logp) if dft_weight is None else dft_weight
    loss = (mask * factor * -logp).sum() / mask.sum()
    found["metric.entropy"] = (mask * found["entropy"]).sum() / mask.sum()
    return found | {"loss": np.asarray(loss)}, float(loss)


def predictions(config, weights, case):
    """(logits / temperature, final-normed hidden states) of the rows that predict a completion token, of each sequence."""
    head = weights["model.embed_tokens.weight" if config["tie_word_embeddings"] else "lm_head.weight"]
    for sequence in case["sequences"]:
        ids = np.array(sequence["prompt"] + sequence["completion"])
        hidden = transformer(config, weights, ids)[max(1, len(sequence["prompt"])) - 1 : -1]
        yield hidden @ head.T / case.get("temperature", 1.0), hidden


def transformer(config, weights, ids):
    """Final-normed hidden states (N, C) of one sequence, by loops over heads."""
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    size = config.get("head_dim") or config["hidden_size"] // heads
    eps, n = config["rms_norm_eps"], len(ids)
    cos, sin = rope(config, size, n)

    def norm(x, name):
        return weights[name] * x / np.sqrt((x * x).mean(1, keepdims=True) + eps)

    def linear(x, name):
        return x @ weights[name + ".weight"].T + weights.get(name + ".bias", 0.0)

    def rotate(x):  # (N, D): the pair (i, i + D/2) turns by position * inv_freq[i]
        a, b = x[:, : size // 2], x[:, size // 2 :]
        return np.hstack([a * cos - b * sin, b * cos + a * sin])

    x = weights["model.embed_tokens.weight"][ids]
    for layer in range(config["num_hidden_layers"]):
        p = f"model.layers.{layer}."
        u = norm(x, p + "input_layernorm.weight")
        q, k, v = (linear(u, p + f"self_attn.{c}_proj") for c in "qkv")
        out = np.zeros((n, heads * size))
        for h in range(heads):
            g = h // (heads // kv_heads)
            qh, kh = rotate(q[:, h * size : (h + 1) * size]), rotate(k[:, g * size : (g + 1) * size])
            scores = np.where(np.tri(n, dtype=bool), qh @ kh.T / np.sqrt(size), -np.inf)
            e = np.exp(scores - scores.max(1, keepdims=True))
            out[:, h * size : (h + 1) * size] = e / e.sum(1, keepdims=True) @ v[:, g * size : (g + 1) * size]
        x = x + linear(out, p + "self_attn.o_proj")
        u = norm(x, p + "post_attention_layernorm.weight")
        gate = linear(u, p + "mlp.gate_proj")
        x = x + linear(gate / (1 + np.exp(-gate)) * linear(u, p + "mlp.up_proj"), p + "mlp.down_proj")
    return norm(x, "model.norm.weight")


def rope(config, size, n):
    """cos and sin (N, D/2), from config.json as transformers 4 or 5 writes it."""
    settings = config.get("rope_parameters") or config.get("rope_scaling") or {}
    theta = settings.get("rope_theta", config.get("rope_theta", 10000.0))
    kind = settings.get("rope_type", settings.get("type", "default"))
    freq = [theta ** (-2 * i / size) for i in range(size // 2)]
    if kind == "linear":
        freq = [f / settings["factor"] for f in freq]
    elif kind == "llama3":
        low, high = settings["low_freq_factor"], settings["high_freq_factor"]
        for i, f in enumerate(freq):
            turns = settings["original_max_position_embeddings"] * f / (2 * np.pi)  # within the original context
            blend = min(1.0, max(0.0, (turns - low) / (high - low)))
            freq[i] = f * blend + f / settings["factor"] * (1 - blend)
    else:
        assert kind == "default", f"rope_type {kind}"
    angles = np.outer(np.arange(n), freq)
    return np.cos(angles), np.sin(angles)


def read_safetensors(path):
    """Name -> float array; BF16 is widened to float32, all weights take part in float64 arithmetic."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        raw = body[slice(*entry["data_offsets"])]
        if entry["dtype"] == "BF16":
            array = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            array = np.frombuffer(raw, {"F32": "<f4", "F64": "<f8"}[entry["dtype"]])
        tensors[name] = array.reshape(entry["shape"])
    return tensors if path.name == "expected.safetensors" else {k: v.astype(np.float64) for k, v in tensors.items()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
