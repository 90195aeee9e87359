"""The kernels of linear attention: those of installed packages if a numeric self-test passes, else torch's own.

transformers calls flash-linear-attention and causal-conv1d wherever they can be imported, also where they cannot run.
"""

import importlib
import inspect
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from captioner.engine.core import first_line
from captioner.engine.delta_rule import convolve_step, delta_rule_step
from captioner.engine.linear_attention import LinearLayer

log = logging.getLogger(__name__)

PACKAGES = {"fla": "flash-linear-attention", "causal_conv1d": "causal-conv1d"}  # module: name for pip
FUNCTIONS = (
    "torch_chunk_gated_delta_rule", "torch_recurrent_gated_delta_rule", "causal_conv1d_fn", "causal_conv1d_update",
)  # fmt: skip
STEPS = {  # by the package that has a better one: the function of transformers and ours
    "fla": ("torch_recurrent_gated_delta_rule", delta_rule_step),
    "causal_conv1d": ("causal_conv1d_update", convolve_step),
}
TESTED_TOKENS = (150, 1)  # longer than the chunks of 64 tokens, then one more as in a decode step
TOLERANCE = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 6e-2}  # of the length of the result


class Kernels:
    """The kernels of all layers of this layer's kind. Until release(), torch's for one token a row are replaced."""

    def __init__(self, layer: LinearLayer) -> None:
        """Choose the kernels, and set `note`, a line for the report."""
        self._module = sys.modules[type(layer).__module__]
        used, self.note = _pick_packages(layer, self._module)
        ours = {name: function for package, (name, function) in STEPS.items() if package not in used}
        self._before = {name: getattr(self._module, name) for name in ours}
        vars(self._module).update(ours)

    def release(self) -> None:
        """Restore the functions that were there before."""
        vars(self._module).update(self._before)


def _pick_packages(layer: LinearLayer, module: ModuleType) -> tuple[list[str], str]:
    """Let the layer use installed packages if they pass the self-test; return them and a line for the report."""
    used = [package for package in PACKAGES if _can_import(package)]
    names = " and ".join(PACKAGES[package] for package in used)
    if not used:
        return used, "torch" if layer.conv1d.weight.device.type == "cpu" else f"torch; faster with {PACKAGES['fla']}"
    own = {name: inspect.unwrap(getattr(module, name)) for name in FUNCTIONS}
    problem = _self_test(layer, module, own)
    if not problem:
        return used, names
    log.warning("%s cannot be used for linear attention: %s", names, problem)
    vars(module).update(own)
    return [], f"torch, since {names} failed: {problem}"


def _can_import(module: str) -> bool:
    try:
        importlib.import_module(module)
    except Exception:  # as transformers, which then takes its own functions
        return False
    return True


@torch.inference_mode()
def _self_test(layer: LinearLayer, module: ModuleType, own: dict[str, Callable[..., Any]]) -> str:
    """Compare the layer with itself over torch's own functions; return "" or what is wrong."""
    weight = layer.conv1d.weight
    random = torch.Generator(weight.device).manual_seed(0)
    inputs = [
        torch.randn(1, n, layer.hidden_size, generator=random, device=weight.device).to(weight.dtype)
        for n in TESTED_TOKENS
    ]
    try:
        theirs = _run(layer, inputs)
        with _replaced(module, own):
            ours = _run(layer, inputs)
    except Exception as error:  # a kernel may fail in any way
        return first_line(error, 160)
    off = max(((a - b).float().norm() / b.float().norm()).item() for a, b in zip(theirs, ours, strict=True))
    return "" if off <= TOLERANCE[weight.dtype] else f"differs by {off:.2g} of its length"


def _run(layer: LinearLayer, inputs: list[Tensor]) -> list[Tensor]:
    """Run a prompt and one more token through the layer, and return both results."""
    state = _State()
    return [layer.forward(each, cache=state) for each in inputs]


@contextmanager
def _replaced(module: ModuleType, functions: dict[str, Callable[..., Any]]) -> Iterator[None]:
    before = {name: getattr(module, name) for name in functions}
    try:
        vars(module).update(functions)
        yield
    finally:
        vars(module).update(before)


class _State:
    """The state of one sequence, with the methods of a transformers cache that the layer calls."""

    def __init__(self) -> None:
        self._inputs: Tensor | None = None
        self._state: Tensor | None = None

    def is_recording_past(self, layer: int) -> bool:
        return False

    def get_conv_state(self, layer: int, state_idx: int = 0) -> Tensor | None:
        return self._inputs

    def get_recurrent_state(self, layer: int, state_idx: int = 0) -> Tensor | None:
        return self._state

    def update_conv_state(self, inputs: Tensor, layer: int, conv_kernel_size: int, **_: Any) -> Tensor:
        self._inputs = inputs[..., -conv_kernel_size:].clone()
        return inputs

    def update_recurrent_state(self, state: Tensor, layer: int, **_: Any) -> Tensor:
        self._state = state
        return state
