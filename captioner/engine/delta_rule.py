"""One token of a gated DeltaNet for each row: a few products over the states instead of many passes over them.

The functions take the arguments of those of transformers that they replace, and compute the same.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import silu
from transformers.activations import ACT2FN

EPSILON = 1e-6  # of the norm of queries and keys, as in transformers


def convolve_step(
    inputs: Tensor, conv_state: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str | None = None
) -> Tensor:
    """Return the causal convolution (B, channels, 1) of one more input (B, channels, 1).

    conv_state: the last k inputs (B, channels, k), which are updated in place; weight (channels, k), bias (channels,).
    """
    conv_state.copy_(torch.cat([conv_state[..., 1:], inputs.to(conv_state.dtype)], -1))
    out = (conv_state.to(weight.dtype) * weight).sum(-1, keepdim=True)
    if bias is not None:
        out = out + bias[:, None]
    if activation is not None:
        out = silu(out) if activation == "silu" else ACT2FN[activation](out)
    return out.to(inputs.dtype)


def delta_rule_step(
    query: Tensor, key: Tensor, value: Tensor, g: Tensor, beta: Tensor, initial_state: Tensor, **_: Any
) -> tuple[Tensor, Tensor]:
    """Return the output (B, 1, H, V) of one token, and the state (B, H, K, V) float32, which is updated in place.

    query and key (B, 1, heads, K), value (B, 1, H, V), g (the logarithm of the decay) and beta (B, 1, H). With S the
    state, k and q of length one: S' = e^g S, d = beta (v - k S'), S'' = S' + k d, and the output is
    q S'' = q S' + (q k) d. Source: Yang, Kautz, Hatamizadeh 2024, Gated Delta Networks, equation 10.
    """
    batch, _one, heads, dim = value.shape
    both = torch.stack([key[:, 0], query[:, 0]], 2).float()  # (B, heads of keys, 2, K)
    both = both * torch.rsqrt(both.square().sum(-1, keepdim=True) + EPSILON)
    both = both.repeat_interleave(heads // both.shape[1], 1).view(batch * heads, 2, -1)
    k, q = both[:, :1], both[:, 1:] * both.shape[-1] ** -0.5
    state = initial_state.mul_(g[:, 0].float().exp()[..., None, None]).view(batch * heads, -1, dim)
    read = torch.bmm(torch.cat([k, q], 1), state)  # (B * H, 2, V): what the state holds for k and q
    v = value[:, 0].float().reshape(batch * heads, 1, dim)
    delta = (v - read[:, :1]) * beta[:, 0].float().reshape(-1, 1, 1)
    state.baddbmm_(k.transpose(1, 2), delta)
    out = read[:, 1:] + (k * q).sum(-1, keepdim=True) * delta
    return out.view(batch, 1, heads, dim).to(query.dtype), initial_state
