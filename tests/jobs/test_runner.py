"""JobRunner over scripted replicas: the queue, stops, and how the work is shared."""

import threading

import pytest

from captioner.errors import JobError, ModelError
from captioner.jobs.events import JobEnded, JobStarted, ReplicaChanged
from captioner.jobs.job import Job, Model
from captioner.jobs.throughput import SpeedStore
from captioner.system.database import Database
from captioner.values import ModelSpec
from tests.support.scripted import ScriptedReplica, finish, job, run


def test_every_item_gets_its_caption(runner, library):
    jobs, log, _ = runner(cpu=finish)
    _, ended = run(jobs, job(library, "cpu"))
    assert (ended.outcome, ended.done, ended.failed, ended.skipped) == ("done", 8, 0, 0)
    assert {p.name: p.read_text() for p in library.glob("*.txt")} == {f"{i}.txt": f"{i} by cpu" for i in range(8)}
    assert log.snapshot().done == 8


def test_job_over_captioned_items_loads_no_model(runner, library):
    jobs, _, started = runner(cpu=finish)
    run(jobs, job(library, "cpu"))
    calls = len(started[0].requests)
    jobs.unload()

    def find(on_bytes):
        raise ModelError("must not be asked for")

    _, ended = run(jobs, job(library, "cpu", find=find))
    assert (ended.outcome, ended.skipped) == ("done", 8)
    assert (calls, len(started)) == (8, 1)


def test_replicas_share_the_work_within_their_capacity(runner, library):
    jobs, _, started = runner(one=finish, two=finish)
    run(jobs, job(library, "one", "two"))
    assert sum(len(r.requests) for r in started) == 8
    assert all(r.requests and r.most_in_flight <= r.capacity for r in started)


def test_short_job_is_shared_even_when_one_replica_has_room_for_all(runner, library, monkeypatch):
    monkeypatch.setattr(ScriptedReplica, "capacity", 100)
    jobs, _, started = runner(one=finish, two=finish)
    run(jobs, job(library, "one", "two"))
    assert all(r.most_in_flight <= 4 for r in started)
    assert sum(len(r.requests) for r in started) == 8


def test_stop_takes_effect_at_once_and_the_next_job_runs_on_the_same_replica(runner, library):
    holding = threading.Event()

    def hold_then_finish(replica, request):
        if len(replica.requests) <= 2:
            holding.set()
            return None
        return finish(replica, request)

    jobs, _, started = runner(cpu=hold_then_finish)
    number = jobs.start(job(library, "cpu"))
    assert holding.wait(5)
    jobs.stop(number)
    ended = list(jobs.follow(number))[-1]
    assert (ended.outcome, ended.done, ended.failed) == ("stopped", 0, 0)
    assert len(started[0].requests) == 2
    _, ended = run(jobs, job(library, "cpu"))
    assert (ended.outcome, ended.done, len(started)) == ("done", 8, 1)


def test_stopping_a_job_does_not_touch_the_one_behind_it(runner, library):
    def hold_first_job(replica, request):
        return None if request.prompt == "hold" else finish(replica, request)

    jobs, _, _ = runner(cpu=hold_first_job)
    held = job(library, "cpu")
    first = jobs.start(Job(held.items, held.model, "hold"))
    second = jobs.start(held)
    jobs.stop(first)
    outcomes = {e.job: e.outcome for e in jobs.follow(second) if isinstance(e, JobEnded)}
    assert outcomes == {first: "stopped", second: "done"}


def test_waiting_job_is_removed_at_once_and_running_job_is_not(runner, library):
    holding = threading.Event()

    def hold_and_say(replica, request):
        holding.set()

    jobs, log, _ = runner(cpu=hold_and_say)
    first, second = jobs.start(job(library, "cpu")), jobs.start(job(library, "cpu"))
    assert holding.wait(5)
    assert (jobs.remove(first), jobs.remove(second), jobs.remove(second)) == (False, True, False)
    assert list(jobs.follow(second))[-1].outcome == "stopped"
    assert (log.snapshot().job, log.snapshot().stage, log.snapshot().queue) == (first, "running", ())
    jobs.stop()
    assert list(jobs.follow(first))[-1].job == first
    assert not any(isinstance(event, JobStarted) and event.job == second for event in log.since(0))


def test_stop_ends_a_download(runner, library):
    downloading = threading.Event()

    def find(on_bytes):
        while True:
            on_bytes(1, 10)
            downloading.set()

    jobs, _, started = runner(cpu=finish)
    number = jobs.start(job(library, "cpu", find=find))
    assert downloading.wait(5)
    jobs.stop(number)
    ended = next(e for e in jobs.follow(number) if isinstance(e, JobEnded))
    assert (ended.outcome, started) == ("stopped", [])


def test_missing_model_fails_the_job_with_its_message(runner, library):
    def find(on_bytes):
        raise ModelError("the Hub has no model x/y")

    jobs, _, _ = runner(cpu=finish)
    _, ended = run(jobs, job(library, "cpu", find=find))
    assert (ended.outcome, ended.reason) == ("failed", "the Hub has no model x/y")


def test_changed_spec_replaces_the_replica(runner, library):
    jobs, _, started = runner(cpu=finish)
    first = job(library, "cpu")
    run(jobs, first)
    spec = ModelSpec("m", "cpu", dtype="float32")
    events, ended = run(jobs, Job(first.items, Model("scripted", first.model.find, (spec,)), "p", existing="overwrite"))
    assert (ended.done, len(started), started[0].closed, started[1].closed) == (8, 2, True, False)
    assert [e.state for e in events if isinstance(e, ReplicaChanged)][-3:] == ["closed", "starting", "ready"]


def test_file_changed_while_it_is_captioned_fails_alone_and_its_old_caption_stays(runner, library):
    def swap_3_and_4(replica, request):
        if request.path.stem == "3":
            request.path.write_bytes(b"another clip")
        if request.path.stem == "4":
            request.path.unlink()
        return finish(replica, request)

    (library / "3.txt").write_text("Old.")
    the_job = job(library, "cpu", existing="overwrite")
    (library / "5.mp4").write_bytes(b"another clip before its turn")
    jobs, log, _ = runner(cpu=swap_3_and_4)
    _, ended = run(jobs, the_job)
    assert (ended.outcome, ended.done, ended.failed) == ("done", 6, 2)
    reason = "the file was changed while it was captioned; caption it again"
    assert sorted(log.snapshot().failures) == [("3.mp4", reason), ("4.mp4", reason)]
    assert ((library / "3.txt").read_text(), (library / "4.txt").exists()) == ("Old.", False)


def test_unwritable_caption_fails_its_item_alone(runner, library):
    (library / "2.txt").mkdir()
    jobs, _, _ = runner(cpu=finish)
    _, ended = run(jobs, job(library, "cpu"))
    assert (ended.outcome, ended.done, ended.failed) == ("done", 7, 1)


def test_loading_is_a_job_without_items(runner, library):
    jobs, log, started = runner(cpu=finish)
    number = jobs.load(job(library, "cpu").model)
    assert list(jobs.follow(number))[-1].outcome == "done"
    assert (len(started), log.snapshot().replicas[0].state) == (1, "ready")
    jobs.unload()
    jobs.close()
    assert started[0].closed
    assert log.snapshot().replicas == ()


def test_job_without_items_is_refused(runner, tmp_path):
    jobs, _, _ = runner(cpu=finish)
    (tmp_path / "empty").mkdir()
    with pytest.raises(JobError, match="nothing to caption"):
        jobs.start(job(tmp_path / "empty", "cpu"))


def test_speed_of_a_job_is_recorded_before_its_end_is_emitted(runner, library, tmp_path):
    jobs, _, _ = runner(cpu=finish)
    the_job = job(library, "cpu")
    database = Database(tmp_path / "captioner.sqlite")
    runs = SpeedStore(database)
    assert runs.throughput(the_job.model.specs, the_job.plan) is None
    run(jobs, the_job)
    measured = runs.throughput(the_job.model.specs, the_job.plan)
    assert (measured.num_captions, measured.new_tokens_per_caption) == (8, 3.0)
    assert measured.tokens_per_s > 0
    run(jobs, the_job)  # everything has its caption: nothing to measure
    assert runs.throughput(the_job.model.specs, the_job.plan) == measured
    database.close()
