"""Attention over packed requests: what the text tower and the vision tower call instead of transformers' own.

Both functions are registered under names of ours and chosen by setting `_attn_implementation` of the tower's config.
The text tower's name is unknown to transformers' masks, so none is built; the vision tower's name holds "flash", so the
tower hands over all frames in one call.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from captioner.engine.attention_backends import Backend, Segments
from captioner.engine.cache import SlotCache

TEXT_ATTENTION = "captioner_slots"
VISION_ATTENTION = "captioner_flash_vision"


@dataclass(frozen=True, eq=False)
class TextStep:
    """What one forward pass of the text tower needs to know: N tokens, the first of them prompts, the rest rows."""

    cache: SlotCache
    backend: Backend
    write: Tensor  # int64 (N,): where in the flattened slots each token's key and value go
    prompts: Segments | None
    rows: Any  # of plan_rows, or None

    @property
    def num_prompt_tokens(self) -> int:
        return sum(self.prompts.lengths) if self.prompts else 0


@dataclass(frozen=True, eq=False)
class VisionStep:
    backend: Backend
    frames: Segments


def text_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: None, scaling: float,
    text_step: TextStep, **_: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """query (1, H, N, D), key and value (1, G, N, D) -> (1, N, H, D). Writes keys and values into the slots first."""
    step = text_step
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    keys, values = step.cache.keys[module.layer_idx], step.cache.values[module.layer_idx]
    keys.flatten(0, 1).index_copy_(0, step.write, k)
    values.flatten(0, 1).index_copy_(0, step.write, v)
    parts, split = [], step.num_prompt_tokens
    if step.prompts is not None:
        parts.append(step.backend.packed(q[:split], k[:split], v[:split], step.prompts, True, scaling))
    if step.rows is not None:
        parts.append(step.backend.cached(q[split:], keys, values, step.rows, scaling))
    return (parts[0] if len(parts) == 1 else torch.cat(parts))[None], None


def vision_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: None, scaling: float,
    vision_step: VisionStep, **_: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """query, key, value (1, H, P, D), P patches of many frames -> (1, P, H, D)."""
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    return vision_step.backend.packed(q, k, v, vision_step.frames, False, scaling)[None], None


AttentionInterface.register(TEXT_ATTENTION, text_attention)
AttentionInterface.register(VISION_ATTENTION, vision_attention)
