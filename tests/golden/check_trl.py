"""usage: check_trl.py   compares objectives.py with TRL's own `_compute_loss` on random tokens (TRL 1.16; float32).

DPOTrainer, GRPOTrainer and RLOOTrainer are not built: their `_compute_loss` runs on an object with the settings it reads
and with a model that gives the drawn log-probs. Loss and gradient by the log-probs must agree to 1e-5, metrics too.
"""

import math
import sys
from collections import defaultdict
from types import SimpleNamespace

import torch
from trl import DPOTrainer, GRPOTrainer, RLOOTrainer

from objectives import OBJECTIVES, Tokens

ACCELERATOR = SimpleNamespace(
    device="cpu", num_processes=1, sync_gradients=True, gather=lambda x: x, gather_for_metrics=lambda x: x,
    reduce=lambda x, reduction: x, pad_across_processes=lambda x, dim, pad_index: x,
)
B, T = 6, 7


def draw(seed):
    g = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, T + 1, (B,), generator=g)
    mask = (torch.arange(T) < lengths[:, None]).float()
    noise = lambda scale: scale * torch.randn(B, T, generator=g)
    logp = -3 * torch.rand(B, T, generator=g)
    return SimpleNamespace(
        mask=mask, lengths=lengths, logp=logp, old=logp + noise(0.3), ref=logp + noise(0.5), sampler=logp + noise(0.4),
        entropy=2 * torch.rand(B, T, generator=g), log_sum_sq=-torch.rand(B, T, generator=g),
        advantage=torch.randn(B, generator=g),
    )


def ours(objective, config, d, extra):
    """Loss, gradient (B, T) and metrics of objectives.py. `extra` gives the other keys of sequence i."""
    cut = lambda x, i: x[i, : d.lengths[i]].tolist()
    sequences = [extra(i) for i in range(B)]
    for i, s in enumerate(sequences):
        s |= {"old_logps": cut(d.old, i), "ref_logps": cut(d.ref, i), "sampler_logps": cut(d.sampler, i)}
    logp = d.logp.clone().requires_grad_()
    flat = lambda x: x[d.mask.bool()]
    tokens = Tokens(
        logp=flat(logp), entropy=flat(d.entropy), mask=flat(d.mask), log_sum_sq=flat(d.log_sum_sq), sequences=sequences,
        sequence=torch.arange(B)[:, None].expand(B, T)[d.mask.bool()],
    )
    loss, metrics = OBJECTIVES[objective].loss(tokens, config)
    return loss.detach(), torch.autograd.grad(loss, logp)[0], metrics


def trainer(**settings):
    metrics = {"train": defaultdict(list)}
    return SimpleNamespace(
        accelerator=ACCELERATOR, model=SimpleNamespace(training=True), aux_loss_enabled=False, _metrics=metrics,
        _total_train_tokens=0, _tp_size=1, **settings,
    )


def dpo(d, config):
    names = config.get("loss_type", "sigmoid")
    logp = d.logp.clone().requires_grad_()
    me = trainer(
        beta=config.get("beta", 0.1), precompute_ref_logps=True, loss_types=[names] if isinstance(names, str) else names,
        ld_alpha=config.get("ld_alpha"), f_divergence_type=config.get("f_divergence_type", "reverse_kl"),
        f_alpha_divergence_coef=config.get("f_alpha_divergence_coef", 0.5), label_smoothing=config.get("label_smoothing", 0.0),
        use_weighting=config.get("use_weighting", False), args=SimpleNamespace(discopop_tau=config.get("discopop_tau", 0.05)),
    )
    me.loss_weights = config.get("loss_weights") or [1.0] * len(me.loss_types)
    out = SimpleNamespace(
        log_probs=logp * d.mask, entropy=d.entropy, mean_logits=d.entropy, is_top1=d.mask.bool(), log_sum_sq_probs=d.log_sum_sq,
    )
    # TRL gets the reference's sums as it computes them itself.
    position = d.mask.cumsum(1)
    shared = torch.minimum(d.lengths[: B // 2], d.lengths[B // 2 :]).repeat(2)[:, None]
    factor = d.mask if me.ld_alpha is None else torch.where(position <= shared, d.mask, me.ld_alpha * d.mask)
    chosen, rejected = (factor * d.ref).sum(1).chunk(2)
    ids = torch.zeros(B, T + 1, dtype=torch.long)
    inputs = {
        "input_ids": ids, "attention_mask": ids + 1, "completion_mask": torch.cat([torch.zeros(B, 1), d.mask], 1),
        "ref_chosen_logps": chosen, "ref_rejected_logps": rejected,
    }
    loss = DPOTrainer._compute_loss(me, lambda **_: out, inputs, False)
    return loss.detach(), torch.autograd.grad(loss, logp)[0], me._metrics["train"]


def rl(cls, d, config, **inputs):
    kind, lo = config.get("loss_type", "dapo"), config.get("epsilon", 0.2)
    logp = d.logp.clone().requires_grad_()
    cap = config.get("importance_sampling_cap")
    me = trainer(
        top_entropy_quantile=config.get("top_entropy_quantile", 1.0), beta=config.get("beta", 0.0), loss_type=kind, epsilon_low=lo,
        epsilon_high=config.get("epsilon_high", lo), importance_sampling_level=config.get("importance_sampling_level", "token"),
        off_policy_mask_threshold=config.get("off_policy_mask_threshold"), use_vllm=cap is not None,
        vllm_importance_sampling_correction=True, current_gradient_accumulation_steps=1,
        max_completion_length=config.get("max_completion_length"), _entropy_bonus_enabled="entropy_coef" in config,
        use_adaptive_entropy=False, entropy_coef=config.get("entropy_coef", 0.0),
        get_off_policy_mask=GRPOTrainer.get_off_policy_mask, get_gamma_weights=GRPOTrainer.get_gamma_weights,
        args=SimpleNamespace(
            use_bias_correction_kl=config.get("use_bias_correction_kl", True), delta=config.get("delta"), steps_per_generation=1,
            sapo_temperature_pos=1.0, sapo_temperature_neg=1.05, vespo_k_pos=2.0, vespo_lambda_pos=3.0, vespo_k_neg=3.0,
            vespo_lambda_neg=2.0,
        ),
    )
    me.get_high_entropy_mask = lambda *a: GRPOTrainer.get_high_entropy_mask(me, *a)
    me._get_per_token_logps_and_entropies = lambda *_, **__: (logp, d.entropy, None)
    ids = torch.zeros(B, T, dtype=torch.long)
    inputs |= {
        "prompt_ids": ids, "prompt_mask": ids + 1, "completion_ids": ids, "completion_mask": d.mask, "advantages": d.advantage,
        "ref_per_token_logps": d.ref, "num_items_in_batch": d.mask.sum(), "old_logps": (d.old * d.mask).sum(1),
        "old_per_token_logps": d.old,
    }
    if cap is not None:
        inputs["importance_sampling_ratio"] = ((d.old - d.sampler) * d.mask).exp().clamp(max=cap)
    loss = cls._compute_loss(me, None, inputs)
    return loss.detach(), torch.autograd.grad(loss, logp)[0], me._metrics["train"]


E = dict(label_smoothing=0.1)
DPO = [dict(loss_type=name, beta=0.3) for name in (
    "sigmoid", "hinge", "ipo", "sigmoid_norm", "nca_pair", "bco_pair", "sppo_hard", "aot", "aot_unpaired", "apo_zero", "apo_down",
    "discopop", "sft")]
DPO += [dict(loss_type=name, beta=0.3, **E) for name in ("exo_pair", "robust", "aot", "aot_unpaired")]
DPO += [dict(loss_type=name, beta=0.3, f_divergence_type=f, f_alpha_divergence_coef=a) for name in ("sigmoid", "ipo", "sigmoid_norm")
        for f, a in (("forward_kl", 0), ("js_divergence", 0), ("alpha_divergence", 0.6), ("alpha_divergence", 1.0))]
DPO += [dict(ld_alpha=0.4), dict(use_weighting=True), dict(loss_type=["sigmoid", "sft", "aot"], loss_weights=[1.0, 0.3, 0.5])]
GRPO = [dict(loss_type=name, importance_sampling_level=level, beta=beta, max_completion_length=9, epsilon_high=0.28)
        for name in ("grpo", "bnpo", "dr_grpo", "dapo", "luspo", "cispo", "sapo", "vespo") for level in ("token", "sequence")
        for beta in (0.0, 0.1)]
GRPO += [dict(delta=1.3, epsilon=0.1), dict(beta=0.2, use_bias_correction_kl=False), dict(off_policy_mask_threshold=0.02)]
GRPO += [dict(top_entropy_quantile=0.4, entropy_coef=0.1), dict(importance_sampling_cap=1.2),
         dict(loss_type="vespo", importance_sampling_cap=1.2), dict(loss_type="cispo", epsilon_high=1.2)]
RENAMED = {"dpo": ("rewards/", "logps/"), "grpo": ("clip_ratio/", "kl", "vespo"), "rloo": ("clip_ratio/",)}


def main():
    failed = checked = 0
    for seed in range(5):
        d = draw(seed)
        role = lambda i: {"pair": i % (B // 2), "role": "chosen" if i < B // 2 else "rejected"}
        given = lambda i: {"advantage": d.advantage[i].item()}
        runs = [("dpo", c, dpo(d, c), role) for c in DPO]
        runs += [("grpo", c, rl(GRPOTrainer, d, c), given) for c in GRPO]
        runs += [("rloo", c, rl(RLOOTrainer, d, c), given) for c in ({}, {"epsilon": 0.5})]
        for name, config, (loss, gradient, metrics), extra in runs:
            found, slope, named = ours(name, config, d, extra)
            off = [("loss", found, loss), ("gradient", slope, gradient)]
            off += [(k, named[k], metrics[k][0]) for k in named if k.startswith(RENAMED[name]) and k in metrics]
            checked += len(off)
            for what, a, b in off:
                a, b = torch.as_tensor(a).detach().double(), torch.as_tensor(b).detach().double()
                error = (a - b).norm() / max(b.norm(), 1e-3)
                if not error <= 1e-5:
                    failed += 1
                    print(f"{name} {config} seed {seed}: {what} off by {error:.1e}")
    print(f"{checked} numbers compared, {failed} differ; {len(DPO)} settings of dpo, {len(GRPO)} of grpo, 2 of rloo, 5 draws")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
