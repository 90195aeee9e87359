"""Matrix products with weights that oneDNN has arranged once.

torch's own product on a CPU arranges a weight again in each call, which takes as long as the arithmetic of a few rows.
"""

import functools
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import linear

PROBED_OUTPUTS = 4096  # enough to exceed the caches
PROBED_TIMES = 7
EVICTED_BYTES = 16 << 20
LEAST_GAIN = 1.05  # below it the difference is within the noise
DTYPES = (torch.float32, torch.bfloat16)  # float16 is emulated on most CPUs


def arrange(weight: Tensor) -> Tensor:
    """Return the weight (out, in) as product() takes it; its to_dense() is the weight again."""
    return torch.ops.mkldnn._reorder_linear_weight(weight)


def product(inputs: Tensor, arranged: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return inputs (..., in) times the weight that was arranged, plus the bias (out,) -> (..., out)."""
    return torch.ops.mkldnn._linear_pointwise(inputs, arranged, bias, "none", [], "")


def pays(weight: Tensor, num_rows: int) -> bool:
    """Return True if products of so many rows with this weight (out, in) are faster arranged, on this machine."""
    if weight.device.type != "cpu" or weight.dtype not in DTYPES or not torch.backends.mkldnn.is_available():
        return False
    shape = min(len(weight), PROBED_OUTPUTS), weight.shape[1]
    return _probe(*shape, weight.dtype, num_rows, torch.get_num_threads())


@functools.cache  # num_threads is part of the key
def _probe(num_outputs: int, num_inputs: int, dtype: torch.dtype, num_rows: int, num_threads: int) -> bool:
    weight, inputs = torch.rand(num_outputs, num_inputs).to(dtype), torch.rand(num_rows, num_inputs).to(dtype)
    others = torch.empty(EVICTED_BYTES, dtype=torch.uint8)
    try:
        arranged = arrange(weight)
        ways: tuple[Callable[[], Tensor], ...] = lambda: linear(inputs, weight), lambda: product(inputs, arranged)
        times: tuple[list[float], ...] = [], []
        for _ in range(PROBED_TIMES):
            for run, taken in zip(ways, times, strict=True):
                others.fill_(1)  # in a model, the other layers' weights take this one's place in the cache
                started = time.perf_counter()
                run()
                taken.append(time.perf_counter() - started)
    except (RuntimeError, AttributeError):  # built without oneDNN, or a processor that it does not support
        return False
    return min(times[0]) > LEAST_GAIN * min(times[1])
