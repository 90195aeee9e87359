"""The open folder: states after events and edits, what changed since a revision, search."""

import threading
import time
from pathlib import Path

import pytest

from captioner.captions.operations import begin_operation
from captioner.errors import FolderError, JobError
from captioner.jobs.event_log import EventLog
from captioner.jobs.events import ItemDone, ItemFailed, ItemProgress, ItemSkipped, ItemStarted, ItemTried, JobStarted
from captioner.library.counts import Counts
from captioner.library.file_states import APPROVED_FLAG, CHANGED_OUTSIDE_FLAG, STATES
from captioner.library.library import Library
from captioner.library.open_folder import KEPT_CHANGES
from captioner.media.discover import ListingOptions, discover
from tests.support.media_maker import make_picture


@pytest.fixture
def events() -> EventLog:
    return EventLog()


@pytest.fixture
def folder(tmp_path) -> Path:
    """Return a folder of four images: a has a caption, b a blank one, c and d have none."""
    folder = tmp_path / "media"
    folder.mkdir()
    for name in "abcd":
        make_picture(folder / f"{name}.png")
    (folder / "a.txt").write_text("A red Ball.")
    (folder / "b.txt").write_text("  \n")
    return folder


@pytest.fixture
def library(events, store, folder, monkeypatch) -> Library:
    monkeypatch.setattr("captioner.library.library.READ_AFTER_S", 0)
    library = Library(events, store)
    assert library.open(folder) == 4
    return library


def states(library: Library) -> list[str]:
    return [STATES[number] for number in library.listing()["states"]]


def about(library: Library, index: int) -> dict:
    item = library.items[index]
    return {"job": 1, "item": item.name, "path": item.path}


def read_all(library: Library) -> None:
    """Wait for the thread that reads all captions, so that the states no longer change on their own."""
    library.listing()
    for thread in [thread for thread in threading.enumerate() if thread.name == "captions"]:
        thread.join()


def test_states_follow_the_events_of_a_job(library, events):
    read_all(library)
    assert states(library) == ["done", "pending", "pending", "pending"]
    events.append(ItemStarted(**about(library, 2), replica="cpu"))
    events.append(ItemProgress(**about(library, 2), tokens=7))
    assert library.since(library.scan.id, 10**9).running == {2: 7}
    assert library.lookup.entry(library.items[2]).tokens == 7
    events.append(ItemDone(**about(library, 2), caption="New.", tokens=9, seconds=1.0, replica="cpu"))
    events.append(ItemFailed(**about(library, 3), reason="it is broken"))
    assert states(library) == ["done", "pending", "done", "failed"]
    assert library.counts() == Counts(total=4, done=2, pending=1, failed=1, edited=0)
    entry = library.lookup.entry(library.items[3])
    assert (entry.problem, entry.tokens) == ("it is broken", None)
    assert library.lookup.with_state("pending", "failed") == ["b.png", "d.png"]


def test_failed_files_stay_failed_after_a_refresh_unless_they_changed(library, events, folder):
    for index in (1, 2, 3):
        events.append(ItemFailed(**about(library, index), reason=f"reason {index}"))
    (folder / "c.txt").write_text("Written outside.")
    make_picture(folder / "d.png", (99, 66))
    make_picture(folder / "A first one.png")
    library.open(folder, ListingOptions(recursive=True))
    assert library.lookup.with_state("failed") == ["b.png"]
    assert library.lookup.entry(library.items[2]).problem == "reason 1"
    library.open(folder.parent, ListingOptions(recursive=True))
    library.open(folder, ListingOptions(recursive=True))
    assert library.lookup.with_state("failed") == []


def test_trying_a_prompt_changes_no_state(library, events):
    events.append(JobStarted(job=1, total=2, model="M", saves=False))
    events.append(ItemTried(**about(library, 2), caption="Tried.", tokens=1, seconds=1.0))
    events.append(ItemFailed(**about(library, 3), reason="it is broken"))
    read_all(library)
    assert states(library) == ["done", "pending", "pending", "pending"]
    events.append(JobStarted(job=2, total=1, model="M"))
    events.append(ItemFailed(**about(library, 3), reason="it is broken"))
    assert states(library)[3] == "failed"


def test_viewer_gets_each_changed_file_once_since_its_revision(library, events):
    read_all(library)
    start = library.listing()["revision"]
    for caption in ("one", "two"):
        events.append(ItemDone(**about(library, 2), caption=caption, tokens=1, seconds=1.0, replica="cpu"))
    library.edits.save(library.items[1], "By hand.")
    changes = library.since(library.scan.id, start)
    assert [(row["index"], row["preview"]) for row in changes.rows] == [(2, "two"), (1, "By hand.")]
    assert library.since(library.scan.id, changes.revision).rows == ()


def test_viewer_of_an_earlier_scan_or_far_behind_has_to_fetch_the_whole_list(library, folder):
    before, revision = library.scan.id, library.since(library.scan.id, 0).revision
    library.open(folder)
    assert library.since(before, revision).rows is None
    for number in range(KEPT_CHANGES + 10):
        library.note(library.items[number % 4], duration_s=number + 1)
    assert library.since(library.scan.id, 0).rows is None


def test_file_of_a_closed_folder_is_not_confused_with_one_of_the_same_name(library, tmp_path):
    old = library.items[0]
    (tmp_path / "other").mkdir()
    make_picture(tmp_path / "other" / old.name)
    library.open(tmp_path / "other")
    assert library.lookup.find(old.name).item == library.items[0]
    assert library.lookup.entry(old) is None
    library.note(old, problem="it is broken")
    assert library.lookup.find(old.name).problem == ""
    for change in (
        lambda: library.edits.save(old, "x"),
        lambda: library.edits.delete(old),
        lambda: library.edits.restore(old, 1),
    ):
        with pytest.raises(JobError, match="no longer open"):
            change()
    assert old.caption_path.read_text() == "A red Ball."


def test_folder_that_cannot_be_opened_leaves_the_old_one_open(library, folder):
    with pytest.raises(FolderError):
        library.open(folder / "missing")
    assert (library.folder, len(library.items)) == (folder, 4)


def test_caption_stays_marked_as_edited_after_the_folder_is_opened_again(library, folder):
    assert library.edits.save(library.items[2], " Mine.\n") == "Mine."
    assert states(library)[2] == "edited"
    assert library.counts().edited == 1
    library.open(folder)
    assert states(library)[2] == "edited"


def test_changes_during_a_scan_of_the_same_folder_are_in_the_list(library, events, folder, monkeypatch):
    def slow_discover(*args):
        found = discover(*args)
        (folder / "c.txt").write_text("By the job.")
        events.append(ItemDone(**about(library, 2), caption="By the job.", tokens=3, seconds=1.0, replica="cpu"))
        library.edits.save(library.items[2], "Mine.")
        events.append(ItemFailed(**about(library, 3), reason="too dark"))
        return found

    monkeypatch.setattr("captioner.library.library.discover", slow_discover)
    library.open(folder)
    assert states(library)[2:] == ["edited", "failed"]
    assert library.lookup.find("c.png").text == "Mine."


def test_changes_by_a_job_while_its_folder_is_opened_are_in_the_list(library, events, folder, tmp_path, monkeypatch):
    done = ItemDone(**about(library, 3), caption="Dark.", tokens=3, seconds=1.0, replica="cpu")

    def slow_discover(*args):
        found = discover(*args)
        (folder / "d.txt").write_text("Dark.")
        events.append(done)
        library.counts()
        return found

    library.open(tmp_path)
    monkeypatch.setattr("captioner.library.library.discover", slow_discover)
    library.open(folder)
    assert states(library)[2:] == ["pending", "done"]


def test_edit_of_a_text_that_changed_meanwhile_is_refused_and_the_new_text_shown(library, folder):
    (folder / "a.txt").write_text("By another program.")
    with pytest.raises(JobError, match="changed meanwhile"):
        library.edits.save(library.items[0], "Mine.", expected="A red Ball.")
    assert library.lookup.entry(library.items[0]).text == "By another program."
    assert (folder / "a.txt").read_text() == "By another program."
    assert library.edits.save(library.items[0], "Mine.", expected="By another program.") == "Mine."


def flags(library: Library) -> list[int]:
    return library.listing()["flags"]


def test_flags_of_approved_captions_and_those_changed_outside(library, folder):
    read_all(library)
    assert flags(library) == [0, 0, 0, 0]
    for index in (2, 3):
        library.edits.save(library.items[index], "Mine.")
    (folder / "d.txt").write_text("By another program.")
    assert library.edits.approve(["a.png", "b.png", "d.png"]) == 2
    library.open(folder)
    (folder / "c.txt").write_text("By another program.")
    read_all(library)
    assert flags(library) == [APPROVED_FLAG, 0, CHANGED_OUTSIDE_FLAG, APPROVED_FLAG]
    assert [row["flags"] for row in library.lookup.rows(["a.png", "b.png", "c.png", "d.png"])] == flags(library)
    assert (library.counts().approved, library.counts().changed_outside) == (2, 1)
    entries = [library.lookup.entry(library.items[index]) for index in range(4)]
    assert [(entry.approved, entry.changed_outside) for entry in entries] == [
        (True, False), (False, False), (False, True), (True, False),
    ]  # fmt: skip


def test_flags_follow_edits_and_viewers_get_them(library, folder):
    read_all(library)
    library.edits.save(library.items[2], "Mine.")
    (folder / "c.txt").write_text("By another program.")
    library.edits.refresh([folder / "c.txt", folder / "unknown.txt"])
    assert flags(library)[2] == CHANGED_OUTSIDE_FLAG
    start = library.listing()["revision"]
    library.edits.save(library.items[2], "Mine again.")
    assert [(row["index"], row["flags"]) for row in library.since(library.scan.id, start).rows] == [(2, 0)]
    assert library.edits.approve(["c.png"]) == 1
    library.edits.save(library.items[2], "Still approved.")
    assert flags(library)[2] == APPROVED_FLAG
    library.edits.approve(["c.png"], on=False)
    assert flags(library)[2] == 0
    library.edits.approve(["c.png"])
    library.edits.delete(library.items[2])
    assert flags(library)[2] == 0


def test_flags_follow_the_events_of_a_job(library, events, folder):
    library.edits.save(library.items[2], "Mine.")
    read_all(library)
    (folder / "c.txt").write_text("By another program.")
    events.append(ItemSkipped(**about(library, 2), reason="changed outside"))
    assert library.lookup.entry(library.items[2]).text == "By another program."
    assert flags(library)[2] == CHANGED_OUTSIDE_FLAG
    events.append(ItemDone(**about(library, 2), caption="New.", tokens=1, seconds=1.0, replica="cpu"))
    assert flags(library)[2] == 0


def test_text_that_a_job_writes_while_captions_are_read_does_not_count_as_changed_outside(library, store, folder):
    """The digests are fetched before the files are read."""
    library.edits.save(library.items[2], "Old.")
    library.open(folder)
    digests = store.ownership.digests_in(folder)
    store.save(folder / "c.txt", "New.")
    store.ownership.digests_in = lambda _: digests
    read_all(library)
    assert library.lookup.entry(library.items[2]).text == "New."
    assert flags(library)[2] == 0


def test_captions_are_shown_even_if_the_database_cannot_be_used(library, store):
    store.database.close()
    read_all(library)
    assert library.lookup.entry(library.items[0]).text == "A red Ball."
    assert flags(library) == [0, 0, 0, 0]


def test_undo_is_shown_at_once(library, store, folder):
    with store.database.transaction() as connection:
        operation = begin_operation(connection, "bulk", "Edit", folder, 2)
    paths = [folder / "a.txt", folder / "c.txt"]
    read_all(library)
    store.save(paths[1], "Made.", "bulk", operation)
    store.rewrite(paths, lambda text: f"{text} More.", operation)
    library.edits.refresh(paths)
    assert states(library) == ["edited", "pending", "edited", "pending"]
    store.undo(operation)
    library.edits.refresh(store.changed_by(operation))
    assert states(library) == ["done", "pending", "pending", "pending"]
    assert library.lookup.entry(library.items[0]).text == "A red Ball."


def test_deleted_caption_can_be_restored(library, store, folder):
    item = library.items[0]
    assert library.edits.delete(item)
    assert not (folder / "a.txt").exists()
    assert states(library)[0] == "pending"
    (entry,) = store.history(item.caption_path)
    assert library.edits.restore(item, entry.id) == "A red Ball."
    assert (folder / "a.txt").read_text() == "A red Ball."


def test_search_finds_words_in_names_and_captions_in_any_case(library):
    read_all(library)
    assert library.lookup.search("red ball") == ["a.png"]
    assert library.lookup.search("BALL red") == ["a.png"]
    assert library.lookup.search("c.png") == ["c.png"]
    assert library.lookup.search(".png") == ["a.png", "b.png", "c.png", "d.png"]
    assert library.lookup.search("red c.png") == []


def test_every_caption_is_read_after_the_list_is_first_fetched(library):
    library.listing()
    deadline = time.monotonic() + 10
    while library.listing()["lengths"][0] == 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert library.listing()["lengths"] == [len("A red Ball."), 0, 0, 0]


def test_every_column_of_the_listing_has_one_entry_per_file(library, folder):
    listing = library.listing()
    columns = [value for value in listing.values() if isinstance(value, list)]
    assert {len(column) for column in columns} == {4}
    assert listing["names"] == ["a.png", "b.png", "c.png", "d.png"]
    assert listing["folder"] == str(folder)
