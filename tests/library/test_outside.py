"""Captions that another program changes appear in the list by themselves."""

import os
from pathlib import Path

import pytest

from captioner.jobs.event_log import EventLog
from captioner.jobs.events import ItemFailed
from captioner.library.file_states import CHANGED_OUTSIDE_FLAG, STATES
from captioner.library.library import Library
from tests.support.media_maker import make_picture

PENDING, DONE, FAILED = map(STATES.index, ("pending", "done", "failed"))


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "media"
    folder.mkdir()
    for name in "abc":
        make_picture(folder / f"{name}.png")
    (folder / "a.txt").write_text("A red ball.")
    return folder


@pytest.fixture
def library(store, folder) -> Library:
    library = Library(EventLog(), store)
    library.open(folder)
    library.lookup.rows(["a.png", "b.png", "c.png"])
    return library


def found(library: Library) -> dict[str, tuple[int, str]]:
    rows = library.outside.find(library.scan.id, range(3))
    return {library.items[row["index"]].name: (row["state"], row["preview"]) for row in rows}


def test_new_changed_emptied_and_deleted_captions_are_found_once(library, folder):
    assert found(library) == {}
    (folder / "a.txt").write_text("A red cube.")
    (folder / "b.txt").write_text("A new one.")
    assert found(library) == {"a.png": (DONE, "A red cube."), "b.png": (DONE, "A new one.")}
    assert found(library) == {}
    (folder / "a.txt").write_text(" \n")
    (folder / "b.txt").unlink()
    assert found(library) == {"a.png": (PENDING, ""), "b.png": (PENDING, "")}
    assert found(library) == {}


def test_change_before_the_first_call_is_found(library, folder):
    (folder / "a.txt").write_text("A red cube.")
    assert found(library) == {"a.png": (DONE, "A red cube.")}


def test_other_viewers_see_the_change_at_their_next_refresh(library, folder):
    seen = library.since(library.scan.id, 0).revision
    (folder / "a.txt").write_text("A red cube.")
    found(library)
    assert [row["preview"] for row in library.since(library.scan.id, seen).rows] == ["A red cube."]


def test_own_changes_are_no_outside_ones_and_outside_ones_are_flagged(library, folder):
    library.edits.save(library.items[1], "Ours.")
    assert found(library) == {}
    (folder / "b.txt").write_text("Theirs.")
    assert found(library) == {"b.png": (STATES.index("edited"), "Theirs.")}
    assert library.lookup.entry(library.items[1]).changed_outside
    assert library.listing()["flags"][1] == CHANGED_OUTSIDE_FLAG


def test_same_size_and_time_in_another_file_is_a_change(library, folder):
    assert found(library) == {}
    status = (folder / "a.txt").stat()
    (folder / "new.txt").write_text("A RED BALL.")
    os.utime(folder / "new.txt", ns=(status.st_atime_ns, status.st_mtime_ns))
    (folder / "new.txt").replace(folder / "a.txt")
    assert found(library) == {"a.png": (DONE, "A RED BALL.")}


def test_failed_file_that_got_a_caption_outside_is_done(store, folder):
    events = EventLog()
    library = Library(events, store)
    library.open(folder)
    events.append(ItemFailed(1, "c.png", folder / "c.png", reason="it is broken"))
    assert found(library) == {}
    (folder / "c.txt").write_text("By hand.")
    assert found(library) == {"c.png": (DONE, "By hand.")}


def test_guess_and_unreadable_caption_are_told(library, folder):
    assert found(library) == {}
    (folder / "a.txt").write_bytes("Ein Mädchen.".encode("cp1252"))
    [row] = library.outside.find(library.scan.id, range(3))
    assert row["doubt"]
    (folder / "a.txt").unlink()
    (folder / "a.txt").mkdir()
    [row] = library.outside.find(library.scan.id, range(3))
    assert "a.txt" in row["problem"]


def test_another_scan_and_unknown_positions_are_left_out(library, folder):
    scan = library.scan.id
    library.open(folder)
    (folder / "a.txt").write_text("A red cube.")
    assert library.outside.find(scan, range(3)) == []
    assert [row["index"] for row in library.outside.find(library.scan.id, [0, 99])] == []
