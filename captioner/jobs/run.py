"""One job while it runs: gives items to replicas, and turns their answers into caption files and events."""

import logging
import math
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from captioner.captions.places import check_writable, obstacle, unwritable_folders
from captioner.captions.store import CaptionStore
from captioner.dataset.cuts import missing_note
from captioner.errors import CaptionError, ModelError, StateError
from captioner.jobs.answers import Answers
from captioner.jobs.backlog import MAX_LOSSES, Backlog
from captioner.jobs.event_log import EventLog
from captioner.jobs.events import ModelLoading, ReplicaChanged, ReplicaLoad
from captioner.jobs.flights import Flight, Flights
from captioner.jobs.job import Job
from captioner.jobs.last_items import Held, LastItems
from captioner.jobs.outcomes import Outcomes
from captioner.jobs.reports import Reports
from captioner.jobs.saving import CaptionWriter, stamp_of
from captioner.jobs.unsaved import Unsaved
from captioner.replicas.pool import ReplicaPool
from captioner.replicas.protocol import (
    Answer,
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
from captioner.values import MediaItem

log = logging.getLogger(__name__)

STOP_TIMEOUT_S = 15.0  # a replica that has not answered a cancel by then is ended
MOVE_INTERVAL_S = 0.1  # between two looks for last items to move
ANSWERS_AT_ONCE = 32  # whose captions are written together; then replicas get new items


class Stopped(Exception):
    """Ends a download when its job was stopped."""


@dataclass
class Run:
    """One job while it runs. Its state does not outlive the job; used by one thread.

    A StateError ends it, since a caption may be replaced only after the old text was saved. Items that have no
    caption by then are neither done nor failed.
    """

    job: Job
    operation: int | None  # the job's number in the journal; None if it is not recorded there
    stop: threading.Event
    log: EventLog
    store: CaptionStore
    pool: ReplicaPool
    outcomes: Outcomes
    backlog: Backlog
    flights: Flights = field(default_factory=Flights)
    lost_reason: str = ""
    broken: bool = False  # the state folder cannot be written, so neither can captions
    ending: bool = False
    unwritable: dict[Path, str] = field(default_factory=dict)  # folder -> why it takes no captions
    last_items: LastItems = field(default_factory=LastItems)
    last_move_s: float = -math.inf  # monotonic; see _move_last_items
    reports: Reports = field(default_factory=Reports)

    def __post_init__(self) -> None:
        self.writer = CaptionWriter(self.job, self.operation, self.store, self.outcomes)
        self.answers = Answers(self.job, self.operation, self.store, self.outcomes, self.writer)
        self.unsaved = Unsaved(self.job, self.store.database, self.outcomes)

    def run(self) -> None:
        """Run the job to its end. Raise ModelError, PromptError, StateError, and Stopped during a download."""
        try:
            self._run()
        except StateError:
            self.broken = True
            raise
        finally:
            self._cancel_rest()

    def _run(self) -> None:
        if self.job.save:
            self.backlog.drop(self.writer.write_kept())
            self.unwritable = unwritable_folders(self.job.items, self.store.files.within)
            check_writable([*self.backlog.together, *self.backlog.alone], self.unwritable)
        if self.job.items and not any(map(self._drop_captioned, (self.backlog.together, self.backlog.alone))):
            return
        folder = self.job.model.find(self._on_bytes)
        self.job.check_prompt(folder)
        self.outcomes.note(missing_note(self.job.target))
        self._on_bytes(0, 0)
        started, ended = self.pool.ensure(self.job.model.specs, folder)
        for name in ended:
            self.log.append(ReplicaChanged(replica=name, state="closed"))
        self._emit_started(started)
        self.flights.may_have_room(self.pool.ready)  # since the last job
        self._handle_events(timeout_s=0)  # a replica may have died since the last job
        while self._unfinished() and not self.stop.is_set():
            self._emit_started(self.pool.restart_due())
            self._fill()
            self._handle_events(timeout_s=0.1)

    def _drop_captioned(self, waiting: deque[MediaItem]) -> bool:
        """Drop items from the front until one needs a caption; return whether there is one.

        Files are looked at one at a time, so that a job over 50,000 captioned files starts at once.
        """
        while waiting and not self.stop.is_set():
            item = waiting[0]
            try:
                skip = self.answers.skip_reason(item) if self.job.save else None
                if skip:
                    self.outcomes.skipped(item, skip)
                elif self.backlog.is_poison(item):
                    self.outcomes.failed(item, f"skipped after crashing {MAX_LOSSES} workers in an earlier job")
                elif self.unwritable and (reason := obstacle(item, self.unwritable)):
                    self.outcomes.failed(item, reason)
                else:
                    return True
            except CaptionError as error:
                self.outcomes.failed(item, str(error))
            waiting.popleft()
        return False

    def _emit_started(self, replicas: list[Replica]) -> None:
        for replica in replicas:
            self.log.append(ReplicaChanged(replica=replica.name, state="starting"))

    def _on_bytes(self, done: int, total: int) -> None:
        if self.stop.is_set():
            raise Stopped
        self.log.append(ModelLoading(model=self.job.model.name, bytes_done=done, bytes_total=total))

    def _unfinished(self) -> bool:
        return bool(self.backlog or self.flights) if self.job.items else self.pool.loading

    def _fill(self) -> None:
        """Submit each item to the replica with the most room; run the suspects when all others have run.

        No replica gets more than its even share of what is left: those that are still loading will want the rest.
        """
        waiting, ready, slow = self.backlog.together, self.pool.ready, self.last_items.slow
        replicas = (ready if not slow else {name: ready[name] for name in ready.keys() - slow}) or ready
        if waiting:
            num_slow = len(ready) - len(replicas)
            share = -(-(len(waiting) + len(self.flights)) // max(1, self.pool.num_alive - num_slow))
            rooms = self.flights.rooms(replicas, share)
            while rooms and self._drop_captioned(waiting):
                self._submit(waiting.popleft(), replicas[rooms.take()])
        if self.backlog.alone and not waiting:
            self._run_suspects(ready)
        if not self.backlog:
            self._move_last_items(replicas)

    def _run_suspects(self, ready: dict[str, Replica]) -> None:
        has_others = self.pool.num_expected > 1
        for name, replica in ready.items():
            suspect = not self.flights.is_busy(name) and self.backlog.find_suspect(name, has_others)
            if suspect and self._drop_captioned(self.backlog.alone):
                self._submit(self.backlog.alone.popleft(), replica, alone=True)

    def _move_last_items(self, replicas: dict[str, Replica]) -> None:
        """Take items from slow replicas if others have nothing left to do; they come back as cancelled."""
        now_s = time.monotonic()
        if now_s - self.last_move_s < MOVE_INTERVAL_S:
            return
        self.last_move_s = now_s
        idle = {name: replica.capacity for name, replica in replicas.items() if not self.flights.is_busy(name)}
        flights = self.flights.items() if idle else ()
        held = [Held(id, flight.replica.name, flight.since_s) for id, flight in flights if not flight.alone]
        for request_id in self.last_items.to_move(held, idle, now_s):
            if flight := self.flights.get(request_id):
                flight.replica.cancel(request_id)
                self.flights.may_have_room(replicas)  # the share of each has grown

    def _submit(self, item: MediaItem, replica: Replica, alone: bool = False) -> None:
        try:
            request = self.answers.request(item)
        except CaptionError as error:  # the prompt includes the old caption, and that cannot be read for certain
            self.outcomes.failed(item, str(error))
            return
        about = (item, request.path, replica, alone, stamp_of(request.path), time.monotonic())
        self.flights.add(request.id, Flight(*about))
        self.answers.meter.start()
        self.outcomes.started(item, replica.name)
        replica.submit(request)

    def _handle_events(self, timeout_s: float) -> None:
        """Handle what has arrived, up to ANSWERS_AT_ONCE answers. Wait up to `timeout_s` for the first event."""
        num_answers = 0
        try:
            for replica, event in self.pool.events(timeout_s):
                num_answers += self._handle(replica, event)
                if num_answers == ANSWERS_AT_ONCE:
                    break
        finally:
            self.writer.flush()

    def _handle(self, replica: Replica, event: ReplicaEvent) -> bool:
        """Handle an event. Return whether it answers a request."""
        match event:
            case Ready():
                self.log.append(ReplicaChanged(replica=replica.name, state="ready", report=event.report.rows))
                self.flights.may_have_room([replica.name])
            case Load() if self.reports.is_due(replica.name, Load, len(self.pool.ready)):
                self._emit_load(replica.name, event)
            case Lost():
                self._on_lost(replica, event)
            case TokensSoFar() if self.reports.is_due(replica.name, TokensSoFar, len(self.pool.ready)):
                for request_id, tokens in event.tokens.items():
                    if flight := self.flights.get(request_id):
                        self.outcomes.progress(flight.item, flight.path, tokens)
            case Answer():
                flight = self.flights.pop(event.id)
                if flight is not None and not self.broken:
                    self._on_answer(flight, event)
                return flight is not None
        return False

    def _emit_load(self, replica: str, load: Load) -> None:
        slots, running, waiting, decoding = load.slots, load.running, load.waiting, load.decoding
        self.log.append(ReplicaLoad(replica=replica, slots=slots, running=running, waiting=waiting, decoding=decoding))

    def _on_answer(self, flight: Flight, answer: Answer) -> None:
        if not isinstance(answer, Cancelled):
            self.pool.answered(flight.replica)
        match answer:
            case Cancelled():
                self.backlog.put_back([flight.item])
                self.outcomes.given_back(flight.item, self.backlog.losses[flight.item.name])
            case Failed():
                self._fail(flight, answer.reason)
            case Finished() if self.job.save:
                self.last_items.answered(flight.replica.name, time.monotonic() - flight.since_s)
                if self.answers.wants_more(flight, answer.caption, may_ask=not self._is_ending):
                    self._submit(flight.item, flight.replica, flight.alone)
                else:
                    self._settle(flight, self.answers.take(flight, flight.replica.name))
            case _:
                self.unsaved.take(flight, answer)

    @property
    def _is_ending(self) -> bool:
        return self.ending or self.stop.is_set()

    def _settle(self, flight: Flight, waits: bool) -> None:
        """Let an item wait for its turn again, if it has to."""
        if waits:
            self.backlog.put_back([flight.item])
            if self._is_ending:  # nothing asks about it again
                self.outcomes.given_back(flight.item, self.backlog.losses[flight.item.name])

    def _fail(self, flight: Flight, reason: str) -> None:
        self._settle(flight, self.answers.fail(flight, reason))

    def _on_lost(self, replica: Replica, lost: Lost) -> None:
        self.log.append(ReplicaChanged(replica=replica.name, state="lost", detail=lost.reason))
        flights = {flight.item: flight for flight in self.flights.pop_all(replica.name)}
        items = list(flights)
        poison = [] if self.ending else self.backlog.charge(replica.name, items)
        for item in items:
            if item in poison:
                self._fail(flights[item], f"skipped after crashing {MAX_LOSSES} workers (last error: {lost.reason})")
            else:
                self.outcomes.given_back(item, self.backlog.losses[item.name])
        self.pool.lost(replica, lost.final, blameless=bool(poison))
        self.flights.may_have_room(self.pool.ready)
        if self.ending or self.pool.num_expected:
            return
        self.lost_reason = f"{replica.name}: {lost.reason}"
        if not self.job.items:
            raise ModelError(self.lost_reason)
        self.backlog.clear()  # which stays waiting in the journal; the end of the job says why

    def _cancel_rest(self) -> None:
        """Cancel what is in flight, and end the replicas that do not answer in time."""
        self.ending = True
        self.backlog.clear()
        for request_id, flight in self.flights.items():
            flight.replica.cancel(request_id)
        deadline_s = time.monotonic() + STOP_TIMEOUT_S
        while self.flights and time.monotonic() < deadline_s and not self.pool.closing.is_set():
            self._handle_events(timeout_s=0.1)
            self.backlog.clear()
        if self.pool.closing.is_set():
            return  # all replicas are about to be ended
        for replica in {flight.replica.name: flight.replica for _, flight in self.flights.items()}.values():
            log.warning("replica %s did not answer a cancel in time and is ended", replica.name)
            self._on_lost(replica, Lost("it did not answer a stop"))
