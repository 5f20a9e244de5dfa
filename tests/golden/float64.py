"""True float64 arithmetic from a transformers model.

`model.double()` is not enough for a reference: transformers computes RMSNorm, the attention softmax and the rotary
angles in float32 whatever the dtype of the model, which leaves errors of 1e-7 in every number. `to_float64` returns
a copy in which all of it is float64. It knows models made of modules named *RMSNorm and *RotaryEmbedding with
attention through `ALL_ATTENTION_FUNCTIONS` (Qwen2, Llama). Batches must be free of padding: the attention here is
causal and reads no mask.

It also undoes `padding_idx`: torch leaves the input gradient of the embedding row of config.pad_token_id out, which is
not the derivative of the loss where that token is also in the text (SmolLM2 pads with the token that ends a turn).
"""

import copy
import types
from unittest import mock

import torch
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

ATTENTION = "float64"


def to_float64(model):
    """A float64 copy of `model` with no float32 step left in its forward pass."""
    exact = copy.deepcopy(model).double().eval()
    exact.set_attn_implementation(ATTENTION)
    for module in exact.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = types.MethodType(_rms_norm, module)
        elif type(module).__name__.endswith("RotaryEmbedding"):
            module.inv_freq = _inv_freq(module)
            module.forward = types.MethodType(_rotary, module)
        elif isinstance(module, torch.nn.Embedding):
            module.padding_idx = None
    return exact


def _rms_norm(self, x):
    return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))


def _inv_freq(rotary):
    """The model's own formula, with `torch.float` meaning float64 while it runs."""
    formula = ROPE_INIT_FUNCTIONS.get(rotary.rope_type, getattr(rotary, "compute_default_rope_parameters", None))
    with mock.patch.object(torch, "float", torch.float64):
        inv_freq, rotary.attention_scaling = formula(rotary.config)
    assert inv_freq.dtype == torch.float64, f"rope_type {rotary.rope_type}: inv_freq is {inv_freq.dtype}, not float64"
    return inv_freq


@torch.no_grad()
def _rotary(self, x, position_ids):
    angles = position_ids[..., None].to(self.inv_freq) * self.inv_freq
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos() * self.attention_scaling, angles.sin() * self.attention_scaling


def _attention(module, q, k, v, attention_mask, scaling, **_):
    """q (B, H, N, D), k and v (B, K, N, D) -> (B, N, H, D)."""
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    scores = q @ k.transpose(2, 3) * scaling
    causal = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    weights = scores.masked_fill(~causal, -torch.inf).softmax(-1)
    return (weights @ v).transpose(1, 2).contiguous(), weights


def _no_mask(*_, **__):
    return None


ALL_ATTENTION_FUNCTIONS.register(ATTENTION, _attention)
ALL_MASK_ATTENTION_FUNCTIONS.register(ATTENTION, _no_mask)
