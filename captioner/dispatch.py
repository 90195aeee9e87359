"""One job while it runs: items to replicas, their answers to captions on disk and events."""

import itertools
import logging
import math
import queue
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from captioner import events as facts
from captioner.captions import CaptionStore
from captioner.cleanup import Decoration, clean, decorate
from captioner.errors import CaptionerError, ModelError
from captioner.events import EventLog
from captioner.prompts import expand
from captioner.replicas.base import Cancelled, Failed, Finished, Load, Lost, Ready, Replica, ReplicaEvent, TokensSoFar
from captioner.replicas.pool import ReplicaPool
from captioner.runs import Meter
from captioner.values import (
    Caption,
    CaptionRequest,
    ExistingPolicy,
    GenerationOptions,
    MediaItem,
    ModelSpec,
    SamplePlan,
)

log = logging.getLogger(__name__)

STOP_TIMEOUT_S = 15.0  # a replica that has not answered a cancel by then is ended
LOAD_INTERVAL_S = 0.9  # between two ReplicaLoad of one replica, which tells its load twice a second
MAX_LOSSES = 2  # an item in flight at this many losses of a replica is not tried again

FindModel = Callable[[Callable[[int, int], None]], Path]  # on_bytes(done, total) -> folder of the model's files


@dataclass(frozen=True)
class Model:
    """What to load: a name for people, how to find the files, one spec a replica."""

    name: str
    find: FindModel
    specs: tuple[ModelSpec, ...]


@dataclass(frozen=True)
class Job:
    """What to caption and how; a copy of the settings at the moment of the start."""

    items: tuple[MediaItem, ...]
    model: Model
    prompt: str  # its variables are filled in for each item when its turn comes
    plan: SamplePlan = field(default_factory=SamplePlan)
    options: GenerationOptions = field(default_factory=GenerationOptions)
    existing: ExistingPolicy = "skip"
    decoration: Decoration = field(default_factory=Decoration)
    save: bool = True  # False: a try; captions become events, and nothing is kept of them


class Stopped(Exception):
    """Ends a download when its job was stopped."""


@dataclass
class _InFlight:
    item: MediaItem
    replica: Replica
    started: bool = False


@dataclass
class Run:
    """One job while it runs; nothing of it outlives the job."""

    number: int
    job: Job
    stop: threading.Event
    log: EventLog
    store: CaptionStore
    pool: ReplicaPool
    ready: set[str]  # names of replicas whose model is loaded
    pending: deque[MediaItem] = field(default_factory=deque)
    flight: dict[int, _InFlight] = field(default_factory=dict)
    losses: dict[str, int] = field(default_factory=dict)  # item name -> replicas lost while it was in flight
    counts: dict[str, int] = field(default_factory=lambda: {"done": 0, "skipped": 0, "failed": 0})
    lost_reason: str = ""
    meter: Meter = field(default_factory=Meter)
    loads_told: dict[str, float] = field(default_factory=dict)  # replica -> monotonic time of the last ReplicaLoad

    def run(self) -> None:
        self.pending.extend(self.job.items)
        if self.job.items and not self._find_next():
            return
        folder = self.job.model.find(self._on_bytes)
        self._on_bytes(0, 0)
        started, ended = self.pool.ensure(self.job.model.specs, folder)
        for name in ended:
            self.ready.discard(name)
            self.log.append(facts.ReplicaChanged(replica=name, state="closed"))
        for replica in started:
            self.log.append(facts.ReplicaChanged(replica=replica.name, state="starting"))
        while self._unfinished() and not self.stop.is_set():
            self._fill()
            self._handle_events(timeout_s=0.1)
        self._cancel_rest()

    def end(self, outcome: facts.JobOutcome, reason: str = "") -> facts.JobEnded:
        return facts.JobEnded(job=self.number, outcome=outcome, reason=reason, **self.counts)

    def _find_next(self) -> bool:
        """Whether an item is left that needs a caption; it is the first of `pending` then.

        Asked for one item at a time, so that a job over 50,000 captioned files starts at once.
        """
        while self.pending and not self.stop.is_set():
            item = self.pending[0]
            try:
                if not self.job.save or self.store.needs_caption(item, self.job.existing):
                    return True
                self._skip(item)
            except CaptionerError as error:
                self._fail(item, str(error))
            self.pending.popleft()
        return False

    def _on_bytes(self, done: int, total: int) -> None:
        if self.stop.is_set():
            raise Stopped
        self.log.append(facts.ModelLoading(model=self.job.model.name, bytes_done=done, bytes_total=total))

    def _unfinished(self) -> bool:
        if self.job.items:
            return bool(self.pending or self.flight)
        return any(replica.name not in self.ready for replica in self.pool.replicas)

    def _fill(self) -> None:
        """One item after the other to whichever replica has the most room.

        None gets more than its even share of what is left: those that are still loading will want the rest.
        """
        share = -(-(len(self.pending) + len(self.flight)) // max(1, len(self.pool.replicas)))
        room = {
            replica.name: min(replica.capacity, share) - sum(f.replica is replica for f in self.flight.values())
            for replica in self.pool.replicas
            if replica.name in self.ready
        }
        replicas = {replica.name: replica for replica in self.pool.replicas}
        while room and max(room.values()) > 0 and self._find_next():
            name = max(room, key=room.__getitem__)
            room[name] -= 1
            self._submit(self.pending.popleft(), replicas[name])

    def _submit(self, item: MediaItem, replica: Replica) -> None:
        try:
            prompt = self._prompt(item)
        except CaptionerError as error:  # the caption that it asks for cannot be read
            self._fail(item, str(error))
            return
        request_id = _next_request_id()
        seed = (self.job.options.seed ^ zlib.crc32(item.name.encode("utf-8", "surrogateescape"))) & 0x7FFFFFFF
        options = replace(self.job.options, seed=seed)
        self.flight[request_id] = _InFlight(item, replica)
        self.meter.start()
        self.log.append(facts.ItemStarted(**self._about(item), replica=replica.name))
        replica.submit(CaptionRequest(request_id, item.path, item.kind, self.job.plan, prompt, options))

    def _prompt(self, item: MediaItem) -> str:
        return expand(
            self.job.prompt,
            name=Path(item.filename).stem,
            folder=item.folder.name,
            trigger=self.job.decoration.trigger,
            existing=lambda: self.store.read(item.caption_path),
        )

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
                self.log.append(facts.ReplicaChanged(replica=replica.name, state="ready", report=rows))
            case Load():
                self._tell_load(replica.name, event)
            case Lost():
                self._on_lost(replica, event.reason)
            case TokensSoFar():
                for request_id, tokens in event.tokens.items():
                    if request_id in self.flight:
                        about = self._about(self.flight[request_id].item)
                        self.log.append(facts.ItemProgress(**about, tokens=tokens))
            case Finished() | Failed() | Cancelled():
                flight = self.flight.pop(event.id, None)
                if flight is not None:
                    self._on_answer(flight, event)

    def _tell_load(self, replica: str, load: Load) -> None:
        now_s = time.monotonic()
        if now_s - self.loads_told.get(replica, -math.inf) < LOAD_INTERVAL_S:
            return
        self.loads_told[replica] = now_s
        self.log.append(
            facts.ReplicaLoad(
                replica=replica,
                slots=load.slots,
                running=load.running,
                waiting=load.waiting,
                decoding=load.decoding,
            )
        )

    def _on_answer(self, flight: _InFlight, answer: Finished | Failed | Cancelled) -> None:
        if isinstance(answer, Cancelled):
            return
        if isinstance(answer, Failed):
            self._fail(flight.item, answer.reason)
            return
        caption = answer.caption
        if not self.job.save:
            self._on_tried(flight.item, caption)
            return
        self.meter.add(caption)
        try:
            job = self.job
            written = self.store.write(flight.item, caption, job.existing, f"job {self.number}", job.decoration)
        except CaptionerError as error:
            self._fail(flight.item, str(error))
            return
        if written.outcome == "kept":
            self._skip(flight.item)
            return
        self.counts["done"] += 1
        self.log.append(
            facts.ItemDone(
                **self._about(flight.item),
                caption=written.text,
                tokens=caption.num_tokens,
                seconds=round(caption.seconds, 3),
                replica=flight.replica.name,
                warning=caption.warning,
            )
        )

    def _on_tried(self, item: MediaItem, caption: Caption) -> None:
        text = clean(caption.text)
        if not text:
            self._fail(item, "the model returned an empty caption")
            return
        self.counts["done"] += 1
        self.log.append(
            facts.ItemTried(
                **self._about(item),
                caption=decorate(text, self.job.decoration),
                tokens=caption.num_tokens,
                seconds=round(caption.seconds, 3),
            )
        )

    def _on_lost(self, replica: Replica, reason: str) -> None:
        """Give the replica's work back; fail only what was in flight at too many losses, or all when none is left."""
        self.ready.discard(replica.name)
        self.pool.drop(replica)
        self.lost_reason = f"{replica.name}: {reason}"
        self.log.append(facts.ReplicaChanged(replica=replica.name, state="lost", detail=reason))
        returned = [request_id for request_id, f in self.flight.items() if f.replica is replica]
        for request_id in reversed(returned):
            item = self.flight.pop(request_id).item
            self.losses[item.name] = self.losses.get(item.name, 0) + 1
            if self.losses[item.name] >= MAX_LOSSES:
                self._fail(item, f"the replica was lost {MAX_LOSSES} times while it ran; last: {reason}")
            else:
                self.pending.appendleft(item)
        if self.pool.replicas or self.stop.is_set():
            self.lost_reason = ""
            return
        if not self.job.items:
            raise ModelError(self.lost_reason)
        while self.pending:
            self._fail(self.pending.popleft(), f"no replica is left; the last one was lost: {reason}")

    def _cancel_rest(self) -> None:
        for request_id, flight in self.flight.items():
            flight.replica.cancel(request_id)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        self.pending.clear()
        while self.flight and time.monotonic() < deadline:
            self._handle_events(timeout_s=0.1)
            self.pending.clear()
        for replica in {f.replica.name: f.replica for f in self.flight.values()}.values():
            log.warning("replica %s did not answer; it is ended", replica.name)
            self._on_lost(replica, "it did not answer a stop")

    def _skip(self, item: MediaItem) -> None:
        self.counts["skipped"] += 1
        self.log.append(facts.ItemSkipped(**self._about(item)))

    def _fail(self, item: MediaItem, reason: str) -> None:
        self.counts["failed"] += 1
        self.log.append(facts.ItemFailed(**self._about(item), reason=reason))

    def _about(self, item: MediaItem) -> dict:
        return {"job": self.number, "item": item.name, "path": item.path}


_request_ids = itertools.count(1)


def _next_request_id() -> int:
    return next(_request_ids)
