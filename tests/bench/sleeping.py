"""An engine of a fixed speed, so that a comparison does not depend on what else the machine does.

It sleeps STEP_S for a token of each running clip; all else about its worker process is real.
"""

import time

from transformers import PreTrainedModel

from captioner.engine.core import Core, StepEvent
from captioner.engine.prepare import Prepared
from captioner.values import ModelSpec

STEP_S = 0.1
TOKENS = (612, 440, 263, 64, 305, 309, 334, 282, 410, 297, 282, 446, 370, 334, 282, 375, 13)  # a sentence of the demo's


class SleepingCore(Core):
    """Runs `batch_size` clips at once; each takes len(TOKENS) steps."""

    def __init__(self, model: PreTrainedModel, spec: ModelSpec) -> None:
        super().__init__(model)
        self._slots = spec.batch_size
        self._running: dict[int, tuple[Prepared, int]] = {}  # request id -> (request, tokens so far)

    @property
    def num_slots(self) -> int:
        return self._slots

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def busy(self) -> bool:
        return bool(self._running or self._waiting or self._events)

    def ready(self, more_coming: bool) -> bool:
        return self.busy

    def _cancel_running(self, request_id: int) -> None:
        if self._running.pop(request_id, None):
            self._events.append(StepEvent(request_id, 0, (), "cancelled"))

    def step(self) -> list[StepEvent]:
        while self._waiting and len(self._running) < self._slots:
            request = self._waiting.popleft()
            self._running[request.id] = (request, 0)
        time.sleep(STEP_S)
        events, self._events = self._events, []
        for request, count in list(self._running.values()):
            if count + 1 == len(TOKENS):
                del self._running[request.id]
                events.append(StepEvent(request.id, count + 1, TOKENS, "stop"))
            else:
                self._running[request.id] = (request, count + 1)
                events.append(StepEvent(request.id, count + 1))
        return events

    def close(self) -> None:
        self._running.clear()

    def report_rows(self) -> tuple[tuple[str, str], ...]:
        return ()
