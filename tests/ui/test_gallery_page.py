"""The Gallery tab alone on a page, in a real browser."""

import os
import re
import threading
from pathlib import Path

import pytest

from captioner.demo.clips import write_samples
from captioner.ui.gallery.panel import Panel
from tests.support.chromium import open_browser
from tests.support.gallery_page import make_folder, picture, press_in_menu, served
from tests.support.hostile import HOSTILE

MODEL_TIMEOUT_MS = 180_000
PICTURES_ARE_HERE = "[...document.querySelectorAll('.grid-tile img')].every(img => img.src && img.complete)"


@pytest.fixture
def folder(tmp_path) -> Path:
    return make_folder(tmp_path / "media")


@pytest.mark.browser
def test_keyboard_mouse_and_search(services, folder):
    services.open_folder(folder, False)
    with served(services) as address, open_browser(address) as (page, expect):
        tiles, start = page.locator(".grid-tile"), page.locator("#start")
        expect(tiles).to_have_count(4)
        expect(tiles.first.locator("p")).to_have_text("A zebra at noon.")
        expect(page.locator("#counts")).to_have_text("4 files · 2 done · 2 pending")
        expect(start).to_have_text("Caption 2 pending")

        page.locator(".grid-view").focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Space")
        expect(tiles.nth(1)).to_have_attribute("aria-selected", "true")
        expect(start).to_have_text("Caption 1 again…")
        start.click()
        expect(page.locator("#caption-menu")).to_contain_text("Replace the caption")
        page.keyboard.press("Escape")
        page.locator(".grid-view").focus()
        page.keyboard.press("Control+a")
        expect(start).to_have_text("Caption 2 of 4 selected")
        page.locator("[data-act=unselect]").click()
        tiles.nth(1).click(modifiers=["Control"])
        tiles.nth(3).click(modifiers=["Shift"])
        selected = page.locator(".grid-tile[aria-selected=true]")
        expect(selected).to_have_count(3)

        page.keyboard.press("/")
        expect(page.locator(".grid-search input")).to_be_focused()
        page.keyboard.type("horse NIGHT")
        expect(tiles).to_have_count(1)
        expect(tiles.locator("b")).to_have_text("b.png")
        expect(page.locator(".caption-shown")).to_have_text("1 shown")
        expect(page.locator(".grid-selected")).to_have_text("3 selected, 2 not shown")
        page.keyboard.press("Escape")
        expect(selected).to_have_count(3)
        press_in_menu(page, "filter", "[data-state=pending]")
        expect(tiles).to_have_count(2)
        page.keyboard.press("/")
        page.keyboard.type("nothing like it")
        expect(page.locator(".grid-empty")).to_contain_text("Nothing matches")
        page.get_by_role("button", name="Show all files").click()
        page.locator(".grid-sort select").select_option("length")
        page.locator("[data-act=direction]").click()
        expect(page.locator("[data-place='0'] b")).to_have_text("b.png")

        page.locator(".grid-view").focus()
        page.keyboard.press("Home")
        page.keyboard.press("Enter")
        expect(page.locator("#caption textarea")).to_have_value("A horse at night.")
        page.keyboard.press("Alt+ArrowRight")
        expect(page.locator("#caption textarea")).to_have_value("A zebra at noon.")
        expect(page.locator("#panel .panel-count")).to_have_text("4 words · 16 characters · about 6 of 512 tokens")
        page.reload()
        expect(page.locator("[data-place='0'] b")).to_have_text("b.png")  # the order is remembered
        expect(page.locator("#caption textarea")).to_have_value("A zebra at noon.")  # and the opened file

        tops = [page.locator(f"[data-place='{number}']").bounding_box()["y"] for number in range(4)]
        assert page.locator(".grid-columns input").input_value() == str(tops.count(tops[0]))
        press_in_menu(page, "more", "[data-which=pending]")
        expect(page.locator(".grid-selected")).to_have_text("2 selected")
        expect(page.locator(".grid-zip")).to_be_hidden()  # none of them has a caption
        page.locator("[data-act=unselect]").click()
        expect(page.locator(".grid-selecting")).to_be_hidden()
        expect(page.locator(".bar-zip")).to_have_attribute("title", "Download 2 captions as a zip")
        page.locator("#folder").fill("/half/typed")
        page.wait_for_function(PICTURES_ARE_HERE)
        page.locator("[data-act=menu]").click()
        page.locator("#recursive").click()
        expect(page.locator("#recursive")).to_be_checked()
        services.library.edits.save(services.library.items[2], "Counted anew.")
        expect(page.locator("#counts")).to_have_text("4 files · 3 done · 1 pending")
        expect(page.locator("#folder")).to_have_value("/half/typed")
        page.wait_for_function(PICTURES_ARE_HERE)
        page.locator("#images").click()  # the menu stays open
        expect(page.locator(".grid-empty")).to_contain_text("No videos or images here")
        page.locator("#videos").click()  # the last kind that was on; now it is the other one's turn
        expect(page.locator("#images")).to_be_checked()
        expect(tiles).to_have_count(4)
        page.wait_for_function(PICTURES_ARE_HERE)


@pytest.mark.browser
def test_an_edit_is_saved_undone_compared_and_never_lost(services, folder):
    (folder / "d.txt").write_bytes(b"Of Windows,\r\nin two lines.")
    services.open_folder(folder, False)
    with served(services) as address, open_browser(address) as (page, expect):
        tiles, box, save = page.locator(".grid-tile"), page.locator("#caption textarea"), page.locator("#save-caption")
        tiles.nth(3).click()
        expect(box).to_have_value("Of Windows,\nin two lines.")
        expect(page.locator(".panel-dirty")).to_have_text("")
        tiles.first.click()
        expect(box).to_have_value("A zebra at noon.")
        page.locator("[data-act=menu]").click()  # in a menu the keys of the panel do nothing
        expect(page.locator(".folder-here b")).to_have_text(str(folder))
        page.keyboard.press("Control+Enter")
        page.keyboard.press("Alt+ArrowRight")
        page.keyboard.press("Escape")
        expect(box).to_have_value("A zebra at noon.")
        expect(page.locator(".panel-approve")).to_have_attribute("aria-pressed", "false")
        box.fill("Mine\nand mine.")
        expect(page.locator(".panel-dirty")).to_have_text("Not saved")
        page.keyboard.press("Control+s")
        expect(tiles.first.locator("p")).to_have_text("Mine and mine.")
        expect(tiles.first).to_have_attribute("data-state", "edited")
        expect(box).to_have_value("Mine\nand mine.")
        assert (folder / "a.txt").read_text() == "Mine\nand mine."
        page.locator("[data-act=undo]").click()
        expect(box).to_have_value("A zebra at noon.")
        page.locator("[data-act=history]").click()
        page.locator(".panel-history button", has_text="Mine and mine.").click()
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
        expect(page.locator(".panel-conflict p")).to_have_text("Their horse.")
        expect(page.locator(".toast-body").first).to_contain_text("changed meanwhile")
        expect(box).to_have_value("My horse.")
        page.reload()  # the edit outlives it
        tiles.nth(1).click()
        expect(page.locator(".panel-conflict p")).to_have_text("Their horse.")
        expect(box).to_have_value("My horse.")
        page.get_by_role("button", name="Keep mine").click()
        save.click()
        expect(tiles.nth(1).locator("p")).to_have_text("My horse.")
        expect(page.locator(".panel-conflict")).to_be_hidden()

        page.locator("[data-act=delete]").click()
        page.locator("[data-act=delete-no]").click()
        box.fill("Not to be lost.")
        (folder / "b.txt").write_text("Their zebra.")
        page.locator("[data-act=delete]").click()
        page.locator("[data-act=delete-yes]").click()
        expect(page.locator(".panel-conflict p")).to_have_text("Their zebra.")
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
            each.locator(".grid-tile").first.click()
            expect(each.locator("#caption textarea")).to_have_value("Mine\nand mine.")
        box.fill("Of one.")
        page.keyboard.press("Control+s")
        expect(other.locator("#caption textarea")).to_have_value("Of one.")
        other.locator("#caption textarea").fill("Of the other.")
        box.fill("Of one again.")
        page.keyboard.press("Control+s")
        expect(other.locator(".panel-conflict p")).to_have_text("Of one again.")
        expect(other.locator("#caption textarea")).to_have_value("Of the other.")
        other.get_by_role("button", name="Use it").click()
        expect(other.locator("#caption textarea")).to_have_value("Of one again.")
        assert (folder / "a.txt").read_text() == "Of one again."


@pytest.mark.browser
def test_an_answer_after_a_newer_refresh_keeps_the_newest_text(services, folder, monkeypatch):
    answer, may_answer = Panel._answer, threading.Event()
    monkeypatch.setattr(Panel, "_answer", lambda *args: may_answer.wait(60) and answer(*args))
    services.open_folder(folder, False)
    with served(services) as address, open_browser(address) as (page, expect):
        box, theirs = page.locator("#caption textarea"), page.locator(".panel-conflict p")
        page.locator(".grid-tile").first.click()
        box.fill("Deleted with its file.")
        page.locator("[data-act=delete]").click()
        page.locator("[data-act=delete-yes]").click()
        expect(theirs).to_have_text("Nothing: the caption was deleted.")
        may_answer.set()
        expect(box).to_have_value("")
        expect(theirs).to_be_hidden()

        may_answer.clear()
        box.fill("Saved.")
        page.keyboard.press("Control+s")
        box.fill("Typed since.")
        expect(page.locator(".grid-tile p").first).to_have_text("Saved.")
        may_answer.set()
        expect(theirs).to_be_hidden()
        expect(box).to_have_value("Typed since.")
        expect(page.locator(".panel-dirty")).to_have_text("Not saved")


@pytest.mark.browser
def test_a_caption_made_before_the_answer_to_a_save_arrives_is_shown(services, folder, monkeypatch):
    answer, may_arrive = Panel._answer, threading.Event()

    def answer_late(*args):
        made = answer(*args)
        services.library.edits.save(services.library.items[0], "Of a job.")
        may_arrive.wait(60)
        return made

    monkeypatch.setattr(Panel, "_answer", answer_late)
    services.open_folder(folder, False)
    with served(services) as address, open_browser(address) as (page, expect):
        box, theirs = page.locator("#caption textarea"), page.locator(".panel-conflict p")
        page.locator(".grid-tile").first.click()
        box.fill("Mine.")
        page.keyboard.press("Control+s")
        expect(theirs).to_have_text("Of a job.")
        may_arrive.set()
        expect(box).to_have_value("Of a job.")
        expect(theirs).to_be_hidden()
        expect(page.locator(".panel-dirty")).to_have_text("")


@pytest.mark.browser
def test_no_quick_click_is_lost_and_the_last_one_counts(services, folder, monkeypatch):
    describe, may_describe = Panel.describe, threading.Event()
    monkeypatch.setattr(Panel, "describe", lambda *args: may_describe.wait(60) and describe(*args))
    answer, may_answer = Panel._answer, threading.Event()
    monkeypatch.setattr(Panel, "_answer", lambda *args: may_answer.wait(60) and answer(*args))
    services.open_folder(folder, False)
    with served(services) as address, open_browser(address) as (page, expect):
        box, tiles = page.locator("#caption textarea"), page.locator(".grid-tile")
        for tile in (tiles.first, tiles.nth(2), tiles.nth(1)):
            tile.click()
        may_describe.set()
        expect(box).to_have_value("A horse at night.")
        page.keyboard.press("Control+Enter")
        page.keyboard.press("Alt+ArrowLeft")
        page.keyboard.press("Alt+ArrowLeft")
        expect(box).to_have_value("A zebra at noon.")
        page.keyboard.press("Control+Enter")
        expect(page.locator(".grid-tile.approved")).to_have_count(2)
        may_answer.set()


@pytest.mark.browser
def test_hostile_names_and_captions_are_plain_text_everywhere(services, tmp_path):
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
            tile = page.locator(".grid-tile").nth(number)
            expect(tile.locator("b")).to_have_attribute("title", name)
            tile.click()
            expect(box).to_have_value(HOSTILE[number])
            expect(page.locator(".panel-title h3")).to_have_attribute("title", name)
            box.fill(f"{text} again")
            page.locator("#save-caption").click()
            expect(tile.locator("p")).to_have_text(f"{text} again")
            page.locator("[data-act=history]").click()
            expect(page.locator(".panel-history button span")).to_have_text(text)
        page.locator("[data-act=menu]").click()
        expect(page.locator(".folder-here b")).to_have_text(str(folder))
        page.locator(".folder-list button").first.click()
        expect(page.locator(".folder-list button").nth(1)).to_have_text(HOSTILE[3].replace("/", ""))
        page.locator("[data-act=take]").click()
        expect(page.locator(".grid-empty")).to_contain_text("No videos or images here")
        page.locator("[data-act=menu]").first.click()
        page.locator(".folder-recent button", has_text="onerror").click()
        expect(page.locator(".grid-tile")).to_have_count(len(HOSTILE))
        page.locator(".grid-search input").fill(HOSTILE[1])
        expect(page.locator(".grid-tile")).to_have_count(1)
        page.locator("#folder").fill("/no/such/<img src=x onerror=alert(1)>")
        page.locator("#open-folder").click()
        expect(page.locator(".folder-error")).to_contain_text("No such folder: /no/such/<img")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.browser
def test_five_thousand_files_need_few_nodes_and_a_missing_folder_is_reported(services, tmp_path):
    source, folder = picture(tmp_path / "source.png"), tmp_path / "many"
    folder.mkdir()
    for number in range(5000):
        os.link(source, folder / f"{number:04} {('even', 'odd')[number % 2]}.png")
    with served(services) as address, open_browser(address, 1600, 900) as (page, expect):
        expect(page.locator(".grid-empty")).to_contain_text("No folder is open")
        page.locator("#folder").fill(str(folder))
        page.keyboard.press("Enter")
        expect(page.locator("[data-grid]")).to_have_attribute("data-ready", "5000")
        page.locator(".grid-view").focus()
        page.keyboard.press("End")
        expect(page.locator("[data-place='4999'] b")).to_have_text("4999 odd.png")
        assert page.evaluate("document.querySelectorAll('*').length") < 1000
        press_in_menu(page, "more", "[data-which=all]")
        expect(page.locator("#start")).to_have_text("Caption 5,000 selected")
        page.wait_for_function(PICTURES_ARE_HERE)
        before = services.library.scan.id
        page.locator("[aria-label='Refresh the folder']").click()
        page.wait_for_function(f"!document.querySelector('.grid-tile').dataset.id.startsWith('{before}-')")
        expect(page.locator(".grid-selected")).to_have_text("5,000 selected")  # the same names are selected still
        page.wait_for_function(PICTURES_ARE_HERE)
        services.captions.save(folder / "0001 odd.txt", "One.")
        services.library.edits.refresh([folder / "0001 odd.txt"])
        expect(page.locator(".grid-zip")).to_have_attribute("href", re.compile("ids=0-4999$"))
        page.locator(".grid-search input").fill("odd")
        press_in_menu(page, "more", "[data-which=all]")
        expect(page.locator(".grid-zip")).to_have_attribute("title", re.compile("too far apart"))
        assert page.locator(".grid-zip").get_attribute("href") is None


@pytest.mark.browser
def test_a_job_turns_its_tiles_done_and_one_file_is_recaptioned(services, tmp_path):
    folder = tmp_path / "clips"
    write_samples(folder, num_clips=3, num_stills=1)
    (folder / "broken.mp4").write_bytes(b"no video")
    services.open_folder(folder, False)
    gate = threading.Event()
    with served(services) as address, open_browser(address) as (page, expect):
        tile = {name: page.locator(f".grid-tile[aria-label^='{name}']") for name in ("broken", "clip 01", "still 01")}
        expect(tile["broken"].locator("p.bad")).not_to_be_empty()
        expect(tile["clip 01"].locator(".grid-time")).to_have_text("0:04")
        tile["clip 01"].locator(".grid-picture").hover()
        page.wait_for_function("document.querySelector('.grid-tile video')?.currentTime > 0")
        services.jobs._work.put(gate.wait)  # the job waits meanwhile
        page.locator("#start").click()
        expect(page.locator("#start")).to_have_text("Queue…")
        gate.set()
        expect(page.locator(".grid-tile[data-state=done]")).to_have_count(4, timeout=MODEL_TIMEOUT_MS)
        expect(tile["broken"]).to_have_attribute("data-state", "failed")
        expect(page.locator("#counts")).to_have_text("5 files · 4 done · 0 pending · 1 failed")
        expect(page.locator("#start")).to_have_text("Retry 1 failed")

        tile["clip 01"].click()
        caption = (folder / "clip 01.txt").read_text()
        expect(page.locator("#caption textarea")).to_have_value(caption)
        expect(page.locator(".panel-about")).to_contain_text("8, at 0:00.00")
        page.locator(".panel-sheet summary").click()
        page.wait_for_function("document.querySelector('.panel-sheet img').naturalWidth > 100")
        page.locator("#caption textarea").fill("Mine.")
        page.locator("[data-act=again]").click()
        expect(page.locator("#caption textarea")).to_have_value(caption, timeout=MODEL_TIMEOUT_MS)
        page.locator("[data-act=history]").click()
        expect(page.locator(".panel-history button span").first).to_have_text("Mine.")
        with page.expect_download() as download:
            press_in_menu(page, "more", ".bar-zip")
        assert download.value.suggested_filename == "captions.zip"
