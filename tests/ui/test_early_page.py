"""The first files are on the screen before Gradio's own scripts are, and stay where they are, in a real browser."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from captioner.ui import scripts
from tests.support.chromium import open_browser
from tests.support.gallery_page import make_folder
from tests.ui.test_caption_page import served

TILES_JS = """() => [...document.querySelectorAll('.grid-tile')].map(tile =>
  [tile, ...tile.querySelectorAll('b, p, img')].map(node => {
    const {x, y, width, height} = node.getBoundingClientRect(), {color, font} = getComputedStyle(node);
    return [x, y, width, height, color, font].join(' '); }))"""
KEEP_JS = "document.querySelectorAll('.grid-tile').forEach((tile, i) => { tile.kept = i; })"
KEPT_JS = "[...document.querySelectorAll('.grid-tile')].map(tile => tile.kept)"
IMPORT = re.compile(r"^(?:import|export) .*?from '(\.[^']+)';", re.MULTILINE | re.DOTALL)


def hold_gradio(page: Any) -> Callable[[], None]:
    """Let Gradio wait for one of its scripts until the returned function is called."""
    scripts_of_gradio, held = "**/assets/Blocks-*.js", []
    page.route(scripts_of_gradio, lambda route: held.append(route))

    def release() -> None:
        while not held:
            page.wait_for_timeout(20)
        for route in held:
            route.continue_()
        page.unroute(scripts_of_gradio)

    return release


@pytest.mark.browser
@pytest.mark.parametrize(("width", "height"), [(1280, 720), (390, 844)])
def test_files_are_drawn_before_gradio_and_do_not_move(services, tmp_path, width, height):
    services.change_settings({"model": "demo"})  # with a notice above the tabs
    folder = make_folder(tmp_path / "clips")
    with served(services, folder) as address, open_browser("about:blank", width, height) as (page, expect):
        release = hold_gradio(page)
        page.goto(address, wait_until="commit")
        expect(page.locator(".early .grid-tile")).to_have_count(4)
        expect(page.locator(".early .grid-tile p").first).to_have_text("A zebra at noon.")
        expect(page.locator("#grid")).to_have_count(0)
        expect(page.locator(".early .grid-tile img[src]")).to_have_count(4)  # one after another
        before = page.evaluate(TILES_JS)
        page.evaluate(KEEP_JS)
        page.locator(".grid-tile").nth(1).click()
        page.locator(".grid-tile").nth(2).click(modifiers=["Control"])
        release()
        expect(page.locator("#panel textarea")).to_have_value("A horse at night.")
        expect(page.locator(".grid-tile[aria-selected=true] b")).to_have_text("c.png")
        expect(page.locator(".early")).to_have_count(0)
        assert page.evaluate(KEPT_JS) == [0, 1, 2, 3]  # the same tiles
        page.keyboard.press("Escape")
        expect(page.locator("#panel textarea")).to_be_hidden()
        # the tiles take the width that the panel gives back in the next frame
        page.wait_for_function(f"before => JSON.stringify(({TILES_JS})()) === JSON.stringify(before)", arg=before)


@pytest.mark.browser
def test_keys_before_gradio_act_once_and_in_order_when_the_grid_is_there(services, tmp_path):
    folder = make_folder(tmp_path / "clips")
    with served(services, folder) as address, open_browser("about:blank") as (page, expect):
        release = hold_gradio(page)
        page.goto(address, wait_until="commit")
        expect(page.locator(".early .grid-tile")).to_have_count(4)
        commands = ("ArrowRight", "ArrowRight", "1", "Space", "ArrowRight", "Enter", "/")
        for key in (*commands, *"an", "Backspace", *" zebra"):
            page.keyboard.press(key)
        release()
        expect(page.locator(".grid-search input")).to_have_value("a zebra")
        expect(page.locator(".grid-search input")).to_be_focused()
        expect(page.locator("#panel h3")).to_have_text("c.png")
        expect(page.locator(".grid-tile b")).to_have_text(["a.png"])  # what was found
        page.locator(".grid-search input").fill("")
        expect(page.locator(".grid-tile[aria-selected=true] b")).to_have_text(["b.png"])
        expect(page.locator(".grid-tile[data-mark=star] b")).to_have_text(["b.png"])
        expect(page.locator(".grid-tile.approved")).to_have_count(0)  # the A was searched for


@pytest.mark.browser
def test_click_before_gradio_is_for_the_file_that_was_clicked_although_its_tile_shows_another_one(services, tmp_path):
    folder = make_folder(tmp_path / "clips")
    for number in range(400):
        os.link(folder / "a.png", folder / f"more {number:03}.png")
    with served(services, folder) as address, open_browser("about:blank") as (page, expect):
        release = hold_gradio(page)
        page.goto(address, wait_until="commit")
        expect(page.locator(".early .grid-tile b").first).to_have_text("a.png")
        page.locator(".grid-tile").nth(3).locator(".grid-check").click(force=True)
        page.locator(".grid-tile").nth(1).click()
        page.evaluate("document.querySelector('.early-view').scrollTop = 6000")
        expect(page.locator(".early .grid-tile b").first).not_to_have_text("a.png")
        release()
        expect(page.locator("#panel h3")).to_have_text("b.png")
        expect(page.locator(".grid-tile[aria-selected=true] b")).to_have_text(["d.png"])
        expect(page.locator(".grid-selected")).to_have_text("1 selected")


@pytest.mark.browser
def test_a_search_that_does_not_come_approves_nothing(services, tmp_path):
    folder = make_folder(tmp_path / "clips")
    with served(services, folder) as address, open_browser("about:blank") as (page, expect):
        release = hold_gradio(page)
        page.route("**/gallery/toolbar.js", lambda route: None)  # never answered
        page.goto(address, wait_until="commit")
        expect(page.locator(".early .grid-tile")).to_have_count(4)
        for key in ("ArrowRight", "/", *"a 1"):
            page.keyboard.press(key)
        release()
        expect(page.locator("#grid [data-grid]")).to_be_attached()
        page.wait_for_timeout(13_000)
        expect(page.locator(".grid-tile:is(.approved, [data-mark=star], [aria-selected=true])")).to_have_count(0)
        page.unroute_all(behavior="ignoreErrors")


@pytest.mark.browser
def test_the_focus_stays_in_the_first_files_and_other_keys_are_not_kept(services, tmp_path):
    folder = make_folder(tmp_path / "clips")
    with served(services, folder) as address, open_browser("about:blank") as (page, expect):
        release = hold_gradio(page)
        page.goto(address, wait_until="commit")
        expect(page.locator(".early .grid-tile")).to_have_count(4)
        page.evaluate("document.body.append(document.createElement('input')); document.body.lastChild.focus()")
        page.keyboard.type("1a 2")
        assert page.evaluate("document.body.lastChild.value") == "1a 2"
        page.evaluate("document.body.lastChild.remove()")
        page.locator(".grid-tile").nth(1).click(modifiers=["Control"])
        for _ in range(100):  # with the click one too many: selected and not, in turns
            page.keyboard.press("Space")
        release()
        expect(page.locator(".grid-view")).to_be_focused()
        expect(page.locator(".early")).to_have_count(0)
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Space")
        expect(page.locator(".grid-tile[aria-selected=true] b")).to_have_text(["c.png"])
        expect(page.locator(".grid-tile:is(.approved, [data-mark=star])")).to_have_count(0)


@pytest.mark.browser
def test_few_pictures_are_fetched_while_the_page_loads(services, tmp_path):
    folder = make_folder(tmp_path / "clips")
    for number in range(20):
        os.link(folder / "a.png", folder / f"more {number}.png")
    with served(services, folder) as address, open_browser("about:blank") as (page, expect):
        release = hold_gradio(page)
        page.route("**/thumb/*", lambda route: None)  # never answered
        page.goto(address, wait_until="commit")
        expect(page.locator(".early .grid-tile img[src]")).to_have_count(2)
        release()
        expect(page.locator("#grid .grid-tile img[src]").nth(15)).to_be_attached()
        expect(page.locator("#grid .grid-tile img:not([src])")).to_have_count(0)
        page.unroute_all(behavior="ignoreErrors")


@pytest.mark.browser
def test_an_empty_folder_says_so_as_before(services, tmp_path):
    (tmp_path / "empty").mkdir()
    with served(services, tmp_path / "empty") as address, open_browser(address) as (page, expect):
        expect(page.locator(".grid-empty")).to_contain_text("No videos or images here")
        expect(page.locator(".early")).to_have_count(0)


def test_modules_of_the_first_files_are_fetched_first():
    folder, found, ahead = scripts.FOLDER, set(), [scripts.FIRST[0]]
    while ahead:
        name = ahead.pop()
        if name in found:
            continue
        found.add(name)
        names = IMPORT.findall(scripts.modules()[name].decode())
        ahead += [os.path.relpath(Path(folder, name).parent / other, folder).replace(os.sep, "/") for other in names]
    assert found == set(scripts.FIRST)
