"""The progress that the facts about jobs add up to: everything a viewer shows."""

from collections import deque
from dataclasses import dataclass, replace
from typing import Literal

from captioner.jobs.events import (
    Event,
    ItemDone,
    ItemFailed,
    ItemGivenBack,
    ItemProgress,
    ItemSkipped,
    ItemStarted,
    ItemTried,
    JobEnded,
    JobQueued,
    JobStarted,
    ModelLoading,
    ReplicaChanged,
    ReplicaLoad,
    ReplicaState,
)

RATE_WINDOW_S = 10.0
KEPT_FAILURES = 50


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
    def busy(self) -> bool:
        """Whether a job runs or waits."""
        return self.active or self.queued_jobs > 0

    @property
    def finished(self) -> int:
        return self.done + self.skipped + self.failed


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


class Sum:
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
            case JobEnded() if event.job in self._queue:  # it never began
                self._leave_queue(event.job)
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

    def _leave_queue(self, job: int) -> None:
        self._queue.pop(job, None)
        self._set(queued_jobs=max(0, self._progress.queued_jobs - 1))

    def _start(self, event: JobStarted) -> None:
        self._running.clear()
        self._where.clear()
        self._failures.clear()
        self._rate, self._download = _Rate(), _Rate()
        self._captioning_since = 0.0
        self._leave_queue(event.job)
        self._progress = Progress(
            job=event.job,
            stage="loading",
            model=event.model,
            total=event.total,
            started_s=event.time_s,
            queued_jobs=self._progress.queued_jobs,
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
