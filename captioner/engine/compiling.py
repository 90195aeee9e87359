"""Compilation of decode steps: one layer is compiled, and all layers share its code, whatever their number."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, PreTrainedConfig

from captioner.engine.attention import TEXT_ATTENTION, text_attention
from captioner.engine.linear_attention import PackedLinear

OPAQUE_ATTENTION = f"{TEXT_ATTENTION}_opaque"


class CompiledLayers:
    """Compiles the layers of the text tower, for any number of rows, until release().

    Attention over slots and linear attention stay as they are: they are kernels of their own and differ by layer.
    """

    def __init__(self, layers: nn.ModuleList, config: PreTrainedConfig, linear: list[PackedLinear]) -> None:
        """Prepare the layers; each part is compiled when it first runs. config: that of the text tower."""
        self._layers: Any = layers
        AttentionInterface.register(OPAQUE_ATTENTION, torch.compiler.disable(text_attention))
        config._attn_implementation = OPAQUE_ATTENTION
        for each in linear:
            each.keep_from_compiling()
        for layer in self._layers:
            layer.compile(dynamic=True)

    def release(self) -> None:
        """Let the layers run as they are."""
        for layer in self._layers:
            layer._compiled_call_impl = None


def eagerly(compiled: CompiledLayers | None) -> AbstractContextManager[Any]:
    """Return a context in which compiled layers run as they are."""
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()
