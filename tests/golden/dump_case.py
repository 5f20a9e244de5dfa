"""Write a case for `proximal verify` from PyTorch code.

A case is a folder with a model, the sequences and settings of one optimizer step, and the numbers that they should
give. `proximal verify CASE` then says which tensor differs. The example at the end of this file runs as it is:

    python dump_case.py my-case && proximal verify my-case

Conventions, as `proximal verify` reads them:
- A sequence is `prompt + completion`, run on its own: no padding, positions from 0.
- The row at position t-1 predicts the token at t. `logps`, `entropy`, `values` and `mask` have one entry per
  completion token, all sequences concatenated in order. Where the prompt is empty, the first completion token has no
  row that predicts it and so no entry.
- `logps`, `entropy`, `logits_first` and the loss are of logits / temperature, whatever the objective.
- `step.K.loss` (K from 1) is the loss at the parameters before update K, so step.1.loss is `loss`; `step.K.grad_norm`
  is the norm of that gradient before clipping. Every step sees the same data. Weight decay applies to every parameter.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from float64 import to_float64
from objectives import OBJECTIVES, Tokens

CASE_KEYS = {"objective", "config", "temperature", "value_head", "sequences"}
SEQUENCE_KEYS = {"prompt", "completion", "mask"}
OPTIMIZER_KEYS = {"learning_rate", "betas", "eps", "weight_decay", "max_grad_norm"}


def dump_case(
    folder,
    model,
    case,
    *,
    value_head=None,
    steps=0,
    gradients=torch.float64,
    logits_first=True,
    metrics=False,
    config_json=None,
    exact=to_float64,
    direction=None,
):
    """Write `folder` for `case` (the content of case.json, as a dict) on `model`, and return the expected tensors.

    model        a transformers causal language model in the dtype its weights are to be stored in
    value_head   torch.nn.Linear(hidden_size, 1) where case["value_head"] is true
    steps        number of AdamW steps to record with case["config"]["optimizer"]
    gradients    dtype in which gradients are stored, or None to leave them out; other tensors are float64
    logits_first whether to store the first sequence's logits
    metrics      whether to store the objective's metrics
    config_json  a dict to write as config.json instead of model.config
    exact        makes the copy of `model` that the reference is computed with; the default is true float64
    direction    for "fisher": name -> tensor, the v of F v, for every parameter
    """
    check_case(case, value_head, steps, direction)
    folder = Path(folder)
    (folder / "model").mkdir(parents=True, exist_ok=True)
    _save_model(folder / "model", model, value_head, config_json)
    (folder / "case.json").write_text(_json_text(case))

    exact_model = exact(model)
    exact_head = None if value_head is None else exact_module(value_head)
    expected = reference(exact_model, exact_head, case, gradients, logits_first, metrics, direction)
    expected |= optimizer_steps(exact_model, exact_head, case, steps)
    save_file({k: v.detach().contiguous() for k, v in expected.items()}, folder / "expected.safetensors")
    return expected


def reference(model, value_head, case, gradients=torch.float64, logits_first=True, metrics=False, direction=None):
    """The expected tensors of one step: scores, and for an objective with a loss also loss, gradients and metrics."""
    tokens, first = score(model, value_head, case)
    expected = {"logps": tokens.logp, "entropy": tokens.entropy}
    if tokens.value is not None:
        expected["values"] = tokens.value
    if logits_first:
        expected["logits_first"] = first
    if case["objective"] == "fisher":
        return expected | fisher(model, value_head, case, direction)
    loss_of = OBJECTIVES[case["objective"]].loss
    if loss_of is None:
        return expected
    loss, named_metrics = loss_of(tokens, case.get("config", {}))
    expected["loss"] = loss
    if metrics:
        expected |= {f"metric.{name}": value for name, value in named_metrics.items()}
    if gradients is not None:
        parameters = named_parameters(model, value_head)
        found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        for (name, parameter), gradient in zip(parameters.items(), found, strict=True):
            gradient = torch.zeros_like(parameter) if gradient is None else gradient
            expected[f"grad.{name}"] = gradient.to(gradients)
    return expected


def fisher(model, value_head, case, direction):
    """v.NAME and fv.NAME: F v, F = mean over masked completion tokens of J' (diag p - p p') J, J = d logits / d parameters.

    By double backward: F is the Hessian of the mean of KL(p || p(parameters)) where p is what the parameters give."""
    tokens, _ = score(model, value_head, case)
    p = tokens.log_p.detach()
    kl = (p.exp() * (p - tokens.log_p)).sum(-1)
    parameters = named_parameters(model, value_head)
    find = dict(allow_unused=True, materialize_grads=True)
    found = torch.autograd.grad((tokens.mask * kl).sum() / tokens.mask.sum(), parameters.values(), create_graph=True, **find)
    slope = sum((g * direction[name].to(g)).sum() for name, g in zip(parameters, found))
    products = torch.autograd.grad(slope, parameters.values(), **find)
    expected = {f"v.{name}": direction[name] for name in parameters}
    return expected | {f"fv.{name}": product for name, product in zip(parameters, products)}


def optimizer_steps(model, value_head, case, steps):
    """step.K.loss and step.K.grad_norm for `steps` AdamW steps. Changes the parameters of `model`."""
    if not steps:
        return {}
    o = case["config"]["optimizer"]
    parameters = list(named_parameters(model, value_head).values())
    adamw = torch.optim.AdamW(
        parameters, lr=o["learning_rate"], betas=tuple(o["betas"]), eps=o["eps"], weight_decay=o["weight_decay"]
    )
    expected = {}
    for k in range(1, steps + 1):
        loss, _ = OBJECTIVES[case["objective"]].loss(score(model, value_head, case)[0], case["config"])
        adamw.zero_grad()
        loss.backward()
        expected[f"step.{k}.loss"] = loss.detach()
        expected[f"step.{k}.grad_norm"] = torch.nn.utils.clip_grad_norm_(parameters, o["max_grad_norm"])
        adamw.step()
    return expected


def score(model, value_head, case):
    """Run every sequence; returns its `Tokens` and the first sequence's logits, one row per completion token."""
    dtype = torch.promote_types(next(model.parameters()).dtype, torch.float32)  # bf16 scores are taken in f32
    logps, log_ps, entropies, sum_sq, values, masks, index, first = [], [], [], [], [], [], [], None
    for i, sequence in enumerate(case["sequences"]):
        ids = torch.tensor(sequence["prompt"] + sequence["completion"])
        start = max(len(sequence["prompt"]), 1)
        hidden, logits = forward(model, ids)
        logits = logits[start - 1 : -1].to(dtype) / case.get("temperature", 1.0)
        log_p = logits.log_softmax(-1)
        log_ps.append(log_p)
        logps.append(log_p.gather(1, ids[start:, None])[:, 0])
        entropies.append(-(log_p.exp() * log_p).sum(-1))
        sum_sq.append((2 * log_p).logsumexp(-1))
        if value_head is not None:
            values.append(value_head(hidden[start - 1 : -1])[:, 0])
        masks.append(torch.tensor(sequence.get("mask", [1] * len(ids[start:])), dtype=dtype))
        index.append(torch.full((len(ids) - start,), i))
        first = logits if i == 0 else first
    tokens = Tokens(
        logp=torch.cat(logps),
        entropy=torch.cat(entropies),
        log_p=torch.cat(log_ps),
        log_sum_sq=torch.cat(sum_sq),
        value=torch.cat(values) if values else None,
        mask=torch.cat(masks),
        sequence=torch.cat(index),
        sequences=case["sequences"],
    )
    return tokens, first


def forward(model, ids):
    """Final-normed hidden states (N, C) and logits (N, V) of one sequence."""
    hidden = model.base_model(input_ids=ids[None], use_cache=False).last_hidden_state[0]
    return hidden, model.get_output_embeddings()(hidden)


def named_parameters(model, value_head):
    """Name -> parameter as stored in model.safetensors; tied embeddings appear once, under the embedding's name."""
    parameters = dict(model.named_parameters())
    if value_head is not None:
        parameters |= {f"v_head.{name}": p for name, p in value_head.named_parameters()}
    return parameters


def exact_module(module):
    """A float64 copy of a plain torch module."""
    copy = torch.nn.Linear(module.in_features, module.out_features, bias=module.bias is not None).double()
    copy.load_state_dict(module.state_dict())
    return copy


def check_case(case, value_head, steps, direction=None):
    """Raise ValueError, naming the field, where case.json would not be read."""
    _known("case.json", case, CASE_KEYS)
    name = case.get("objective")
    if name not in OBJECTIVES:
        raise ValueError(f"objective: expected one of {sorted(OBJECTIVES)}, found {name!r}")
    objective, config = OBJECTIVES[name], case.get("config", {})
    _known("config", config, objective.config_keys | {"optimizer"})
    if case.get("value_head", False) != (value_head is not None):
        raise ValueError(f"value_head: case.json says {case.get('value_head', False)}, given is {value_head}")
    if steps and (objective.loss is None or set(config.get("optimizer", {})) != OPTIMIZER_KEYS):
        raise ValueError(f"config.optimizer: {steps} steps need an objective with a loss and {sorted(OPTIMIZER_KEYS)}")
    if (name == "fisher") != (direction is not None):
        raise ValueError("direction: needed for fisher, and for nothing else")
    for i, sequence in enumerate(case["sequences"]):
        _known(f"sequences[{i}]", sequence, SEQUENCE_KEYS | objective.sequence_keys)
        rows = len(sequence["completion"]) - (not sequence["prompt"])
        if rows < 1:
            raise ValueError(f"sequences[{i}].completion: no token with a row that predicts it")
        if len(sequence.get("mask", [0] * rows)) != rows:
            raise ValueError(f"sequences[{i}].mask: expected {rows} entries, found {len(sequence['mask'])}")


def _known(where, found, known):
    if unknown := set(found) - set(known):
        raise ValueError(f"{where}: unknown keys {sorted(unknown)}; known are {sorted(known)}")


def _save_model(folder, model, value_head, config_json):
    if config_json is None:
        model.config.architectures = [type(model).__name__]
        model.config.to_json_file(folder / "config.json")
    else:
        (folder / "config.json").write_text(json.dumps(config_json, indent=2) + "\n")
    weights = {name: p.detach().contiguous() for name, p in named_parameters(model, value_head).items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _json_text(case):
    """One line per sequence, so that a diff of two cases can be read."""
    head = {key: value for key, value in case.items() if key != "sequences"}
    rows = ",\n    ".join(json.dumps(sequence) for sequence in case["sequences"])
    return json.dumps(head, indent=2)[:-2] + f',\n  "sequences": [\n    {rows}\n  ]\n}}\n'


def example(folder):
    """A case as a user would write it: own model, own ids, own settings."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    size = dict(vocab_size=50, hidden_size=32, intermediate_size=64, num_hidden_layers=2)
    model = LlamaForCausalLM(LlamaConfig(**size, num_attention_heads=4, num_key_value_heads=2))
    case = {
        "objective": "sft",
        "config": {
            "loss_type": "nll",
            "optimizer": {
                "learning_rate": 1e-3, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01, "max_grad_norm": 1.0,
            },
        },
        "sequences": [
            {"prompt": [1, 7, 9], "completion": [4, 4, 31, 2]},
            {"prompt": [1, 8], "completion": [5, 2], "mask": [1, 0]},
        ],
    }
    return dump_case(folder, model, case, steps=3)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: dump_case.py FOLDER   writes the example case")
    for tensor_name, tensor in example(sys.argv[1]).items():
        print(f"{tensor_name:50} {str(tuple(tensor.shape)):12} {tensor.double().norm().item():.6g}")
