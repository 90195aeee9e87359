"""The handlers of the Gallery tab; test_gallery_page.py drives them in a browser."""

import json
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import gradio as gr
import pytest

from captioner.captions.store import HistoryEntry, Provenance
from captioner.errors import FolderError, JobError
from captioner.jobs.events import JobStarted
from captioner.library.file_states import Counts
from captioner.library.recent import KEPT_FOLDERS, RecentFolders
from captioner.services import Services
from captioner.system.roots import EVERYWHERE, Roots
from captioner.ui.format import isolated
from captioner.ui.gallery.estimate import Estimator
from captioner.ui.gallery.folders import browse, counts_line, decode_path, encode_path
from captioner.ui.gallery.grid import grid_changes, selected_names
from captioner.ui.gallery.panel import about, history_list
from captioner.ui.gallery.tab import Gallery
from captioner.ui.runs.buttons import RunButtons
from tests.support.captions import CAPTION
from tests.support.gallery_page import make_folder, picture
from tests.support.hostile import HOSTILE


def event(**data: object) -> gr.EventData:
    return gr.EventData(None, data)


@pytest.fixture
def folder(tmp_path) -> Path:
    return make_folder(tmp_path / "media")


@pytest.fixture
def gallery(services, folder) -> Gallery:
    services.open_folder(folder, False)
    return Gallery(services)


def selection(services: Services, ranges: str, total: int) -> str:
    return json.dumps({"scan": services.library.scan.id, "selected": ranges, "total": total})


def queue_of(buttons: RunButtons, services: Services) -> tuple:
    return buttons.context(services.events.snapshot()).queue


def opened(services: Services, index: int) -> dict[str, str]:
    """Return what the panel sends with each event."""
    library = services.library
    return {"id": f"{library.scan.id}-{index}", "folder": str(library.folder), "name": library.items[index].name}


class TestBrowse:
    def test_subfolders_are_sorted_and_hidden_ones_left_out(self, tmp_path):
        for name in ("b", "A", ".hidden", "c"):
            (tmp_path / name).mkdir()
        (tmp_path / "file.txt").write_text("")
        found = browse(tmp_path, EVERYWHERE)
        assert (found.path, found.parent) == (tmp_path, tmp_path.parent)
        assert [folder.name for folder in found.folders] == ["A", "b", "c"]

    def test_links_cannot_leave_the_allowed_folders(self, tmp_path):
        inside, outside = tmp_path / "inside", tmp_path / "outside"
        inside.mkdir()
        outside.mkdir()
        (inside / "link").symlink_to(outside)
        roots = Roots([inside])
        assert browse(inside, roots).parent is None
        for path in (inside / "link", inside / "..", outside):
            with pytest.raises(FolderError, match="outside the allowed folders"):
                browse(path, roots)

    @pytest.mark.parametrize(("name", "message"), [("gone", "no such folder"), ("a\0b", "no such folder")])
    def test_a_missing_folder_is_an_error(self, tmp_path, name, message):
        with pytest.raises(FolderError, match=message):
            browse(tmp_path / name, EVERYWHERE)

    def test_a_path_that_is_not_utf8_survives_the_way_to_the_browser_and_back(self):
        path = Path(os.fsdecode(b"/media/\xff %41 \xc3\xa4"))
        assert encode_path(path).isascii()
        assert decode_path(encode_path(path)) == path


class TestRecentFolders:
    def test_the_latest_comes_first_and_each_is_listed_once(self, tmp_path):
        recent = RecentFolders(tmp_path / "recent.json")
        for number in range(12):
            recent.add(Path(f"/media/{number}"))
        recent.add(Path("/media/5"))
        kept = RecentFolders(tmp_path / "recent.json").paths()
        assert len(kept) == KEPT_FOLDERS
        assert kept[:3] == [Path("/media/5"), Path("/media/11"), Path("/media/10")]

    @pytest.mark.parametrize("text", ["", "{", '{"a": 1}', "[1]"])
    def test_a_damaged_file_counts_as_empty(self, tmp_path, text):
        (tmp_path / "recent.json").write_text(text)
        recent = RecentFolders(tmp_path / "recent.json")
        assert recent.paths() == []
        recent.add(Path("/media"))
        assert recent.paths() == [Path("/media")]


class TestGrid:
    def test_a_browser_gets_each_change_once(self, gallery, services):
        first, seen = grid_changes(services.library, "")
        assert (first["base"], first["changes"]) == (-1, [])
        services.library.edits.save(services.library.items[2], "New.")
        second, seen = grid_changes(services.library, seen)
        assert second["base"] == first["revision"]
        assert [(row["index"], row["preview"]) for row in second["changes"]] == [(2, "New.")]
        assert grid_changes(services.library, seen)[0]["changes"] == []

    def test_another_folder_makes_the_browser_fetch_a_new_list(self, gallery, services, folder):
        _, seen = grid_changes(services.library, "")
        services.open_folder(folder, False)
        changes, _ = grid_changes(services.library, seen)
        assert (changes["scan"], changes["base"], changes["changes"]) == (services.library.scan.id, -1, [])

    def test_a_selection_becomes_names(self, gallery, services):
        assert selected_names(services.library, "") == []
        assert selected_names(services.library, selection(services, "0,2-3", 3)) == ["a.png", "c.png", "d.png"]
        with pytest.raises(JobError, match="the folder was refreshed"):
            selected_names(services.library, selection(services, "0", 1).replace(services.library.scan.id, "0"))


def asked(files: str, existing: str = ""):
    return event(files=files, existing=existing)


class TestGallery:
    @pytest.fixture
    def started(self, services, monkeypatch) -> list[list[str]]:
        names = []
        monkeypatch.setattr(services, "start", lambda chosen, existing, consent: names.append(chosen))
        monkeypatch.setattr("captioner.ui.gallery.caption.START_WAIT_S", 0)
        return names

    def test_start_captions_the_selection_or_else_the_pending_files(self, gallery, services, started):
        gallery.caption.start(asked(selection(services, "0,3", 2)))
        gallery.caption.start(asked(selection(services, "", 0)))
        assert started == [["a.png", "d.png"], ["c.png", "d.png"]]

    def test_files_known_to_have_a_caption_are_not_given_to_a_job_that_skips_them(self, gallery, services, started):
        for index in (0, 1):
            services.library.lookup.entry(services.library.items[index])  # which reads its caption
        gallery.caption.start(asked(selection(services, "0-3", 4)))
        with pytest.raises(JobError, match="nothing to caption"):
            gallery.caption.ask_or_start(asked(selection(services, "0-1", 2)))
        services.change_settings({"existing": "append"})
        gallery.caption.start(asked(selection(services, "0-1", 2)))
        assert started == [["c.png", "d.png"], ["a.png", "b.png"]]

    def test_only_selected_files_are_queued_behind_a_running_job(self, gallery, services, started):
        services.events.append(JobStarted(job=1, total=1, model="m"))
        with pytest.raises(JobError, match="already running"):
            gallery.caption.ask_or_start(asked(selection(services, "", 0)))
        gallery.caption.start(asked(selection(services, "0,3", 2)))
        assert started == [["a.png", "d.png"]]

    def test_a_waiting_job_can_be_removed_and_stop_leaves_the_next_ones(self, gallery, services):
        gate, buttons = threading.Event(), RunButtons(services)
        services.jobs._work.put(gate.wait)  # nothing runs meanwhile
        first, second, third = (services.start([f"{name}.png"]) for name in "ccd")
        line = f"1 file of {isolated('media')}"
        assert queue_of(buttons, services) == ((first, line), (second, line), (third, line))
        buttons.remove(event(job=str(second)))
        assert queue_of(buttons, services) == ((first, line), (third, line))
        with pytest.raises(gr.Error, match="no longer in the queue"):
            buttons.remove(event(job=str(second)))
        buttons.stop()
        assert queue_of(buttons, services) == ((third, line),)
        assert [job.operation for job in services.unfinished()] == [first]
        services.jobs.stop()
        gate.set()

    def test_a_selection_from_before_a_refresh_starts_nothing(self, gallery, services, started, folder):
        before = selection(services, "0", 1)
        services.open_folder(folder, False)
        with pytest.raises(JobError, match="the folder was refreshed"):
            gallery.caption.ask_or_start(asked(before))
        assert started == []

    def test_nothing_is_overwritten_without_a_selection(self, gallery, services, started, folder):
        for name in "cd":
            (folder / f"{name}.txt").write_text("There.")
        services.open_folder(folder, False)
        services.change_settings({"existing": "overwrite"})
        with pytest.raises(JobError, match="nothing to caption"):
            gallery.caption.ask_or_start(asked(""))
        assert started == []

    def test_why_no_job_started_is_shown_at_the_button_with_the_setting_to_change(self, gallery, services, started):
        _, told = gallery.caption.start(asked(selection(services, "0-1", 2).replace(services.library.scan.id, "0")))
        assert told["problem"]["text"] == "The folder was refreshed; select the files again."
        services.start = lambda *_, **__: services.preset("no model")
        problems = [gallery.caption.start(asked(""))[1]["problem"] for _ in range(2)]
        assert problems[0]["text"].startswith("Unknown model 'no model': give one of")
        assert [problem["field"] for problem in problems] == ["model", "model"]
        assert problems[0]["number"] < problems[1]["number"]  # so that the page shows it again

    def test_the_estimate_is_about_the_selection(self, gallery, services):
        assert gallery.estimator.estimate("", "") == ""
        assert gallery.estimator.estimate("key", "").startswith("2 images")
        assert gallery.estimator.estimate("key", selection(services, "0,2", 2)).startswith("1 image")

    def test_viewers_beyond_a_few_do_not_wait_for_an_estimate(self, gallery, services, monkeypatch):
        monkeypatch.setattr("captioner.ui.gallery.estimate.MAX_WAITING", 1)
        asked, answered = threading.Event(), threading.Event()

        def names(selection: str) -> list[str]:
            asked.set()
            assert answered.wait(20)
            return ["c.png"]

        estimator = Estimator(services, names)
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(estimator.estimate, "key", "")
            assert asked.wait(20)
            assert estimator.estimate("key", "") == ""
            answered.set()
            assert first.result() == estimator.estimate("key", "") != ""

    def test_an_opened_folder_is_remembered_for_the_next_start(self, services, folder):
        gallery = Gallery(services)
        gallery.bar.open(event(typed=f" {folder} ", key="", recursive=True, edit=None))
        assert (services.settings.folder, services.settings.recursive) == (folder, True)
        assert gallery.bar.recent.paths() == [folder]

    def test_only_the_chosen_kind_is_listed_and_captioned(self, services, folder, started):
        (folder / "e.mp4").write_bytes(b"x")
        gallery, opening = Gallery(services), {"typed": str(folder), "key": "", "recursive": False, "edit": None}
        gallery.bar.open(event(**opening, kinds="video"))
        gallery.caption.start(asked(""))
        gallery.bar.open(event(**opening, kinds="no such kind"))
        assert gallery.bar.view()["kinds"] == services.settings.kinds == "video"
        gallery.bar.open(event(**opening, kinds="all"))
        gallery.caption.start(asked(""))
        assert started == [["e.mp4"], ["c.png", "d.png", "e.mp4"]]

    def test_a_folder_that_is_not_allowed_stays_closed(self, tmp_path, folder):
        (tmp_path / "other").mkdir()
        roots = Roots([tmp_path / "other"])
        with Services(tmp_path / "confined", {"model": "demo"}, roots) as services:
            self._check_closed(services, folder)

    def _check_closed(self, services, folder):
        gallery = Gallery(services)
        gallery.bar.recent.add(folder)
        _, told = gallery.bar.open(event(typed=str(folder), key="", recursive=False, edit=None))
        assert told["problem"]["text"].endswith(" is outside the allowed folders; restart with --root DIR to allow it.")
        assert services.library.folder is None
        listing = gallery.bar.browse(event(typed=str(folder), key="", number=1))["listing"]
        assert listing["problem"].endswith(" is outside the allowed folders; restart with --root DIR to allow it")
        assert [found["name"] for found in listing["folders"]] == [str(folder.parent / "other")]
        assert gallery.bar.view()["recent"] == []

    def test_browsing_a_half_typed_path_shows_its_nearest_parent(self, gallery, folder):
        listing = gallery.bar.browse(event(typed=str(folder / "gone" / "x"), key="", number=1))["listing"]
        assert (listing["place"], listing["problem"], listing["folders"]) == (str(folder), "", [])

    def test_counts_escape_the_warnings_of_the_scan(self):
        text = counts_line(Counts(106, 98, 6, 2), ["<b>.mp4: cannot be read"])
        assert text.startswith(
            '<span title="106 files · 98 done · 6 pending · 2 failed"><i>106 files · </i><i>98 done · </i>'
            '<i>6 pending · </i><i class="bad">2 failed</i></span>'
        )
        assert "<b>.mp4" not in text


class TestPanel:
    def test_saving_over_another_edit_is_refused_and_loses_nothing(self, gallery, services, folder):
        (folder / "a.txt").write_text("Theirs.")
        with pytest.raises(gr.Error, match="changed meanwhile"):
            gallery.panel.save(event(**opened(services, 0), text="Mine.", expected="A zebra at noon."))
        assert (folder / "a.txt").read_text() == "Theirs."
        assert gallery.panel.render(json.dumps(opened(services, 0)))["fresh"]["text"] == "Theirs."

    def test_a_saved_text_is_on_the_tile_with_the_answer(self, gallery, services, folder):
        _, seen = grid_changes(services.library, "")
        save = gallery.with_tile(gallery.panel.save)
        panel, grid, seen = save(seen, event(**opened(services, 1), text="A  mule.", expected="A horse at night."))
        assert (panel["answer"]["saved"]["text"], panel["answer"]["fresh"]["text"]) == ("A  mule.", "A  mule.")
        assert [(row["index"], row["preview"]) for row in grid["changes"]] == [(1, "A  mule.")]
        assert grid_changes(services.library, seen)[0]["changes"] == []

    def test_a_file_is_found_again_after_a_refresh(self, gallery, services, folder):
        before = opened(services, 1)
        services.open_folder(folder, False)
        saved = gallery.panel.save(event(**before, text="A  mule.", expected="A horse at night."))["answer"]["saved"]
        assert (saved["sent"], saved["text"], saved["name"]) == ("A  mule.", "A  mule.", "b.png")
        assert gallery.panel.render(json.dumps(before))["fresh"]["id"] == f"{services.library.scan.id}-1"

    def test_a_file_whose_name_is_not_utf8_is_found(self, services, folder):
        name = os.fsdecode(b"h\xe4lf.png")
        picture(folder / name)
        services.open_folder(folder, False)
        assert services.library.lookup.find("h?lf.png").item.name == name
        assert services.library.lookup.find("half.png") is None

    def test_a_missing_folder_is_the_reason_for_a_failed_save(self, gallery, services, folder):
        place = opened(services, 0)
        shutil.rmtree(folder)
        with pytest.raises(gr.Error, match="is missing, so the caption cannot be saved"):
            gallery.panel.save(event(**place, text="Mine.", expected="A zebra at noon."))

    def test_a_file_of_another_folder_is_not_found(self, gallery, services, tmp_path):
        before = opened(services, 1)
        services.open_folder(tmp_path, False)
        assert gallery.panel.render(json.dumps(before))["fresh"] == before | {"id": "", "answer": None}
        with pytest.raises(gr.Error, match="no longer open"):
            gallery.panel.remove(event(**before, edit=None))

    @pytest.mark.parametrize("closed_by_another_viewer", [True, False])
    def test_an_edit_that_cannot_be_saved_does_not_keep_a_folder_from_opening(
        self, gallery, services, folder, tmp_path, closed_by_another_viewer
    ):
        edit = {**opened(services, 0), "text": "Mine.", "expected": "Something else."}
        if closed_by_another_viewer:
            services.open_folder(tmp_path, False)
        other = tmp_path / "other"
        other.mkdir()
        assert gallery.bar.open(event(typed=str(other), key="", recursive=False, edit=edit))[0] == gr.skip()
        assert services.library.folder == other
        assert (folder / "a.txt").read_text() == "A zebra at noon."

    def test_an_edit_is_in_the_history_after_an_earlier_text_is_restored(self, gallery, services, folder):
        services.library.edits.save(services.library.items[0], "Second.")
        place = opened(services, 0)
        earlier = gallery.panel.render(json.dumps(place))["fresh"]["undo"]
        edit = {**place, "text": "Third.", "expected": "Second."}
        entry = gallery.panel.restore(event(**place, history=earlier, edit=edit))["answer"]["fresh"]
        assert (entry["text"], (folder / "a.txt").read_text()) == ("A zebra at noon.", "A zebra at noon.")
        assert [part in entry["history"] for part in ("Third.", "Second.", "A zebra at noon.")] == [True, True, True]

    def test_history_is_escaped(self):
        text = history_list([HistoryEntry(7, HOSTILE[0], b"", 1.0, "job")])
        assert "&lt;script&gt;" in text
        assert "<script>" not in text


def test_thinking_and_adapter_are_shown_as_text_with_how_a_caption_was_made():
    caption = replace(CAPTION, thinking="<script>Is it a ball?", adapter="/home/me/<b>style")
    made = Provenance(caption, Path("a.mp4"), Path("a.txt"), "written", 1.8e9, "1")
    shown = about(made, caption.text)
    assert "<dt>Thinking</dt><dd><details><summary>&lt;script&gt;Is it a ball?</summary>" in shown
    assert "demo with &lt;b&gt;style on cpu" in shown
    assert "Thinking" not in about(replace(made, caption=replace(caption, thinking="")), caption.text)
