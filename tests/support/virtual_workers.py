"""Many workers without a model in virtual time: the program's own work takes real time, and waiting takes none."""

import heapq
import itertools
import queue
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from captioner.replicas.pool import ReplicaPool
from captioner.replicas.protocol import Cancelled, Finished, Load, Lost, Ready, ReplicaEvent, TokensSoFar
from captioner.values import CapabilityReport, Caption, CaptionRequest, ModelSpec

PROGRESS_S = 0.1  # between two reports of progress, as real workers send them
LOAD_EVERY = 5  # reports
TEXT = "A red ball rolls over the gray floor, turns left at the wall and comes to rest near a blue cube."
NUM_TOKENS = 120


class VirtualTime:
    """The events to come, in order, and a clock that jumps to the next one instead of waiting for it.

    `runs`: the program's own work takes as long as it takes; otherwise it takes no time at all, for exact counts.
    """

    def __init__(self, runs: bool = True, reports: bool = True) -> None:
        """reports: workers tell their progress and load."""
        self._clock, self._runs, self._skipped_s, self.reports = time.monotonic, runs, 0.0, reports
        self._start_s = self._clock()
        self._events: list[tuple[float, int, object]] = []
        self._ids = itertools.count()
        self.num_looks = 0  # how often the program asked a worker for its capacity
        self.own_s = 0.0  # CPU time of this class and the workers, which is not the program's

    def now_s(self) -> float:
        """Return the time, for `time.monotonic`."""
        return (self._clock() if self._runs else self._start_s) + self._skipped_s

    def put_at(self, time_s: float, what: object) -> None:
        """Let something happen at a time: an inbox item, or a function that returns one or None."""
        heapq.heappush(self._events, (time_s, next(self._ids), what))

    def put(self, what: object) -> None:
        """Let something happen now."""
        self.put_at(self.now_s(), what)

    def get(self, timeout: float) -> object:
        """Return what happens next within the timeout. Raise queue.Empty, as a queue does."""
        return self._get(self.now_s() + timeout)

    def get_nowait(self) -> object:
        """Return what has happened by now. Raise queue.Empty."""
        return self._get(self.now_s())

    def _get(self, until_s: float) -> object:
        began_s = time.thread_time()
        try:
            while self._events and self._events[0][0] <= until_s:
                due_s, _, what = heapq.heappop(self._events)
                self._skipped_s += max(0.0, due_s - self.now_s())
                item = what() if callable(what) else what
                if item is not None:
                    return item
            self._skipped_s += max(0.0, until_s - self.now_s())
            raise queue.Empty
        finally:
            self.own_s += time.thread_time() - began_s


@dataclass(eq=False)
class VirtualReplica:
    """Takes `seconds` for each item and works on `room` at once. It reports as often as a real one."""

    name: str
    time: VirtualTime
    seconds: float
    room: int = 8
    running: dict[int, float] = field(default_factory=dict)  # request id -> since when
    num_received: int = 0
    _closed: threading.Event = field(default_factory=threading.Event)
    _is_reporting: bool = False
    _num_reports: int = 0

    def __post_init__(self) -> None:
        self.time.put((self, Ready(CapabilityReport(self.name, (("node", self.name),)), self.room)))

    @property
    def capacity(self) -> int:
        self.time.num_looks += 1
        return self.room

    def submit(self, request: CaptionRequest) -> None:
        began_s = time.thread_time()
        now_s = self.time.now_s()
        self.running[request.id] = now_s
        self.num_received += 1
        self.time.put_at(now_s + self.seconds, lambda: self._finish(request))
        if self.time.reports and not self._is_reporting:
            self._is_reporting = True
            self.time.put_at(now_s + PROGRESS_S, self._report)
        self.time.own_s += time.thread_time() - began_s

    def cancel(self, request_id: int) -> None:
        if self.running.pop(request_id, None) is not None:
            self.time.put((self, Cancelled(request_id)))

    def events(self, timeout_s: float) -> list[ReplicaEvent]:
        self._closed.wait()  # the other events come by themselves
        return [Lost("closed")]

    def close(self) -> None:
        self._closed.set()

    def _finish(self, request: CaptionRequest) -> tuple["VirtualReplica", ReplicaEvent] | None:
        if self.running.pop(request.id, None) is None:
            return None
        text = f"{request.path.stem}: {TEXT}"
        caption = Caption(text, "m", request.prompt, request.options, (0.0, 0.5, 1.0, 1.5), 400, NUM_TOKENS)
        return self, Finished(request.id, caption)

    def _report(self) -> tuple["VirtualReplica", ReplicaEvent] | None:
        self._is_reporting = bool(self.running)
        if not self.running:
            return None
        now_s = self.time.now_s()
        self.time.put_at(now_s + PROGRESS_S, self._report)
        self._num_reports += 1
        if self._num_reports % LOAD_EVERY == 0:
            return self, Load(self.room, len(self.running), 0, 0, 0.0, 0.0, 0, self.num_received)
        tokens = {id: int(NUM_TOKENS * (now_s - since_s) / self.seconds) for id, since_s in self.running.items()}
        return self, TokensSoFar(tokens)


class VirtualPool(ReplicaPool):
    """The real pool over virtual workers, the slowest of which takes twice as long as the fastest."""

    def __init__(self, virtual: VirtualTime, item_s: float, room: int) -> None:
        super().__init__(self._start_virtual)
        self._inbox, self._virtual, self._item_s, self._room = virtual, virtual, item_s, room

    def _start_virtual(self, name: str, spec: ModelSpec, folder: Path, num_threads: int) -> VirtualReplica:
        pace = 2 / 3 * 2 ** (hash_of(name) % 101 / 100)
        return VirtualReplica(name, self._virtual, self._item_s * pace, self._room)


def hash_of(name: str) -> int:
    """Return a number that differs between names and is the same in each process."""
    return sum(ord(letter) * 31**place for place, letter in enumerate(name))
