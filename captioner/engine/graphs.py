"""Decode steps without launch overhead: CUDA graphs, one for each number of rows, captured when first needed."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from captioner.engine.cache import SlotCache
from captioner.engine.packed import PackedModel

log = logging.getLogger(__name__)

# (rows (4, B), cache, num_slots, longest) -> logits (B, V); see PackedModel.decode
Decode = Callable[[Tensor, SlotCache, int, int], Tensor]


def bucket(num_slots: int, limit: int) -> int:
    """How many rows a step over the first `num_slots` slots is padded to: 1, 2, 4, 8, 16, 24, 32, 48, 64, ..."""
    if num_slots <= 8:
        size = 1 << (num_slots - 1).bit_length()
    else:
        granule = 8 if num_slots <= 32 else 16
        size = -(-num_slots // granule) * granule
    return min(size, limit)


@dataclass(eq=False)
class _Fixed:
    """A decode step of one shape: row i is slot i, and slots that are idle compute something that nobody reads."""

    rows: Tensor  # int64 (4, num_slots) on the device
    graph: torch.cuda.CUDAGraph | None = None
    logits: Tensor | None = None


class DecodeSteps:
    """Runs decode steps, through graphs where they work. What an idle slot writes is overwritten when it is taken."""

    def __init__(self, model: PackedModel, cache: SlotCache, graphs: bool, compile_step: bool) -> None:
        self._model, self._cache = model, cache
        self._fixed: dict[tuple[int, int], _Fixed] = {}
        self._pool: tuple[int, int] | None = None
        self._decode: Decode = model.decode
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
        self._decode = torch.compile(self._model.decode, dynamic=False)

    def run(self, rows: Tensor, longest: int) -> Tensor:
        """rows int64 (4, B) on the host, by rising slot -> logits (B, V). longest: most tokens of any, the new one too.

        Raises what the model raises; never because of a graph.
        """
        num_slots = int(rows[2, -1]) + 1
        if not self.why_no_graphs:
            try:
                return self._run_fixed(rows, num_slots, longest)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # capture and compilation fail in many ways; the eager step needs neither
                self._give_up(error)
        return self._model.decode(rows.to(self._model.device), self._cache, num_slots, longest)

    def warm_up(self) -> None:
        """Capture the smallest step now, so that the report can say what works. Only while all slots are idle."""
        if not self.why_no_graphs:
            self.run(torch.zeros(4, 1, dtype=torch.int64), 1)

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
        if fixed.graph is None:
            self._capture(fixed, key)
        fixed.graph.replay()
        return fixed.logits[rows[2].to(self._model.device)]

    def _capture(self, fixed: _Fixed, key: tuple[int, int]) -> None:
        """The buffers hold the step to come, so running it to warm up writes nothing that is not written again."""
        device = self._model.device
        side = torch.cuda.Stream(device)
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            for _ in range(2):
                self._decode(fixed.rows, self._cache, *key)
        torch.cuda.current_stream(device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            fixed.logits = self._decode(fixed.rows, self._cache, *key)
        fixed.graph, self._pool = graph, graph.pool()

    def _give_up(self, error: Exception) -> None:
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]}"
        self._fixed.clear()
        if self.compiling == "decode steps":
            log.warning("the compiled decode step failed, going on without compiling: %s", reason)
            self.compiling = f"not active: {reason}"
            self._decode = self._model.decode
            return
        log.warning("CUDA graphs failed, going on without: %s", reason)
        self.why_no_graphs = reason
