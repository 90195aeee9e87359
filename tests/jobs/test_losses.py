"""Lost replicas: their items run on others, and the item that crashes them is found."""

from collections import Counter

import pytest

from captioner.jobs.events import ItemFailed, ItemGivenBack, ReplicaChanged
from captioner.replicas.protocol import Failed, Lost, TokensSoFar
from tests.support.scripted import die, finish, job, run


def die_at_first(replica, request):
    """Lose the replica that gets the first request of all."""
    if not deaths:
        deaths.append(request.path.name)
        return Lost("out of memory")
    return finish(replica, request)


@pytest.fixture(autouse=True)
def _no_deaths_yet(monkeypatch):
    deaths.clear()
    monkeypatch.setattr("captioner.replicas.pool.FIRST_DELAY_S", 0.01)


deaths = []


def test_lost_replica_returns_its_items_and_comes_back(runner, library):
    jobs, log, started = runner(cpu=die_at_first)
    events, ended = run(jobs, job(library, "cpu"))
    assert (ended.outcome, ended.done, ended.failed) == ("done", 8, 0)
    assert [r.closed for r in started] == [True, False]
    states = [e.state for e in events if isinstance(e, ReplicaChanged)]
    assert states == ["starting", "ready", "lost", "starting", "ready"]
    given_back = {e.item for e in events if isinstance(e, ItemGivenBack)}
    assert given_back == {"0.mp4", "1.mp4"}
    assert log.snapshot().running == ()


def test_suspects_run_alone_and_after_the_others(runner, library):
    jobs, _, started = runner(cpu=die_at_first)
    run(jobs, job(library, "cpu"))
    assert [r.path.stem for r in started[1].requests] == ["2", "3", "4", "5", "6", "7", "0", "1"]


def test_crashing_item_is_found_and_its_neighbors_are_captioned(runner, library):
    def die_of_3_and_6(replica, request):
        return Lost("segmentation fault") if request.path.stem in "36" else finish(replica, request)

    jobs, log, _ = runner(cpu=die_of_3_and_6)
    events, ended = run(jobs, job(library, "cpu"))
    assert (ended.outcome, ended.done, ended.failed) == ("done", 6, 2)
    given_back = {e.item for e in events if isinstance(e, ItemGivenBack)}
    assert {"3.mp4", "6.mp4"} <= given_back
    assert len(given_back) <= 4
    assert sorted(log.snapshot().failures) == [
        (f"{i}.mp4", "skipped after crashing 2 workers (last error: segmentation fault)") for i in (3, 6)
    ]


def test_item_that_crashes_after_its_first_tokens_costs_two_replicas(runner, library):
    """Its neighbor, which had tokens too, runs again once."""

    def die_of_3(replica, request):
        if request.path.stem == "2" and replica is started[0]:
            return None
        if request.path.stem != "3":
            return finish(replica, request)
        replica.outbox.put(TokensSoFar(dict.fromkeys(replica.open, 5)))
        return Lost("segmentation fault")

    jobs, log, started = runner(cpu=die_of_3)
    _, ended = run(jobs, job(library, "cpu"))
    assert (ended.done, ended.failed) == (7, 1)
    assert [name for name, _ in log.snapshot().failures] == ["3.mp4"]
    asked = Counter(request.path.stem for replica in started for request in replica.requests)
    assert asked == dict.fromkeys("014567", 1) | {"2": 2, "3": 2}


def test_replica_that_always_dies_is_given_up_and_the_other_does_the_work(runner, library):
    jobs, _, started = runner(good=finish, bad=die)
    _, ended = run(jobs, job(library, "good", "bad"))
    assert (ended.outcome, ended.done, ended.failed) == ("done", 8, 0)
    assert 1 <= sum(r.name == "bad" for r in started) <= 3


def test_job_fails_with_the_reason_and_its_items_wait_when_no_replica_is_left(runner, library):
    """One line, whether 8 or 50,000 items are left."""
    jobs, _, started = runner(bad=die)
    events, ended = run(jobs, job(library, "bad"))
    assert (ended.outcome, ended.done, ended.failed, len(started)) == ("failed", 0, 0, 3)
    assert ended.reason == "bad: out of memory"
    assert [event for event in events if isinstance(event, ItemFailed)] == []


def test_next_job_gives_a_replica_that_was_given_up_a_new_chance(runner, library):
    jobs, _, started = runner(cpu=lambda replica, request: (die if len(started) <= 3 else finish)(replica, request))
    _, ended = run(jobs, job(library, "cpu"))
    assert (ended.outcome, len(started)) == ("failed", 3)
    _, ended = run(jobs, job(library, "cpu"))
    assert (ended.outcome, ended.done, len(started)) == ("done", 8, 4)


def test_failed_item_costs_no_other(runner, library):
    def fail_third(replica, request):
        return Failed(request.id, "broken") if request.path.stem == "3" else finish(replica, request)

    jobs, _, _ = runner(cpu=fail_third)
    events, ended = run(jobs, job(library, "cpu"))
    assert (ended.done, ended.failed) == (7, 1)
    assert [(e.item, e.reason) for e in events if isinstance(e, ItemFailed)] == [("3.mp4", "broken")]
    assert not (library / "3.txt").exists()
