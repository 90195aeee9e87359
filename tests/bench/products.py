"""Products with the weights of a model on a CPU: torch's own, oneDNN's and those of the C kernel, in turns."""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import linear

from captioner.cli.bench.report import Report
from captioner.engine.arranged import OneDnnWeight
from captioner.engine.product_kernel import KernelWeight, is_available
from captioner.errors import CaptionerError

SHAPES = {  # outputs and inputs of the products of a step: the layers' joined ones, and the head
    "100m": [*[(1280, 768), (768, 768), (4608, 768), (768, 2304)] * 12, (8192, 768)],
    "4b-layer": [(6144, 2560), (2560, 4096), (19456, 2560), (2560, 9728)],  # one layer of Qwen3-VL 4B
}


def bench_products(shapes: str, rows: tuple[int, ...], repeats: int, as_json: bool = False) -> None:
    """Print a row for each number of rows: milliseconds of CPU time for all products, float32, one thread."""
    if not is_available():
        raise CaptionerError("the C kernel cannot be built here: install a C compiler with OpenMP, such as gcc")
    torch.set_num_threads(1)
    report = Report(("rows", "torch_ms", "onednn_ms", "kernel_ms", "ratio", "kernel_gflop_per_s"), as_json)
    weights = [torch.rand(shape) - 0.5 for shape in SHAPES[shapes]]
    ways: list[list[Callable[[Tensor], Tensor]]] = [
        [lambda inputs, weight=weight: linear(inputs, weight) for weight in weights],  # type: ignore[misc]
        [OneDnnWeight(weight).product for weight in weights],
        [KernelWeight(weight).product for weight in weights],
    ]
    for count in rows:
        inputs = [torch.rand(count, weight.shape[1]) - 0.5 for weight in weights]
        rounds = [[_cpu_s(products, inputs) for products in ways] for _ in range(repeats)]
        seconds = [statistics.median(times) for times in zip(*rounds, strict=True)]
        ratio = statistics.median(onednn / kernel for _, onednn, kernel in rounds)
        gflop = 2e-9 * count * sum(weight.numel() for weight in weights)
        report.add(count, *(round(1000 * each, 3) for each in seconds), round(ratio, 2), round(gflop / seconds[-1], 1))
    report.end(shapes=shapes, torch=torch.__version__)


@torch.inference_mode()
def _cpu_s(products: list[Callable[[Tensor], Tensor]], inputs: list[Tensor]) -> float:
    started_s = time.process_time()
    for product, each in zip(products, inputs, strict=True):
        product(each)
    return time.process_time() - started_s
