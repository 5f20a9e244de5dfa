"""The objectives of a verify case, as functions of per-token numbers.

Each takes the `Tokens` of the whole case and the `config` of case.json, and returns (loss, metrics). The divisor is
always that of the whole file, which is one optimizer step. To add an objective: write the function, name it in
OBJECTIVES, and list the keys that its `config` and its sequences may have.
"""

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F


@dataclass
class Tokens:
    """All completion tokens that have a prediction, of all sequences in order; every tensor has one entry per token."""

    logp: torch.Tensor  # log-probability of the token under the temperature-scaled policy
    entropy: torch.Tensor  # of the same distribution
    mask: torch.Tensor  # 0 or 1
    sequence: torch.Tensor  # index of the token's sequence
    value: torch.Tensor | None = None  # of the row that predicts the token, where there is a value head
    log_p: torch.Tensor | None = None  # log-probabilities of all tokens of the vocabulary, (tokens, V)
    log_sum_sq: torch.Tensor | None = None  # log sum p^2 of the same distribution
    sequences: list = field(default_factory=list)  # case.json's own list: old_logps, ref_logps, pair, role, reward, group …


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


def rows(tokens, flat):
    """(B, T): a number per token, one row per sequence, 0 where there is no token."""
    out = flat.new_zeros(len(tokens.sequences), int(tokens.sequence.bincount().max()))
    position = torch.cat([torch.arange(n) for n in tokens.sequence.bincount(minlength=len(tokens.sequences))])
    return out.index_put((tokens.sequence, position), flat)


def given(tokens, key, otherwise=None):
    """(B, T) of a per-token list of case.json; `otherwise` (per token) for a sequence that has none."""
    if otherwise is None and any(s.get(key) is None for s in tokens.sequences):
        raise ValueError(f"{key}: every sequence needs it")
    parts = []
    for i, s in enumerate(tokens.sequences):
        own = None if otherwise is None else otherwise[tokens.sequence == i]
        parts.append(own if s.get(key) is None else torch.tensor(s[key], dtype=tokens.logp.dtype))
    return rows(tokens, torch.cat(parts))


def mean_entropy(tokens):
    return (tokens.mask * tokens.entropy).sum() / tokens.mask.sum()


def dpo(tokens, config):
    """TRL's names and formulas; `sigmoid` takes label_smoothing, as cDPO."""
    beta, e = config.get("beta", 0.1), config.get("label_smoothing", 0.0)
    side = lambda role: [i for i, s in sorted(enumerate(tokens.sequences), key=lambda x: x[1]["pair"]) if s["role"] == role]
    order = torch.tensor(side("chosen") + side("rejected"))
    mask, logp, ref = (x[order] for x in (rows(tokens, tokens.mask), rows(tokens, tokens.logp), given(tokens, "ref_logps")))
    n = len(order) // 2
    lengths = mask.sum(1)
    factor = mask
    if config.get("ld_alpha") is not None:
        shared = torch.minimum(lengths[:n], lengths[n:]).repeat(2)[:, None]
        factor = torch.where(mask.cumsum(1) <= shared, mask, config["ld_alpha"] * mask)
    sums, ref_sums = (factor * logp).sum(1), (factor * ref).sum(1)
    c, r = (sums - ref_sums).split(n)
    kind = config.get("f_divergence_type", "reverse_kl")
    a = config.get("f_alpha_divergence_coef", 0.5)
    if kind == "alpha_divergence" and abs(a - 1) < 1e-6:
        kind = "reverse_kl"
    score = {
        "reverse_kl": lambda u: u,
        "forward_kl": lambda u: 1 - (-u).exp(),
        "js_divergence": lambda u: math.log(2) + F.logsigmoid(u),
        "alpha_divergence": lambda u: (((a - 1) * u).clamp(max=80).exp() - 1) / (a - 1),
    }[kind]
    sc, sr = score(c), score(r)
    nc, nr = sc / lengths[:n].clamp(min=1), sr / lengths[n:].clamp(min=1)
    smooth = lambda x: -(1 - e) * F.logsigmoid(x) - e * F.logsigmoid(-x)
    ls, x = F.logsigmoid, beta * (sc - sr)
    names = config.get("loss_type", "sigmoid")
    names = [names] if isinstance(names, str) else names
    loss = 0.0
    for name, weight in zip(names, config.get("loss_weights") or [1.0] * len(names), strict=True):
        if name == "sigmoid":
            l = smooth(x)
        elif name == "hinge":
            l = (1 - x).relu()
        elif name == "ipo":
            l = (nc - nr - 1 / (2 * beta)) ** 2
        elif name == "sigmoid_norm":
            l = -ls(beta * (nc - nr))
        elif name == "exo_pair":
            l = x.sigmoid() * (ls(x) - math.log1p(-e)) + (-x).sigmoid() * (ls(-x) - math.log(e))
        elif name == "nca_pair":
            l = -ls(beta * c) - 0.5 * ls(-beta * c) - 0.5 * ls(-beta * r)
        elif name == "bco_pair":
            l = -ls(beta * c) - ls(-beta * r)
        elif name == "robust":
            l = (-(1 - e) * ls(x) + e * ls(-x)) / (1 - 2 * e)
        elif name == "sppo_hard":
            l = (c - 0.5 / beta) ** 2 + (r + 0.5 / beta) ** 2
        elif name == "aot":
            l = smooth(beta * ((sums[:n] - sums[n:]).sort().values - (ref_sums[:n] - ref_sums[n:]).sort().values))
        elif name == "aot_unpaired":
            l = smooth(beta * (c.sort().values - r.sort().values))
        elif name == "apo_zero":
            l = 1 - (beta * c).sigmoid() + (beta * r).sigmoid()
        elif name == "apo_down":
            l = (beta * c).sigmoid() + 1 - (beta * (c - r)).sigmoid()
        elif name == "discopop":
            m = (x / config.get("discopop_tau", 0.05)).sigmoid()
            l = -ls(x) * (1 - m) + (-x).exp() * m
        elif name == "sft":
            l = -((mask * logp)[:n].sum() / mask[:n].sum()).expand(n)
        else:
            raise ValueError(f"config.loss_type: {name!r} is not known")
        if config.get("use_weighting"):
            aligned = (logp.detach() - rows(tokens, tokens.log_sum_sq.detach())[order]) * mask
            w = (aligned.sum(1) / lengths.clamp(min=1)).exp()
            l = l * w[:n] * w[n:]
        loss = loss + weight * l.mean()
    metrics = {
        "rewards/chosen": (beta * c).mean(), "rewards/rejected": (beta * r).mean(), "rewards/margins": (beta * (c - r)).mean(),
        "rewards/accuracies": (c > r).to(c.dtype).mean(), "logps/chosen": sums[:n].mean(), "logps/rejected": sums[n:].mean(),
        "entropy": mean_entropy(tokens),
    }
    return loss, metrics


def advantages(tokens, scale="group"):
    """(B, T), as given or from the rewards of each group; a reward of null is left out."""
    if all("advantage" in s for s in tokens.sequences):
        each = lambda i, s: torch.as_tensor(s["advantage"], dtype=tokens.logp.dtype).expand(int((tokens.sequence == i).sum()))
        return rows(tokens, torch.cat([each(i, s) for i, s in enumerate(tokens.sequences)]))
    rewards = torch.tensor([math.nan if s.get("reward") is None else s["reward"] for s in tokens.sequences], dtype=tokens.logp.dtype)
    group = torch.tensor([s["group"] for s in tokens.sequences])
    out = torch.zeros_like(rewards)
    for g in group.unique():
        members = rewards[group == g]
        there = members[~members.isnan()]
        if len(there) > 1:
            every = rewards[~rewards.isnan()]
            divisor = {"group": there.std() + 1e-4, "batch": every.std() + 1e-4, "none": 1.0}[scale]
            out[group == g] = ((members - there.mean()) / divisor).nan_to_num(0.0)
    return out[:, None].expand(-1, int(tokens.sequence.bincount().max()))


def clip_metrics(low, high, mask):
    """Means over tokens, or over completions where there is one number for each."""
    mean = (lambda x: x.mean()) if low.shape[1] == 1 else (lambda x: (x * mask).sum() / mask.sum())
    own = (lambda x: x[:, 0]) if low.shape[1] == 1 else (lambda x: (x * mask).sum(1) / mask.sum(1))
    low, high = low.to(mask.dtype), high.to(mask.dtype)
    return {
        "clip_ratio/low_mean": mean(low), "clip_ratio/high_mean": mean(high), "clip_ratio/region_mean": mean(low + high),
        "clip_ratio/low_min": own(low).nan_to_num(math.inf).min(), "clip_ratio/high_max": own(high).nan_to_num(-math.inf).max(),
    }


def grpo(tokens, config):
    """TRL's names and formulas; every divisor is of the whole file."""
    kind, beta = config.get("loss_type", "dapo"), config.get("beta", 0.0)
    lo, hi = config.get("epsilon", 0.2), config.get("epsilon_high", config.get("epsilon", 0.2))
    logp, mask, entropy = (rows(tokens, x) for x in (tokens.logp, tokens.mask, tokens.entropy))
    old, a = given(tokens, "old_logps", tokens.logp.detach()), advantages(tokens, config.get("scale_rewards", "group"))
    lengths, ell = mask.sum(1, keepdim=True).clamp(min=1), logp - old
    mean_ell = (ell * mask).sum(1, keepdim=True) / lengths
    sequence = config.get("importance_sampling_level", "token") == "sequence"
    w = (mean_ell if sequence else ell).exp()
    cap = config.get("importance_sampling_cap")
    correction = torch.ones_like(logp)
    if cap is not None:
        sampler = given(tokens, "sampler_logps", tokens.logp.detach())
        correction = ((old - sampler) * mask).exp().clamp(max=cap)
    metrics = {"entropy": mean_entropy(tokens)}
    if kind in ("grpo", "bnpo", "dr_grpo", "dapo", "luspo"):
        free = w if config.get("delta") is None else w.clamp(max=config["delta"])
        loss = -torch.minimum(free * a, w.clamp(1 - lo, 1 + hi) * a)
        first = a[:, :1] if sequence else a
        metrics |= clip_metrics((w < 1 - lo) & (first < 0), (w > 1 + hi) & (first > 0), mask)
    elif kind == "cispo":
        loss = -w.clamp(max=config["epsilon_high"]).detach() * a * logp
    elif kind == "sapo":
        pos, neg = config.get("sapo_temperature_pos", 1.0), config.get("sapo_temperature_neg", 1.05)
        tau = torch.where(a > 0, torch.full_like(a, pos), torch.full_like(a, neg))  # two numbers would make it float32
        loss = -(4 / tau) * (tau * (w - 1)).sigmoid() * a
    elif kind == "vespo":
        log_w = (ell.detach().clamp(-20, 20) * mask).sum(1, keepdim=True)
        log_w = log_w + (correction.log().clamp(math.log(1e-8), 20) * mask).sum(1, keepdim=True)
        log_w = log_w.clamp(math.log(1e-8), 20)
        k, lam = torch.where(a >= 0, 2.0, 3.0), torch.where(a >= 0, 3.0, 2.0)
        phi = (lam + k * log_w - lam * log_w.exp()).exp()
        loss, correction = -phi * a * logp, torch.ones_like(logp)
        metrics["vespo/phi_seq_mean"] = phi[:, 0].mean()
    else:
        raise ValueError(f"config.loss_type: {kind!r} is not known")
    if config.get("off_policy_mask_threshold") is not None:
        loss = loss * ((a >= 0) | (-mean_ell.detach() <= config["off_policy_mask_threshold"]))
    acting = mask
    if config.get("top_entropy_quantile", 1.0) < 1:
        threshold = entropy.detach()[mask.bool()].quantile(1 - config["top_entropy_quantile"])
        acting = mask * (entropy.detach() >= threshold)
        loss = loss * acting
    loss = loss * correction
    if beta:
        ref = given(tokens, "ref_logps")
        kl = (ref - logp).exp() - (ref - logp) - 1
        kl = kl * w if config.get("use_bias_correction_kl", True) else kl
        loss = loss + beta * kl
        metrics["kl"] = (kl * mask).sum() / mask.sum()
    loss = loss * mask
    if kind in ("grpo", "sapo"):
        loss = (loss.sum(1, keepdim=True) / lengths).mean()
    elif kind == "dr_grpo":
        loss = loss.sum() / (len(loss) * config["max_completion_length"])
    elif kind == "luspo":
        loss = loss.sum(1).mean()
    else:
        loss = loss.sum() / mask.sum()
    if config.get("entropy_coef"):
        loss = loss - config["entropy_coef"] * (entropy * acting).sum() / acting.sum()
    return loss, metrics


def rloo(tokens, config):
    logp, mask = rows(tokens, tokens.logp), rows(tokens, tokens.mask)
    old = given(tokens, "old_logps", tokens.logp.detach())
    lo = config.get("epsilon", 0.2)
    if all("advantage" in s for s in tokens.sequences):
        a = torch.tensor([s["advantage"] for s in tokens.sequences], dtype=logp.dtype)
    else:
        beta = config.get("beta", 0.05)
        rewards = torch.tensor([math.nan if s.get("reward") is None else s["reward"] for s in tokens.sequences], dtype=logp.dtype)
        rewards = rewards - (beta * ((old - given(tokens, "ref_logps")) * mask).sum(1) if beta else 0.0)
        group = torch.tensor([s["group"] for s in tokens.sequences])
        a = torch.full_like(rewards, math.nan)
        for i, reward in enumerate(rewards):
            others = rewards[(group == group[i]) & (torch.arange(len(rewards)) != i)]
            others = others[~others.isnan()]
            if len(others):
                a[i] = reward - others.mean()
        if config.get("normalize_advantages"):
            there = a[~a.isnan()]
            a = (a - there.mean()) / (there.std() + 1e-4)
        a = a.nan_to_num(0.0)
    w = ((logp - old) * mask).sum(1).exp()
    loss = -torch.minimum(w * a, w.clamp(1 - lo, 1 + lo) * a).mean()
    metrics = clip_metrics(((w < 1 - lo) & (a < 0))[:, None], ((w > 1 + lo) & (a > 0))[:, None], mask)
    return loss, metrics | {"entropy": mean_entropy(tokens)}


def ppo(tokens, config):
    logp, mask, entropy = (rows(tokens, x) for x in (tokens.logp, tokens.mask, tokens.entropy))
    old, a = given(tokens, "old_logps", tokens.logp.detach()), advantages(tokens)
    mean = lambda x: (x * mask).sum() / mask.sum()
    w, eps = (logp - old).exp(), config.get("cliprange", 0.2)
    free, held = -a * w, -a * w.clamp(1 - eps, 1 + eps)
    policy = mean(torch.maximum(free, held))
    metrics = {
        "loss/policy": policy, "policy/approxkl": mean((logp - old) ** 2) / 2, "policy/clipfrac": mean((held > free).double()),
        "policy/entropy": mean(entropy), "entropy": mean(entropy), "val/ratio": mean(w),
    }
    loss = policy - config.get("ent_coef", 0.0) * mean(entropy)
    if tokens.sequences[0].get("returns") is not None:
        v, returns = rows(tokens, tokens.value), given(tokens, "returns")
        at, eps = given(tokens, "old_values", tokens.value.detach()), config.get("cliprange_value", 0.2)
        free, held = (v - returns) ** 2, (torch.clamp(v, at - eps, at + eps) - returns) ** 2
        value = mean(torch.maximum(free, held)) / 2
        loss = loss + config.get("vf_coef", 0.1) * value
        metrics |= {"loss/value": value, "val/clipfrac": mean((held > free).double())}
    return loss, metrics


def trpo(tokens, config):
    old = given(tokens, "old_logps", tokens.logp.detach())
    mask = rows(tokens, tokens.mask)
    surrogate = ((rows(tokens, tokens.logp) - old).exp() * advantages(tokens) * mask).sum() / mask.sum()
    return -surrogate, {"surrogate": surrogate, "entropy": mean_entropy(tokens)}


REWARDED = {"old_logps", "ref_logps", "sampler_logps", "advantage", "reward", "group"}
OBJECTIVES = {
    "logprobs": Objective(loss=None),
    "fisher": Objective(loss=None),  # dump_case.fisher
    "sft": Objective(loss=sft, config_keys={"loss_type"}),
    "dpo": Objective(
        dpo,
        {"loss_type", "loss_weights", "beta", "label_smoothing", "f_divergence_type", "f_alpha_divergence_coef", "ld_alpha",
         "use_weighting", "discopop_tau"},
        {"ref_logps", "pair", "role"},
    ),
    "grpo": Objective(
        grpo,
        {"loss_type", "beta", "epsilon", "epsilon_high", "delta", "scale_rewards", "importance_sampling_level",
         "use_bias_correction_kl", "max_completion_length", "entropy_coef", "top_entropy_quantile", "sapo_temperature_pos",
         "sapo_temperature_neg", "off_policy_mask_threshold", "importance_sampling_cap"},
        REWARDED,
    ),
    "rloo": Objective(rloo, {"epsilon", "beta", "normalize_advantages"}, REWARDED),
    "ppo": Objective(
        ppo, {"cliprange", "cliprange_value", "vf_coef", "ent_coef"}, {"old_logps", "advantage", "old_values", "returns"}
    ),
    "trpo": Objective(trpo, set(), REWARDED),
}
