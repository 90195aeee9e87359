import threading
from pathlib import Path

from captioner import events as facts
from captioner.events import EventLog

ABOUT = {"job": 1, "item": "a.mp4", "path": Path("/x/a.mp4")}


def started(log: EventLog, total: int = 3) -> None:
    log.append(facts.JobQueued(job=1, total=total))
    log.append(facts.JobStarted(job=1, total=total, model="demo"))


def test_events_are_numbered_without_gaps():
    log = EventLog()
    started(log)
    log.append(facts.ItemStarted(**ABOUT, replica="cpu"))
    assert [e.number for e in log.since(0)] == [1, 2, 3]
    assert [e.number for e in log.since(2)] == [3]
    assert log.since(3) == []


def test_reader_that_fell_behind_gets_what_is_left_and_a_whole_snapshot(monkeypatch):
    monkeypatch.setattr(facts, "KEPT_EVENTS", 4)
    log = EventLog()
    started(log, 10)
    for i in range(10):
        log.append(facts.ItemFailed(**ABOUT | {"item": f"{i}.mp4"}, reason="broken"))
    assert [e.number for e in log.since(1)] == [9, 10, 11, 12]
    assert log.snapshot().failed == 10


def test_snapshot_adds_up_what_happened():
    log = EventLog()
    started(log)
    log.append(facts.ReplicaChanged(replica="cpu", state="ready", report=(("device", "cpu"),)))
    log.append(facts.ItemStarted(**ABOUT, replica="cpu"))
    log.append(facts.ItemProgress(**ABOUT, tokens=7))
    now = log.snapshot()
    assert (now.stage, now.active, now.running, now.tokens) == ("running", True, (("a.mp4", 7),), 7)
    assert now.replicas[0].items == ("a.mp4",)
    log.append(facts.ItemDone(**ABOUT, caption="a dog", tokens=9, seconds=1.0, replica="cpu"))
    log.append(facts.ItemFailed(**ABOUT | {"item": "b.mp4"}, reason="broken"))
    log.append(facts.ItemSkipped(**ABOUT | {"item": "c.mp4"}))
    log.append(facts.JobEnded(job=1, outcome="done"))
    end = log.snapshot()
    assert (end.stage, end.done, end.failed, end.skipped, end.finished) == ("done", 1, 1, 1, 3)
    assert (end.tokens, end.running, end.failures) == (9, (), (("b.mp4", "broken"),))
    assert end.replicas[0].report == (("device", "cpu"),)
    assert end.cursor == 9


def test_new_job_starts_from_zero_but_keeps_the_replicas():
    log = EventLog()
    started(log)
    log.append(facts.ReplicaChanged(replica="cpu", state="ready"))
    log.append(facts.ItemFailed(**ABOUT, reason="broken"))
    log.append(facts.JobEnded(job=1, outcome="done"))
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
        log.append(facts.ItemFailed(**ABOUT | {"item": str(i)}, reason="broken"))
    log.close()
    for thread in threads:
        thread.join(5)
    assert seen["one"] == seen["two"] == list(range(1, 103))


def test_event_as_json_names_its_kind():
    event = EventLog().append(facts.ItemSkipped(**ABOUT))
    assert event.to_json() | {"time_s": 0} == {
        "event": "ItemSkipped",
        "number": 1,
        "time_s": 0,
        "job": 1,
        "item": "a.mp4",
        "path": "/x/a.mp4",
    }
