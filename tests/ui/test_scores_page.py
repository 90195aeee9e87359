"""Scoring on the page: from the menu to the order of the files and the panel."""

import re

import pytest

from captioner.services import Services
from tests.support.chromium import open_browser
from tests.support.color_judge import COLORS, judge_color, paint
from tests.support.gallery_page import press_in_menu, served
from tests.support.model_server import FakeServer, running

SCORED_MS = 120_000  # a worker process starts first


@pytest.fixture
def folder(tmp_path):
    """Four pictures; the caption of c.png is wrong, and a.png has none."""
    folder = tmp_path / "set"
    folder.mkdir()
    for name, color in zip("abcd", COLORS, strict=True):
        paint(folder / f"{name}.png", color)
    for name, named in zip("bcd", ("green", "red", "yellow"), strict=True):
        (folder / f"{name}.txt").write_text(f"A {named} surface", encoding="utf-8")
    return folder


@pytest.mark.browser
def test_wrong_captions_are_found_from_the_page(folder, tmp_path):
    server = FakeServer(answer=judge_color)
    with running(server) as url, Services(tmp_path / "state", {"endpoint": url, "frame_size": 64}) as services:
        services.open_folder(folder, recursive=False)
        with served(services) as address, open_browser(address) as (page, expect):
            option, first, last = (
                page.locator(each) for each in ("[value=score]", "[data-place='0'] b", "[data-place='3'] b")
            )
            expect(page.locator(".grid-tile")).to_have_count(4)
            expect(option).to_have_attribute("hidden", "")
            press_in_menu(page, "more", "[data-act=score]")
            expect(option).not_to_have_attribute("hidden", "", timeout=SCORED_MS)
            services.events.wait(lambda now: now.stage == "done", SCORED_MS / 1000)
            page.locator(".grid-sort select").select_option("score")
            expect(first).to_have_text("c.png")
            expect(last).to_have_text("a.png")
            page.locator("[data-act=direction]").click()
            expect(page.locator("[data-place='2'] b")).to_have_text("c.png")
            expect(last).to_have_text("a.png")
            page.locator("[data-place='2']").click()
            expect(page.locator(".panel-title p")).to_have_text(re.compile(r" · done · agreement 2%$"))
            press_in_menu(page, "more", "[data-act=score]")
            expect(page.locator(".toast-body")).to_contain_text("These captions have scores already")
            page.locator("#caption textarea").first.fill("A blue surface")
            page.locator("#save-caption").click()
            expect(page.locator(".panel-title p")).to_have_text(re.compile(r" · edited$"))
    assert len(server.bodies) == 3
    assert (folder / "c.txt").read_text(encoding="utf-8").strip() == "A blue surface"
    assert not (folder / "a.txt").exists()
