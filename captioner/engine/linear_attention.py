"""Linear attention over packed requests: the unmodified layer runs for each piece of a prompt, and once for all rows.

The layer reads and writes its state through the few methods of a transformers cache that the two classes here have.
"""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from captioner.engine.attention import Piece, TextStep
from captioner.engine.cache import SlotCache


class LinearLayer(Protocol):
    """The linear attention module of one layer of the text tower, as Qwen3.5's gated DeltaNet."""

    forward: Callable[..., Tensor]
    hidden_size: int
    conv1d: nn.Conv1d


class _PromptState:
    """The state of one slot, which takes a piece of a prompt; it is empty before the first one."""

    def __init__(self, cache: SlotCache, piece: Piece) -> None:
        self._cache, self._slot, self._is_first = cache, piece.slot, piece.start == 0

    def is_recording_past(self, layer: int) -> bool:
        return False

    def get_conv_state(self, layer: int, state_idx: int = 0) -> None:
        """Return None also for a later piece: with a state, the layer takes a piece of one token for a row."""

    def get_recurrent_state(self, layer: int, state_idx: int = 0) -> Tensor | None:
        return None if self._is_first else self._cache.recurrent[layer][self._slot, None]

    def update_conv_state(self, inputs: Tensor, layer: int, conv_kernel_size: int, **_: Any) -> Tensor:
        """Keep the last of the inputs (1, channels, tokens), and return those that the convolution takes."""
        kept = self._cache.convolution[layer][self._slot]
        inputs = inputs if self._is_first else torch.cat([kept[None], inputs], -1)
        kept.copy_(pad(inputs, (max(0, conv_kernel_size - inputs.shape[-1]), 0))[0, :, -conv_kernel_size:])
        return inputs

    def update_recurrent_state(self, state: Tensor, layer: int, **_: Any) -> Tensor:
        self._cache.recurrent[layer][self._slot].copy_(state[0])
        return state


class _RowStates:
    """The states of the slots of all rows, each of which takes one token. New states wait for commit()."""

    def __init__(self, step: TextStep) -> None:
        assert step.row_slots is not None
        self._step, self._cache, self._slots = step, step.cache, step.row_slots
        self._inputs: Tensor | None = None  # (B, channels, kernel size), which the layer changes in place

    def is_recording_past(self, layer: int) -> bool:
        return False

    def get_conv_state(self, layer: int, state_idx: int = 0) -> Tensor:
        self._inputs = self._cache.convolution[layer].index_select(0, self._slots)
        return self._inputs

    def get_recurrent_state(self, layer: int, state_idx: int = 0) -> Tensor:
        return self._cache.recurrent[layer].index_select(0, self._slots)

    def update_recurrent_state(self, state: Tensor, layer: int, **_: Any) -> Tensor:
        """Keep both states for commit(). The layer calls it last."""
        assert self._inputs is not None
        self._step.new_states.append((layer, self._inputs, state))
        return state


def commit(step: TextStep) -> None:
    """Replace the states of the rows after the whole step: one that fails can be run again, as keys and values can."""
    for layer, inputs, state in step.new_states:
        assert step.row_slots is not None
        step.cache.convolution[layer].index_copy_(0, step.row_slots, inputs)
        step.cache.recurrent[layer].index_copy_(0, step.row_slots, state)


class PackedLinear:
    """Takes the place of the layer's forward() until release()."""

    def __init__(self, layer: LinearLayer) -> None:
        self._layer, self._forward = layer, type(layer).forward.__get__(layer)
        layer.forward = self

    def keep_from_compiling(self) -> None:
        """Let torch.compile call this as it is."""
        self._layer.forward = torch.compiler.disable(self)

    def release(self) -> None:
        """Restore the layer's own forward()."""
        vars(self._layer).pop("forward", None)  # that of the class appears again

    def __call__(self, hidden_states: Tensor, text_step: TextStep, **_: Any) -> Tensor:
        """Run the layer over the packed step: hidden_states (1, N, hidden) -> the same shape."""
        parts, start, step = [], 0, text_step
        for piece in step.pieces:
            prompt = hidden_states[:, start : start + piece.length]
            parts.append(self._forward(prompt, cache=_PromptState(step.cache, piece)))
            start += piece.length
        if step.row_slots is not None:
            rows = hidden_states[0, start:, None]  # (B, 1, hidden)
            parts.append(self._forward(rows, cache=_RowStates(step)).transpose(0, 1))
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)
