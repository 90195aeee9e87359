"""Decode steps without launch overhead: one CUDA graph for each number of rows, captured when first needed."""

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from captioner.engine.cache import SlotCache
from captioner.engine.core import first_line, is_out_of_memory
from captioner.engine.packed import PackedModel
from captioner.engine.rows import SLOT

log = logging.getLogger(__name__)

Work = Callable[[], object]

COMPILED = "decode steps"  # in the report
STEPS_UNTIL_RETRY = 500  # of a capture for which there was no memory


def bucket(num_slots: int, limit: int) -> int:
    """Return the rows that a step over the first `num_slots` slots is padded to: 1, 2, 4, 8, 16, 24, 32, 48, 64, ..."""
    if num_slots <= 8:
        size = 1 << (num_slots - 1).bit_length()
    else:
        granule = 8 if num_slots <= 32 else 16
        size = -(-num_slots // granule) * granule
    return min(size, limit)


@functools.cache  # one stream for each device, since cuBLAS keeps a workspace for every stream that it has seen
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


class Capture:
    """Captures work on one device as CUDA graphs that share the memory of their intermediate results."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool: torch.cuda._POOL_HANDLE | None = None

    def __call__(self, work: Work) -> Work:
        """Run `work` twice to warm up, capture it, and return a function that replays it. Raises what torch raises."""
        side, current = _side_stream(self._device), torch.cuda.current_stream(self._device)
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(2):
                work()
        current.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        try:
            # thread_local: decode threads keep pinning memory, which the default mode forbids in every thread.
            with torch.cuda.graph(graph, pool=self._pool, stream=side, capture_error_mode="thread_local"):
                work()
        finally:
            torch.cuda.set_stream(current)  # torch leaves the side stream current if ending the capture fails
        self._pool = graph.pool()
        return graph.replay


@dataclass(eq=False)
class _Fixed:
    """A decode step of one shape: row i is slot i; the results of idle slots are ignored."""

    idle: Tensor  # int64 (5, num_slots) on the device: the rows of idle slots
    rows: Tensor  # the same with those of running requests
    replay: Work | None = None
    steps_until_retry: int = 0  # of the capture


class DecodeSteps:
    """Runs decode steps, through graphs where they work. Idle slots write too, until a new request overwrites that."""

    def __init__(self, model: PackedModel, cache: SlotCache, graphs: bool, compile_step: bool) -> None:
        self._model, self._cache = model, cache
        self._fixed: dict[tuple[int, int], _Fixed] = {}
        self._logits: Tensor | None = None  # (slots, V), results of the last step: the output of every graph
        self.capture: Callable[[Work], Work] = Capture(model.device)
        on_cuda = model.device.type == "cuda"
        self.why_no_graphs = "" if graphs and on_cuda else "needs an NVIDIA GPU" if graphs else "switched off"
        self.compiling = "off"
        if compile_step and on_cuda and self.why_no_graphs:
            self.compiling = "not active: on a GPU it needs CUDA graphs"
        elif compile_step and model.has_step_kernel:
            self.compiling = "not needed: decode steps are one call of a C kernel"
        elif compile_step:
            self.compiling = COMPILED
            model.compile_layers()

    def run(self, rows: Tensor, num_slots: int, longest: int) -> Tensor:
        """Run one decode step and return logits (B, V); the arguments are those of PackedModel.decode()."""
        if self._may_fail:
            run = self._run if self.why_no_graphs else self._run_fixed
            try:
                return run(rows, num_slots, longest)
            except Exception as error:  # capture and compilation fail in many ways
                if not is_out_of_memory(error):
                    self._give_up(error)
        return self._run(rows, num_slots, longest)

    def warm_up(self) -> None:
        """Capture the smallest step while all slots are idle, to see if graphs work. Raises for lack of memory."""
        if self._may_fail:
            run = self._run if self.why_no_graphs else self._run_fixed
            try:
                run(torch.zeros(5, 1, dtype=torch.int64, device=self._model.device), 1, longest=1)
            except Exception as error:
                if is_out_of_memory(error):
                    raise
                self._give_up(error)

    @property
    def _may_fail(self) -> bool:
        """True if graphs or compiled layers are in use, without which a step can do."""
        return not self.why_no_graphs or self.compiling == COMPILED

    def _run(self, rows: Tensor, num_slots: int, longest: int) -> Tensor:
        return self._model.decode(rows, self._cache, num_slots, longest)

    def _fill(self, rows: Tensor, num_slots: int, longest: int) -> tuple[_Fixed, tuple[int, int]]:
        size = bucket(num_slots, self._cache.num_slots)
        key = size, self._model.backend.round_up(longest, self._cache.slot_tokens)
        if key not in self._fixed:
            idle = torch.zeros(5, size, dtype=torch.int64, device=self._model.device)
            idle[SLOT] = torch.arange(size, device=self._model.device)
            self._fixed[key] = _Fixed(idle, idle.clone())
        fixed = self._fixed[key]
        fixed.rows.copy_(fixed.idle).index_copy_(1, rows[SLOT], rows)
        return fixed, key

    def _run_fixed(self, rows: Tensor, num_slots: int, longest: int) -> Tensor:
        fixed, key = self._fill(rows, num_slots, longest)
        if self._logits is None:
            shape = (self._cache.num_slots, self._model.config.vocab_size)
            self._logits = torch.empty(shape, dtype=self._model.dtype, device=self._model.device)
        if fixed.steps_until_retry:
            fixed.steps_until_retry -= 1
            return self._run(rows, num_slots, longest)
        if fixed.replay is None:
            self._capture(fixed, key, self._logits[: key[0]])
        assert fixed.replay is not None
        fixed.replay()
        return self._logits.index_select(0, rows[SLOT])

    def _capture(self, fixed: _Fixed, key: tuple[int, int], logits: Tensor) -> None:
        """Capture the step; without memory for that, the next steps of this shape do without a graph. Raises, too."""
        fixed.steps_until_retry = STEPS_UNTIL_RETRY
        with self._cache.kept_states(key[0]):
            fixed.replay = self.capture(lambda: logits.copy_(self._model.decode(fixed.rows, self._cache, *key)))
        fixed.steps_until_retry = 0

    def report_rows(self) -> tuple[tuple[str, str], ...]:
        """Return the rows of the capability report about graphs and compilation."""
        graphs = f"not active: {self.why_no_graphs}" if self.why_no_graphs else "active"
        return ("CUDA graphs", graphs), ("compile", self.compiling)

    def _give_up(self, error: Exception) -> None:
        reason = first_line(error, 160)
        self._fixed.clear()
        if self.compiling == COMPILED:
            log.warning("the compiled decode step failed; continuing without compilation: %s", reason)
            self.compiling = f"not active: {reason}"
            self._model.stop_compiling()
            return
        log.warning("CUDA graphs failed; continuing without them: %s", reason)
        self.why_no_graphs = reason
