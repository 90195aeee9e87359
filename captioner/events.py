"""Numbered facts about jobs, and the progress that they add up to.

Writers append and never wait for readers. Any number of readers follow, each with its own cursor; one that comes late
or falls behind takes the snapshot, which holds the sum of all events, and goes on from there.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from captioner.redaction import redact

JobOutcome = Literal["done", "stopped", "failed"]
ReplicaState = Literal["starting", "ready", "lost", "closed"]

KEPT_EVENTS = 20_000
RATE_WINDOW_S = 10.0
KEPT_FAILURES = 50


@dataclass(frozen=True, kw_only=True)
class Event:
    """`number` counts from 1 and has no gaps; `time_s` is POSIX time. Both are given by the log."""

    number: int = 0
    time_s: float = 0.0

    def to_json(self) -> dict:
        values = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()}
        return {"event": type(self).__name__, **values}


@dataclass(frozen=True, kw_only=True)
class JobQueued(Event):
    job: int
    total: int


@dataclass(frozen=True, kw_only=True)
class JobStarted(Event):
    job: int
    total: int
    model: str
    saves: bool = True  # False: a try, which changes no caption


@dataclass(frozen=True, kw_only=True)
class ModelLoading(Event):
    model: str
    bytes_done: int = 0  # 0 of 0: the files are here and go to the device
    bytes_total: int = 0


@dataclass(frozen=True, kw_only=True)
class ReplicaChanged(Event):
    replica: str
    state: ReplicaState
    detail: str = ""
    report: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class ReplicaLoad(Event):
    """How busy a replica is; about once a second while it works."""

    replica: str
    slots: int
    running: int
    waiting: int  # decoded, not yet begun
    decoding: int


@dataclass(frozen=True, kw_only=True)
class ItemEvent(Event):
    job: int
    item: str  # MediaItem.name
    path: Path


@dataclass(frozen=True, kw_only=True)
class ItemStarted(ItemEvent):
    replica: str


@dataclass(frozen=True, kw_only=True)
class ItemProgress(ItemEvent):
    tokens: int


@dataclass(frozen=True, kw_only=True)
class ItemDone(ItemEvent):
    caption: str
    tokens: int
    seconds: float
    replica: str
    warning: str = ""


@dataclass(frozen=True, kw_only=True)
class ItemTried(ItemEvent):
    """Captioned by a job that saves nothing: no file has changed."""

    caption: str
    tokens: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class ItemGivenBack(ItemEvent):
    """Its replica was lost or restarts; it waits again."""


@dataclass(frozen=True, kw_only=True)
class ItemSkipped(ItemEvent):
    """Left alone, such as for having a caption already."""

    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class ItemFailed(ItemEvent):
    reason: str


@dataclass(frozen=True, kw_only=True)
class JobEnded(Event):
    job: int
    outcome: JobOutcome
    reason: str = ""
    done: int = 0
    skipped: int = 0
    failed: int = 0


@dataclass(frozen=True)
class ReplicaProgress:
    name: str
    state: ReplicaState
    detail: str
    report: tuple[tuple[str, str], ...]
    items: tuple[str, ...] = ()
    slots: int = 0  # 0: not known yet
    running: int = 0  # in slots
    waiting: int = 0  # decoded, not yet begun
    decoding: int = 0


@dataclass(frozen=True)
class Progress:
    """Everything a viewer shows, at one moment. Times are POSIX seconds, 0 for not yet."""

    cursor: int = 0  # number of the last event it includes
    job: int = 0  # 0 before the first job
    stage: Literal["idle", "loading", "running", "done", "stopped", "failed"] = "idle"
    reason: str = ""
    model: str = ""
    total: int = 0
    done: int = 0
    skipped: int = 0
    failed: int = 0
    queued_jobs: int = 0
    queue: tuple[tuple[int, int], ...] = ()  # of these jobs (number, files), in their order
    tokens: int = 0
    tokens_per_s: float = 0.0
    started_s: float = 0.0
    ended_s: float = 0.0
    eta_s: float | None = None
    bytes_done: int = 0
    bytes_total: int = 0
    bytes_per_s: float = 0.0
    running: tuple[tuple[str, int], ...] = ()  # (item, tokens so far)
    replicas: tuple[ReplicaProgress, ...] = ()
    failures: tuple[tuple[str, str], ...] = ()  # (item, reason), newest first

    @property
    def active(self) -> bool:
        return self.stage in ("loading", "running")

    @property
    def finished(self) -> int:
        return self.done + self.skipped + self.failed


def _cleaned(event: Event) -> dict[str, str]:
    """What it quotes of errors of other libraries, without secrets."""
    texts = {name: getattr(event, name, "") for name in ("reason", "detail", "warning")}
    return {name: redact(text) for name, text in texts.items() if text}


class EventLog:
    """Appends, numbers and keeps the newest events; folds all of them into one Progress. Thread-safe."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=KEPT_EVENTS)
        self._state = _State()
        self._changed = threading.Condition()
        self._closed = False

    def append(self, event: Event) -> Event:
        """Number, time and keep an event; wake the followers."""
        with self._changed:
            event = replace(event, number=self._state.cursor + 1, time_s=time.time(), **_cleaned(event))
            self._events.append(event)
            self._state.add(event)
            self._changed.notify_all()
        return event

    def snapshot(self) -> Progress:
        with self._changed:
            return self._state.progress(time.time())

    def wait(self, until: Callable[[Progress], bool], timeout_s: float) -> None:
        """Until the snapshot is so, or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: until(self._state.progress(time.time())), timeout_s)

    def since(self, cursor: int) -> list[Event]:
        """Kept events after number `cursor`; when older ones are gone already, those that are left."""
        with self._changed:
            return self._after(cursor)

    def follow(self, cursor: int = 0) -> Iterator[Event]:
        """Yield events after `cursor`, waiting for new ones, until the log is closed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda seen=cursor: self._closed or self._state.cursor > seen)
                news = self._after(cursor)
                if not news:
                    return
            yield from news
            cursor = news[-1].number

    def close(self) -> None:
        """Let the followers end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _after(self, cursor: int) -> list[Event]:
        missing = self._state.cursor - cursor
        if missing <= 0:
            return []
        if missing >= len(self._events):
            return list(self._events)
        return [self._events[i] for i in range(-missing, 0)]


class _Rate:
    """How fast a count grows, over the last RATE_WINDOW_S seconds."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque()  # (time, count)

    def add(self, time_s: float, count: int) -> None:
        self._points.append((time_s, count))
        while self._points[0][0] < time_s - RATE_WINDOW_S:
            self._points.popleft()

    def per_s(self, now_s: float) -> float:
        if len(self._points) < 2 or now_s - self._points[-1][0] > RATE_WINDOW_S:
            return 0.0
        (first_s, first), (last_s, last) = self._points[0], self._points[-1]
        return (last - first) / max(last_s - first_s, 0.2)


class _State:
    """The running sum behind Progress. One branch an event."""

    def __init__(self) -> None:
        self.cursor = 0
        self._progress = Progress()
        self._running: dict[str, int] = {}
        self._where: dict[str, str] = {}  # item -> replica
        self._queue: dict[int, int] = {}  # job -> its files
        self._replicas: dict[str, ReplicaProgress] = {}
        self._failures: deque[tuple[str, str]] = deque(maxlen=KEPT_FAILURES)
        self._rate, self._download = _Rate(), _Rate()
        self._captioning_since = 0.0

    def add(self, event: Event) -> None:
        self.cursor = event.number
        match event:
            case JobQueued():
                self._queue[event.job] = event.total
                self._set(queued_jobs=self._progress.queued_jobs + 1)
            case JobStarted():
                self._start(event)
            case ModelLoading():
                self._download.add(event.time_s, event.bytes_done)
                self._set(bytes_done=event.bytes_done, bytes_total=event.bytes_total)
            case ReplicaChanged():
                self._replica(event)
            case ReplicaLoad():
                load = {name: getattr(event, name) for name in ("slots", "running", "waiting", "decoding")}
                self._change_replica(event.replica, **load)
            case ItemStarted():
                self._captioning_since = self._captioning_since or event.time_s
                self._running[event.item], self._where[event.item] = 0, event.replica
                self._set(stage="running", bytes_done=0, bytes_total=0)
            case ItemProgress():
                self._tokens(event.time_s, event.tokens - self._running.get(event.item, 0))
                self._running[event.item] = event.tokens
            case ItemDone() | ItemTried():
                self._tokens(event.time_s, event.tokens - self._running.get(event.item, 0))
                self._leave(event.item, done=self._progress.done + 1)
            case ItemGivenBack():
                self._leave(event.item)
            case ItemSkipped():
                self._leave(event.item, skipped=self._progress.skipped + 1)
            case ItemFailed():
                self._failures.appendleft((event.item, event.reason))
                self._leave(event.item, failed=self._progress.failed + 1)
            case JobEnded():
                self._running.clear()
                for name in self._replicas:
                    self._change_replica(name, running=0, waiting=0, decoding=0)
                self._set(stage=event.outcome, reason=event.reason, ended_s=event.time_s, bytes_done=0, bytes_total=0)

    def progress(self, now_s: float) -> Progress:
        items: dict[str, list[str]] = {}
        for item in self._running:
            items.setdefault(self._where.get(item, ""), []).append(item)
        replicas = [replace(r, items=tuple(items.get(r.name, ()))) for r in self._replicas.values()]
        return replace(
            self._progress,
            cursor=self.cursor,
            running=tuple(self._running.items()),
            replicas=tuple(replicas),
            queue=tuple(self._queue.items()),
            failures=tuple(self._failures),
            tokens_per_s=self._tokens_per_s(now_s),
            bytes_per_s=self._download.per_s(now_s) if self._progress.bytes_total else 0.0,
            eta_s=self._eta_s(now_s),
        )

    def _set(self, **changes: object) -> None:
        self._progress = replace(self._progress, **changes)

    def _start(self, event: JobStarted) -> None:
        self._running.clear()
        self._where.clear()
        self._failures.clear()
        self._rate, self._download = _Rate(), _Rate()
        self._captioning_since = 0.0
        self._queue.pop(event.job, None)
        queued = max(0, self._progress.queued_jobs - 1)
        self._progress = Progress(
            job=event.job,
            stage="loading",
            model=event.model,
            total=event.total,
            started_s=event.time_s,
            queued_jobs=queued,
        )

    def _replica(self, event: ReplicaChanged) -> None:
        if event.state == "closed":
            self._replicas.pop(event.replica, None)
            return
        before = self._replicas.get(event.replica)
        report = event.report or (before.report if before else ())
        self._replicas[event.replica] = ReplicaProgress(event.replica, event.state, event.detail, report)

    def _change_replica(self, name: str, **changes: object) -> None:
        if name in self._replicas:
            self._replicas[name] = replace(self._replicas[name], **changes)

    def _leave(self, item: str, **changes: object) -> None:
        self._running.pop(item, None)
        self._where.pop(item, None)
        self._set(**changes)

    def _tokens(self, time_s: float, count: int) -> None:
        self._set(tokens=self._progress.tokens + max(0, count))
        self._rate.add(time_s, self._progress.tokens)

    def _tokens_per_s(self, now_s: float) -> float:
        """Over the last RATE_WINDOW_S seconds; over the whole run once it has ended."""
        progress = self._progress
        if progress.ended_s and self._captioning_since:
            return progress.tokens / max(progress.ended_s - self._captioning_since, 1e-6)
        return self._rate.per_s(now_s)

    def _eta_s(self, now_s: float) -> float | None:
        progress = self._progress
        handled = progress.done + progress.failed
        if not progress.active or not handled or not self._captioning_since:
            return None
        left = progress.total - progress.finished
        return left * (now_s - self._captioning_since) / handled
