"""Attention over packed requests, which both towers call: `_attn_implementation` in each tower's config selects it.

transformers builds no mask for the text tower, since it does not know the name. The vision tower passes all frames in
one call, since its name contains "flash".
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from captioner.engine.attention_backends import Backend, Segments
from captioner.engine.cache import SlotCache

TEXT_ATTENTION = "captioner_slots"
VISION_ATTENTION = "captioner_flash_vision"


@dataclass(frozen=True)
class Piece:
    """The tokens of a prompt that one step reads into a slot."""

    slot: int
    start: int  # tokens that earlier steps have read
    length: int


@dataclass(frozen=True, eq=False)
class Final:
    """The inputs of the last layer where only some of its outputs are needed, but the keys and values of all tokens."""

    inputs: Tensor  # (1, N, hidden), of attention
    needed: Tensor  # int64 (K,): the tokens of which there is an output


@dataclass(frozen=True, eq=False)
class TextStep:
    """The inputs of one forward pass of the text tower over N tokens: pieces of prompts, then one token for each row.

    Pieces that continue a prompt come first, then those that begin one.
    """

    cache: SlotCache
    backend: Backend
    write: Tensor  # int64 (N,): position of each token's key and value in the flattened slots
    pieces: tuple[Piece, ...]
    begun: Segments | None  # the pieces that begin a prompt
    rows: Any  # from Backend.plan_rows, or None without rows
    row_slots: Tensor | None = None  # int64 (B,)
    new_states: list[tuple[int, Tensor, Tensor]] = field(default_factory=list)  # see linear_attention.commit
    final: Final | None = None  # in the last layer

    @property
    def num_prompt_tokens(self) -> int:
        return sum(piece.length for piece in self.pieces)


@dataclass(frozen=True, eq=False)
class VisionStep:
    """The inputs of one forward pass of the vision tower."""

    backend: Backend
    frames: Segments


class TextAttentionLayer(Protocol):
    """The attention module of one layer of the text tower."""

    layer_idx: int


@torch.compiler.disable  # a kernel of its own, and different for each layer
def attend(step: TextStep, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Write keys and values (N, G, D) into the slots, and attend from queries (N, H, D) -> (N, H, D)."""
    keys, values = step.cache.keys[layer], step.cache.values[layer]
    keys.flatten(0, 1).index_copy_(0, step.write, k)
    values.flatten(0, 1).index_copy_(0, step.write, v)
    if not step.pieces:
        return step.backend.cached(q, keys, values, step.rows, scale)
    parts, start = [], 0
    for piece in step.pieces:
        if piece.start:
            end, used = start + piece.length, piece.start + piece.length
            slot = keys[piece.slot, :used], values[piece.slot, :used]
            parts.append(step.backend.continued(q[start:end], *slot, scale))
            start = end
    if step.begun is not None:
        end = step.num_prompt_tokens
        parts.append(step.backend.packed(q[start:end], k[start:end], v[start:end], step.begun, True, scale))
        start = end
    if step.rows is not None:
        parts.append(step.backend.cached(q[start:], keys, values, step.rows, scale))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def text_attention(
    module: TextAttentionLayer, query: Tensor, key: Tensor, value: Tensor, attention_mask: None, scaling: float,
    text_step: TextStep, **_: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """Attend for a module of transformers: query (1, H, N, D), key, value (1, G, N, D) -> (1, N, H, D)."""
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    return attend(text_step, module.layer_idx, q, k, v, scaling)[None], None


def vision_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: None, scaling: float,
    vision_step: VisionStep, **_: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """Attend within each frame: query, key, value (1, H, P, D) for the P patches of all frames -> (1, P, H, D)."""
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    return vision_step.backend.packed(q, k, v, vision_step.frames, False, scaling)[None], None


AttentionInterface.register(TEXT_ATTENTION, text_attention)
AttentionInterface.register(VISION_ATTENTION, vision_attention)
