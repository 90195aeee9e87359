"""The forward() of attention and MLPs in the text towers of transformers, in fewer calls; `self` is their module.

Queries and keys are normed and rotated together, and layers of the same input are one product (see linear_layers).
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from transformers.activations import SiLUActivation

from captioner.engine import operators
from captioner.engine.attention import Final, TextStep, attend
from captioner.engine.linear_layers import Part
from captioner.engine.norms import unit
from captioner.engine.row_kernel import RowKernel, runs_in_c

Rotation = tuple[Tensor, Tensor]  # cosines and sines (1, N, R) for R of D dimensions of each head
QUERIES_KEYS_VALUES = ("q_proj", "k_proj", "v_proj")


def head_weights(module: Any, kernel: RowKernel | None) -> dict[str, Any]:
    """Return the attributes that attention() and gated_attention() need: how to norm the heads of queries and keys.

    The weight (heads of both, D) is float32 where the norm computes in it, as in Qwen3.5.
    """
    num_keys = module.k_proj.out_features // module.head_dim
    num_queries = num_keys * module.num_key_value_groups
    norms = module.q_norm, module.k_norm
    weights = [getattr(norm, "whole_weight", norm.weight.detach()) for norm in norms]
    counts = torch.tensor([num_queries, num_keys], device=weights[0].device)
    weight = torch.stack(weights).repeat_interleave(counts, 0)
    epsilon = norms[0].eps if hasattr(norms[0], "eps") else norms[0].variance_epsilon
    in_c = kernel and partial(kernel.norm_and_rotate, weight=weight.float(), epsilon=epsilon, num_queries=num_queries)
    return {
        "num_heads": (num_queries, num_keys),
        "head_weight": weight,
        "head_epsilon": epsilon,
        "layer_number": torch.tensor(module.layer_idx),
        "in_c": in_c,
    }


def gate_function(module: Any, kernel: RowKernel | None) -> dict[str, Any]:
    """Return the attributes that mlp() needs."""
    is_silu = isinstance(module.act_fn, (nn.SiLU, SiLUActivation))
    return {"in_c": kernel.gate if kernel and is_silu else None}


def run_layers(
    layers: Sequence[Any], hidden: Tensor, rotation: Rotation, step: TextStep,
    visual: Tensor | None = None, deepstack: Sequence[Tensor] = (), needed: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Run the layers of a text tower: hidden (1, N, hidden) -> (1, K, hidden) of the K tokens `needed`, or of all N.

    visual int64 (V,): the places of the visual tokens, to which DeepStack adds its embeddings (V, hidden) by layer.
    needed int64 (K,): the others' keys and values are all that the last layer computes.
    """
    chooses = needed is not None and len(layers) > len(deepstack) and _can_choose(layers[-1])
    for number, layer in enumerate(islice(layers, len(layers) - chooses)):
        hidden = layer(hidden, position_embeddings=rotation, attention_mask=None, text_step=step)
        if visual is not None and number < len(deepstack):
            hidden[0].index_add_(0, visual, deepstack[number].to(hidden.dtype))
    if needed is None:
        return hidden
    return _run_final(layers[-1], hidden, rotation, step, needed) if chooses else hidden.index_select(1, needed)


def _run_final(layer: Any, hidden: Tensor, rotation: Rotation, step: TextStep, needed: Tensor) -> Tensor:
    """Run the last layer, as run_layers() does."""
    some = needed if len(needed) else needed.new_zeros(1)  # a mixture of experts cannot do without any token
    step = replace(step, final=Final(layer.input_layernorm(hidden), some))
    hidden = layer(hidden.index_select(1, some), position_embeddings=rotation, attention_mask=None, text_step=step)
    return hidden[:, : len(needed)]


def _can_choose(layer: Any) -> bool:
    """Return whether a layer's attention is one of those below."""
    return hasattr(getattr(layer, "self_attn", None), "head_weight")


def attention(
    self: Any, hidden_states: Tensor, position_embeddings: Rotation, attention_mask: None, text_step: TextStep, **_: Any
) -> tuple[Tensor, None]:
    """Qwen3-VL's attention: hidden_states (1, N, hidden) -> the same shape, and None."""
    inputs = _inputs(hidden_states, text_step)
    heads = _project(self, QUERIES_KEYS_VALUES, inputs).view(len(inputs), -1, self.head_dim)
    num_normed = sum(self.num_heads)
    out = _attend(self, heads[:, :num_normed], heads[:, num_normed:], position_embeddings, text_step)
    return self.o_proj(_needed(out.flatten(1), text_step)[None]), None


def gated_attention(
    self: Any, hidden_states: Tensor, position_embeddings: Rotation, attention_mask: None, text_step: TextStep, **_: Any
) -> tuple[Tensor, None]:
    """Qwen3.5's attention: like attention(), but each query has a gate for its output, and D may be rotated in part."""
    inputs, dim, (num_queries, num_keys) = _inputs(hidden_states, text_step), self.head_dim, self.num_heads
    num_tokens, projected = len(inputs), _project(self, QUERIES_KEYS_VALUES, inputs)
    gated, ungated = projected.split((num_queries * 2 * dim, 2 * num_keys * dim), 1)
    queries, gates = gated.view(num_tokens, num_queries, 2 * dim).split(dim, -1)
    keys, values = ungated.view(num_tokens, 2 * num_keys, dim).split(num_keys, 1)
    out = _attend(self, torch.cat([queries, keys], 1), values, position_embeddings, text_step)
    return self.o_proj(_needed((out * gates.sigmoid()).flatten(1), text_step)[None]), None


def _inputs(hidden: Tensor, step: TextStep) -> Tensor:
    """Return the inputs of all tokens, (N, hidden)."""
    return (hidden if step.final is None else step.final.inputs)[0]


def _needed(outputs: Tensor, step: TextStep) -> Tensor:
    return outputs if step.final is None else outputs.index_select(0, step.final.needed)


def mlp(self: Any, x: Tensor) -> Tensor:
    """Return the output of a gated MLP, (..., hidden) -> (..., hidden)."""
    both = _project(self, ("gate_proj", "up_proj"), x)
    if runs_in_c(self):
        return self.down_proj(self.in_c(both))
    gate, up = both.chunk(2, -1)
    return self.down_proj(self.act_fn(gate) * up)


def _attend(module: Any, both: Tensor, values: Tensor, rotation: Rotation, step: TextStep) -> Tensor:
    """Norm and rotate queries and keys (N, H + G, D), and attend: values (N, G, D) -> (N, H, D)."""
    if runs_in_c(module):
        queries, keys = module.in_c(both, cos=rotation[0], sin=rotation[1])
    else:
        weight = module.head_weight
        normed = (unit(both.to(weight.dtype), module.head_epsilon) * weight).to(both.dtype)
        queries, keys = rotate(normed, *rotation).split(module.num_heads, 1)
    if torch.compiler.is_compiling():
        return operators.attend(queries, keys, values, module.layer_number, module.scaling)
    return attend(step, module.layer_idx, queries, keys, values, module.scaling)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the first R of D dimensions of each head, in pairs R / 2 apart: x (N, H, D), cos and sin (1, N, R)."""
    size, half = cos.shape[-1], cos.shape[-1] // 2
    cos, sin = cos[0, :, None], sin[0, :, None]
    out = x * cos if size == x.shape[-1] else torch.cat([x[..., :size] * cos, x[..., size:]], -1)
    out[..., :half].addcmul_(x[..., half:size], sin[..., :half], value=-1)
    out[..., half:size].addcmul_(x[..., :half], sin[..., half:])
    return out


def _project(module: Any, names: tuple[str, ...], x: Tensor) -> Tensor:
    """Return the outputs of linear layers of the same input side by side."""
    layers = [getattr(module, name) for name in names]
    if isinstance(layers[0], Part):
        return layers[0].product(x)
    return torch.cat([layer(x) for layer in layers], -1)
