"""Norms, rotations and gates on a CPU, in C that is built when a large model is loaded (see row_kernel.c).

torch makes three to eight passes over the values for each of them, and each pass takes a call.
"""

import ctypes
import functools
import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import rms_norm, silu

from captioner.engine.c_library import BUILD_ERRORS, build, reason_of

log = logging.getLogger(__name__)

SOURCE = Path(__file__).with_suffix(".c")
ELEMENTS = {torch.float32: (), torch.bfloat16: ("-DBFLOAT16",)}
SMALL_VALUES = 16_384  # fewer take less time than to wake up other threads
TESTED = 5, 3, 44  # rows, heads, and dimensions of a head
ROTATED = 24  # of the dimensions
EPSILON = 1e-6
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


class RowKernel:
    """The functions of the kernel for one dtype."""

    def __init__(self, dtype: torch.dtype) -> None:
        """Build the kernel. Raises one of BUILD_ERRORS."""
        library, self._dtype = build(SOURCE, *ELEMENTS[dtype]), dtype
        pointer, size, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
        self._norm, self._gate, self._norm_and_rotate = library.norm, library.gate, library.norm_and_rotate
        self._norm.argtypes = *[pointer] * 4, size, size, ctypes.c_float, number
        self._gate.argtypes = pointer, pointer, size, size, number
        self._norm_and_rotate.argtypes = *[pointer] * 6, *[size] * 6, ctypes.c_float, number
        self._norm.restype = self._gate.restype = self._norm_and_rotate.restype = None

    def norm(self, x: Tensor, weight: Tensor, epsilon: float, gate: Tensor | None = None) -> Tensor:
        """Return x (..., dim) over the root of its mean square, times weight float32 (dim,) and silu(gate)."""
        x = self._take(x)
        gate = None if gate is None else self._take(gate)
        out, dim = torch.empty_like(x), x.shape[-1]
        gate_pointer = None if gate is None else gate.data_ptr()
        pointers = x.data_ptr(), weight.data_ptr(), gate_pointer, out.data_ptr()
        self._norm(*pointers, x.numel() // dim, dim, epsilon, _num_threads(x))
        return out

    def gate(self, both: Tensor) -> Tensor:
        """Return silu of the first half of (..., 2 D) times the second half -> (..., D)."""
        both, size = self._take(both), both.shape[-1] // 2
        out = both.new_empty((*both.shape[:-1], size))
        self._gate(both.data_ptr(), out.data_ptr(), out.numel() // size, size, _num_threads(both))
        return out

    def norm_and_rotate(
        self, heads: Tensor, weight: Tensor, epsilon: float, cos: Tensor, sin: Tensor, num_queries: int
    ) -> tuple[Tensor, Tensor]:
        """Norm each head of (N, H + G, D) with weight float32 (H + G, D), and rotate its first R dimensions.

        cos and sin: (1, N, R). Returns the heads of queries (N, H, D) and of keys (N, G, D).
        """
        num_rows, num_heads, dim = heads.shape
        if heads.stride(2) != 1 or heads.stride(1) != dim:
            heads = heads.contiguous()
        heads, cos, sin = heads.to(self._dtype), self._take(cos), self._take(sin)
        queries = heads.new_empty((num_rows, num_queries, dim))
        keys = heads.new_empty((num_rows, num_heads - num_queries, dim))
        pointers = [each.data_ptr() for each in (heads, weight, cos, sin, queries, keys)]
        sizes = num_rows, heads.stride(0), num_queries, num_heads, dim, cos.shape[-1]
        self._norm_and_rotate(*pointers, *sizes, epsilon, _num_threads(heads))
        return queries, keys

    def _take(self, x: Tensor) -> Tensor:
        return x.to(self._dtype).contiguous()


def runs_in_c(module: Any) -> bool:
    """Return whether a module has a function of the kernel as its attribute `in_c`, and no compiler is at work."""
    return not torch.compiler.is_compiling() and module.in_c is not None


@functools.cache
def row_kernel(dtype: torch.dtype) -> RowKernel | None:
    """Return the kernel, or None if it cannot be built here or computes something else than torch; the log says why."""
    if dtype not in ELEMENTS:
        return None
    try:
        kernel = RowKernel(dtype)
    except BUILD_ERRORS as error:
        log.info("no C kernel for norms: %s", reason_of(error))
        return None
    if not _agrees(kernel, dtype):
        log.info("no C kernel for norms: it computes something else than torch")
        return None
    return kernel


def _num_threads(x: Tensor) -> int:
    return torch.get_num_threads() if x.numel() > SMALL_VALUES else 1


def _agrees(kernel: RowKernel, dtype: torch.dtype) -> bool:
    random = torch.Generator().manual_seed(0)
    x, gate = torch.randn(2, *TESTED, generator=random).to(dtype)
    weight, angles = torch.randn(TESTED[1:], generator=random), torch.randn(TESTED[0], ROTATED // 2, generator=random)
    cos, sin = (torch.cat([each, each], -1)[None].to(dtype) for each in (angles.cos(), angles.sin()))
    normed = rms_norm(x.float(), TESTED[2:], None, EPSILON) * weight
    first, second, rest = normed.split((ROTATED // 2, ROTATED // 2, TESTED[2] - ROTATED), -1)
    c, s = angles.cos()[:, None], angles.sin()[:, None]
    rotated = torch.cat([first * c - second * s, second * c + first * s, rest], -1)
    pairs = (
        (kernel.norm(x[:, 0], weight[0], EPSILON), normed[:, 0]),
        (kernel.norm(x[:, 1], weight[1], EPSILON, gate[:, 1]), (normed * silu(gate.float()))[:, 1]),
        (kernel.gate(torch.cat([gate, x], -1)), silu(gate.float()) * x.float()),
        (torch.cat(kernel.norm_and_rotate(x, weight, EPSILON, cos, sin, TESTED[1] - 1), 1), rotated),
    )
    tolerance = TOLERANCE[dtype]
    return all(torch.allclose(ours.float(), theirs, tolerance, tolerance) for ours, theirs in pairs)
