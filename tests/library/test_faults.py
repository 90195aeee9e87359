"""The faults of captions that viewers see: found as they are read and written, and in the whole set."""

import threading

import pytest

from captioner.dataset.lint.finding import LintOptions
from captioner.jobs.event_log import EventLog
from captioner.jobs.events import ItemDone
from captioner.library.faults import Fault, fault_in, fault_of
from captioner.library.file_states import FLAWED_FLAG
from captioner.library.library import Library
from tests.support.media_maker import make_picture

TEXTS = {
    "a": "A red ball rolls over a wooden table and stops at its edge beside a glass.",
    "b": "I'm sorry, but I can't help with that.",
    "c": "A dog barks at a gray cat.",
    "d": "A red ball rolls over a wooden table and stops at its edge beside a glass.",
}


@pytest.fixture
def chosen() -> list[LintOptions]:
    return [LintOptions()]


@pytest.fixture
def events() -> EventLog:
    return EventLog()


@pytest.fixture
def library(events, store, tmp_path, monkeypatch, chosen) -> Library:
    monkeypatch.setattr("captioner.library.library.READ_AFTER_S", 0)
    folder = tmp_path / "media"
    folder.mkdir()
    for name, text in TEXTS.items():
        make_picture(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(text)
    library = Library(events, store, lint_options=lambda: chosen[0])
    library.open(folder)
    return library


def wait_for(name: str) -> None:
    for thread in [thread for thread in threading.enumerate() if thread.name == name]:
        thread.join()


def badges(library: Library) -> list[str]:
    rows = library.lookup.rows([item.name for item in library.items])
    flagged = [bool(flags & FLAWED_FLAG) for flags in library.listing()["flags"]]
    assert flagged == [bool(row["badge"]) for row in rows]
    return [row["badge"] for row in rows]


def read_all(library: Library) -> None:
    library.listing()
    wait_for("captions")


def test_single_captions_have_a_fault_as_soon_as_they_are_read(library):
    assert badges(library) == ["", "Refusal", "Sound", ""]
    [row] = library.lookup.rows(["b.png"])
    assert row["flaw"] == "needs a look: the model refuses or answers the user (“I'm sorry, but”)"
    assert library.lookup.find("b.png").fault == row["flaw"]


def test_near_duplicates_are_known_when_all_captions_were_read(library):
    read_all(library)
    assert badges(library) == ["", "Refusal", "Sound", "Near-duplicate"]
    assert "the same as that of a.png" in library.lookup.find("d.png").fault


def test_caption_of_a_running_job_is_checked_at_once(library, events):
    read_all(library)
    revision, item = library.listing()["revision"], library.items[0]
    done = {"job": 1, "item": item.name, "path": item.path, "tokens": 9, "seconds": 1.0, "replica": "cpu"}
    events.append(ItemDone(**done, caption="The video shows a dog."))
    [row] = library.since(library.scan.id, revision).rows
    assert (row["badge"], row["flags"]) == ("Opener", FLAWED_FLAG)
    events.append(ItemDone(**done, caption="A dog asleep.", flaw="was cut off at 9 tokens"))
    [row] = library.since(library.scan.id, library.listing()["revision"] - 1).rows
    assert row["badge"] == "Cut off"
    events.append(ItemDone(**done, caption="A dog asleep."))
    library.counts()  # applies the event
    assert badges(library)[0] == ""


def test_edit_and_approval_end_a_fault(library):
    read_all(library)
    library.edits.save(library.items[1], "A wet street.")
    library.edits.approve(["c.png"])
    assert library.lookup.find("c.png").fault == ""
    assert [bool(flags & FLAWED_FLAG) for flags in library.listing()["flags"]] == [False, False, False, True]


def test_captions_are_checked_again_for_another_trigger_word(library, chosen):
    read_all(library)
    chosen[0] = LintOptions(trigger="ohwx", chosen=frozenset({"trigger-missing"}))
    library.check_again()
    wait_for("lint")
    assert badges(library) == ["No trigger word"] * 4
    revision = library.listing()["revision"]
    library.check_again()
    wait_for("lint")
    assert library.listing()["revision"] == revision  # nothing has changed


def test_faults_of_jobs_and_of_the_linter(library):
    assert fault_of("") is None
    assert fault_of("repeats itself") == Fault("Repeats itself", "repeats itself")
    assert fault_of("exceeds the 512 tokens of Wan 2.2").badge == "Too long"
    fault = fault_in(library.items[0], "The image shows a man. It might be a park. There are no cars.", LintOptions())
    assert fault.badge == "Opener"
    assert fault.text.count(";") == 2
