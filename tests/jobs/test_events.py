import queue
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from captioner.captions.store import CaptionStore
from captioner.jobs import event_log as events
from captioner.jobs.event_log import EventLog
from captioner.jobs.events import (
    ItemDone,
    ItemFailed,
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
)
from captioner.jobs.job import Job, Model
from captioner.jobs.runner import JobRunner
from captioner.media.discover import discover
from captioner.replicas.pool import ReplicaPool
from captioner.replicas.protocol import Finished, Load, Ready
from captioner.system.database import Database
from captioner.values import CapabilityReport, Caption, GenerationOptions, ModelSpec

ABOUT = {"job": 1, "item": "a.mp4", "path": Path("/x/a.mp4")}


def started(log: EventLog, total: int = 3) -> None:
    log.append(JobQueued(job=1, total=total))
    log.append(JobStarted(job=1, total=total, model="demo"))


def test_events_are_numbered_without_gaps():
    log = EventLog()
    started(log)
    log.append(ItemStarted(**ABOUT, replica="cpu"))
    assert [e.number for e in log.since(0)] == [1, 2, 3]
    assert [e.number for e in log.since(2)] == [3]
    assert log.since(3) == []


def test_reader_that_fell_behind_gets_the_kept_events_and_a_complete_snapshot(monkeypatch):
    monkeypatch.setattr(events, "KEPT_EVENTS", 4)
    log = EventLog()
    started(log, 10)
    for i in range(10):
        log.append(ItemFailed(**ABOUT | {"item": f"{i}.mp4"}, reason="broken"))
    assert [e.number for e in log.since(1)] == [9, 10, 11, 12]
    assert log.snapshot().failed == 10


def test_wait_returns_when_the_condition_holds_or_after_the_timeout():
    log = EventLog()
    log.wait(lambda progress: progress.job == 1, 0.01)
    assert log.snapshot().job == 0
    threading.Timer(0.05, started, (log,)).start()
    log.wait(lambda progress: progress.job == 1, 20)
    assert log.snapshot().job == 1


def test_snapshot_adds_up_the_events():
    log = EventLog()
    started(log)
    log.append(ReplicaChanged(replica="cpu", state="ready", report=(("device", "cpu"),)))
    log.append(ItemStarted(**ABOUT, replica="cpu"))
    log.append(ItemProgress(**ABOUT, tokens=7))
    now = log.snapshot()
    assert (now.stage, now.active, now.running, now.tokens) == ("running", True, (("a.mp4", 7),), 7)
    assert now.replicas[0].items == ("a.mp4",)
    log.append(ItemDone(**ABOUT, caption="a dog", tokens=9, seconds=1.0, replica="cpu"))
    log.append(ItemFailed(**ABOUT | {"item": "b.mp4"}, reason="broken"))
    log.append(ItemSkipped(**ABOUT | {"item": "c.mp4"}))
    log.append(JobEnded(job=1, outcome="done"))
    end = log.snapshot()
    assert (end.stage, end.done, end.failed, end.skipped, end.finished) == ("done", 1, 1, 1, 3)
    assert (end.tokens, end.running, end.failures) == (9, (), (("b.mp4", "broken"),))
    assert end.replicas[0].report == (("device", "cpu"),)
    assert end.cursor == 9


def test_job_that_ends_without_a_start_only_leaves_the_queue():
    log = EventLog()
    started(log)
    before = log.snapshot()
    log.append(JobQueued(job=2, total=3))
    assert log.snapshot().queue == ((2, 3, False),)
    log.append(JobEnded(job=2, outcome="stopped"))
    assert replace(log.snapshot(), cursor=before.cursor) == before


def test_new_job_starts_from_zero_but_keeps_the_replicas():
    log = EventLog()
    started(log)
    log.append(ReplicaChanged(replica="cpu", state="ready"))
    log.append(ItemFailed(**ABOUT, reason="broken"))
    log.append(JobEnded(job=1, outcome="done"))
    started(log, 5)
    now = log.snapshot()
    assert (now.stage, now.total, now.failed, now.failures, now.queued_jobs) == ("loading", 5, 0, (), 0)
    assert [r.name for r in now.replicas] == ["cpu"]


def test_followers_see_every_event_in_order_and_end_with_the_log():
    log = EventLog()
    seen = {name: [] for name in ("one", "two")}
    threads = [
        threading.Thread(target=lambda name=name: seen[name].extend(e.number for e in log.follow())) for name in seen
    ]
    for thread in threads:
        thread.start()
    started(log)
    for i in range(100):
        log.append(ItemFailed(**ABOUT | {"item": str(i)}, reason="broken"))
    log.close()
    for thread in threads:
        thread.join(5)
    assert seen["one"] == seen["two"] == list(range(1, 103))


def test_event_as_json_names_its_type():
    event = EventLog().append(ItemSkipped(**ABOUT))
    assert event.to_json() | {"time_s": 0} == {
        "event": "ItemSkipped",
        "number": 1,
        "time_s": 0,
        "job": 1,
        "item": "a.mp4",
        "path": "/x/a.mp4",
        "reason": "",
        "faults": (),
    }


def test_json_of_a_trial_leaves_out_how_its_caption_was_made():
    made = Caption("a dog", "demo", "Describe.", GenerationOptions())
    event = ItemTried(**ABOUT, caption="a dog", tokens=4, seconds=0.5, made=made).to_json()
    assert list(event) == ["event", "number", "time_s", "job", "item", "path", "caption", "tokens", "seconds"]


def test_trial_counts_as_done():
    log = EventLog()
    started(log, 1)
    log.append(ItemStarted(**ABOUT, replica="cpu"))
    log.append(ItemTried(**ABOUT, caption="a dog", tokens=4, seconds=0.5))
    now = log.snapshot()
    assert (now.done, now.finished, now.tokens, now.running) == (1, 1, 4, ())


def test_load_of_a_replica_is_shown_until_the_job_ends():
    log = EventLog()
    started(log)
    log.append(ReplicaLoad(replica="gone", slots=4, running=4, waiting=0, decoding=0))
    log.append(ReplicaChanged(replica="cpu", state="ready"))
    log.append(ReplicaLoad(replica="cpu", slots=16, running=11, waiting=2, decoding=3))
    [replica] = log.snapshot().replicas
    assert (replica.slots, replica.running, replica.waiting, replica.decoding) == (16, 11, 2, 3)
    log.append(JobEnded(job=1, outcome="done"))
    [replica] = log.snapshot().replicas
    assert (replica.slots, replica.running, replica.waiting, replica.decoding) == (16, 0, 0, 0)


class BusyReplica:
    """Sends its load three times at each request, then answers it."""

    name, capacity = "cpu", 1

    def __init__(self) -> None:
        self.outbox = queue.Queue()
        self.outbox.put(Ready(CapabilityReport("cpu", ()), 1))

    def submit(self, request) -> None:
        for _ in range(3):
            self.outbox.put(Load(slots=16, running=1, waiting=2, decoding=3, starved_s=0.0, up_s=1.0))
        caption = Caption("a dog", "m", request.prompt, request.options, num_tokens=2)
        self.outbox.put(Finished(request.id, caption))

    def cancel(self, request_id) -> None:
        pass

    def events(self, timeout_s):
        try:
            return [self.outbox.get(timeout=timeout_s)]
        except queue.Empty:
            return []

    def close(self) -> None:
        pass


def test_load_of_a_replica_is_emitted_at_most_once_a_second(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"x")
    log, database = EventLog(), Database(tmp_path / "captioner.sqlite")
    jobs = JobRunner(log, CaptionStore(database, tmp_path), database, ReplicaPool(lambda *_: BusyReplica()))
    model = Model("m", lambda on_bytes: tmp_path, (ModelSpec("m", "cpu"),))
    events = list(jobs.follow(jobs.start(Job(discover(tmp_path).items, model, "describe"))))
    jobs.close()
    database.close()
    [load] = [event for event in events if isinstance(event, ReplicaLoad)]
    assert (load.replica, load.slots, load.running, load.waiting, load.decoding) == ("cpu", 16, 1, 2, 3)


def test_download_speed_is_shown_during_the_download(monkeypatch):
    log, now = EventLog(), iter([100.0, 100.0, 100.0])
    monkeypatch.setattr(log, "now_s", lambda: next(now, 102.0))
    started(log)
    log.append(ModelLoading(model="m", bytes_done=0, bytes_total=1000))
    log.append(ModelLoading(model="m", bytes_done=300, bytes_total=1000))
    assert log.snapshot().bytes_per_s == pytest.approx(150)
    log.append(ModelLoading(model="m"))
    assert log.snapshot().bytes_per_s == 0
