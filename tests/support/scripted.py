"""Replicas that follow a script: what a real model cannot be made to do on demand."""

import queue
from dataclasses import dataclass, field
from pathlib import Path

from captioner.jobs.job import Job, Model
from captioner.media.discover import discover
from captioner.replicas.protocol import Cancelled, Failed, Finished, Lost, Ready
from captioner.values import CapabilityReport, Caption, ModelSpec


@dataclass
class ScriptedReplica:
    """Answers each request by `answer(replica, request)`; None holds it back until a cancel."""

    name: str
    answer: object
    capacity: int = 2
    requests: list = field(default_factory=list)
    most_in_flight: int = 0
    closed: bool = False

    def __post_init__(self):
        self.outbox = queue.Queue()
        self.open = set()
        self.outbox.put(Ready(CapabilityReport(self.name, (("device", self.name),)), self.capacity))

    def submit(self, request):
        self.requests.append(request)
        self.open.add(request.id)
        self.most_in_flight = max(self.most_in_flight, len(self.open))
        event = self.answer(self, request)
        if event is not None:
            self.outbox.put(event)

    def cancel(self, request_id):
        if request_id in self.open:
            self.outbox.put(Cancelled(request_id))

    def events(self, timeout_s):
        try:
            event = self.outbox.get(timeout=timeout_s)
        except queue.Empty:
            return [Lost("closed")] if self.closed else []
        if isinstance(event, Finished | Failed | Cancelled):
            self.open.discard(event.id)
        return [event]

    def close(self):
        self.closed = True


def finish(replica, request):
    caption = Caption(f"{request.path.stem} by {replica.name}", "m", request.prompt, request.options, num_tokens=3)
    return Finished(request.id, caption)


def die(replica, request):
    return Lost("out of memory")


def job(folder, *devices, find=lambda on_bytes: Path("model"), **options) -> Job:
    model = Model("scripted", find, tuple(ModelSpec("m", device) for device in devices))
    return Job(discover(folder).items, model, "describe", **options)


def run(jobs, the_job):
    events = list(jobs.follow(jobs.start(the_job)))
    return events, events[-1]
