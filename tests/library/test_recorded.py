"""The open folder shows the marks that a person gave, and what failed in earlier jobs."""

import os
import time
from pathlib import Path

import pytest

from captioner.captions.flaws import EMPTY
from captioner.captions.operations import begin_operation
from captioner.captions.store import CaptionStore
from captioner.jobs.event_log import EventLog
from captioner.jobs.events import ItemFailed
from captioner.jobs.outcomes import upsert_item
from captioner.library.file_states import FLAWED_FLAG, MARK_FLAGS, STATES
from captioner.library.library import Library
from captioner.marks import ALL_THINKING
from captioner.media.discover import ListingOptions
from tests.support.media_maker import make_picture

DEEP = ListingOptions(recursive=True)


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "média"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.png", "b.png", "sub/c.png"):
        make_picture(folder / name)
        os.utime(folder / name, (1, 1))
    return folder


def opened(store: CaptionStore, folder: Path, options: ListingOptions = DEEP) -> Library:
    library = Library(EventLog(), store)
    library.open(folder, options)
    return library


def fail(store: CaptionStore, folder: Path, names: dict[str, str]) -> None:
    """Record a job in which these files failed for these reasons."""
    with store.database.transaction() as connection:
        job = begin_operation(connection, "job", "Caption", folder, len(names))
        for name, reason in names.items():
            connection.execute(*upsert_item(job, name, "failed", reason=reason, ended_at_s=time.time()))


def failed(library: Library) -> dict[str, str]:
    found = [library.lookup.entry(item) for item in library.items]
    return {entry.item.name: entry.problem for entry in found if entry.state == "failed"}


def test_failed_files_stay_failed_in_another_program_in_parts_of_the_folder_and_in_its_parent(store, folder):
    reasons = {"a.png": "it is broken", "sub/c.png": "no frame"}
    fail(store, folder, reasons)
    assert failed(opened(store, folder)) == reasons
    assert failed(opened(store, folder / "sub")) == {"c.png": "no frame"}
    parent = opened(store, folder.parent)
    assert failed(parent) == {f"{folder.name}/{name}": reason for name, reason in reasons.items()}

    library = opened(store, folder)
    library.open(folder, DEEP, "video")
    library.open(folder, DEEP)
    assert failed(library) == reasons
    assert library.counts().failed == 2


def test_failure_of_a_job_that_the_journal_knows_nothing_of_stays_over_a_refresh_beside_the_others(store, folder):
    fail(store, folder, {"a.png": "it is broken"})
    events = EventLog()
    library = Library(events, store)
    library.open(folder)
    events.append(ItemFailed(1, "b.png", folder / "b.png", reason="the model was not reached"))
    library.counts()
    library.open(folder)
    assert failed(library) == {"a.png": "it is broken", "b.png": "the model was not reached"}


@pytest.mark.parametrize("change", ["media", "caption", "ours"])
def test_file_that_was_changed_since_it_failed_is_pending_or_done_again(store, folder, change):
    fail(store, folder, {"a.png": "it is broken"})
    library = opened(store, folder)
    later = time.time() + 60
    if change == "media":
        os.utime(folder / "a.png", (later, later))
    elif change == "caption":
        (folder / "a.txt").write_text("By hand.")
        os.utime(folder / "a.txt", (later, later))
    else:
        library.edits.save(library.items[0], "By hand.")
        library.edits.delete(library.items[0])
    assert failed(opened(store, folder)) == {}


def test_newest_reason_counts(store, folder):
    fail(store, folder, {"a.png": "first"})
    fail(store, folder, {"a.png": "second"})
    assert failed(opened(store, folder)) == {"a.png": "second"}


@pytest.mark.parametrize("reason", [f"a.png: {ALL_THINKING}", "a.png: the model returned an empty caption"])
def test_file_whose_answer_was_empty_needs_a_look(store, folder, reason):
    fail(store, folder, {"a.png": reason, "b.png": "it is broken"})
    library = opened(store, folder)
    assert library.listing()["flags"] == [FLAWED_FLAG, 0, 0]
    assert [row["flaw"] for row in library.lookup.rows(["a.png", "b.png"])] == [EMPTY, ""]
    library.edits.save(library.items[0], "By hand.")
    assert library.listing()["flags"][0] == 0


def test_marks_are_kept_per_file_and_shown_wherever_the_file_is_listed(store, folder):
    library = opened(store, folder)
    seen = library.since(library.scan.id, 0).revision
    assert library.edits.mark(["a.png", "sub/c.png", "none.png"], "star") == 2
    library.edits.mark(["b.png"], "reject")
    assert [row["index"] for row in library.since(library.scan.id, seen).rows] == [0, 2, 1]
    star, reject = MARK_FLAGS["star"], MARK_FLAGS["reject"]
    assert library.listing()["flags"] == opened(store, folder).listing()["flags"] == [star, reject, star]
    assert opened(store, folder / "sub").listing()["flags"] == [star]
    library.edits.mark(["a.png", "b.png"], None)
    assert library.listing()["flags"] == opened(store, folder).listing()["flags"] == [0, 0, star]
    library.edits.mark(["sub/c.png"], "reject")
    assert opened(store, folder).listing()["flags"] == [0, 0, reject]
    assert [STATES[state] for state in library.listing()["states"]] == ["pending"] * 3


def test_mark_of_a_file_whose_name_is_not_utf_8(store, tmp_path):
    folder = tmp_path / "media"
    folder.mkdir()
    make_picture(folder / "plain.png").rename(folder / os.fsdecode(b"\xff.png"))
    library = opened(store, folder)
    library.edits.mark([library.items[0].name], "star")
    assert opened(store, folder).listing()["flags"] == [MARK_FLAGS["star"]]
