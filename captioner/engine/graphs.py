"""Decode steps without launch overhead: CUDA graphs, one for each number of rows, captured when first needed."""

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from captioner.engine.cache import SlotCache
from captioner.engine.core import first_line
from captioner.engine.packed import PackedModel

log = logging.getLogger(__name__)

# (rows (4, B), cache, num_slots, longest) -> logits (B, V); see PackedModel.decode
Decode = Callable[[Tensor, SlotCache, int, int], Tensor]
Work = Callable[[], None]


def bucket(num_slots: int, limit: int) -> int:
    """How many rows a step over the first `num_slots` slots is padded to: 1, 2, 4, 8, 16, 24, 32, 48, 64, ..."""
    if num_slots <= 8:
        size = 1 << (num_slots - 1).bit_length()
    else:
        granule = 8 if num_slots <= 32 else 16
        size = -(-num_slots // granule) * granule
    return min(size, limit)


@functools.cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """One for good: cuBLAS keeps a workspace for every stream it has seen, and graphs that share memory a stream."""
    return torch.cuda.Stream(device)


class Capture:
    """Turns work on one device into CUDA graphs, which share the memory of what they compute on the way."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool: tuple[int, int] | None = None

    def __call__(self, work: Work) -> Work:
        """Run it twice to warm up, then capture it; returns what replays it. Raises whatever torch raises."""
        side, current = _side_stream(self._device), torch.cuda.current_stream(self._device)
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(2):
                work()
        current.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        try:
            # thread_local: the decode threads go on pinning memory, which the default mode forbids to all threads.
            with torch.cuda.graph(graph, pool=self._pool, stream=side, capture_error_mode="thread_local"):
                work()
        finally:
            torch.cuda.set_stream(current)  # torch leaves the side stream current when the capture's end fails
        self._pool = graph.pool()
        return graph.replay


@dataclass(eq=False)
class _Fixed:
    """A decode step of one shape: row i is slot i, and slots that are idle compute something that nobody reads."""

    rows: Tensor  # int64 (4, num_slots) on the device
    replay: Work | None = None


class DecodeSteps:
    """Runs decode steps, through graphs where they work. What an idle slot writes is overwritten when it is taken."""

    def __init__(self, model: PackedModel, cache: SlotCache, graphs: bool, compile_step: bool) -> None:
        self._model, self._cache = model, cache
        self._fixed: dict[tuple[int, int], _Fixed] = {}
        self._logits: Tensor | None = None  # (slots, V), what the last step computed: the graphs' one output
        self._decode: Decode = model.decode
        self.capture: Callable[[Work], Work] = Capture(model.device)
        on_cuda = model.device.type == "cuda"
        self.why_no_graphs = "" if graphs and on_cuda else "needs an NVIDIA GPU" if graphs else "switched off"
        self.compiling = "off"
        if compile_step:
            self._start_compiling(not self.why_no_graphs)

    def _start_compiling(self, possible: bool) -> None:
        if not possible:
            self.compiling = "not active: needs an NVIDIA GPU and CUDA graphs"
            return
        self.compiling = "decode steps"
        torch._dynamo.config.cache_size_limit = max(64, torch._dynamo.config.cache_size_limit)  # one for each shape
        self._decode = torch.compile(self._model.decode, dynamic=False, fullgraph=True)

    def run(self, rows: Tensor, longest: int) -> Tensor:
        """rows int64 (4, B) on the host, by rising slot -> logits (B, V). longest: most tokens of any, the new one too.

        Raises what the model raises; never because of a graph.
        """
        num_slots = int(rows[2, -1]) + 1
        if not self.why_no_graphs:
            try:
                return self._run_fixed(rows, num_slots, longest)
            except Exception as error:  # capture and compilation fail in many ways; the eager step needs neither
                self._give_up(error)
        return self._model.decode(rows.to(self._model.device), self._cache, num_slots, longest)

    def warm_up(self) -> None:
        """Capture the smallest step now, so that the report can say what works. Only while all slots are idle.

        Raises torch.OutOfMemoryError when the cache has left no room even for that.
        """
        if not self.why_no_graphs:
            try:
                self._run_fixed(torch.zeros(4, 1, dtype=torch.int64), 1, 1)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:
                self._give_up(error)

    def run_fixed_eagerly(self, rows: Tensor, longest: int) -> Tensor:
        """What a graph would compute, launched kernel by kernel: for tests without a GPU."""
        fixed, key = self._filled(rows, int(rows[2, -1]) + 1, longest)
        return self._decode(fixed.rows, self._cache, *key)[rows[2].to(self._model.device)]

    def _filled(self, rows: Tensor, num_slots: int, longest: int) -> tuple[_Fixed, tuple[int, int]]:
        size = bucket(num_slots, self._cache.num_slots)
        key = size, self._model.backend.round_up(longest, self._cache.slot_tokens)
        if key not in self._fixed:
            self._fixed[key] = _Fixed(torch.zeros(4, size, dtype=torch.int64, device=self._model.device))
        full = torch.zeros(4, size, dtype=torch.int64)
        full[2] = torch.arange(size)
        full[:, rows[2]] = rows
        self._fixed[key].rows.copy_(full)
        return self._fixed[key], key

    def _run_fixed(self, rows: Tensor, num_slots: int, longest: int) -> Tensor:
        fixed, key = self._filled(rows, num_slots, longest)
        if self._logits is None:
            shape = (self._cache.num_slots, self._model.config.vocab_size)
            self._logits = torch.empty(shape, dtype=self._model.dtype, device=self._model.device)
        if fixed.replay is None:
            fixed.replay = self.capture(lambda: self._compute(fixed, key))
        fixed.replay()
        return self._logits[rows[2].to(self._model.device)]

    def _compute(self, fixed: _Fixed, key: tuple[int, int]) -> None:
        """As often as one likes: the buffers hold the step to come, so it writes nothing that is not written again."""
        self._logits[: key[0]].copy_(self._decode(fixed.rows, self._cache, *key))

    def _give_up(self, error: Exception) -> None:
        reason = first_line(error, 160)
        self._fixed.clear()
        if self.compiling == "decode steps":
            log.warning("the compiled decode step failed, going on without compiling: %s", reason)
            self.compiling = f"not active: {reason}"
            self._decode = self._model.decode
            return
        log.warning("CUDA graphs failed, going on without: %s", reason)
        self.why_no_graphs = reason
