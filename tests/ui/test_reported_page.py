"""What users of other galleries have reported of them, tried on this page in a real browser."""

from pathlib import Path

import pytest

from captioner.demo.clips import write_samples
from tests.support.chromium import open_browser
from tests.ui.test_caption_page import served


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "media"
    write_samples(folder, num_clips=1, num_stills=3)
    for path in list(folder.iterdir()):
        path.with_suffix(".txt").write_text(f"A caption of {path.stem}.")
    return folder


@pytest.mark.browser
def test_selected_files_that_a_search_hides_are_counted_before_they_are_deleted(services, folder):
    with served(services, folder, allow_delete=True) as address, open_browser(address) as (page, expect):
        for name in ("clip 01", "still 01", "still 02"):
            page.locator(".grid-tile", has_text=name).locator(".grid-check").click()
        expect(page.locator(".grid-selected")).to_have_text("3 selected")
        page.locator(".grid-search input").fill("clip")
        expect(page.locator(".grid-selected")).to_have_text("3 selected, 2 not shown")
        page.locator(".grid-selecting [data-act=delete-media]").click()
        expect(page.locator("#trash-question")).to_contain_text("Delete 3 files?")
        expect(page.locator("#trash-question")).to_contain_text("2 of them are not shown now.")
        page.keyboard.press("Escape")
        page.locator(".grid-search input").fill("")
        page.set_viewport_size({"width": 390, "height": 844})
        expect(page.locator(".grid-selected")).to_have_text("3 selected")
        assert page.locator(".grid-selected").bounding_box()["height"] < 20  # one line
        page.locator(".grid-search input").fill("clip")
        expect(page.locator(".grid-selected")).to_have_text("3 selected, 2 not shown")
        box = page.locator(".grid-selecting").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390


@pytest.mark.browser
def test_keys_go_on_in_the_grid_after_a_button_has_closed_the_panel(services, folder):
    with served(services, folder) as address, open_browser(address) as (page, expect):
        page.locator(".grid-tile").nth(1).click()
        expect(page.locator("#panel textarea")).to_have_value("A caption of still 01.")
        page.locator(".panel-media").click()
        expect(page.locator(".lightbox")).to_be_visible()
        page.keyboard.press("Escape")  # closes the enlarged picture alone
        expect(page.locator(".lightbox")).to_be_hidden()
        expect(page.locator("#panel textarea")).to_be_visible()
        page.locator("#panel [data-act=close]").click()
        expect(page.locator("#panel textarea")).to_be_hidden()
        page.keyboard.press("ArrowRight")
        expect(page.locator(".grid-tile.active b")).to_have_text("still 02.png")


@pytest.mark.browser
def test_keys_of_a_dialog_change_no_file_behind_it_and_an_edit_keeps_the_selection(services, folder):
    with served(services, folder, allow_delete=True) as address, open_browser(address) as (page, expect):
        for at in range(2):
            page.locator(".grid-check").nth(at).click()
        page.locator(".grid-selecting [data-act=edit]").click()
        page.locator(".bulk-dialog [data-act=close]").last.focus()
        for key in ("a", "1", "Delete", "Control+a"):
            page.keyboard.press(key)
        page.locator("[name=find]").fill("caption")
        page.locator("[name=replace]").fill("text")
        page.locator(".bulk-dialog [data-act=apply]").click()
        expect(page.locator(".bulk-dialog .dialog-message")).to_have_text("2 captions changed.")
        page.keyboard.press("Escape")
        expect(page.locator(".grid-selected")).to_have_text("2 selected")
        expect(page.locator(".grid-tile p").first).to_have_text("A text of clip 01.")
        expect(page.locator(".grid-tile:is(.approved, [data-mark=star])")).to_have_count(0)


@pytest.mark.browser
def test_keyboard_of_a_phone_covers_no_button(services, folder):
    with served(services, folder) as address, open_browser(address, 390, 844) as (page, _):
        # No test has such a keyboard. With this, browsers make the page smaller, and its end stays in view:
        assert "interactive-widget=resizes-content" in page.locator("meta[name=viewport]").get_attribute("content")
        page.locator(".grid-tile").nth(1).click()
        page.locator("#panel textarea").focus()
        page.set_viewport_size({"width": 390, "height": 420})
        for button in ("#save-caption", "#approve-next"):
            box = page.locator(button).bounding_box()
            assert box["y"] + box["height"] <= 420
