"""The objectives of a verify case, as functions of per-token numbers.

Each takes the `Tokens` of the whole case and the `config` of case.json, and returns (loss, metrics). The divisor is
always that of the whole file, which is one optimizer step. To add an objective: write the function, name it in
OBJECTIVES, and list the keys that its `config` and its sequences may have.
"""

from dataclasses import dataclass, field

import torch


@dataclass
class Tokens:
    """All completion tokens that have a prediction, of all sequences in order; every tensor has one entry per token."""

    logp: torch.Tensor  # log-probability of the token under the temperature-scaled policy
    entropy: torch.Tensor  # of the same distribution
    mask: torch.Tensor  # 0 or 1
    sequence: torch.Tensor  # index of the token's sequence
    value: torch.Tensor | None = None  # of the row that predicts the token, where there is a value head
    given: dict = field(default_factory=dict)  # old_logps, ref_logps, … as case.json gives them
    sequences: list = field(default_factory=list)  # case.json's own list: pair, role, reward, group


@dataclass
class Objective:
    loss: object  # (Tokens, config) -> (loss, metrics), or None: scores only
    config_keys: set = field(default_factory=set)
    sequence_keys: set = field(default_factory=set)


def sft(tokens, config):
    """nll: sum mask * -logp / sum mask. dft: the same with each token weighted by its own detached probability."""
    kind = config.get("loss_type", "nll")
    if kind == "nll":
        per_token = -tokens.logp
    elif kind == "dft":
        per_token = -tokens.logp.detach().exp() * tokens.logp
    else:
        raise ValueError(f"config.loss_type: expected nll or dft, found {kind!r}")
    weight = tokens.mask.sum()
    metrics = {"entropy": (tokens.mask * tokens.entropy).sum() / weight}
    return (tokens.mask * per_token).sum() / weight, metrics


OBJECTIVES = {
    "logprobs": Objective(loss=None),
    "sft": Objective(loss=sft, config_keys={"loss_type"}),
}
