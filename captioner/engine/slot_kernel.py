"""Attention of decode steps on a CPU, in C that is built for the model when it is loaded.

torch's own calls a matrix product for each row and key head, which for one query takes up to four times as long as to
read the keys and values.
"""

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from captioner.engine.attention_backends import Backend, SdpaBackend, Segments, self_test
from captioner.engine.cache import SlotCache

SOURCE = Path(__file__).with_suffix(".c")
COMPILERS = ("cc", "gcc", "clang")
# Sums may be added in any order, and nothing asks for the sign of a zero; -ffast-math would change the whole process.
FLAGS = (
    "-O3", "-march=native", "-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math", "-fno-math-errno",
    "-fopenmp", "-shared", "-fPIC",
)  # fmt: skip
ELEMENTS = {torch.float32: (), torch.bfloat16: ("-DBFLOAT16",)}
BUILD_LIMIT_S = 60
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
        backend = KernelBackend(build(dtype, heads, groups, dim))
    except (OSError, subprocess.SubprocessError) as error:  # no compiler, or one that knows other flags
        return base, f"no C kernel: {_reason(error)}"
    wrong = self_test(backend, device, dtype, heads, groups, dim)
    return (base, f"no C kernel: {wrong}") if wrong else (backend, "")


def build(dtype: torch.dtype, heads: int, groups: int, dim: int) -> Callable[..., None]:
    """Build attend_rows() of slot_kernel.c for this shape. Raises OSError or SubprocessError."""
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        raise OSError("no C compiler was found")
    shape = f"-DHEADS={heads}", f"-DGROUPS={groups}", f"-DDIM={dim}"
    with tempfile.TemporaryDirectory(prefix="captioner-") as folder:  # a library that is loaded needs no file
        library = Path(folder, "slot_kernel.so")
        command = [compiler, *FLAGS, *shape, *ELEMENTS[dtype], str(SOURCE), "-lm", "-o", str(library)]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=BUILD_LIMIT_S)
        kernel = ctypes.CDLL(str(library)).attend_rows
    kernel.argtypes = *[ctypes.c_void_p] * 7, ctypes.c_int64, ctypes.c_int64, ctypes.c_float, ctypes.c_int
    kernel.restype = None
    return kernel


def _reason(error: Exception) -> str:
    """Return one line: what the compiler printed first, if it did."""
    if isinstance(error, subprocess.CalledProcessError):
        return (error.stderr.strip() or f"the compiler ended with {error.returncode}").splitlines()[0][:160]
    return str(error)[:160]
