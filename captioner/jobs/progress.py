"""The progress that the events of jobs add up to: everything a viewer shows."""

import re
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from captioner.jobs import events
from captioner.jobs.events import Event, JobStarted

RATE_WINDOW_S, RATE_STEP_S = 10.0, 0.1
KEPT_FAILURES = 50

Stage = Literal["idle", "loading", "running", "done", "stopped", "failed"]
ACTIVE: tuple[Stage, ...] = ("loading", "running")


@dataclass(frozen=True)
class ReplicaProgress:
    """The state of one replica."""

    name: str
    state: events.ReplicaState
    detail: str
    report: tuple[tuple[str, str], ...]
    items: tuple[str, ...] = ()
    slots: int = 0  # requests that can run at once; 0: unknown yet
    running: int = 0  # in slots
    waiting: int = 0  # decoded, not yet running
    decoding: int = 0
    done: int = 0  # captions of the latest job
    tokens_per_s: float = 0.0
    model: str = ""  # that it holds or loads

    @property
    def label(self) -> str:
        """The node and device if it is in a cluster, the host of a server, else its name."""
        host = re.sub("^https?://|/v1(?= #|$)", "", self.name)
        return next((text for label, text in self.report if label == "node"), host)


class WaitingJob(NamedTuple):
    """A job in the queue. total: its files. scores: it scores captions instead of writing them."""

    job: int
    total: int
    scores: bool = False


@dataclass(frozen=True)
class Progress:
    """Everything a viewer shows, at one moment. Times are POSIX seconds; 0: not yet."""

    cursor: int = 0  # number of the last event included
    job: int = 0  # 0 before the first job
    stage: Stage = "idle"
    reason: str = ""
    model: str = ""
    total: int = 0
    done: int = 0
    skipped: int = 0
    failed: int = 0
    queued_jobs: int = 0
    queue: tuple[WaitingJob, ...] = ()  # in order
    tokens: int = 0
    tokens_per_s: float = 0.0
    started_s: float = 0.0
    ended_s: float = 0.0
    eta_s: float | None = None  # seconds left
    bytes_done: int = 0
    bytes_total: int = 0
    bytes_per_s: float = 0.0
    running: tuple[tuple[str, int], ...] = ()  # (item, tokens so far)
    replicas: tuple[ReplicaProgress, ...] = ()
    failures: tuple[tuple[str, str], ...] = ()  # (item, reason), newest first
    num_flawed: int = 0  # captions that were cut off or repeat themselves
    num_faulty: int = 0  # captions that a repair has left faulty
    notes: tuple[str, ...] = ()  # about the whole job
    scores: bool = False  # the job scores captions
    before: "Progress | None" = None  # while a prompt is tried on a file, and after: the latest job that is no trial

    @property
    def active(self) -> bool:
        """True while a job runs."""
        return self.stage in ACTIVE

    @property
    def busy(self) -> bool:
        """True while a job runs or waits."""
        return self.active or self.queued_jobs > 0

    @property
    def finished(self) -> int:
        """The number of items with an outcome."""
        return self.done + self.skipped + self.failed


class _Rate:
    """Measures how fast a count grows, over the last RATE_WINDOW_S seconds. It keeps few points, however many come."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque()  # (time, count)

    def add(self, time_s: float, count: int) -> None:
        if len(self._points) > 1 and time_s - self._points[-2][0] < RATE_STEP_S:
            self._points.pop()
        self._points.append((time_s, count))
        while self._points[0][0] < time_s - RATE_WINDOW_S:
            self._points.popleft()

    def per_s(self, now_s: float) -> float:
        if len(self._points) < 2 or now_s - self._points[-1][0] > RATE_WINDOW_S:
            return 0.0
        (first_s, first), (last_s, last) = self._points[0], self._points[-1]
        return (last - first) / max(last_s - first_s, 0.2)


@dataclass
class _Share:
    """The part of one replica in a job."""

    done: int = 0
    tokens: int = 0
    rate: _Rate = field(default_factory=_Rate)


@dataclass
class _JobState:
    """The state of the latest job; each job begins with a new one."""

    started: JobStarted
    stage: Stage = "idle"
    reason: str = ""
    done: int = 0
    skipped: int = 0
    failed: int = 0
    tokens: int = 0
    num_flawed: int = 0
    num_faulty: int = 0
    notes: tuple[str, ...] = ()
    download: tuple[int, int] = (0, 0)  # bytes (done, in total)
    captioning_since_s: float = 0.0
    ended_s: float = 0.0
    running: dict[str, tuple[str, int]] = field(default_factory=dict)  # item -> (replica, tokens so far)
    failures: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=KEPT_FAILURES))
    shares: dict[str, _Share] = field(default_factory=dict)  # by replica
    token_rate: _Rate = field(default_factory=_Rate)
    download_rate: _Rate = field(default_factory=_Rate)

    def add(self, event: events.ItemEvent) -> None:
        replica, num_counted = self.running.get(event.item, ("", 0))
        if isinstance(event, events.ItemScored):
            self.shares.setdefault(replica, _Share()).done += 1
        if isinstance(event, events.ItemProgress | events.ItemDone | events.ItemTried):
            new_tokens = max(0, event.tokens - num_counted)
            self.tokens += new_tokens
            self.token_rate.add(event.time_s, self.tokens)
            share = self.shares.setdefault(replica, _Share())
            share.tokens, share.done = share.tokens + new_tokens, share.done + isinstance(event, events.ItemDone)
            share.rate.add(event.time_s, share.tokens)
        match event:
            case events.ItemStarted():
                self.captioning_since_s = self.captioning_since_s or event.time_s
                self.running[event.item] = (event.replica, 0)
                self.stage, self.download = "running", (0, 0)
                return
            case events.ItemProgress():
                self.running[event.item] = (replica, event.tokens)
                return
            case events.ItemDone() | events.ItemTried() | events.ItemScored():
                self.done += 1
                self.num_flawed += bool(getattr(event, "flaw", ""))
                self.num_faulty += bool(getattr(event, "faults", ()))
            case events.ItemSkipped():
                self.skipped += 1
                self.num_faulty += bool(event.faults)
            case events.ItemFailed():
                self.failed += 1
                self.failures.appendleft((event.item, event.reason))
        self.running.pop(event.item, None)

    def tokens_per_s(self, now_s: float) -> float:
        """Return the speed over the last RATE_WINDOW_S seconds; over the whole job once it has ended."""
        return self._speed(self.tokens, self.token_rate, now_s)

    def of_replica(self, replica: ReplicaProgress, items: tuple[str, ...], now_s: float) -> ReplicaProgress:
        """Return the replica's progress with its items and its part of the job."""
        share = self.shares.get(replica.name, _Share())
        speed = self._speed(share.tokens, share.rate, now_s)
        return replace(replica, items=items, done=share.done, tokens_per_s=speed)

    def _speed(self, tokens: int, rate: _Rate, now_s: float) -> float:
        if self.ended_s and self.captioning_since_s:
            return tokens / max(self.ended_s - self.captioning_since_s, 1e-6)
        return rate.per_s(now_s)

    def eta_s(self, now_s: float) -> float | None:
        handled = self.done + self.failed  # by the model
        if self.stage not in ACTIVE or not handled or not self.captioning_since_s:
            return None
        left = self.started.total - handled - self.skipped
        return left * (now_s - self.captioning_since_s) / handled


class ProgressTracker:
    """Folds events into a Progress."""

    def __init__(self) -> None:
        self.cursor = 0  # number of the last event
        self._state = _JobState(JobStarted(job=0, total=0, model=""))
        self._saving = self._state  # of the latest job that is no trial
        self._queue: dict[int, WaitingJob] = {}
        self._replicas: dict[str, ReplicaProgress] = {}

    def add(self, event: Event) -> None:
        """Fold in the next event."""
        self.cursor, state = event.number, self._state
        match event:
            case events.JobQueued():
                self._queue[event.job] = WaitingJob(event.job, event.total, event.scores)
            case JobStarted():
                self._queue.pop(event.job, None)
                self._state = _JobState(event, "loading")
                self._saving = self._state if event.saves or event.scores else self._saving
            case events.ModelLoading():
                state.download = (event.bytes_done, event.bytes_total)
                state.download_rate.add(event.time_s, event.bytes_done)
            case events.ReplicaChanged(state="closed"):
                self._replicas.pop(event.replica, None)
            case events.ReplicaChanged():
                before = self._replicas.get(event.replica)
                report = event.report or (before.report if before else ())
                model = before.model if before and event.state != "starting" else state.started.model
                now = ReplicaProgress(event.replica, event.state, event.detail, report, model=model)
                self._replicas[event.replica] = now
            case events.ReplicaLoad() if event.replica in self._replicas:
                load = {name: getattr(event, name) for name in ("slots", "running", "waiting", "decoding")}
                self._replicas[event.replica] = replace(self._replicas[event.replica], **load)
            case events.ItemEvent():
                state.add(event)
            case events.JobNote():
                state.notes += (event.text,)
            case events.JobEnded() if event.job in self._queue:  # it never began
                del self._queue[event.job]
            case events.JobEnded():
                state.stage, state.reason, state.ended_s = event.outcome, event.reason, event.time_s
                state.running.clear()
                state.download = (0, 0)
                for name, replica in self._replicas.items():
                    self._replicas[name] = replace(replica, running=0, waiting=0, decoding=0)

    def progress(self, now_s: float) -> Progress:
        """Return the progress at a time."""
        latest = self._progress_of(self._state, now_s)
        return latest if self._saving is self._state else replace(latest, before=self._progress_of(self._saving, now_s))

    def _progress_of(self, state: _JobState, now_s: float) -> Progress:
        items: dict[str, list[str]] = {}
        for item, (replica, _) in state.running.items():
            items.setdefault(replica, []).append(item)
        return Progress(
            cursor=self.cursor,
            job=state.started.job,
            stage=state.stage,
            reason=state.reason,
            model=state.started.model,
            scores=state.started.scores,
            total=state.started.total,
            done=state.done,
            skipped=state.skipped,
            failed=state.failed,
            queued_jobs=len(self._queue),
            queue=tuple(self._queue.values()),
            tokens=state.tokens,
            tokens_per_s=state.tokens_per_s(now_s),
            started_s=state.started.time_s,
            ended_s=state.ended_s,
            eta_s=state.eta_s(now_s),
            bytes_done=state.download[0],
            bytes_total=state.download[1],
            bytes_per_s=state.download_rate.per_s(now_s) if state.download[1] else 0.0,
            running=tuple((item, tokens) for item, (_, tokens) in state.running.items()),
            replicas=tuple(
                state.of_replica(replica, tuple(items.get(replica.name, ())), now_s)
                for replica in self._replicas.values()
            ),
            failures=tuple(state.failures),
            num_flawed=state.num_flawed,
            num_faulty=state.num_faulty,
            notes=state.notes,
        )
