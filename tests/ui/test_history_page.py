"""Resume, undo, approval, consent and bulk edits on the page: texts, handlers, and all of it in a real browser."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from captioner.captions.edit import BulkEdit
from captioner.captions.store import Undone
from captioner.demo.clips import write_samples
from captioner.errors import JobError
from captioner.jobs.journal import Unfinished
from captioner.jobs.outcomes import Outcomes
from captioner.jobs.progress import Progress, WaitingJob
from captioner.library.bulk import Preview, preview
from captioner.services import Services
from captioner.system.roots import Roots
from captioner.ui.format import isolated
from captioner.ui.launch import launch
from captioner.ui.page import build
from captioner.ui.runs import bulk, card, history, strip
from captioner.ui.runs.bulk import CONTEXT, MAX_COMPARED, Bulk, marks, outcome
from captioner.ui.runs.buttons import RunButtons
from captioner.ui.runs.card import RunContext
from captioner.ui.runs.history import History
from tests.support.chromium import open_browser
from tests.support.gallery_page import press_in_menu
from tests.support.hostile import FOLDER_NAME
from tests.ui.test_app import MODEL_TIMEOUT_MS, ROOT, running_app

# The grid reaches down to the end of the window, whatever the card above it has shrunk to.
FILLED = "Math.abs(innerHeight - document.querySelector('#panes').getBoundingClientRect().bottom - 16) < 3"


@pytest.fixture
def folder(tmp_path) -> Path:
    """Four stills; the first three have captions."""
    folder = tmp_path / "media"
    write_samples(folder, num_clips=0, num_stills=4)
    for number, text in enumerate(("The video shows a cat.", "A dog.", "A cat and a dog."), 1):
        (folder / f"still {number:02}.txt").write_text(text)
    return folder


@contextmanager
def served(services: Services, folder: Path | None) -> Iterator[str]:
    blocks, page = build(services, folder)
    try:
        yield launch(blocks, page)
    finally:
        blocks.close(verbose=False)


def stopped_job(services: Services, reason: str = "") -> int:
    """Add to the journal a stopped job over the open folder that has captioned nothing."""
    library = services.library
    operation = services.jobs.journal.begin(services._job(library.items), library.folder, library.scan.recursive)
    services.jobs.journal.end(operation, "stopped", reason, Outcomes(operation, services.events, None))
    return operation


class TestTexts:
    def test_outcome_of_an_undo(self):
        kept = tuple(
            (Path(f"{i}.txt"), reason) for i, reason in enumerate(("changed since", "changed since", "approved"))
        )
        assert history.in_words(Undone(1, ())) == "1 caption restored"
        assert (
            history.in_words(Undone(1198, kept)) == "1,198 captions restored, 2 kept: changed since, 1 kept: approved"
        )
        assert history.in_words(Undone(0, ())) == "Nothing to undo"
        assert history.in_words(Undone(0, ()), "redo") == "Nothing to redo"

    def test_counts_of_a_preview(self):
        assert outcome("2 of 9 change", {"approved": 3, "no caption": 1}) == (
            "2 of 9 change, 3 approved are skipped, 1 has no caption"
        )

    def test_offer_to_resume_a_job(self):
        job = Unfinished(7, "Caption", Path(f"/media/{FOLDER_NAME}"), 688, 1000, 0.0, "interrupted", FOLDER_NAME)
        html = strip.view(Progress(), context=RunContext(unfinished=(job, job)))
        assert "A job was interrupted:</b> 688 of 1,000 files of" in html
        assert "1 more in History" in html
        assert "<img" not in html
        assert 'data-phase="idle"' in strip.view(Progress(), "7.1", RunContext(unfinished=(job,)))

    def test_card_of_a_job_that_was_undone(self):
        ended = Progress(job=3, stage="done", total=2, done=2)
        assert 'data-run="undo"' in card.view(ended, 0, context=RunContext(undone=False))
        undone = card.view(ended, 0, context=RunContext(undone=True))
        assert [part in undone for part in ('data-run="redo"', "The job was undone. 2 captioned")] == [True, True]
        assert 'data-run="undo"' not in card.view(ended, 0)


class TestMarks:
    def test_removed_and_added_words_are_marked(self):
        assert marks("A red ball.", "A blue ball!") == [
            ("", "A "), ("del", "red"), ("ins", "blue"), ("", " ball"), ("del", "."), ("ins", "!"),
        ]  # fmt: skip
        assert marks("A red ball.", None) == [("del", "A red ball.")]

    @pytest.mark.parametrize("count", [40, 3 * MAX_COMPARED])
    def test_long_unchanged_parts_are_shortened(self, count):
        before = "word " * count + "old" + " word" * count
        parts = marks(before, before.replace("old", "new"))
        assert [kind for kind, _ in parts] == ["", "del", "ins", ""]
        assert parts[1:3] == [("del", "old"), ("ins", "new")]
        assert all(len(text) <= 2 * CONTEXT + 3 for _, text in parts)


class TestHandlers:
    def test_history_shows_an_undo_in_the_row_of_what_it_undid(self, services, folder):
        services.open_folder(folder, False)
        names = [item.name for item in services.library.items]
        done = services.bulk_edit(names, BulkEdit(find="cat", replace=FOLDER_NAME))
        dialog = History(services, services.open_folder)
        [row] = dialog.rows()
        assert (row["counts"], row["state"], row["act"]) == ("2 changed", "done", "undo")
        answer = dialog.undo(gr.EventData(None, {"id": done.operation}))
        assert answer["result"]["text"] == "2 captions restored."
        [row] = answer["rows"]
        assert (row["id"], row["state"], row["act"]) == (done.operation, "undone", "redo")
        answer = dialog.redo(gr.EventData(None, {"id": done.operation}))
        assert answer["result"]["text"] == "2 captions redone."
        assert answer["rows"][0]["act"] == "undo"
        assert FOLDER_NAME in (folder / "still 01.txt").read_text()
        again = dialog.redo(gr.EventData(None, {"id": done.operation}))
        assert (again["result"]["bad"], "was not undone" in again["result"]["text"]) == (True, True)

    def test_a_stopped_job_is_offered_until_it_is_dismissed(self, services, folder):
        services.open_folder(folder, False)
        operation = stopped_job(services)
        buttons, idle = RunButtons(services), services.events.snapshot()
        assert [job.operation for job in buttons.context(idle).unfinished] == [operation]
        assert History(services, services.open_folder).rows()[0]["left"] == 4
        buttons.drop(gr.EventData(None, {"job": operation}))
        assert buttons.context(idle).unfinished == ()

    def test_waiting_jobs_are_named_after_their_folders(self, services, folder):
        services.open_folder(folder, False)
        operation = stopped_job(services)
        queue = (WaitingJob(operation, 4), WaitingJob(-1, 1), WaitingJob(-2, 0), WaitingJob(-3, 4, scores=True))
        progress = Progress(stage="running", queued_jobs=4, queue=queue)
        lines = RunButtons(services).context(progress).queue
        assert [number for number, _ in lines] == [operation, -1, -2, -3]
        expected = [f"4 files of {isolated('media')}", "a prompt test", "loading a model", "scores of 4 captions"]
        assert [line for _, line in lines] == expected
        assert [each.job for each in card.without_trials(progress).queue] == [operation, -2, -3]

    def test_a_wrong_pattern_is_reported_in_the_dialog(self, services, folder):
        services.open_folder(folder, False)
        files = f'{{"scan": "{services.library.scan.id}", "selected": "0-3", "total": 4}}'
        edit = {"find": "(", "regex": True, "unknown": 1}
        answer = Bulk(services).preview(gr.EventData(None, {"number": 5, "files": files, "edit": edit}))
        assert (answer["preview"]["number"], "pattern is wrong" in answer["preview"]["problem"]) == (5, True)

    def test_a_caption_changed_outside_is_marked_before_a_bulk_edit(self, services, folder):
        library = services.open_folder(folder, False)
        for item in library.items[:2]:
            services.captions.save(item.caption_path, "A red fox.")
        library.items[1].caption_path.write_text("A red hen.")
        library.edits.refresh([item.caption_path for item in library.items[:2]])
        files = f'{{"scan": "{library.scan.id}", "selected": "0-1", "total": 4}}'
        data = {"number": 5, "files": files, "edit": {"prefix": "Oh,"}}
        answer = Bulk(services).preview(gr.EventData(None, data))["preview"]
        assert answer["counts"] == "2 of 2 change, 1 of them changed outside"
        assert [row["changed_outside"] for row in answer["changed"]] == [False, True]

    def test_nothing_outside_the_roots_is_undone(self, folder, tmp_path):
        with Services(tmp_path / "state", {"model": "demo"}) as services:
            services.open_folder(folder, False)
            done = services.bulk_edit(["still 02.png"], BulkEdit(suffix="Then."))
        (tmp_path / "other").mkdir()
        with Services(tmp_path / "state", {"model": "demo"}, Roots([tmp_path / "other"])) as services:
            assert History(services, services.open_folder).rows() == []
            with pytest.raises(JobError, match="outside the allowed folders"):
                history.undo(services, done.operation)
        assert "Then." in (folder / "still 02.txt").read_text()

    def test_nothing_outside_the_roots_is_dismissed(self, folder, tmp_path):
        state = tmp_path / "state"
        with Services(state, {"model": "demo"}) as services:
            services.open_folder(folder, False)
            operation = stopped_job(services)
        (tmp_path / "other").mkdir()
        confined = Services(state, {"model": "demo"}, Roots([tmp_path / "other"]))
        with confined as services, pytest.raises(gr.Error, match="outside the allowed folders"):
            RunButtons(services).drop(gr.EventData(None, {"job": operation}))
        with Services(state, {"model": "demo"}) as services:
            assert [job.operation for job in services.unfinished()] == [operation]


@pytest.mark.browser
def test_a_killed_job_is_offered_and_can_be_resumed(tmp_path, monkeypatch):
    monkeypatch.setenv("CAPTIONER_MODEL", "demo")
    monkeypatch.setenv("CAPTIONER_BATCH_SIZE", "2")
    folder, state = tmp_path / "clips", tmp_path / "state"
    write_samples(folder, num_clips=3, num_stills=0)
    for path in list(folder.iterdir()):
        for number in range(10):
            os.link(path, folder / f"copy {number:02} of {path.name}")
    command = [sys.executable, "-m", "captioner", "--state", str(state), "caption", str(folder)]
    captioner = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True)
    until_s = time.monotonic() + MODEL_TIMEOUT_MS / 1000
    while not any(folder.glob("*.txt")):
        assert captioner.poll() is None
        assert time.monotonic() < until_s
        time.sleep(0.02)
    os.killpg(captioner.pid, signal.SIGKILL)
    captioner.wait()
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.txt")}
    with running_app("--state", state, "--root", tmp_path) as (_, address), open_browser(address) as (page, expect):
        offer = page.locator(".run-strip[data-phase=offer]")
        expect(offer).to_contain_text(f"A job was interrupted: {33 - len(before)} of 33 files of clips left.")
        page.locator("[data-run=resume]").click()
        expect(page.locator("#folder")).to_have_value(str(folder))
        expect(page.locator(".run-strip[data-phase=done]")).to_be_visible(timeout=MODEL_TIMEOUT_MS)
        expect(page.locator(".folder-counts")).to_contain_text("33 done · 0 pending")
        assert {path: path.stat().st_mtime_ns for path in before} == before  # nothing was captioned twice
        page.locator(".run-line").click()
        page.locator("[data-run=undo]").click()
        page.get_by_role("button", name="Undo the job").click()
        expect(page.locator(".toast-body").first).to_contain_text("33 captions restored")
        expect(page.locator(".folder-counts")).to_contain_text("33 pending")
        assert not any(folder.glob("*.txt"))


@pytest.mark.browser
def test_an_approved_caption_is_kept_and_the_job_is_undone_and_redone(services, folder):
    services.change_settings({"existing": "overwrite"})
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with served(services, folder) as address, open_browser(address) as (page, expect):
        tiles = page.locator(".grid-tile")
        expect(tiles.nth(1).locator("p")).to_have_text("A dog.")
        tiles.nth(1).click()
        expect(page.locator("#caption textarea")).to_have_value("A dog.")
        page.keyboard.press("Control+Enter")
        expect(page.locator(".panel-title h3")).to_have_text("still 03.png")
        page.keyboard.press("Alt+ArrowLeft")
        expect(page.locator(".panel-approve")).to_have_attribute("aria-pressed", "true")
        expect(page.locator("#panel [data-act=again]")).to_be_disabled()
        expect(page.locator(".grid-tile.approved")).to_have_count(1)
        press_in_menu(page, "more", "[data-which=all]")
        expect(page.locator("#start")).to_have_text("Caption 3 of 4 selected (overwrite 2)")
        page.locator("#start").click()
        expect(page.locator(".run-strip[data-phase=done]")).to_be_visible(timeout=MODEL_TIMEOUT_MS)
        page.wait_for_function(FILLED)
        assert (folder / "still 02.txt").read_text() == "A dog."
        made = (folder / "still 01.txt").read_bytes()
        assert made != before["still 01.txt"]

        (folder / "still 03.txt").write_text("By somebody else.")
        page.locator(".run-line").click()
        page.locator("[data-run=undo]").click()
        page.get_by_role("button", name="Undo the job").click()
        expect(page.locator(".toast-body").first).to_contain_text("2 captions restored, 1 kept: changed since")
        expect(tiles.first.locator("p")).to_have_text("The video shows a cat.")
        expect(tiles.nth(3)).to_have_attribute("data-state", "pending")
        after = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert after == before | {"still 03.txt": b"By somebody else."}
        page.locator(".run-line").click()
        page.locator("[data-run=redo]").click()
        expect(page.locator("[data-run=undo]")).to_be_attached()
        assert (folder / "still 01.txt").read_bytes() == made

        page.locator("[data-act=unselect]").click()
        press_in_menu(page, "filter", "[data-state=approved]")
        expect(tiles).to_have_count(1)
        tiles.first.click()
        page.locator(".grid-view").focus()
        page.keyboard.press("a")
        expect(page.locator(".grid-empty")).to_contain_text("Nothing matches")


@pytest.mark.browser
def test_a_caption_changed_outside_is_shown_and_asked_about(services, folder):
    services.change_settings({"existing": "overwrite"})
    services.open_folder(folder, False)
    for name in ("still 01.png", "still 02.png"):
        services.library.edits.save(services.library.lookup.find(name).item, "Ours.")
    (folder / "still 01.txt").write_text("Theirs.")
    with served(services, folder) as address, open_browser(address) as (page, expect):
        tile = page.locator(".grid-tile").first
        expect(tile.locator(".grid-outside")).to_have_text("Changed outside")
        expect(page.locator(".grid-states [data-state=outside] i")).to_have_text("1")
        tile.click()
        expect(page.locator(".panel-outside")).to_be_visible()
        page.locator("#panel [data-act=again]").click()
        expect(page.locator(".panel-consent")).to_be_visible()
        page.locator("[data-act=again-no]").click()
        press_in_menu(page, "more", "[data-which=all]")
        page.locator("#start").click()
        expect(page.locator("#start-question h4")).to_have_text("1 caption was changed outside")
        page.get_by_role("button", name="Skip").click()
        expect(page.locator(".run-strip[data-phase=done]")).to_be_visible(timeout=MODEL_TIMEOUT_MS)
        assert (folder / "still 01.txt").read_text() == "Theirs."
        page.locator("#panel [data-act=again]").click()
        page.locator("[data-act=again-yes]").click()
        expect(tile.locator(".grid-outside")).to_have_count(0)
        expect(tile.locator("p")).not_to_have_text("Theirs.")


@pytest.mark.browser
def test_bulk_edit_with_preview_undo_and_history(services, folder, monkeypatch):
    asked, may_answer = threading.Event(), threading.Event()

    def slow_preview(*args: Any) -> Preview:
        asked.set()
        assert may_answer.wait(60)
        return preview(*args)

    services.open_folder(folder, False)
    services.library.edits.approve(["still 03.png"])
    with served(services, folder) as address, open_browser(address) as (page, expect):
        tiles, dialog = page.locator(".grid-tile"), page.locator("#bulk dialog")
        expect(tiles).to_have_count(4)
        press_in_menu(page, "more", "[data-act=edit]")
        expect(dialog).to_contain_text("In all 4 files")
        expect(dialog).to_contain_text("What should change?")
        page.keyboard.type("cat|dog")
        expect(dialog.locator(".bulk-hint")).to_contain_text("Nothing would change")
        monkeypatch.setattr(bulk, "preview", slow_preview)
        dialog.locator("[name=regex]").click()
        assert asked.wait(60)
        dialog.locator("[name=replace]").fill(FOLDER_NAME)
        dialog.locator("[name=trim_openers]").check()
        page.wait_for_timeout(300)  # it asks again, before the first answer
        may_answer.set()
        counts = dialog.locator(".bulk-counts")
        expect(counts).to_have_text("2 of 4 change, 1 approved is skipped, 1 has no caption")
        row = dialog.locator(".bulk-list li").first
        expect(row.locator("b")).to_have_text("still 01.png")
        expect(row.locator("ins")).to_have_text(f"A {FOLDER_NAME}")
        dialog.get_by_role("button", name="Change 2 captions").click()
        expect(dialog.locator(".dialog-message")).to_contain_text("2 captions changed")
        assert (folder / "still 01.txt").read_text() == f"A {FOLDER_NAME}."
        assert (folder / "still 03.txt").read_text() == "A cat and a dog."
        dialog.locator("[data-act=undo]").click()
        expect(dialog.locator(".dialog-message")).to_have_text("2 captions restored.")
        assert (folder / "still 01.txt").read_text() == "The video shows a cat."
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()

        page.locator(".bar-history").click()
        row = page.locator(".history-row")
        expect(row.locator(".history-state")).to_have_text("undone")
        row.get_by_role("button", name="Redo").click()
        row.get_by_role("button", name="Redo").click()
        expect(page.locator("#history .dialog-message")).to_have_text("2 captions redone.")
        expect(row.locator(".history-state")).to_have_text("done")
        page.keyboard.press("Escape")
        expect(tiles.first.locator("p")).to_have_text(f"A {FOLDER_NAME}.")


@pytest.mark.browser
@pytest.mark.parametrize("size", [(1600, 900), (390, 844)])
def test_hostile_texts_are_inert_and_nothing_overflows(services, tmp_path, size):
    folder = tmp_path / FOLDER_NAME
    folder.mkdir()
    for number in range(3):
        picture = folder / f"{number} {FOLDER_NAME}.png"
        Image.new("RGB", (64, 48), "teal").save(picture)
        picture.with_suffix(".txt").write_text(f"{FOLDER_NAME} {number}")
    services.open_folder(folder, False)
    services.bulk_edit([item.name for item in services.library.items], BulkEdit(find="&", replace=FOLDER_NAME))
    stopped_job(services, FOLDER_NAME)
    fits = "document.documentElement.scrollWidth <= innerWidth"
    with served(services, folder) as address, open_browser(address, *size) as (page, expect):
        offer = page.locator(".run-strip[data-phase=offer]")
        expect(offer).to_contain_text(f"3 of 3 files of {FOLDER_NAME} left")
        expect(offer.locator("p")).to_have_attribute("title", FOLDER_NAME)
        page.locator(".bar-history").click() if size[0] > 760 else press_in_menu(page, "more", "[data-act=operations]")
        expect(page.locator(".history-row")).to_have_count(2)
        expect(page.locator(".history-why")).to_have_text(FOLDER_NAME)
        expect(page.locator(".history-text span").first).to_have_attribute("title", str(folder))
        assert page.evaluate(fits)
        page.keyboard.press("Escape")
        press_in_menu(page, "more", "[data-act=edit]")
        page.locator("#bulk [name=prefix]").fill(FOLDER_NAME)
        expect(page.locator(".bulk-list b").first).to_have_text(f"0 {FOLDER_NAME}.png")
        expect(page.locator(".bulk-list ins").first).to_contain_text(FOLDER_NAME)
        expect(page.locator(".bulk-list img")).to_have_count(0)
        assert page.evaluate(fits)
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Dismiss").click()
        expect(offer).to_have_count(0)
