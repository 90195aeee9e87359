"""One job while it runs: items to replicas, their answers to captions on disk and events."""

import logging
import math
import queue
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from captioner.captions.store import CaptionStore
from captioner.captions.text import clean, decorate
from captioner.errors import CaptionError, ModelError, StateError
from captioner.jobs.backlog import MAX_LOSSES, Backlog
from captioner.jobs.event_log import EventLog
from captioner.jobs.events import JobEnded, JobOutcome, ModelLoading, ReplicaChanged, ReplicaLoad
from captioner.jobs.job import Job, Recorder
from captioner.jobs.ledger import Ledger
from captioner.jobs.throughput import Meter
from captioner.replicas.pool import ReplicaPool
from captioner.replicas.protocol import (
    Cancelled,
    Failed,
    Finished,
    Load,
    Lost,
    Ready,
    Replica,
    ReplicaEvent,
    TokensSoFar,
)
from captioner.values import Caption, MediaItem

log = logging.getLogger(__name__)

STOP_TIMEOUT_S = 15.0  # a replica that has not answered a cancel by then is ended
LOAD_INTERVAL_S = 0.9  # between two ReplicaLoad of one replica, which tells its load twice a second


class Stopped(Exception):
    """Ends a download when its job was stopped."""


@dataclass
class _InFlight:
    item: MediaItem
    replica: Replica
    alone: bool
    stamp: tuple[int, int] | None  # of the file when it was asked for


@dataclass
class Run:
    """One job while it runs; nothing of it outlives the job. A StateError ends it, for no caption is replaced unless
    the old text is kept; what has no caption by then is neither done nor failed.
    """

    number: int
    job: Job
    stop: threading.Event
    log: EventLog
    store: CaptionStore
    pool: ReplicaPool
    ready: set[str]  # names of replicas whose model is loaded
    recorder: Recorder | None = None
    losses: dict[str, int] = field(default_factory=dict)  # item name -> replicas that it may have cost before
    flight: dict[int, _InFlight] = field(default_factory=dict)
    lost_reason: str = ""
    broken: bool = False  # the state folder cannot be written, so neither can captions
    ending: bool = False
    meter: Meter = field(default_factory=Meter)
    loads_told: dict[str, float] = field(default_factory=dict)  # replica -> monotonic time of the last ReplicaLoad

    def __post_init__(self) -> None:
        self.backlog = Backlog(self.job.items, self.losses)
        self.ledger = Ledger(self.number, self.log, self.recorder)

    def run(self) -> None:
        """Raises ModelError, StateError, and Stopped during a download."""
        try:
            self._run()
        except StateError:
            self.broken = True
            raise
        finally:
            self._cancel_rest()

    def _run(self) -> None:
        if self.job.items and not self._any_left():
            return
        folder = self.job.model.find(self._on_bytes)
        self._on_bytes(0, 0)
        started, ended = self.pool.ensure(self.job.model.specs, folder)
        for name in ended:
            self.ready.discard(name)
            self.log.append(ReplicaChanged(replica=name, state="closed"))
        self._tell_started(started)
        self._handle_events(timeout_s=0)  # one may have died since the last job
        while self._unfinished() and not self.stop.is_set():
            self._tell_started(self.pool.restart_due())
            self._fill()
            self._handle_events(timeout_s=0.1)

    def end(self, outcome: JobOutcome, reason: str = "") -> JobEnded:
        return JobEnded(job=self.number, outcome=outcome, reason=reason, **self.ledger.counts)

    def _any_left(self) -> bool:
        return self._find_next(self.backlog.together) or self._find_next(self.backlog.alone)

    def _find_next(self, waiting: deque[MediaItem]) -> bool:
        """Whether an item is left that needs a caption; it is the first of `waiting` then.

        Asked for one item at a time, so that a job over 50,000 captioned files starts at once.
        """
        while waiting and not self.stop.is_set():
            item = waiting[0]
            try:
                reason = self.job.save and self.store.skip_reason(item, self.job.existing, self.job.consent)
                if reason:
                    self.ledger.skipped(item, reason)
                elif self.backlog.is_poison(item):
                    self.ledger.failed(item, f"it has cost {MAX_LOSSES} replicas before, so it is left out")
                else:
                    return True
            except CaptionError as error:
                self.ledger.failed(item, str(error))
            waiting.popleft()
        return False

    def _tell_started(self, replicas: list[Replica]) -> None:
        for replica in replicas:
            self.log.append(ReplicaChanged(replica=replica.name, state="starting"))

    def _on_bytes(self, done: int, total: int) -> None:
        if self.stop.is_set():
            raise Stopped
        self.log.append(ModelLoading(model=self.job.model.name, bytes_done=done, bytes_total=total))

    def _unfinished(self) -> bool:
        if self.job.items:
            return bool(self.backlog or self.flight)
        return self.pool.restarting or any(replica.name not in self.ready for replica in self.pool.replicas)

    def _fill(self) -> None:
        """One item after the other to whichever replica has the most room; when all have run, the suspects.

        None gets more than its even share of what is left: those that are still loading will want the rest.
        """
        waiting, replicas = self.backlog.together, {replica.name: replica for replica in self.pool.replicas}
        share = -(-(len(waiting) + len(self.flight)) // max(1, len(replicas)))
        room = {name: min(replicas[name].capacity, share) for name in replicas if name in self.ready}
        for flight in self.flight.values():
            if flight.replica.name in room:
                room[flight.replica.name] -= room[flight.replica.name] if flight.alone else 1
        while room and max(room.values()) > 0 and self._find_next(waiting):
            name = max(room, key=room.__getitem__)
            room[name] -= 1
            self._submit(waiting.popleft(), replicas[name])
        busy = {flight.replica.name for flight in self.flight.values()}
        idle = [name for name in room if name not in busy]
        for name in idle if not waiting else []:
            elsewhere = self.pool.num_expected > 1
            if self.backlog.suspect_for(name, elsewhere) and self._find_next(self.backlog.alone):
                self._submit(self.backlog.alone.popleft(), replicas[name], alone=True)

    def _submit(self, item: MediaItem, replica: Replica, alone: bool = False) -> None:
        try:
            request = self.job.request(item, self.store.read)
        except CaptionError as error:  # the caption that it asks for cannot be read
            self.ledger.failed(item, str(error))
            return
        self.flight[request.id] = _InFlight(item, replica, alone, _stamp(item.path))
        self.meter.start()
        self.ledger.started(item, replica.name)
        replica.submit(request)

    def _handle_events(self, timeout_s: float) -> None:
        try:
            self._handle(*self.pool.inbox.get(timeout=timeout_s))
            while True:
                self._handle(*self.pool.inbox.get_nowait())
        except queue.Empty:
            return

    def _handle(self, replica: Replica, event: ReplicaEvent) -> None:
        if not any(replica is member for member in self.pool.replicas):
            return  # the last words of one that was ended
        match event:
            case Ready():
                self.ready.add(replica.name)
                rows = event.report.rows
                self.log.append(ReplicaChanged(replica=replica.name, state="ready", report=rows))
            case Load():
                self._tell_load(replica.name, event)
            case Lost():
                self._on_lost(replica, event)
            case TokensSoFar():
                for request_id, tokens in event.tokens.items():
                    flight = self.flight.get(request_id)
                    if flight:
                        self.ledger.progress(flight.item, tokens)
            case Finished() | Failed() | Cancelled():
                flight = self.flight.pop(event.id, None)
                if flight is not None and not self.broken:
                    self._on_answer(flight, event)

    def _tell_load(self, replica: str, load: Load) -> None:
        now_s = time.monotonic()
        if now_s - self.loads_told.get(replica, -math.inf) < LOAD_INTERVAL_S:
            return
        self.loads_told[replica] = now_s
        self.log.append(
            ReplicaLoad(
                replica=replica,
                slots=load.slots,
                running=load.running,
                waiting=load.waiting,
                decoding=load.decoding,
            )
        )

    def _on_answer(self, flight: _InFlight, answer: Finished | Failed | Cancelled) -> None:
        if isinstance(answer, Cancelled):
            self.backlog.put_back([flight.item])
            self.ledger.given_back(flight.item, self.losses.get(flight.item.name, 0))
            return
        self.pool.answered(flight.replica)
        if isinstance(answer, Failed):
            self.ledger.failed(flight.item, answer.reason)
            return
        caption = answer.caption
        if not self.job.save:
            self._on_tried(flight.item, caption)
            return
        self.meter.add(caption)
        if _stamp(flight.item.path) != flight.stamp:
            self.ledger.failed(flight.item, "the file was changed while it was captioned; caption it again")
            return
        try:
            job = self.job
            operation = self.number if self.recorder else None
            written = self.store.write(flight.item, caption, job.existing, operation, job.decoration, job.consent)
        except CaptionError as error:
            self.ledger.failed(flight.item, str(error))
            return
        if written.outcome == "kept":
            self.ledger.skipped(flight.item, written.reason)
            return
        self.ledger.done(flight.item, written, caption, flight.replica.name)

    def _on_tried(self, item: MediaItem, caption: Caption) -> None:
        text = clean(caption.text)
        if not text:
            self.ledger.failed(item, "the model returned an empty caption")
            return
        self.ledger.tried(item, decorate(text, self.job.decoration), caption)

    def _on_lost(self, replica: Replica, lost: Lost) -> None:
        """Give its work back, and fail what cost two replicas; all that is left, when no replica will come back."""
        self.ready.discard(replica.name)
        self.log.append(ReplicaChanged(replica=replica.name, state="lost", detail=lost.reason))
        flights = [flight for flight in self.flight.values() if flight.replica is replica]
        self.flight = {i: flight for i, flight in self.flight.items() if flight.replica is not replica}
        poison = []
        if not self.ending:
            poison = self.backlog.charge(replica.name, [flight.item for flight in flights])
        for flight in flights:
            if flight.item in poison:
                self.ledger.failed(
                    flight.item, f"it cost {MAX_LOSSES} replicas, so it is left out; the last: {lost.reason}"
                )
            else:
                self.ledger.given_back(flight.item, self.losses.get(flight.item.name, 0))
        self.pool.lost(replica, lost.final, blameless=bool(poison))
        if self.ending or self.pool.replicas or self.pool.restarting:
            return
        self.lost_reason = f"{replica.name}: {lost.reason}"
        if not self.job.items:
            raise ModelError(self.lost_reason)
        for item in self.backlog.clear():  # not told to the recorder: there is nothing wrong with them
            self.ledger.unreached(item, f"no replica is left; the last one was lost: {lost.reason}")

    def _cancel_rest(self) -> None:
        self.ending = True
        self.backlog.clear()
        for request_id, flight in self.flight.items():
            flight.replica.cancel(request_id)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while self.flight and time.monotonic() < deadline and not self.pool.closing.is_set():
            self._handle_events(timeout_s=0.1)
            self.backlog.clear()
        if self.pool.closing.is_set():
            return  # all replicas are about to be ended
        for replica in {f.replica.name: f.replica for f in self.flight.values()}.values():
            log.warning("replica %s did not answer; it is ended", replica.name)
            self._on_lost(replica, Lost("it did not answer a stop"))


def _stamp(path: Path) -> tuple[int, int] | None:
    """Size in bytes and time of the last change in nanoseconds: another content has another one. None: no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
