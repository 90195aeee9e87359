"""Compilation of decode steps, for any number of rows."""

from contextlib import AbstractContextManager, nullcontext
from threading import RLock
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from captioner.engine.linear_attention import PackedLinear
from captioner.engine.text_layers import run_layers


class CompiledLayers:
    """The layers of the text tower, compiled until release(). Linear attention stays as it is.

    One layer is compiled, and all share its code: a large model does not take longer, and in a CUDA graph the calls
    between the parts cost nothing. On a CPU they cost more than half of what compilation saves.
    """

    def __init__(self, layers: nn.ModuleList, linear: list[PackedLinear], as_one: bool) -> None:
        """Prepare the layers; each part is compiled when it first runs. as_one: all layers in one part."""
        self._layers: Any = layers
        tqdm.set_lock(RLock())  # else torch's compiler makes one for several processes, which Python calls leaked
        for each in linear:
            each.keep_from_compiling()
        self.run: Any = run_layers
        if as_one:
            self.run = torch.compile(run_layers, dynamic=True)
        else:
            for layer in self._layers:
                layer.compile(dynamic=True)

    def release(self) -> None:
        """Let the layers run as they are."""
        for layer in self._layers:
            layer._compiled_call_impl = None


def eagerly(compiled: CompiledLayers | None) -> AbstractContextManager[Any]:
    """Return a context in which compiled layers run as they are."""
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()
