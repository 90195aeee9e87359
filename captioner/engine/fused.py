"""Parts of the text tower in fewer calls to the device and with the same results, until release()."""

import functools
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from captioner.engine import norms, text_layers
from captioner.engine.attention import Piece, TextStep
from captioner.engine.attention_backends import SdpaBackend, Segments
from captioner.engine.cache import SlotCache, SlotShape
from captioner.engine.core import first_line
from captioner.engine.row_kernel import RowKernel

log = logging.getLogger(__name__)

TOLERANCE = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}  # 16-bit dtypes: rounded less often
TESTED_TOKENS = 5


def _random(like: Tensor, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(like.device, like.dtype)


def _norm_inputs(tower: Any, module: Any) -> dict[str, Any]:
    x = _random(module.weight, TESTED_TOKENS, *module.weight.shape)
    return {"hidden_states": x, "gate": x.flip(0)} if type(module).__name__.endswith("Gated") else {"hidden_states": x}


def _zero_centered_inputs(tower: Any, module: Any) -> dict[str, Any]:
    return {"x": _random(module.weight, TESTED_TOKENS, *module.weight.shape)}


def _mlp_inputs(tower: Any, module: Any) -> dict[str, Any]:
    return {"x": _random(tower.norm.weight, TESTED_TOKENS, *tower.norm.weight.shape)}


def _attention_inputs(tower: Any, module: Any) -> dict[str, Any]:
    """Return a whole prompt, and a cache for it."""
    hidden = _random(tower.norm.weight, 1, TESTED_TOKENS, *tower.norm.weight.shape)
    places = torch.arange(TESTED_TOKENS, device=hidden.device)
    heads = module.k_proj.out_features // module.head_dim, module.head_dim
    cache = SlotCache(SlotShape((module.layer_idx,), heads), 1, TESTED_TOKENS, hidden.dtype, hidden.device)
    segments = Segments.from_lengths([TESTED_TOKENS], hidden.device)
    step = TextStep(cache, SdpaBackend(), places, (Piece(0, 0, TESTED_TOKENS),), segments, None)
    rotation = tower.rotary_emb(hidden, places.expand(3, 1, -1))
    return {"hidden_states": hidden, "position_embeddings": rotation, "attention_mask": None, "text_step": step}


class _Kind(NamedTuple):
    """The replacement of a kind of modules."""

    forward: Callable[..., Any]
    inputs: Callable[[Any, Any], dict[str, Any]]  # (text tower, module) -> arguments for a test
    attributes: Callable[[Any, RowKernel | None], dict[str, Any]]  # that forward needs besides the module's own


_NORM = _Kind(norms.plain, _norm_inputs, norms.weighted)
_ZERO_CENTERED = _Kind(norms.zero_centered, _zero_centered_inputs, norms.whole_weight)
_ATTENTION = _Kind(text_layers.attention, _attention_inputs, text_layers.head_weights)
_GATED_ATTENTION = _Kind(text_layers.gated_attention, _attention_inputs, text_layers.head_weights)
_MLP = _Kind(text_layers.mlp, _mlp_inputs, text_layers.gate_function)
KINDS = {  # by the end of the name of the class
    "VLTextRMSNorm": _NORM, "VLMoeTextRMSNorm": _NORM, "RMSNormGated": _Kind(norms.gated, _norm_inputs, norms.weighted),
    "3_5RMSNorm": _ZERO_CENTERED, "3_5MoeRMSNorm": _ZERO_CENTERED,
    "VLTextAttention": _ATTENTION, "VLMoeTextAttention": _ATTENTION,
    "3_5Attention": _GATED_ATTENTION, "3_5MoeAttention": _GATED_ATTENTION,
    "VLTextMLP": _MLP, "VLMoeTextMLP": _MLP, "3_5MLP": _MLP, "3_5MoeMLP": _MLP,
}  # fmt: skip


class FusedParts:
    """The modules that are changed. Whatever computes something else than expected stays as it is."""

    def __init__(self, tower: nn.Module, kernel: RowKernel | None = None) -> None:
        """Let norms, attention and MLPs be few calls, if possible of the kernel.

        The tower's `_attn_implementation` must be TEXT_ATTENTION.
        """
        self._before: list[tuple[nn.Module, type, list[str]]] = []  # module, class, and the attributes to remove
        for module in reversed(list(tower.modules())):  # norms before the attention that they belong to
            of: Any = type(module)
            kind, fused = _fused_class(of)
            if kind is None:
                continue
            attributes, reason = _test(tower, module, kind, kernel)
            if reason:
                log.warning("%s stays as it is: %s", of.__name__, reason)
                continue
            vars(module).update(attributes)
            self._before.append((module, of, list(attributes)))
            module.__class__ = fused

    def release(self) -> None:
        """Restore the modules."""
        while self._before:
            module, before, attributes = self._before.pop()
            module.__class__ = before
            for name in attributes:
                vars(module).pop(name)


@functools.cache
def _fused_class(of: Any) -> tuple[_Kind | None, Any]:
    """Return what takes its place, and a class that differs from it in forward() alone; None if it is not known."""
    if of.__module__.startswith("transformers."):
        for name, kind in KINDS.items():
            if of.__name__.endswith(name):
                return kind, type(f"Fused{of.__name__}", (of,), {"forward": kind.forward})
    return None, None


@torch.inference_mode()
def _test(tower: Any, module: Any, kind: _Kind, kernel: RowKernel | None) -> tuple[dict[str, Any], str]:
    """Return the attributes that the new forward() needs, and why it cannot be used, or ""."""
    attributes: dict[str, Any] = {}
    try:
        attributes = kind.attributes(module, kernel)
        inputs, tolerance = kind.inputs(tower, module), TOLERANCE[tower.norm.weight.dtype]
        theirs = _output(module.forward(**inputs))
        vars(module).update(attributes)
        ours = _output(kind.forward(module, *inputs.values()))
    except Exception as error:  # another version of transformers, or a quantized layer, may fail in any way
        return {}, first_line(error, 160)
    finally:
        for name in attributes:
            vars(module).pop(name, None)
    agrees = torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance * float(theirs.abs().max()) / 10)
    return attributes, "" if agrees else "it computes something else than expected"


def _output(result: Any) -> Tensor:
    return (result[0] if isinstance(result, tuple) else result).float()
