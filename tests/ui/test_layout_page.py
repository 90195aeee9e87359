"""The page on screens of several sizes: nothing overlaps, and the place in the gallery is kept, in a real browser."""

from itertools import pairwise
from pathlib import Path

import pytest

from captioner.demo.clips import write_samples
from tests.support.chromium import open_browser
from tests.ui.test_caption_page import served

TOP_JS = "document.querySelector('.grid-view').scrollTop"


@pytest.fixture
def folder(tmp_path) -> Path:
    write_samples(tmp_path / "media", num_clips=2, num_stills=40)
    return tmp_path / "media"


@pytest.mark.browser
def test_buttons_beside_the_tabs_do_not_overlap(services, folder):
    with served(services, folder) as address, open_browser(address) as (page, expect):
        page.locator(".grid-search input").fill("still")
        expect(page.locator(".caption-shown")).to_have_text("40 shown")
        for width in (1280, 1024, 900, 800, 390):
            page.set_viewport_size({"width": width, "height": 768})
            parts = page.locator("#model-chip, #prompt-chip, .caption-split").all()
            boxes = [part.bounding_box() for part in parts]
            assert all(one["x"] + one["width"] <= other["x"] for one, other in pairwise(boxes))


@pytest.mark.browser
def test_settings_that_are_not_saved_fit_a_phone(services, folder):
    with served(services, folder) as address, open_browser(address, 390, 844) as (page, expect):
        page.get_by_role("tab", name="Settings").click()
        page.locator("#set-max-frames input").fill("0")
        page.locator("#save-settings").click()
        expect(page.locator("#settings-bar .state")).to_have_text("Not saved. Correct the marked fields.")
        for part in page.locator("#settings-bar, #save-settings, .settings-columns > *").all():
            box = part.bounding_box()
            assert box["x"] + box["width"] <= 390


@pytest.mark.browser
def test_the_place_in_the_gallery_is_kept_over_another_tab_and_a_deletion(services, folder):
    with served(services, folder, allow_delete=True) as address, open_browser(address) as (page, expect):
        page.locator(".grid-view").evaluate("view => { view.scrollTop = 700; }")
        page.get_by_role("tab", name="Settings").click()
        page.get_by_role("tab", name="Gallery").click()
        expect(page.locator(".grid-view")).to_be_visible()
        page.wait_for_timeout(200)  # the grid is laid out again
        assert page.evaluate(TOP_JS) == 700

        page.locator(".grid-tile", has_text="still 20.png").locator(".grid-check").click()
        page.locator(".grid-selecting [data-act=delete-media]").click()
        page.locator("#trash-question").get_by_role("button", name="Delete").click()
        expect(page.locator(".grid-tile", has_text="still 20.png")).to_have_count(0)
        expect(page.locator(".grid-tile.active b")).to_have_text("still 21.png")
        page.keyboard.press("ArrowRight")
        expect(page.locator(".grid-tile.active b")).to_have_text("still 22.png")
        assert abs(page.evaluate(TOP_JS) - 700) < 300
