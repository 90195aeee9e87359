"""Products with float32 weights on a CPU, in C that is built when a large model is loaded (see product_kernel.c)."""

import ctypes
import functools
import logging
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import linear, pad

from captioner.engine.c_library import BUILD_ERRORS, build, reason_of

log = logging.getLogger(__name__)

SOURCE = Path(__file__).with_suffix(".c")
TESTED_ROWS = 1, 2, 5, 6, 7, 16, 31
TESTED_INPUTS, TESTED_OUTPUTS = 1100, 100
TOLERANCE = 1e-3


class KernelWeight:
    """A weight as the kernel takes it. Needs the kernel: see is_available()."""

    note = "multiplied by a C kernel"

    def __init__(self, weight: Tensor) -> None:
        """Arrange a weight, float32 (out, in)."""
        self._multiply, panel = _load()
        self._num_outputs, self._num_inputs = weight.shape
        missing = -len(weight) % panel
        filled = pad(weight, (0, 0, 0, missing)) if missing else weight.contiguous()  # pad() always copies
        self._panels = filled.view(-1, panel, self._num_inputs).transpose(1, 2).contiguous()

    @property
    def pointer(self) -> int:
        """The address of the weight."""
        return self._panels.data_ptr()

    def product(self, inputs: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return inputs (..., in) times the weight, plus the bias (out,) -> (..., out)."""
        inputs, num_rows = inputs.contiguous(), inputs.numel() // self._num_inputs
        out = inputs.new_empty((*inputs.shape[:-1], self._num_outputs))
        pointers = (
            inputs.data_ptr(),
            self._panels.data_ptr(),
            None if bias is None else bias.data_ptr(),
            out.data_ptr(),
        )
        self._multiply(*pointers, num_rows, self._num_inputs, self._num_outputs, torch.get_num_threads())
        return out

    def restore(self) -> Tensor:
        """Return the weight (out, in) again."""
        return self._panels.transpose(1, 2).reshape(-1, self._num_inputs)[: self._num_outputs].contiguous()


@functools.cache
def is_available() -> bool:
    """Return whether the kernel can be built here and computes what torch does; the log says why not."""
    try:
        wrong = _self_test()
    except BUILD_ERRORS as error:
        wrong = reason_of(error)
    if wrong:
        log.info("no C kernel for matrix products: %s", wrong)
    return not wrong


@functools.cache
def _load() -> tuple[Callable[..., None], int]:
    """Build the kernel; return it and the number of outputs of a panel. Raises one of BUILD_ERRORS."""
    library = build(SOURCE)
    library.multiply.argtypes = *[ctypes.c_void_p] * 4, *[ctypes.c_int64] * 3, ctypes.c_int
    library.multiply.restype = None
    return library.multiply, ctypes.c_int64.in_dll(library, "panel_outputs").value


def _self_test() -> str:
    """Compare the kernel with torch; return "" or what is wrong."""
    random = torch.Generator().manual_seed(0)
    weight = torch.randn(TESTED_OUTPUTS, TESTED_INPUTS, generator=random)
    bias, arranged = torch.randn(TESTED_OUTPUTS, generator=random), KernelWeight(weight)
    for num_rows in TESTED_ROWS:
        inputs = torch.randn(num_rows, TESTED_INPUTS, generator=random)
        for each in (None, bias):
            off = (arranged.product(inputs, each) - linear(inputs, weight, each)).abs().max().item()
            if not off <= TOLERANCE:
                return f"{num_rows} rows differ by {off:.2g}"
    return ""
