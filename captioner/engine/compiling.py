"""Compilation of decode steps: one layer is compiled, and all layers share its code, whatever their number."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from captioner.engine.linear_attention import PackedLinear


class CompiledLayers:
    """Compiles the layers of the text tower, for any number of rows, until release().

    Attention over slots and linear attention stay as they are: they are kernels of their own and differ by layer.
    """

    def __init__(self, layers: nn.ModuleList, linear: list[PackedLinear]) -> None:
        """Prepare the layers; each part is compiled when it first runs."""
        self._layers: Any = layers
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
