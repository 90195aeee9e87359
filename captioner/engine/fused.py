"""Parts of the text tower in fewer calls to the device and with the same results, until release()."""

import functools
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm, silu

log = logging.getLogger(__name__)

TOLERANCE = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}  # 16-bit dtypes: rounded once less

MANY_TOKENS = 64
WHOLE_WEIGHT = "whole_weight"  # attribute of a norm of Qwen3.5, in float32: the stored one is 1 less
DEEPSTACK = "_deepstack_process"  # method of the text tower


class FusedParts:
    """The modules that are changed. Whatever computes something else than expected stays as it is."""

    def __init__(self, tower: nn.Module) -> None:
        """Let each RMS norm be one call instead of eight, and DeepStack add its embeddings without a wait."""
        self._classes: list[tuple[nn.Module, type]] = []  # that modules had before
        self._tower = tower
        module: Any
        for module in tower.modules():
            kind: Any = type(module)
            fused = _fused_class(kind)
            if fused is None:
                continue
            if fused.forward is _zero_centered_rms_norm:
                vars(module)[WHOLE_WEIGHT] = 1.0 + module.weight.detach().float()
            if _agrees(module, fused):
                self._classes.append((module, kind))
                module.__class__ = fused
        self._has_deepstack = hasattr(tower, DEEPSTACK) and DEEPSTACK not in vars(tower)  # of no other core
        if self._has_deepstack:
            vars(tower)[DEEPSTACK] = add_deepstack

    def release(self) -> None:
        """Restore the modules."""
        while self._classes:
            module, before = self._classes.pop()
            module.__class__ = before
            vars(module).pop(WHOLE_WEIGHT, None)
        if self._has_deepstack:
            vars(self._tower).pop(DEEPSTACK, None)


def add_deepstack(hidden: Tensor, places: Tensor, visual: Tensor) -> Tensor:
    """Add embeddings of visual tokens (V, hidden) to hidden (1, N, hidden) at places int64 (V,)."""
    hidden[0].index_add_(0, places, visual.to(hidden.dtype))
    return hidden


def _norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Return x (..., dim) over the root of its mean square, times weight (dim,).

    torch has a kernel for that on a GPU. On a CPU it takes many passes: for 512 tokens of 768 values in bfloat16
    2.1 ms instead of the 0.5 of the few here.
    """
    if x.device.type != "cpu" or x.numel() < MANY_TOKENS * x.shape[-1]:
        return rms_norm(x, weight.shape, weight, epsilon)
    wide = x.float()
    length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    scale = length.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
    return (wide * scale).to(x.dtype) * weight


# The forward() of the norms in transformers, in fewer calls; `self` is the module of transformers.


def _rms_norm(self: Any, x: Tensor) -> Tensor:
    return _norm(x, self.weight, self.variance_epsilon)


def _gated_rms_norm(self: Any, x: Tensor, gate: Tensor) -> Tensor:
    return (_norm(x, self.weight, self.variance_epsilon) * silu(gate.float())).to(x.dtype)


def _zero_centered_rms_norm(self: Any, x: Tensor) -> Tensor:
    return _norm(x.float(), self.whole_weight, self.eps).to(x.dtype)


FORWARDS: dict[str, Callable[..., Tensor]] = {  # by the end of the name of the class
    "VLTextRMSNorm": _rms_norm,
    "VLMoeTextRMSNorm": _rms_norm,
    "RMSNormGated": _gated_rms_norm,
    "3_5RMSNorm": _zero_centered_rms_norm,
    "3_5MoeRMSNorm": _zero_centered_rms_norm,
}


@functools.cache
def _fused_class(kind: Any) -> Any:
    """Return a class of norms that differs from `kind` in forward() alone, or None if it is not a known norm."""
    if kind.__module__.startswith("transformers."):
        for name, forward in FORWARDS.items():
            if kind.__name__.endswith(name):
                return type(f"Fused{kind.__name__}", (kind,), {"forward": forward})
    return None


@torch.inference_mode()
def _agrees(module: Any, fused: Any) -> bool:
    weight = module.weight
    random = torch.Generator().manual_seed(0)
    num_inputs = 2 if fused.__name__.endswith("Gated") else 1
    shape, tolerance = (3, *weight.shape), TOLERANCE[weight.dtype]
    inputs = [torch.randn(shape, generator=random).to(weight.device, weight.dtype) for _ in range(num_inputs)]
    theirs, ours = (kind.forward(module, *inputs).float() for kind in (type(module), fused))
    if torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance / 100):
        return True
    log.warning("%s is not the norm that was expected; it stays as it is", type(module).__name__)
    return False
