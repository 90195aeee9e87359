"""Weights in the order in which a CPU multiplies them fastest.

torch's own product on a CPU arranges a weight again in each call, which takes as long as the arithmetic of a few rows.
"""

import contextlib
import functools
import time
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import linear

from captioner.engine import product_kernel
from captioner.engine.product_kernel import KernelWeight

PROBED_OUTPUTS = 4096  # enough to exceed the caches
PROBED_TIMES = 5
EVICTED_BYTES = 16 << 20
EVICTED_BYTES_OF_LARGE = 64 << 20  # of a large model, whose weights displace even the last cache
LEAST_GAIN = 1.05  # below it the difference is within the noise
DTYPES = (torch.float32, torch.bfloat16)  # float16 is emulated on most CPUs


class Arranged(Protocol):
    """A weight (out, in) that was arranged."""

    note: str  # what arranged it, for the report

    def product(self, inputs: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return inputs (..., in) times the weight, plus the bias (out,) -> (..., out)."""

    def restore(self) -> Tensor:
        """Return the weight (out, in) again."""


class OneDnnWeight:
    """A weight as oneDNN takes it."""

    note = "arranged by oneDNN"

    def __init__(self, weight: Tensor) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight)

    def product(self, inputs: Tensor, bias: Tensor | None = None) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(inputs, self._weight, bias, "none", [], "")

    def restore(self) -> Tensor:
        return self._weight.to_dense()


Way = Callable[[Tensor], Arranged]


def fastest(weight: Tensor, num_rows: tuple[int, ...], is_large: bool) -> Way | None:
    """Return what arranges a weight of this shape (out, in) so that products are fastest here, or None if torch's are.

    num_rows: of several products, whose times are added up. is_large: whether the model is; then the C kernel may be
    built.
    """
    if weight.device.type != "cpu" or weight.dtype not in DTYPES:
        return None
    ways: list[Way] = [OneDnnWeight] if torch.backends.mkldnn.is_available() else []
    if is_large and weight.dtype == torch.float32 and product_kernel.is_available():
        ways.append(KernelWeight)
    shape = min(len(weight), PROBED_OUTPUTS), weight.shape[1]
    evicted_bytes = EVICTED_BYTES_OF_LARGE if is_large else EVICTED_BYTES
    return _probe(tuple(ways), *shape, weight.dtype, num_rows, evicted_bytes, torch.get_num_threads())


@functools.cache  # num_threads is part of the key
def _probe(
    ways: tuple[Way, ...], num_outputs: int, num_inputs: int, dtype: torch.dtype, num_rows: tuple[int, ...],
    evicted_bytes: int, _: int,
) -> Way | None:  # fmt: skip
    weight = torch.rand(num_outputs, num_inputs).to(dtype)
    others = torch.empty(evicted_bytes, dtype=torch.uint8)
    products: dict[Way | None, Callable[[Tensor], Tensor]] = {None: lambda inputs: linear(inputs, weight)}
    for way in ways:
        with contextlib.suppress(RuntimeError, AttributeError):  # without oneDNN, or a processor that it does not know
            arranged = way(weight)
            arranged.product(weight[:1])
            products[way] = arranged.product
    seconds = dict.fromkeys(products, 0.0)
    for count in num_rows:
        inputs = torch.rand(count, num_inputs).to(dtype)
        taken: dict[Way | None, list[float]] = {way: [] for way in products}
        for _ in range(PROBED_TIMES):
            for each, product in products.items():
                others.fill_(1)  # in a model, the other layers' weights take this one's place in the cache
                started = time.perf_counter()
                product(inputs)
                taken[each].append(time.perf_counter() - started)
        seconds = {each: seconds[each] + min(taken[each]) for each in products}
    best = min(seconds, key=seconds.__getitem__)
    return best if seconds[None] > LEAST_GAIN * seconds[best] else None
