"""Decode steps of a text tower as one call of C, which is built when a large float32 model is loaded on a CPU.

Between the operations of a layer, Python and torch take as long as the arithmetic of three rows: streaming the weights
empties the caches that they run from. See step_kernel.c.
"""

import ctypes
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from captioner.engine import norms, text_layers
from captioner.engine.attention import TextStep
from captioner.engine.c_library import BUILD_ERRORS, build, reason_of
from captioner.engine.cache import SlotCache, SlotShape
from captioner.engine.linear_layers import Part, Product
from captioner.engine.product_kernel import KernelWeight
from captioner.engine.slot_kernel import KernelBackend, shape_options
from captioner.engine.text_layers import Rotation, run_layers

log = logging.getLogger(__name__)

SOURCE = Path(__file__).with_suffix(".c")
TESTED_LENGTHS = 3, 6  # of two slots, with the new token
TOLERANCE = 1e-4  # of the largest value
_POINTER = ctypes.c_void_p


class _Product(ctypes.Structure):
    _fields_ = [("weight", _POINTER), ("bias", _POINTER)]


class _Layer(ctypes.Structure):
    _fields_ = [
        *((name, _Product) for name in ("qkv", "out", "gate_and_up", "down")),
        *((name, _POINTER) for name in ("input_norm", "head_norm", "post_norm", "keys", "values")),
        *((name, ctypes.c_float) for name in ("input_epsilon", "head_epsilon", "post_epsilon", "scale")),
    ]


class StepKernel:
    """Runs the layers of a text tower for one token of each row. It needs their modules as they are now."""

    note = "one call of a C kernel"

    def __init__(self, layers: Sequence[Any]) -> None:
        """Build the kernel. Raises one of BUILD_ERRORS, or AttributeError if these are not the usual layers."""
        self._modules = layers
        self._layers = (_Layer * len(layers))(*map(_describe, layers))
        self._cache: SlotCache | None = None
        attention, self._inner = layers[0].self_attn, layers[0].mlp.gate_proj.product.num_outputs // 2
        (num_queries, num_keys), dim = attention.num_heads, attention.head_dim
        self._values_of_a_row = 3 * (num_queries + num_keys) * dim + 3 * self._inner  # beside hidden size and scores
        self._num_queries = num_queries
        self._run = build(SOURCE, *shape_options(num_queries, num_keys, dim)).run_step
        size = ctypes.c_int64
        self._run.argtypes = _POINTER, size, *[_POINTER] * 6, *[size] * 5, ctypes.c_int
        self._run.restype = None

    def run(self, hidden: Tensor, rotation: Rotation, step: TextStep) -> Tensor:
        """Do what run_layers() does for a step without prompts: hidden (1, B, hidden) -> the same shape, in place."""
        if step.cache is not self._cache:
            self._use(step.cache)
        starts, lengths, longest = step.rows
        hidden, (cos, sin) = hidden.contiguous(), (each.contiguous() for each in rotation)
        _, num_rows, width = hidden.shape
        room = torch.empty(num_rows * (self._values_of_a_row + 2 * width + self._num_queries * longest))
        pointers = [each.data_ptr() for each in (hidden, cos, sin, starts, lengths, room)]
        sizes = num_rows, longest, width, self._inner, cos.shape[-1]
        self._run(self._layers, len(self._layers), *pointers, *sizes, torch.get_num_threads())
        return hidden

    def _use(self, cache: SlotCache) -> None:
        self._cache = cache
        for layer, module in zip(self._layers, self._modules, strict=True):
            number = module.self_attn.layer_idx
            layer.keys, layer.values = cache.keys[number].data_ptr(), cache.values[number].data_ptr()


def step_kernel(tower: Any, shape: SlotShape, backend: Any) -> StepKernel | None:
    """Return the kernel, or None if these layers are others or it computes something else; the log says why."""
    layers = list(tower.layers)
    if not isinstance(backend, KernelBackend) or not all(map(_is_usual, layers)):
        return None
    try:
        kernel = StepKernel(layers)
    except BUILD_ERRORS as error:
        log.info("no C kernel for decode steps: %s", reason_of(error))
        return None
    off = _difference(kernel, tower, shape, backend)
    if off > TOLERANCE:
        log.info("no C kernel for decode steps: it differs by %.2g", off)
        return None
    return kernel


def _is_usual(layer: Any) -> bool:
    """Return whether all parts of the layer run in C."""
    attention, mlp = getattr(layer, "self_attn", None), layer.mlp
    products = [getattr(attention, name, None) for name in ("q_proj", "k_proj", "v_proj", "o_proj")]
    products += [getattr(mlp, name, None) for name in ("gate_proj", "up_proj", "down_proj")]
    parts: list[Any] = [attention, mlp, layer.input_layernorm, layer.post_attention_layernorm]
    known = text_layers.attention, text_layers.mlp, norms.plain, norms.plain
    return (
        all(getattr(type(part), "forward", None) is forward for part, forward in zip(parts, known, strict=True))
        and all(part.in_c is not None for part in parts)
        and all(isinstance(_product(each), Product) for each in products)
        and all(isinstance(_product(each).arranged, KernelWeight) for each in products)
    )


def _product(module: Any) -> Any:
    return module.product if isinstance(module, Part) else module


def _describe(layer: Any) -> _Layer:
    attention, mlp = layer.self_attn, layer.mlp
    modules = attention.q_proj, attention.o_proj, mlp.gate_proj, mlp.down_proj
    products = [_product(module) for module in modules]
    functions = layer.input_layernorm.in_c, attention.in_c, layer.post_attention_layernorm.in_c
    return _Layer(
        *(_Product(each.arranged.pointer, None if each.bias is None else each.bias.data_ptr()) for each in products),
        *(function.keywords["weight"].data_ptr() for function in functions), None, None,
        *(function.keywords["epsilon"] for function in functions), attention.scaling,
    )  # fmt: skip


@torch.inference_mode()
def _difference(kernel: StepKernel, tower: Any, shape: SlotShape, backend: KernelBackend) -> float:
    """Return how much a step differs from that of the modules, as a share of the largest value."""
    random, cpu = torch.Generator().manual_seed(0), torch.device("cpu")
    hidden = torch.randn(1, len(TESTED_LENGTHS), tower.config.hidden_size, generator=random)
    lengths, slots, longest = torch.tensor(TESTED_LENGTHS), torch.arange(len(TESTED_LENGTHS)), max(TESTED_LENGTHS)
    rotation = tower.rotary_emb(hidden, (lengths - 1).expand(3, 1, -1))
    results = []
    for run in (lambda *inputs: run_layers(tower.layers, *inputs), kernel.run):
        cache = SlotCache(shape, len(slots), longest, torch.float32, cpu)
        plan = backend.plan_rows(cache, slots, lengths, len(slots), longest)
        step = TextStep(cache, backend, slots * longest + lengths - 1, (), None, plan, slots)
        out = run(hidden.clone(), rotation, step)
        results.append([out, *cache.keys.values(), *cache.values.values()])
    return max(float((ours - theirs).abs().max() / theirs.abs().max()) for theirs, ours in zip(*results, strict=True))
