"""JobRunner over replicas that follow a script: what a real model cannot be made to do on demand."""

import queue
import sqlite3
import threading
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from captioner.captions.store import CaptionStore
from captioner.captions.text import Decoration
from captioner.errors import JobError, ModelError
from captioner.jobs.event_log import EventLog
from captioner.jobs.events import ItemDone, ItemFailed, ItemGivenBack, ItemTried, JobEnded, JobStarted, ReplicaChanged
from captioner.jobs.job import Job, Model
from captioner.jobs.runner import JobRunner
from captioner.jobs.throughput import SpeedStore
from captioner.media.discover import discover
from captioner.replicas.pool import ReplicaPool
from captioner.replicas.protocol import Cancelled, Failed, Finished, Lost, Ready, TokensSoFar
from captioner.system.database import Database
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


def hold(replica, request):
    return None


def die(replica, request):
    return Lost("out of memory")


@pytest.fixture
def library(tmp_path):
    """A folder of eight files that look like media; no decoder ever sees them."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for i in range(8):
        (folder / f"{i}.mp4").write_bytes(b"x")
    return folder


@pytest.fixture
def runner(tmp_path):
    """A function (answers by device) -> (JobRunner, EventLog, replicas started so far)."""
    made = []

    def make(**answers):
        started = []

        def start(name, spec, folder, num_threads):
            started.append(ScriptedReplica(name, answers[spec.device]))
            return started[-1]

        database = Database(tmp_path / "captioner.sqlite")
        log = EventLog()
        jobs = JobRunner(log, CaptionStore(database, tmp_path / "scratch"), database, ReplicaPool(start))
        made.append((jobs, database))
        return jobs, log, started

    yield make
    for jobs, database in made:
        jobs.close()
        database.close()


def job(folder, *devices, find=lambda on_bytes: Path("model"), **options) -> Job:
    model = Model("scripted", find, tuple(ModelSpec("m", device) for device in devices))
    return Job(discover(folder).items, model, "describe", **options)


def run(jobs, the_job):
    events = list(jobs.follow(jobs.start(the_job)))
    return events, events[-1]


def test_every_item_gets_its_caption(runner, library):
    jobs, log, _ = runner(cpu=finish)
    _, ended = run(jobs, job(library, "cpu"))
    assert (ended.outcome, ended.done, ended.failed, ended.skipped) == ("done", 8, 0, 0)
    assert {p.name: p.read_text() for p in library.glob("*.txt")} == {f"{i}.txt": f"{i} by cpu" for i in range(8)}
    assert log.snapshot().done == 8


def test_captioned_items_cost_no_model_at_all(runner, library):
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


def die_at_first(replica, request):
    """The first request of all kills the replica that has it."""
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


def test_poison_item_is_found_and_its_neighbours_are_captioned(runner, library):
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


def test_item_that_kills_after_its_first_tokens_costs_two_replicas(runner, library):
    """Its neighbour, which had tokens too, runs again once."""

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


def test_items_fail_with_the_reason_when_no_replica_is_left(runner, library):
    jobs, log, started = runner(bad=die)
    _, ended = run(jobs, job(library, "bad"))
    assert (ended.outcome, ended.done, ended.failed, len(started)) == ("failed", 0, 8, 3)
    assert ended.reason == "bad: out of memory"
    assert {reason for _, reason in log.snapshot().failures} == {"all workers failed; last error: out of memory"}


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


def test_stop_ends_at_once_and_the_next_job_runs_on_the_same_replica(runner, library):
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


def test_a_job_that_waits_ends_at_once_and_a_job_that_runs_is_not_removed(runner, library):
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


def test_file_that_is_changed_while_the_model_works_fails_alone_and_its_old_caption_stands(runner, library):
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


def test_seed_differs_between_items_but_not_between_runs(runner, library):
    jobs, _, started = runner(cpu=finish)
    run(jobs, job(library, "cpu"))
    run(jobs, job(library, "cpu", existing="overwrite"))
    seeds = [r.options.seed for r in started[0].requests]
    assert seeds[:8] == seeds[8:]
    assert len(set(seeds)) == 8


def test_speed_of_a_job_is_kept_before_its_end_is_told(runner, library, tmp_path):
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


def test_captions_are_decorated_before_the_policy_joins_them(runner, library, tmp_path):
    (library / "1.txt").write_text("Old.")
    jobs, _, _ = runner(cpu=finish)
    events, _ = run(jobs, job(library, "cpu", existing="append", decoration=Decoration("sks", "Caption:", ".")))
    assert (library / "0.txt").read_text() == "sks, Caption: 0 by cpu."
    assert (library / "1.txt").read_text() == "Old. sks, Caption: 1 by cpu."
    assert next(e.caption for e in events if isinstance(e, ItemDone)) == "sks, Caption: 0 by cpu."
    with sqlite3.connect(tmp_path / "captioner.sqlite") as database:
        made = {text for (text,) in database.execute("SELECT text FROM captions_made")}
    assert made == {f"sks, Caption: {i} by cpu." for i in range(8)}


def test_each_item_gets_the_prompt_with_its_own_variables(runner, library):
    (library / "1.txt").write_text("Old.")
    jobs, _, started = runner(cpu=finish)
    the_job = job(library, "cpu", existing="overwrite", decoration=Decoration("sks"))
    run(jobs, Job(the_job.items, the_job.model, "{trigger} {name} {folder} {x} {existing}", existing="overwrite",
                  decoration=the_job.decoration))  # fmt: skip
    assert [r.prompt for r in started[0].requests[:2]] == ["sks 0 clips {x} ", "sks 1 clips {x} Old."]


def test_replica_that_is_kept_hears_how_long_the_requests_of_the_next_job_may_be(runner, library):
    jobs, _, started = runner(cpu=finish)
    base = job(library, "cpu")
    for max_tokens in (900, 300):
        specs = (replace(base.model.specs[0], max_tokens=max_tokens),)
        run(jobs, replace(base, model=replace(base.model, specs=specs), existing="overwrite"))
    assert len(started) == 1
    assert [r.max_tokens for r in started[0].requests] == [900] * 8 + [300] * 8


def test_a_caption_that_the_prompt_needs_but_cannot_be_read_fails_its_item_alone(runner, library):
    (library / "2.txt").mkdir()
    jobs, _, started = runner(cpu=finish)
    base = job(library, "cpu")
    events, ended = run(jobs, Job(base.items, base.model, "{existing}", existing="overwrite"))
    assert (ended.done, ended.failed, len(started[0].requests)) == (7, 1, 7)
    assert "cannot read the caption" in next(e.reason for e in events if isinstance(e, ItemFailed))


def test_a_try_tells_the_caption_and_keeps_nothing(runner, library, tmp_path):
    (library / "3.txt").write_text("Old.")
    jobs, log, _ = runner(cpu=finish)
    before = {path.name: path.read_bytes() for path in library.iterdir()}
    events, ended = run(jobs, job(library, "cpu", save=False, decoration=Decoration("sks")))
    tried = [e for e in events if isinstance(e, ItemTried)]
    assert {(e.item, e.caption, e.tokens) for e in tried} == {(f"{i}.mp4", f"sks, {i} by cpu", 3) for i in range(8)}
    assert {(e.made.text, e.made.num_tokens) for e in tried} == {(f"{i} by cpu", 3) for i in range(8)}
    assert (ended.outcome, ended.done, log.snapshot().done) == ("done", 8, 8)
    assert {path.name: path.read_bytes() for path in library.iterdir()} == before
    with sqlite3.connect(tmp_path / "captioner.sqlite") as database:
        for table in ("captions_made", "caption_changes"):
            assert database.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_a_try_without_words_fails(runner, library):
    def say_nothing(replica, request):
        return Finished(request.id, Caption("  ", "m", request.prompt, request.options))

    jobs, log, _ = runner(cpu=say_nothing)
    _, ended = run(jobs, job(library, "cpu", save=False))
    assert (ended.done, ended.failed) == (0, 8)
    assert log.snapshot().failures[0][1] == "the model returned an empty caption"
