"""The tiles of the grid in a real browser: what they show, their marks, and what screen readers are told."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from captioner.captions.operations import begin_operation
from captioner.jobs.events import ItemDone
from captioner.jobs.outcomes import upsert_item
from captioner.marks import ALL_THINKING
from tests.support.captions import CAPTION
from tests.support.chromium import open_browser
from tests.support.gallery_page import make_folder, picture, served

LONG_NAME = "a clip with a name that is much longer than its tile, take 000123.png"


@pytest.fixture
def folder(tmp_path) -> Path:
    return make_folder(tmp_path / "media")


@pytest.mark.browser
def test_files_are_starred_and_rejected_by_keys_filtered_and_stay_so(services, folder):
    services.open_folder(folder, False)
    with served(services) as address, open_browser(address) as (page, expect):
        tiles = page.locator(".grid-tile")
        expect(tiles).to_have_count(4)
        page.keyboard.press("Home")
        page.keyboard.press("1")
        expect(tiles.first).to_have_attribute("data-mark", "star")
        page.keyboard.press("ArrowRight")
        for _ in range(2):  # both are selected, so both are marked
            page.keyboard.press("Space")
            page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("2")
        expect(page.locator("[data-mark=reject]")).to_have_count(2)
        page.locator("#panes .grid-unselect").click()
        page.locator("[popovertarget=filter-menu]").click()
        expect(page.locator("[data-state=star] i")).to_have_text("1")
        page.locator("[data-state=reject]").click()
        expect(tiles).to_have_count(2)
        page.locator(".grid-view").focus()
        page.keyboard.press("Home")
        page.keyboard.press("3")
        expect(tiles).to_have_count(1)
        page.reload()
        expect(tiles.locator("b")).to_have_text(["c.png"])
    marks = services.captions.marks.under(folder)
    assert {Path(path).name: mark for path, mark in marks.items()} == {"a.png": "star", "c.png": "reject"}


@pytest.mark.browser
def test_tiles_show_whole_pictures_ends_of_names_folders_and_more_text_when_larger(services, folder):
    (folder / "sub" / "deep").mkdir(parents=True)
    picture(folder / "sub" / "deep" / LONG_NAME).with_suffix(".txt").write_text("Many words. " * 60)
    services.open_folder(folder, True)
    with served(services) as address, open_browser(address) as (page, expect):
        tile = page.locator(".grid-tile").last
        expect(tile.locator("b")).to_have_text(LONG_NAME)
        expect(tile.locator("small")).to_have_text("sub/deep")
        start, end = tile.locator("b span").all()
        assert end.inner_text() == LONG_NAME[-10:]
        box, end_box = tile.bounding_box(), end.bounding_box()
        assert box["x"] + box["width"] > end_box["x"] + end_box["width"]
        assert start.evaluate("node => node.scrollWidth > node.clientWidth")  # it is the part that is cut
        fit = "getComputedStyle(document.querySelector('.grid-tile img')).objectFit"
        assert page.evaluate(fit) == "contain"
        page.locator("[data-act=fill]").click()
        assert page.evaluate(fit) == "cover"
        small = tile.locator("p").bounding_box()["height"]
        page.locator(".grid-columns input").fill("2")
        expect(page.locator(".grid-view")).to_have_attribute("aria-colcount", "2")
        assert tile.locator("p").bounding_box()["height"] > 2 * small
        page.reload()
        expect(page.locator(".grid-view")).to_have_attribute("aria-colcount", "2")
        expect(tile).to_be_visible()
        assert page.evaluate(fit) == "cover"


@pytest.mark.browser
def test_answers_that_need_a_look_have_a_badge_of_their_own_and_one_filter(services, folder):
    services.open_folder(folder, False)
    texts = {"a.png": ("Cut off in the", "length"), "b.png": ("a dog and a dog and " * 20, "stop")}
    for name, (text, reason) in texts.items():
        item = services.library.lookup.find(name).item
        services.captions.write(item, replace(CAPTION, text=text, finish_reason=reason), "overwrite")
    with services.database.transaction() as connection:
        job = begin_operation(connection, "job", "Caption", folder, 1)
        about = {"reason": f"c.png: {ALL_THINKING}", "ended_at_s": time.time() + 1}
        connection.execute(*upsert_item(job, "c.png", "failed", **about))
    services.open_folder(folder, False)
    with served(services) as address, open_browser(address) as (page, expect):
        badges = page.locator(".grid-outside")
        expect(badges).to_have_text(["Cut off", "Repeats itself", "Empty"])
        page.locator("[popovertarget=filter-menu]").click()
        page.get_by_role("button", name="Needs a look 3").click()
        expect(page.locator(".grid-tile")).to_have_count(3)
        expect(page.locator(".grid-tile").last).to_have_attribute("data-state", "failed")
        page.locator(".grid-view").focus()
        page.keyboard.press("Home")
        page.keyboard.press("Enter")
        expect(page.locator(".panel-title h3")).to_have_text("a.png")
        page.keyboard.press("Control+Enter")  # who approves a caption has looked
        expect(page.locator(".panel-title h3")).to_have_text("b.png")
        expect(badges).to_have_text(["Repeats itself", "Empty"])


@pytest.mark.browser
def test_findings_of_the_linter_have_a_badge_while_a_job_runs_and_a_reason_in_the_panel(services, folder):
    services.open_folder(folder, False)
    with served(services) as address, open_browser(address) as (page, expect):
        expect(page.locator(".grid-tile")).to_have_count(4)
        badges = page.locator(".grid-outside")
        expect(badges).to_have_count(0)
        item = services.library.items[2]
        about = {"job": 1, "item": item.name, "path": item.path, "tokens": 9, "seconds": 1.0, "replica": "cpu"}
        item.caption_path.write_text("I'm sorry, but I can't help with that.")
        services.events.append(ItemDone(**about, caption="I'm sorry, but I can't help with that."))
        expect(badges).to_have_text(["Refusal"])
        page.locator("[popovertarget=filter-menu]").click()
        page.get_by_role("button", name="Needs a look 1").click()
        expect(page.locator(".grid-tile b")).to_have_text(["c.png"])
        page.locator(".grid-tile").click()
        expect(page.locator(".panel-fault")).to_contain_text("the model refuses or answers the user")


COUNT_POLLS_JS = """() => {
  const {fetch, setInterval} = window, first = '.grid-tile p';
  Object.assign(window, {polls: 0, delays: [], seenAfter: null});
  window.setInterval = (act, ms) => { window.delays.push(ms); return setInterval(act, ms); };
  window.fetch = (what, ...rest) => {
    window.polls += String(what).includes('outside.json');
    return fetch(what, ...rest);
  };
  new MutationObserver(() => {
    if (document.querySelector(first)?.textContent === 'Theirs.') window.seenAfter ??= window.polls;
  }).observe(document, {subtree: true, childList: true, characterData: true});
}"""


@pytest.mark.browser
def test_captions_that_another_program_writes_appear_by_themselves(services, folder):
    services.open_folder(folder, False)
    with served(services) as address, open_browser("about:blank") as (page, expect):
        page.add_init_script(f"({COUNT_POLLS_JS})()")
        page.goto(address)
        texts = page.locator(".grid-tile p")
        expect(texts).to_have_text(["A zebra at noon.", "A horse at night.", "No caption yet", "No caption yet"])
        page.locator(".grid-tile").first.click()
        expect(page.locator("#caption textarea")).to_have_value("A zebra at noon.")
        page.evaluate("window.polls = 0")
        (folder / "a.txt").write_text("Theirs.")
        (folder / "b.txt").unlink()
        (folder / "c.txt").write_text("New.")
        expect(texts).to_have_text(["Theirs.", "No caption yet", "New.", "No caption yet"])
        expect(page.locator("#caption textarea")).to_have_value("Theirs.")
        # Within 5 s by the page's own clock: one poll may have been on its way, the next one shows it.
        assert page.evaluate("window.seenAfter") <= 2
        assert 3000 in page.evaluate("window.delays")  # between two polls


@pytest.mark.browser
def test_the_opened_file_stays_where_it_was_when_the_panel_opens_and_closes(services, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    source = picture(tmp_path / "source.png")
    for number in range(200):
        (folder / f"{number:03}.png").hardlink_to(source)
    services.open_folder(folder, False)
    with served(services) as address, open_browser(address) as (page, expect):
        expect(page.locator("[data-place='0']")).to_be_visible()
        page.locator("[data-place='0']").click()
        page.keyboard.press("Control+1")  # browsers show their first tab; it is no star
        expect(page.locator(".panel-title h3")).to_have_text("000.png")
        page.keyboard.press("Escape")
        expect(page.locator("#panel")).to_be_hidden()
        page.evaluate("document.querySelector('.grid-view').scrollTop = 3000")
        on_screen = """() => [...document.querySelectorAll('.grid-tile')].filter(tile => {
          const box = tile.getBoundingClientRect(), view = tile.closest('.grid-view').getBoundingClientRect();
          return box.top > view.top && box.bottom < view.bottom; }).map(tile => tile.dataset.place)[0]"""
        page.wait_for_function(on_screen)
        tile = page.locator(f"[data-place='{page.evaluate(on_screen)}']")
        top = tile.bounding_box()["y"]
        for act in (tile.click, lambda: page.keyboard.press("Escape")):
            columns = page.locator(".grid-view").get_attribute("aria-colcount")
            act()
            expect(page.locator(".grid-view")).not_to_have_attribute("aria-colcount", columns)
            assert abs(tile.bounding_box()["y"] - top) < 60  # the tiles are not of exactly the same height
        expect(page.locator("[data-mark=star]")).to_have_count(0)


@pytest.mark.browser
def test_screen_readers_find_a_grid_of_rows_and_hear_the_selection(services, folder):
    services.open_folder(folder, False)
    with served(services) as address, open_browser(address, 1024, 768) as (page, expect):
        grid, said = page.get_by_role("grid", name="Media files"), page.locator(".unseen")
        expect(grid.get_by_role("gridcell")).to_have_count(4)
        columns = int(grid.get_attribute("aria-colcount"))
        page.locator(".grid-columns input").fill("3")
        expect(grid).to_have_attribute("aria-colcount", "3")
        expect(grid).to_have_attribute("aria-rowcount", "2")
        assert columns != 3
        cells = [
            (row.get_attribute("aria-rowindex"), cell.get_attribute("aria-colindex"))
            for row in grid.get_by_role("row").all()
            for cell in row.get_by_role("gridcell").all()
        ]
        assert cells == [("1", "1"), ("1", "2"), ("1", "3"), ("2", "1")]
        grid.focus()
        page.keyboard.press("End")
        active = page.locator(f"#{grid.get_attribute('aria-activedescendant')}")
        expect(active).to_have_attribute("aria-label", "d.png, pending")
        page.keyboard.press("Space")
        expect(active).to_have_attribute("aria-selected", "true")
        expect(said).to_have_text("1 of 4 files selected")
        page.keyboard.press("Control+a")
        expect(said).to_have_text("4 of 4 files selected")
        page.locator("#panes .grid-unselect").click()
        expect(said).to_have_text("No file selected")
