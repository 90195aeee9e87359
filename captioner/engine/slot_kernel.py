"""Attention of decode steps on a CPU, in C that is built for the model when it is loaded.

torch's own calls a matrix product for each row and key head, which for one query takes up to four times as long as to
read the keys and values.
"""

import ctypes
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from captioner.engine.attention_backends import Backend, SdpaBackend, Segments, self_test
from captioner.engine.c_library import BUILD_ERRORS, build, reason_of
from captioner.engine.cache import SlotCache

SOURCE = Path(__file__).with_suffix(".c")
ELEMENTS = {torch.float32: (), torch.bfloat16: ("-DBFLOAT16",)}
MAX_PROMPT_TOKENS = 128  # for longer ones, torch's matrix products are faster

_Plan = tuple[Tensor, Tensor, int]


class KernelBackend(SdpaBackend):
    """The kernel for rows and for short prompts, each token of which is a row; torch's attention for the rest."""

    name = "SDPA, a C kernel for decode steps"

    def __init__(self, kernel: Callable[..., None]) -> None:
        self._kernel = kernel

    def packed(self, q: Tensor, k: Tensor, v: Tensor, segments: Segments, causal: bool, scale: float) -> Tensor:
        if not causal or segments.longest > MAX_PROMPT_TOKENS:
            return super().packed(q, k, v, segments, causal, scale)
        starts, lengths = segments.causal_rows
        return self.cached(q, k.contiguous(), v.contiguous(), (starts, lengths, segments.longest), scale)

    def plan_rows(self, cache: SlotCache, slots: Tensor, used: Tensor, num_slots: int, longest: int) -> _Plan:
        return slots * cache.slot_tokens, used, longest

    def cached(self, q: Tensor, k: Tensor, v: Tensor, plan: _Plan, scale: float) -> Tensor:
        starts, lengths, longest = plan
        q, out = q.contiguous(), torch.empty(q.shape, dtype=q.dtype)
        scores = torch.empty(len(q) * q.shape[1] * longest)
        pointers = [each.data_ptr() for each in (q, k, v, out, scores, starts, lengths)]
        self._kernel(*pointers, len(q), longest, scale, torch.get_num_threads())
        return out


def with_kernel(
    base: Backend, device: torch.device, dtype: torch.dtype, heads: int, groups: int, dim: int
) -> tuple[Backend, str]:
    """Return a back end for a CPU that uses the kernel and "", or `base` and why the kernel cannot be used."""
    if dtype not in ELEMENTS:
        return base, ""
    try:
        backend = KernelBackend(build_kernel(dtype, heads, groups, dim))
    except BUILD_ERRORS as error:
        return base, f"no C kernel: {reason_of(error)}"
    wrong = self_test(backend, device, dtype, heads, groups, dim)
    return (base, f"no C kernel: {wrong}") if wrong else (backend, "")


def shape_options(heads: int, groups: int, dim: int) -> tuple[str, ...]:
    """Return the options of the compiler for a model's heads."""
    return f"-DHEADS={heads}", f"-DGROUPS={groups}", f"-DDIM={dim}"


def build_kernel(dtype: torch.dtype, heads: int, groups: int, dim: int) -> Callable[..., None]:
    """Build attend_rows() of slot_kernel.c for this shape. Raises one of BUILD_ERRORS."""
    kernel = build(SOURCE, *shape_options(heads, groups, dim), *ELEMENTS[dtype]).attend_rows
    kernel.argtypes = *[ctypes.c_void_p] * 7, ctypes.c_int64, ctypes.c_int64, ctypes.c_float, ctypes.c_int
    kernel.restype = None
    return kernel
