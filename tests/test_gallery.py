"""The Gallery tab: its handlers, and the whole of it in a real browser, alone on a page of its own."""

import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import gradio as gr
import pytest
from chromium import open_browser
from PIL import Image

from captioner import facts
from captioner.captions import HistoryEntry
from captioner.demo.clips import write_samples
from captioner.errors import FolderError
from captioner.filestates import Counts
from captioner.recent import KEPT_FOLDERS, RecentFolders
from captioner.roots import EVERYWHERE, Roots
from captioner.services import Services
from captioner.ui.browse import browse, decode_path, encode_path
from captioner.ui.gallery import Gallery, counts_line, gallery_tab
from captioner.ui.grid import grid_changes, selected_names
from captioner.ui.panel import history_list
from captioner.ui.planner import Planner
from captioner.ui.routes import media_routes
from captioner.ui.run import RunButtons
from captioner.ui.theme import CSS
from captioner.ui.views import isolated
from captioner.ui.wiring import keep_up_to_date

HOSTILE = [
    "<script>alert(1)</script>",
    "${alert(1)}",
    "{{constructor.constructor('alert(1)')()}}",
    "\"><img src=x onerror=alert(1)> 'a' & `b`",
    "two\nlines",
    "\u202egnp.txet left \u05e9\u05dc\u05d5\u05dd",
]
MODEL_TIMEOUT_MS = 180_000
PICTURES_ARE_HERE = "[...document.querySelectorAll('.vg-tile img')].every(img => img.src && img.complete)"


def event(**data: object) -> gr.EventData:
    return gr.EventData(None, data)


def picture(path: Path) -> Path:
    Image.new("RGB", (64, 48), "teal").save(path)
    return path


@pytest.fixture
def services(tmp_path) -> Iterator[Services]:
    with Services(tmp_path / "state", {"model": "demo"}) as services:
        yield services


@pytest.fixture
def folder(tmp_path) -> Path:
    """Four pictures; the first two have captions."""
    folder = tmp_path / "media"
    folder.mkdir()
    for name in "abcd":
        picture(folder / f"{name}.png")
    (folder / "a.txt").write_text("A zebra at noon.")
    (folder / "b.txt").write_text("A horse at night.")
    return folder


@pytest.fixture
def gallery(services, folder) -> Gallery:
    services.open_folder(folder, False)
    return Gallery(services)


def selection(services: Services, ranges: str, total: int) -> str:
    return json.dumps({"scan": services.library.scan, "selected": ranges, "total": total})


def queue_of(buttons: RunButtons, services: Services) -> tuple:
    return buttons.surroundings(services.events.snapshot()).queue


def opened(services: Services, index: int) -> dict[str, str]:
    """What the panel sends with each event."""
    library = services.library
    return {"id": library.entry_id(index), "folder": str(library.folder), "name": library.items[index].name}


class TestBrowse:
    def test_subfolders_come_in_order_and_hidden_ones_not_at_all(self, tmp_path):
        for name in ("b", "A", ".hidden", "c"):
            (tmp_path / name).mkdir()
        (tmp_path / "file.txt").write_text("")
        found = browse(tmp_path, EVERYWHERE)
        assert (found.path, found.parent) == (tmp_path, tmp_path.parent)
        assert [folder.name for folder in found.folders] == ["A", "b", "c"]

    def test_no_link_leads_out_of_the_allowed_folders(self, tmp_path):
        inside, outside = tmp_path / "inside", tmp_path / "outside"
        inside.mkdir()
        outside.mkdir()
        (inside / "link").symlink_to(outside)
        roots = Roots([inside])
        assert browse(inside, roots).parent is None
        for path in (inside / "link", inside / "..", outside):
            with pytest.raises(FolderError, match="outside of the folders that may be opened"):
                browse(path, roots)

    @pytest.mark.parametrize(("name", "message"), [("gone", "no such folder"), ("a\0b", "no such folder")])
    def test_what_is_no_folder_is_said(self, tmp_path, name, message):
        with pytest.raises(FolderError, match=message):
            browse(tmp_path / name, EVERYWHERE)

    def test_a_name_of_odd_bytes_travels_there_and_back(self):
        path = Path(os.fsdecode(b"/media/\xff %41 \xc3\xa4"))
        assert encode_path(path).isascii()
        assert decode_path(encode_path(path)) == path


class TestRecentFolders:
    def test_the_latest_come_first_and_each_once(self, tmp_path):
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
    def test_a_browser_hears_each_change_once(self, gallery, services):
        first, seen = grid_changes(services.library, "")
        assert (first["base"], first["changes"]) == (-1, [])
        services.library.save(services.library.entry_id(2), "New.")
        second, seen = grid_changes(services.library, seen)
        assert second["base"] == first["revision"]
        assert [(row["index"], row["preview"]) for row in second["changes"]] == [(2, "New.")]
        assert grid_changes(services.library, seen)[0]["changes"] == []

    def test_another_folder_is_no_change_but_a_new_list(self, gallery, services, folder):
        _, seen = grid_changes(services.library, "")
        services.open_folder(folder, False)
        changes, _ = grid_changes(services.library, seen)
        assert (changes["scan"], changes["base"], changes["changes"]) == (services.library.scan, -1, [])

    def test_a_selection_becomes_names(self, gallery, services):
        assert selected_names(services.library, "") == []
        assert selected_names(services.library, selection(services, "0,2-3", 3)) == ["a.png", "c.png", "d.png"]
        assert selected_names(services.library, selection(services, "0", 1).replace(services.library.scan, "0")) is None


class TestGallery:
    @pytest.fixture
    def started(self, services, monkeypatch) -> list[list[str]]:
        names = []
        monkeypatch.setattr(services, "start", lambda chosen: names.append(chosen))
        monkeypatch.setattr("captioner.ui.gallery.BEGIN_WAIT_S", 0)
        return names

    def test_start_takes_the_selection_or_else_what_is_pending(self, gallery, services, started):
        gallery.start(selection(services, "0,3", 2))
        gallery.start(selection(services, "", 0))
        assert started == [["a.png", "d.png"], ["c.png", "d.png"]]

    def test_what_is_known_to_have_a_text_is_not_handed_to_a_run_that_skips_it(self, gallery, services, started):
        for index in (0, 1):
            services.library.find(services.library.entry_id(index))  # which reads its caption
        gallery.start(selection(services, "0-3", 4))
        with pytest.raises(gr.Error, match="nothing to caption"):
            gallery.start(selection(services, "0-1", 2))
        services.change_settings({"existing": "append"})
        gallery.start(selection(services, "0-1", 2))
        assert started == [["c.png", "d.png"], ["a.png", "b.png"]]

    def test_beside_a_job_the_selected_files_are_queued_and_no_others(self, gallery, services, started):
        services.events.append(facts.JobStarted(job=1, total=1, model="m"))
        with pytest.raises(gr.Error, match="running already"):
            gallery.start(selection(services, "", 0))
        gallery.start(selection(services, "0,3", 2))
        assert started == [["a.png", "d.png"]]

    def test_a_job_that_waits_can_be_removed_and_stop_leaves_those_behind_it(self, gallery, services):
        gate, buttons = threading.Event(), RunButtons(services)
        services.jobs._work.put(gate.wait)  # nothing runs meanwhile
        first, second, third = (services.start([f"{name}.png"]) for name in "ccd")
        line = f"1 file of {isolated('media')}"
        assert queue_of(buttons, services) == ((first, line), (second, line), (third, line))
        buttons.remove(event(job=str(second)))
        assert queue_of(buttons, services) == ((first, line), (third, line))
        with pytest.raises(gr.Error, match="does not wait"):
            buttons.remove(event(job=str(second)))
        gallery.stop()
        assert queue_of(buttons, services) == ((third, line),)
        assert [job.operation for job in services.unfinished()] == [first]
        services.jobs.stop()
        gate.set()

    def test_a_selection_of_a_folder_read_anew_starts_nothing(self, gallery, services, started, folder):
        before = selection(services, "0", 1)
        services.open_folder(folder, False)
        with pytest.raises(gr.Error, match="read again"):
            gallery.start(before)
        assert started == []

    def test_nothing_is_overwritten_without_a_selection(self, gallery, services, started, folder):
        for name in "cd":
            (folder / f"{name}.txt").write_text("There.")
        services.open_folder(folder, False)
        services.change_settings({"existing": "overwrite"})
        with pytest.raises(gr.Error, match="nothing to caption"):
            gallery.start("")
        assert started == []

    def test_the_plan_is_about_the_selection(self, gallery, services):
        assert gallery.planner.plan("", "") == ""
        assert gallery.planner.plan("key", "").startswith("2 stills")
        assert gallery.planner.plan("key", selection(services, "0,2", 2)).startswith("1 still")

    def test_viewers_beyond_a_few_do_not_wait_for_a_plan(self, gallery, services, monkeypatch):
        monkeypatch.setattr("captioner.ui.planner.MAX_WAITING", 1)
        asked, answered = threading.Event(), threading.Event()

        def names(selection: str) -> list[str]:
            asked.set()
            assert answered.wait(20)
            return ["c.png"]

        planner = Planner(services, names)
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(planner.plan, "key", "")
            assert asked.wait(20)
            assert planner.plan("key", "") == ""
            answered.set()
            assert first.result() == planner.plan("key", "") != ""

    def test_opening_a_folder_keeps_it_for_the_next_start(self, services, folder):
        gallery = Gallery(services)
        gallery.open_folder(event(typed=f" {folder} ", key="", recursive=True, edit=None))
        assert (services.settings.folder, services.settings.recursive) == (folder, True)
        assert gallery.recent.paths() == [folder]

    def test_only_the_chosen_kind_is_listed_and_so_captioned(self, services, folder, started):
        (folder / "e.mp4").write_bytes(b"x")
        gallery, opening = Gallery(services), {"typed": str(folder), "key": "", "recursive": False, "edit": None}
        gallery.open_folder(event(**opening, kinds="video"))
        gallery.start("")
        gallery.open_folder(event(**opening, kinds="no such kind"))
        assert gallery._bar(Counts())["kinds"] == services.settings.kinds == "video"
        gallery.open_folder(event(**opening, kinds="all"))
        gallery.start("")
        assert started == [["e.mp4"], ["c.png", "d.png", "e.mp4"]]

    def test_a_folder_that_is_not_allowed_stays_closed(self, tmp_path, folder):
        (tmp_path / "other").mkdir()
        roots = Roots([tmp_path / "other"])
        with Services(tmp_path / "confined", {"model": "demo"}, roots) as services:
            self._check_closed(services, folder)

    def _check_closed(self, services, folder):
        gallery = Gallery(services)
        gallery.recent.add(folder)
        with pytest.raises(gr.Error, match="outside of the folders"):
            gallery.open_folder(event(typed=str(folder), key="", recursive=False, edit=None))
        assert services.library.folder is None
        listing = gallery.browse(event(typed=str(folder), key=""))["listing"]
        assert listing["problem"].startswith("outside of the folders that may be opened: ")
        assert [found["name"] for found in listing["folders"]] == [str(folder.parent / "other")]
        assert gallery._bar(Counts())["recent"] == []

    def test_browsing_a_path_half_typed_shows_the_part_that_is_there(self, gallery, folder):
        listing = gallery.browse(event(typed=str(folder / "gone" / "x"), key=""))["listing"]
        assert (listing["place"], listing["problem"], listing["folders"]) == (str(folder), "", [])

    def test_counts_escape_what_the_scan_says(self):
        text = counts_line(Counts(106, 98, 6, 2), ["<b>.mp4: cannot be read"])
        assert text.startswith(
            '<span title="106 files · 98 done · 6 pending · 2 failed">106 files · 98 done · 6 pending · '
            '<b class="bad">2 failed</b></span>'
        )
        assert "<b>.mp4" not in text


class TestPanel:
    def test_saving_over_somebody_elses_text_is_refused_and_loses_nothing(self, gallery, services, folder):
        (folder / "a.txt").write_text("Theirs.")
        with pytest.raises(gr.Error, match="changed meanwhile"):
            gallery.panel.save(event(**opened(services, 0), text="Mine.", expected="A zebra at noon."))
        assert (folder / "a.txt").read_text() == "Theirs."
        assert gallery.panel.render(json.dumps(opened(services, 0)))["fresh"]["text"] == "Theirs."

    def test_what_was_saved_stands_on_the_tile_with_the_answer(self, gallery, services, folder):
        _, seen = grid_changes(services.library, "")
        save = gallery.with_tile(gallery.panel.save)
        panel, grid, seen = save(seen, event(**opened(services, 1), text="A mule.", expected="A horse at night."))
        assert panel["saved"]["text"] == "A mule."
        assert [(row["index"], row["preview"]) for row in grid["changes"]] == [(1, "A mule.")]
        assert grid_changes(services.library, seen)[0]["changes"] == []

    def test_a_file_is_found_again_when_its_folder_was_read_anew(self, gallery, services, folder):
        before = opened(services, 1)
        services.open_folder(folder, False)
        saved = gallery.panel.save(event(**before, text="A  mule.", expected="A horse at night."))["saved"]
        assert (saved["sent"], saved["text"], saved["name"]) == ("A  mule.", "A mule.", "b.png")
        assert gallery.panel.render(json.dumps(before))["fresh"]["id"] == services.library.entry_id(1)

    def test_a_file_is_found_by_a_name_that_is_no_text(self, services, folder):
        name = os.fsdecode(b"h\xe4lf.png")
        picture(folder / name)
        services.open_folder(folder, False)
        assert services.library.find_named("h?lf.png").item.name == name
        assert services.library.find_named("half.png") is None

    def test_of_a_folder_that_is_gone_this_is_said_and_no_other_reason(self, gallery, services, folder):
        place = opened(services, 0)
        shutil.rmtree(folder)
        with pytest.raises(gr.Error, match="is not there any more"):
            gallery.panel.save(event(**place, text="Mine.", expected="A zebra at noon."))

    def test_a_file_of_another_folder_is_none(self, gallery, services, tmp_path):
        before = opened(services, 1)
        services.open_folder(tmp_path, False)
        assert gallery.panel.render(json.dumps(before))["fresh"] == before | {"id": ""}
        with pytest.raises(gr.Error, match="no longer open"):
            gallery.panel.remove(event(**before, edit=None))

    @pytest.mark.parametrize("closed_by_somebody", [True, False])
    def test_an_edit_that_cannot_be_saved_keeps_no_folder_closed(
        self, gallery, services, folder, tmp_path, closed_by_somebody
    ):
        edit = {**opened(services, 0), "text": "Mine.", "expected": "Something else."}
        if closed_by_somebody:
            services.open_folder(tmp_path, False)
        other = tmp_path / "other"
        other.mkdir()
        assert gallery.open_folder(event(typed=str(other), key="", recursive=False, edit=edit)) == gr.skip()
        assert services.library.folder == other
        assert (folder / "a.txt").read_text() == "A zebra at noon."

    def test_an_edit_goes_into_the_history_before_an_earlier_text_is_put_back(self, gallery, services, folder):
        services.library.save(services.library.entry_id(0), "Second.")
        place = opened(services, 0)
        earlier = gallery.panel.render(json.dumps(place))["fresh"]["undo"]
        edit = {**place, "text": "Third.", "expected": "Second."}
        entry = gallery.panel.restore(event(**place, history=earlier, edit=edit))["fresh"]
        assert (entry["text"], (folder / "a.txt").read_text()) == ("A zebra at noon.", "A zebra at noon.")
        assert [part in entry["history"] for part in ("Third.", "Second.", "A zebra at noon.")] == [True, True, True]

    def test_history_is_escaped(self):
        text = history_list([HistoryEntry(7, HOSTILE[0], b"", 1.0, "job")])
        assert "&lt;script&gt;" in text
        assert "<script>" not in text


@contextmanager
def served(services: Services) -> Iterator[str]:
    """The address of a page with this tab alone, and a pulse twice a second."""
    gallery = Gallery(services)

    def render(seen: str, opened: str) -> list:
        return gallery.render(services.events.snapshot(), seen, opened)

    with gr.Blocks(analytics_enabled=False, fill_width=True) as blocks:
        tab = gallery_tab(gallery)
        keep_up_to_date([blocks.load, gr.Timer(0.5).tick], tab.refreshing, render, tab.inputs, tab.outputs)
    blocks.queue(default_concurrency_limit=None)
    routes = media_routes(services).routes
    options = {"prevent_thread_lock": True, "quiet": True, "ssr_mode": False, "run_history": False, "footer_links": []}
    _, address, _ = blocks.launch(app_kwargs={"routes": routes}, css_paths=CSS, show_error=True, **options)
    yield address
    blocks.close(verbose=False)


@pytest.mark.browser
def test_keyboard_mouse_and_search(services, folder):
    services.open_folder(folder, False)
    with served(services) as address, open_browser(address) as (page, expect):
        tiles, start = page.locator(".vg-tile"), page.locator("#start")
        expect(tiles).to_have_count(4)
        expect(tiles.first.locator("p")).to_have_text("A zebra at noon.")
        expect(page.locator("#counts")).to_have_text("4 files · 2 done · 2 pending")
        expect(start).to_have_text("Caption 2 pending")

        page.locator(".vg-view").focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Space")
        expect(tiles.nth(1)).to_have_attribute("aria-selected", "true")
        expect(start).to_have_text("Has a caption")
        expect(start).to_be_disabled()
        page.keyboard.press("Control+a")
        expect(start).to_have_text("Caption 2 of 4 selected")
        page.locator("[data-select=none]").click()
        tiles.nth(1).click(modifiers=["Control"])
        tiles.nth(3).click(modifiers=["Shift"])
        selected = page.locator(".vg-tile[aria-selected=true]")
        expect(selected).to_have_count(3)

        page.keyboard.press("/")
        expect(page.locator(".vg-search input")).to_be_focused()
        page.keyboard.type("horse NIGHT")
        expect(tiles).to_have_count(1)
        expect(tiles.locator("b")).to_have_text("b.png")
        expect(page.locator(".vg-picked")).to_have_text("1 shown · 3 selected")
        page.keyboard.press("Escape")
        expect(selected).to_have_count(3)
        page.locator(".vg-states [data-state=pending]").click()
        expect(tiles).to_have_count(2)
        page.locator(".vg-states [data-state=failed]").click()
        expect(page.locator(".vg-empty")).to_contain_text("Nothing matches")
        page.get_by_role("button", name="Show all files").click()
        page.locator(".vg-sort select").select_option("length")
        page.locator("[data-act=direction]").click()
        expect(page.locator("[aria-posinset='1'] b")).to_have_text("b.png")

        page.locator(".vg-view").focus()
        page.keyboard.press("Home")
        page.keyboard.press("Enter")
        expect(page.locator("#caption textarea")).to_have_value("A horse at night.")
        page.keyboard.press("Alt+ArrowRight")
        expect(page.locator("#caption textarea")).to_have_value("A zebra at noon.")
        expect(page.locator("#panel .cp-count")).to_have_text("4 words · 16 characters · about 6 tokens")
        page.reload()
        expect(page.locator("[aria-posinset='1'] b")).to_have_text("b.png")  # the order is remembered

        tops = [page.locator(f"[aria-posinset='{number}']").bounding_box()["y"] for number in range(1, 5)]
        assert page.locator(".vg-columns input").input_value() == str(tops.count(tops[0]))
        page.locator("[data-select=pending]").click()
        expect(page.locator(".vg-picked")).to_have_text("2 selected")
        expect(page.locator(".vg-zip")).to_have_attribute("title", "No captions to download")
        page.locator("[data-select=none]").click()
        expect(page.locator(".vg-zip")).to_have_attribute("title", "Download all captions")
        page.locator("#folder").fill("/half/typed")
        page.wait_for_function(PICTURES_ARE_HERE)
        page.locator("#recursive").click()
        expect(page.locator("#recursive")).to_be_checked()
        services.library.save(services.library.entry_id(2), "Counted anew.")
        expect(page.locator("#counts")).to_have_text("4 files · 3 done · 1 pending")
        expect(page.locator("#folder")).to_have_value("/half/typed")
        page.wait_for_function(PICTURES_ARE_HERE)
        page.locator("#images").click()
        expect(page.locator(".vg-empty")).to_contain_text("No videos or images here")
        page.locator("#videos").click()  # the last kind that was on; now it is the other one's turn
        expect(page.locator("#images")).to_be_checked()
        expect(tiles).to_have_count(4)
        page.wait_for_function(PICTURES_ARE_HERE)


@pytest.mark.browser
def test_an_edit_is_saved_undone_compared_and_never_lost(services, folder):
    (folder / "d.txt").write_bytes(b"Of Windows,\r\nin two lines.")
    services.open_folder(folder, False)
    with served(services) as address, open_browser(address) as (page, expect):
        tiles, box, save = page.locator(".vg-tile"), page.locator("#caption textarea"), page.locator("#save-caption")
        tiles.nth(3).click()
        expect(box).to_have_value("Of Windows,\nin two lines.")
        expect(page.locator(".cp-dirty")).to_have_text("")
        tiles.first.click()
        expect(box).to_have_value("A zebra at noon.")
        page.locator("[data-act=menu]").click()  # in a menu the keys of the panel do nothing
        expect(page.locator(".fb-here b")).to_have_text(str(folder))
        page.keyboard.press("Control+Enter")
        page.keyboard.press("Alt+ArrowRight")
        page.keyboard.press("Escape")
        expect(box).to_have_value("A zebra at noon.")
        expect(page.locator(".cp-approve")).to_have_attribute("aria-pressed", "false")
        box.fill("Mine\nand mine.")
        expect(page.locator(".cp-dirty")).to_have_text("Not saved")
        page.keyboard.press("Control+s")
        expect(tiles.first.locator("p")).to_have_text("Mine and mine.")
        expect(tiles.first).to_have_attribute("data-state", "edited")
        expect(box).to_have_value("Mine and mine.")
        assert (folder / "a.txt").read_text() == "Mine and mine."
        page.locator("[data-act=undo]").click()
        expect(box).to_have_value("A zebra at noon.")
        page.locator("[data-act=history]").click()
        page.locator(".cp-history button", has_text="Mine and mine.").click()
        expect(tiles.first.locator("p")).to_have_text("Mine and mine.")

        tiles.nth(2).click()
        expect(box).to_have_value("")
        box.fill("Kept without a click.")
        tiles.nth(1).click()
        expect(box).to_have_value("A horse at night.")
        expect(tiles.nth(2).locator("p")).to_have_text("Kept without a click.")

        box.fill("My horse.")
        (folder / "b.txt").write_text("Their horse.")
        save.click()
        expect(page.locator(".cp-conflict p")).to_have_text("Their horse.")
        expect(page.locator(".toast-body").first).to_contain_text("changed meanwhile")
        expect(box).to_have_value("My horse.")
        page.reload()  # the edit outlives it
        tiles.nth(1).click()
        expect(page.locator(".cp-conflict p")).to_have_text("Their horse.")
        expect(box).to_have_value("My horse.")
        page.get_by_role("button", name="Keep mine").click()
        save.click()
        expect(tiles.nth(1).locator("p")).to_have_text("My horse.")
        expect(page.locator(".cp-conflict")).to_be_hidden()

        page.locator("[data-act=delete]").click()
        page.locator("[data-act=delete-no]").click()
        box.fill("Not to be lost.")
        (folder / "b.txt").write_text("Their zebra.")
        page.locator("[data-act=delete]").click()
        page.locator("[data-act=delete-yes]").click()
        expect(page.locator(".cp-conflict p")).to_have_text("Their zebra.")
        expect(box).to_have_value("Not to be lost.")
        assert (folder / "b.txt").read_text() == "Their zebra."
        page.get_by_role("button", name="Keep mine").click()
        page.locator("[data-act=delete]").click()
        page.locator("[data-act=delete-yes]").click()
        expect(tiles.nth(1)).to_have_attribute("data-state", "pending")
        expect(box).to_have_value("")
        assert not (folder / "b.txt").exists()
        assert (folder / "d.txt").read_bytes() == b"Of Windows,\r\nin two lines."  # looked at, and nothing else

        other = page.context.browser.new_page()  # of somebody else, on the same file
        other.goto(address)
        for each in (page, other):
            each.locator(".vg-tile").first.click()
            expect(each.locator("#caption textarea")).to_have_value("Mine and mine.")
        box.fill("Of one.")
        page.keyboard.press("Control+s")
        expect(other.locator("#caption textarea")).to_have_value("Of one.")
        other.locator("#caption textarea").fill("Of the other.")
        box.fill("Of one again.")
        page.keyboard.press("Control+s")
        expect(other.locator(".cp-conflict p")).to_have_text("Of one again.")
        expect(other.locator("#caption textarea")).to_have_value("Of the other.")
        other.get_by_role("button", name="Use it").click()
        expect(other.locator("#caption textarea")).to_have_value("Of one again.")
        assert (folder / "a.txt").read_text() == "Of one again."


@pytest.mark.browser
def test_hostile_names_and_captions_are_text_everywhere(services, tmp_path):
    folder = tmp_path / HOSTILE[0].replace("/", "") / HOSTILE[3].replace("/", "")
    folder.mkdir(parents=True)
    names = [f"{number} {text.replace('/', '')}.png" for number, text in enumerate(HOSTILE)]
    for name, text in zip(names, HOSTILE, strict=True):
        picture(folder / name).with_suffix(".txt").write_text(text)
    services.open_folder(folder, False)
    with served(services) as address, open_browser(address) as (page, expect):
        box, shown = page.locator("#caption textarea"), [text.replace("\n", " ") for text in HOSTILE]
        expect(page.locator("#folder")).to_have_value(str(folder))
        for number, (name, text) in enumerate(zip(names, shown, strict=True)):
            tile = page.locator(".vg-tile").nth(number)
            expect(tile.locator("b")).to_have_attribute("title", name)
            tile.click()
            expect(box).to_have_value(HOSTILE[number])
            expect(page.locator(".cp-title h3")).to_have_attribute("title", name)
            box.fill(f"{text} again")
            page.locator("#save-caption").click()
            expect(tile.locator("p")).to_have_text(f"{text} again")
            page.locator("[data-act=history]").click()
            expect(page.locator(".cp-history button span")).to_have_text(text)
        page.locator("[data-act=menu]").click()
        expect(page.locator(".fb-here b")).to_have_text(str(folder))
        page.locator(".fb-list button").first.click()
        expect(page.locator(".fb-list button").nth(1)).to_have_text(HOSTILE[3].replace("/", ""))
        page.locator("[data-act=take]").click()
        expect(page.locator(".vg-empty")).to_contain_text("No videos or images here")
        page.locator("[data-act=menu]").first.click()
        page.locator(".fb-recent button", has_text="onerror").click()
        expect(page.locator(".vg-tile")).to_have_count(len(HOSTILE))
        page.locator(".vg-search input").fill(HOSTILE[1])
        expect(page.locator(".vg-tile")).to_have_count(1)
        page.locator("#folder").fill("/no/such/<img src=x onerror=alert(1)>")
        page.locator("#open-folder").click()
        expect(page.locator(".toast-body").first).to_contain_text("no such folder: /no/such/<img")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.browser
def test_five_thousand_files_are_few_nodes_and_no_folder_is_said(services, tmp_path):
    source, folder = picture(tmp_path / "source.png"), tmp_path / "many"
    folder.mkdir()
    for number in range(5000):
        os.link(source, folder / f"{number:04} {('even', 'odd')[number % 2]}.png")
    with served(services) as address, open_browser(address, 1600, 900) as (page, expect):
        expect(page.locator(".vg-empty")).to_contain_text("No folder is open")
        page.locator("#folder").fill(str(folder))
        page.keyboard.press("Enter")
        expect(page.locator("[data-vg]")).to_have_attribute("data-ready", "5000")
        page.locator(".vg-view").focus()
        page.keyboard.press("End")
        expect(page.locator("[aria-posinset='5000'] b")).to_have_text("4999 odd.png")
        assert page.evaluate("document.querySelectorAll('*').length") < 1000
        page.locator("[data-select=all]").click()
        expect(page.locator("#start")).to_have_text("Caption 5,000 selected")
        page.wait_for_function(PICTURES_ARE_HERE)
        before = services.library.scan
        page.locator("[aria-label='Read the folder again']").click()
        page.wait_for_function(f"!document.querySelector('.vg-tile').dataset.id.startsWith('{before}-')")
        expect(page.locator(".vg-picked")).to_have_text("5,000 selected")  # the same names are selected still
        page.wait_for_function(PICTURES_ARE_HERE)
        services.captions.save(folder / "0001 odd.txt", "One.")
        services.library.refresh([folder / "0001 odd.txt"])
        expect(page.locator(".vg-zip")).to_have_attribute("href", re.compile("ids=0-4999$"))
        page.locator(".vg-search input").fill("odd")
        page.locator("[data-select=all]").click()
        expect(page.locator(".vg-zip")).to_have_attribute("title", re.compile("too far apart"))
        assert page.locator(".vg-zip").get_attribute("href") is None


@pytest.mark.browser
def test_a_run_turns_its_tiles_done_and_one_file_is_captioned_again(services, tmp_path):
    folder = tmp_path / "clips"
    write_samples(folder, num_clips=3, num_stills=1)
    (folder / "broken.mp4").write_bytes(b"no video")
    services.open_folder(folder, False)
    with served(services) as address, open_browser(address) as (page, expect):
        tile = {name: page.locator(f".vg-tile[aria-label^='{name}']") for name in ("broken", "clip 01", "still 01")}
        expect(tile["broken"].locator("p.bad")).not_to_be_empty()
        expect(tile["clip 01"].locator(".vg-time")).to_have_text("0:04")
        tile["clip 01"].locator(".vg-pic").hover()
        page.wait_for_function("document.querySelector('.vg-tile video')?.currentTime > 0")
        page.locator("#start").click()
        expect(page.locator("#stop")).to_be_enabled()
        expect(page.locator(".vg-tile[data-state=done]")).to_have_count(4, timeout=MODEL_TIMEOUT_MS)
        expect(tile["broken"]).to_have_attribute("data-state", "failed")
        expect(page.locator("#counts")).to_have_text("5 files · 4 done · 0 pending · 1 failed")
        expect(page.locator("#start")).to_have_text("Retry 1 failed")

        tile["clip 01"].click()
        caption = (folder / "clip 01.txt").read_text()
        expect(page.locator("#caption textarea")).to_have_value(caption)
        expect(page.locator(".cp-about")).to_contain_text("8, at 0:00.00")
        page.locator(".cp-sheet summary").click()
        page.wait_for_function("document.querySelector('.cp-sheet img').naturalWidth > 100")
        page.locator("#caption textarea").fill("Mine.")
        page.locator("[data-act=again]").click()
        expect(page.locator("#caption textarea")).to_have_value(caption, timeout=MODEL_TIMEOUT_MS)
        page.locator("[data-act=history]").click()
        expect(page.locator(".cp-history button span").first).to_have_text("Mine.")
        with page.expect_download() as download:
            page.locator(".vg-zip").click()
        assert download.value.suggested_filename == "captions.zip"
