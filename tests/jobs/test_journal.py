"""The journal: the rest of a job after a stop, a failure or the end of its process."""

import json
import os
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from captioner.captions.store import CaptionStore
from captioner.captions.text import Decoration
from captioner.errors import JobError, StateError
from captioner.jobs.event_log import EventLog
from captioner.jobs.job import FindModel, Job, Model
from captioner.jobs.journal import KEPT_UNFINISHED, Journal
from captioner.jobs.outcomes import Outcomes
from captioner.jobs.runner import JobRunner
from captioner.media.discover import ListingOptions, discover
from captioner.replicas.pool import ReplicaPool
from captioner.system.database import Database, escape_surrogates
from captioner.values import Caption, GenerationOptions, MediaItem, ModelSpec, SamplePlan
from tests.support.scripted import ScriptedReplica, finish

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = GenerationOptions(max_new_tokens=77, temperature=0.5, top_p=0.9, top_k=3, repetition_penalty=1.1, seed=5)
SPECS = (ModelSpec("owner/name", "cpu", quantization="none", batch_size=3), ModelSpec("owner/name", "cpu"))


class State:
    """The journal and captions of one process; `again` gives those of the next process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = Database(folder / "captioner.sqlite")
        self.captions = CaptionStore(self.database, folder)
        self.found = []
        self.journal = Journal(self.database, self.captions)

    def again(self) -> "State":
        self.database.close()
        state = State(self.folder)
        state.captions.settle()
        state.journal.settle()
        return state

    def outcomes(self, operation: int) -> Outcomes:
        return Outcomes(operation, EventLog(), self.database)

    def end(self, operation: int, outcome: str, reason: str = "", outcomes: Outcomes | None = None) -> None:
        self.journal.end(operation, outcome, reason, outcomes or self.outcomes(operation))

    def find_model(self, source: str) -> FindModel:
        return lambda on_bytes: self.found.append(source)

    def reopen(self, operation: int) -> tuple[Job, dict[str, int]]:
        return self.journal.reopen(operation, self.find_model, lambda item: "")

    def write(self, operation: int, item: MediaItem, policy="overwrite", text="A new text.") -> None:
        self.captions.write(item, Caption(text, "m", "p", OPTIONS), policy, operation)

    def items(self, operation: int) -> dict[str, str]:
        ((listed,),) = self.database.rows("SELECT items_json FROM job_lists WHERE operation = ?", (operation,))
        rows = self.database.rows("SELECT name, state FROM job_items WHERE operation = ?", (operation,))
        states = {row["name"]: row["state"] for row in rows}
        return {
            escape_surrogates(fields[0]): states.get(escape_surrogates(fields[0]), "waiting")
            for fields in json.loads(listed)
        }


@pytest.fixture
def state(tmp_path):
    (tmp_path / "state").mkdir()
    state = State(tmp_path / "state")
    yield state
    state.database.close()


def make_job(folder: Path, **options) -> Job:
    model = Model("A Model", lambda on_bytes: Path("model"), SPECS)
    return Job(discover(folder, ListingOptions(recursive=True)).items, model, "Describe {name}.", **options)


def begin(state: State, folder: Path, **options) -> tuple[int, tuple[MediaItem, ...]]:
    job = make_job(folder, **options)
    return state.journal.begin(job, folder, True), job.items


def test_job_is_reopened_with_its_original_settings(state, clips):
    plan = SamplePlan(max_frames=6, fps=1.5, min_frames=2, frame_size=96)
    decoration = Decoration("sks", "before ", " after")
    job = make_job(
        clips, plan=plan, options=OPTIONS, existing="append", decoration=decoration, consent=True
    )  # fmt: skip
    number = state.journal.begin(job, clips, True)
    state = state.again()
    again, losses = state.reopen(number)
    assert (again.items, again.prompt, again.plan, again.options) == (job.items, job.prompt, plan, OPTIONS)
    assert (again.existing, again.decoration, again.consent, again.save) == ("append", decoration, True, True)
    assert (again.model.name, again.model.specs) == ("A Model", SPECS)
    again.model.find(print)
    assert (state.found, losses, state.journal.folder_of(number)) == (["owner/name"], {}, (clips, True))


def test_job_of_a_killed_process_is_listed_with_its_remaining_items(state, clips):
    number, items = begin(state, clips)
    outcomes = state.outcomes(number)
    state.write(number, items[0])  # written, and killed before the journal heard of it
    outcomes.started(items[1], "cpu")
    outcomes.skipped(items[2], "has a caption")
    outcomes.failed(items[3], "broken")
    outcomes.flush()
    assert state.journal.unfinished() == []  # it runs
    state = state.again()
    (job,) = state.journal.unfinished()
    assert (job.operation, job.folder, job.left, job.total, job.state) == (number, clips, 3, 6, "interrupted")
    assert job.title == "Caption 6 files with A Model"
    again, _ = state.reopen(number)
    assert again.items == (items[1], *items[4:])
    assert list(state.items(number).values()) == ["done", "running", "skipped", "failed", "waiting", "waiting"]


@pytest.mark.parametrize("was_replaced", [True, False])
def test_interrupted_caption_counts_as_done_only_if_its_file_was_replaced(state, clips, was_replaced):
    """The process was killed after it announced a change and before it recorded that the file was replaced."""
    number, items = begin(state, clips)
    path = items[0].caption_path
    path.write_text("Old.")
    state.write(number, items[0])
    state.database.execute("UPDATE caption_changes SET made = 0")
    state.database.execute("UPDATE captions_made SET outcome = 'pending'")
    if not was_replaced:
        path.write_text("Old.")
    state = state.again()
    again, _ = state.reopen(number)
    assert again.items == (items[1:] if was_replaced else items)
    assert path.read_text() == ("A new text." if was_replaced else "Old.")


def cut_short(state: State, number: int, item: MediaItem) -> None:
    """Pretend that the process was killed after it replaced the file and before it recorded that."""
    item.caption_path.write_text("Old text.")
    state.write(number, item, "append", "New text.")
    state.database.execute("UPDATE caption_changes SET made = 0")
    state.database.execute("UPDATE captions_made SET outcome = 'pending'")


def test_caption_on_a_drive_that_comes_back_after_the_start_is_not_joined_twice(state, clips):
    number, items = begin(state, clips, existing="append")
    cut_short(state, number, items[0])
    clips.rename(clips.with_name("unplugged"))
    state = state.again()
    clips.with_name("unplugged").rename(clips)
    again, _ = state.reopen(number)
    assert again.items == items[1:]
    assert state.items(number)["1.mp4"] == "done"
    assert items[0].caption_path.read_text() == "Old text. New text."


def test_item_whose_caption_may_or_may_not_be_written_is_skipped(state, clips, caplog):
    number, items = begin(state, clips, existing="append")
    cut_short(state, number, items[0])
    items[0].caption_path.rename(clips / "aside")
    items[0].caption_path.mkdir()
    state = state.again()
    again, _ = state.reopen(number)
    assert again.items == items[1:]
    (row,) = state.database.rows("SELECT state, reason FROM job_items WHERE name = '1.mp4'")
    assert tuple(row) == ("skipped", "cannot determine whether its caption was written")
    assert "job 1: skipped 1 file: 1.mp4: cannot determine whether its caption was written" in caplog.text


def test_caption_equal_to_the_old_one_is_done_too(state, clips):
    number, items = begin(state, clips)
    items[0].caption_path.write_text("A new text.")
    state.write(number, items[0])
    state = state.again()
    assert state.reopen(number)[0].items == items[1:]


def test_captions_that_anything_wrote_since_are_skipped(state, clips):
    number, items = begin(state, clips)
    state.end(number, "stopped")
    state.captions.save(items[0].caption_path, "By hand.")
    later, _ = begin(state, clips)
    state.write(later, items[1])
    state.end(later, "stopped")
    assert [(job.operation, job.left) for job in state.journal.unfinished()] == [(later, 5), (number, 4)]
    assert state.reopen(number)[0].items == items[2:]
    assert state.items(number)["2.mp4"] == "skipped"


def test_job_is_not_listed_once_another_job_captioned_everything(state, clips):
    number, items = begin(state, clips)
    state.end(number, "stopped")
    later, _ = begin(state, clips)
    outcomes = state.outcomes(later)
    for item in items:
        state.write(later, item)
        outcomes.done(item, "A new text.", Caption("A new text.", "m", "p", OPTIONS), "cpu")
    state.end(later, "done", outcomes=outcomes)
    assert state.journal.unfinished() == []
    with pytest.raises(JobError, match=f"nothing is left of job {number}"):
        state.reopen(number)
    with pytest.raises(JobError, match="cannot be resumed: it is running, finished or already resumed"):
        state.reopen(later)


def test_job_killed_after_its_last_caption_is_done(state, clips):
    number, items = begin(state, clips)
    for item in items:
        state.write(number, item)
    state = state.again()
    assert state.journal.unfinished() == []
    assert [(job.id, job.state, job.done, job.reason) for job in state.journal.recent()] == [(number, "done", 6, "")]


def test_losses_are_kept_across_processes(state, clips):
    number, items = begin(state, clips)
    state.outcomes(number).given_back(items[1], 1)
    state = state.again()
    job, losses = state.reopen(number)
    assert losses == {items[1].name: 1}
    resumed = state.journal.begin(job, clips, True, number, losses)
    state = state.again()
    assert state.reopen(resumed)[1] == losses


def test_job_is_resumed_once(state, clips):
    number, _ = begin(state, clips)
    state.end(number, "failed", "out of memory")
    assert [(job.state, job.reason) for job in state.journal.unfinished()] == [("failed", "out of memory")]
    job, _ = state.reopen(number)
    resumed = state.journal.begin(job, clips, True, number)
    with pytest.raises(JobError, match=f"job {number} has already been resumed or finished"):
        state.journal.begin(job, clips, True, number)
    assert len(state.database.rows("SELECT id FROM operations")) == 2
    assert state.journal.unfinished() == []
    state.end(resumed, "stopped")
    assert [job.operation for job in state.journal.unfinished()] == [resumed]
    assert [(job.id, job.state, job.title) for job in state.journal.recent()] == [
        (resumed, "stopped", "Caption 6 remaining files with A Model"),
        (number, "resumed", "Caption 6 files with A Model"),
    ]


def test_dismissed_undone_and_finished_jobs_are_not_listed(state, clips):
    dismissed, undone, finished = (begin(state, clips)[0] for _ in range(3))
    for number in (dismissed, undone, finished):
        items = make_job(clips).items
        state.write(number, items[0], text=f"Text {number}.")
        state.end(number, "done" if number == finished else "stopped")
    state.captions.undo(finished)
    state.journal.dismiss(dismissed)
    assert [job.operation for job in state.journal.unfinished()] == [undone]
    state.captions.undo(undone)
    assert state.journal.unfinished() == []


def test_unknown_job_number_raises(state):
    with pytest.raises(JobError, match="there is no job or bulk edit 7"):
        state.reopen(7)


def test_names_that_are_not_valid_text_survive(state, tmp_path):
    folder = tmp_path / os.fsdecode(b"clips \xff")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this filesystem takes only names in UTF-8")
    (folder / os.fsdecode(b"\xfe.mp4")).write_bytes(b"x")
    (folder / r"a\xfe.mp4").write_bytes(b"x")
    number, items = begin(state, folder)
    state.write(number, items[0])
    state.outcomes(number).given_back(items[1], 1)
    state = state.again()
    job, losses = state.reopen(number)
    assert (job.items, losses) == (items[1:], {items[1].name: 1})
    assert state.journal.unfinished()[0].folder == folder


def test_job_over_50_000_files_is_recorded_and_reopened_quickly(state, tmp_path):
    items = tuple(
        MediaItem(tmp_path, f"clip {i:05}.mp4", f"clip {i:05}.mp4", "video", 10_000_000 + i, 1.7e9 + i / 7,
                  f"clip {i:05}.txt", False)
        for i in range(50_000)
    )  # fmt: skip
    job = Job(items, Model("m", print, SPECS), "p")
    began_s = time.process_time()
    number = state.journal.begin(job, tmp_path, False)
    begin_s = time.process_time() - began_s
    state.end(number, "stopped")
    began_s = time.process_time()
    again, _ = state.reopen(number)
    reopen_s = time.process_time() - began_s
    assert again.items == items
    print(f"begin {begin_s:.2f} s, reopen {reopen_s:.2f} s")
    assert begin_s < 1.0  # 0.3 s on a quiet machine
    assert reopen_s < 1.5


def test_outcomes_are_kept_while_the_database_is_locked(state, clips, caplog):
    number, items = begin(state, clips)
    outcomes = state.outcomes(number)
    state.database._connection.execute("PRAGMA busy_timeout = 10")
    other = sqlite3.connect(state.database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    outcomes.given_back(items[0], 1)
    assert "what happened to 1.mp4 is not recorded yet: cannot use the database" in caplog.text
    outcomes.failed(items[1], "broken")
    with pytest.raises(StateError, match="locked"):
        outcomes.flush()
    other.execute("ROLLBACK")
    other.close()
    outcomes.flush()
    assert state.items(number) == dict.fromkeys(state.items(number), "waiting") | {"2.mp4": "failed"}
    assert state.database.rows("SELECT losses FROM job_items WHERE name = '1.mp4'")[0]["losses"] == 1


def test_end_that_could_not_be_written_is_written_when_jobs_are_listed(state, clips):
    number, items = begin(state, clips)
    state.database._connection.execute("PRAGMA busy_timeout = 10")
    other = sqlite3.connect(state.database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    outcomes = state.outcomes(number)
    outcomes.failed(items[1], "broken")
    with pytest.raises(StateError, match="locked"):
        state.end(number, "stopped", outcomes=outcomes)
    assert (state.journal.unfinished(), state.journal.is_active(number)) == ([], False)
    other.execute("ROLLBACK")
    other.close()
    assert [(job.operation, job.left, job.state) for job in state.journal.unfinished()] == [(number, 5, "stopped")]
    assert state.items(number)["2.mp4"] == "failed"
    assert state.reopen(number)[0].items == (items[0], *items[2:])


def test_unfinished_job_stays_listed_whatever_was_started_since(state, clips):
    number, items = begin(state, clips, existing="overwrite")
    state.write(number, items[0])
    state.end(number, "stopped")
    for _ in range(KEPT_UNFINISHED):  # with nothing left
        later = state.journal.begin(make_job(clips / "more"), clips / "more", False)
        outcomes = state.outcomes(later)
        outcomes.failed(items[4]._replace(name="5.mp4"), "broken")
        outcomes.failed(items[5]._replace(name="6.mp4"), "broken")
        state.end(later, "failed", outcomes=outcomes)
    for _ in range(KEPT_UNFINISHED):  # that failed to start
        again, _ = begin(state, clips)
        state.end(again, "failed", "the model is not there")
    assert [(job.operation, job.left) for job in state.journal.unfinished()] == [(again, 6), (number, 5)]


def test_stopped_job_is_journaled_and_resumed(state, clips):
    """A runner's job is stopped halfway, listed by the journal, and resumed."""
    (clips / "4.txt").write_text("Old.")
    holding = threading.Event()

    def hold_third(replica, request):
        if request.path.stem == "3" and not holding.is_set():
            holding.set()
            return None
        return finish(replica, request)

    def start(name, spec, folder, num_threads):
        return ScriptedReplica(name, hold_third, capacity=1)

    log = EventLog()
    runner = JobRunner(log, state.captions, state.database, ReplicaPool(start))
    try:
        job = make_job(clips)
        job = Job(job.items, Model("m", job.model.find, SPECS[:1]), "describe")
        number = runner.start(job, clips, recursive=True)
        assert holding.wait(10)
        runner.stop(number)
        assert list(runner.follow(number))[-1].outcome == "stopped"
        (left,) = state.journal.unfinished()
        assert (left.operation, left.state) == (number, "stopped")
        resumed = runner.resume(number, lambda source: job.model.find, lambda item: "")
        assert list(state.items(resumed)) == ["3.mp4", "4.png", "more/5.mp4", "more/6.mp4"]
        ended = list(runner.follow(resumed))[-1]
        assert (ended.job, ended.outcome, ended.done, ended.skipped) == (resumed, "done", 3, 1)
        assert resumed == number + 1
    finally:
        runner.close()
    assert list(state.items(resumed).values()) == ["done", "skipped", "done", "done"]
    assert state.journal.unfinished() == []
    jobs = {int(row["job"]) for row in state.database.rows("SELECT job FROM captions_made")}
    assert jobs == {number, resumed}
