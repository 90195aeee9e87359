"""The page on screens of several sizes: nothing overlaps, and the place in the gallery is kept, in a real browser."""

import re
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


IS_WHOLE_JS = "each => each.scrollWidth <= each.clientWidth && each.scrollHeight <= each.clientHeight"
# The texts of the first line and, as null, those that are not whole in it.
SEEN_PARTS_JS = """line => { const box = line.getBoundingClientRect();
  return [...line.children].filter(each => each.getBoundingClientRect().top < box.bottom - 2).map(each => {
    const {left, right} = each.getBoundingClientRect(), isWhole = left > box.left - 1 && right < box.right + 1;
    return isWhole ? each.textContent.replace(' · ', '') : null; }); }"""


@pytest.mark.browser
@pytest.mark.parametrize("width", [1024, 390])
def test_names_of_the_model_and_the_prompt_are_read_whole(services, folder, width):
    services.change_settings({"model": "demo", "prompt_name": "Motion and camera"})
    with served(services, folder) as address, open_browser(address, width, 800) as (page, expect):
        for chip, name in (("#model-chip span", "Demo (toy world)"), ("#prompt-chip span", "Motion and camera")):
            expect(page.locator(chip)).to_have_text(name)
            assert page.locator(chip).evaluate(IS_WHOLE_JS), name


@pytest.mark.browser
def test_counts_leave_out_whole_parts_where_there_is_no_room(services, folder):
    (folder / "broken.mp4").write_bytes(bytes(5000))
    seen = {}
    with served(services, folder) as address, open_browser(address) as (page, expect):
        page.locator("#start").click()
        expect(page.locator("#counts")).to_have_text("43 files · 42 done · 0 pending · 1 failed", timeout=180_000)
        line = page.locator("#counts > span")
        page.set_viewport_size({"width": 1024, "height": 768})
        assert line.evaluate(SEEN_PARTS_JS)[-1] == "1 failed"
        page.get_by_role("tab", name="Settings").click()
        page.locator("#set-max-frames input").fill("4")
        page.get_by_role("tab", name="Gallery").click()
        expect(page.locator(".caption-unsaved")).to_be_visible()  # takes room, too
        for width in (1600, 1280, 1024, 940):
            page.set_viewport_size({"width": width, "height": 768})
            seen[width] = line.evaluate(SEEN_PARTS_JS)
            assert None not in seen[width]
    assert seen[1600] == ["43 files", "42 done", "0 pending", "1 failed"]
    assert seen[1280][-1] == "1 failed"


@pytest.mark.browser
def test_line_of_a_job_fits_a_phone(services, folder):
    with served(services, folder) as address, open_browser(address, 390, 844) as (page, expect):
        page.locator("#start").click()
        count = page.locator(".run-strip[data-phase=running] .run-count")
        expect(count).to_have_text(re.compile(r"^\d+ of 42$"), timeout=180_000)
        parts = page.locator(".run-line b, .run-count, #stop").all()
        boxes = [part.bounding_box() for part in parts]
        assert all(one["x"] + one["width"] <= other["x"] for one, other in pairwise(boxes))
        assert boxes[-1]["x"] + boxes[-1]["width"] <= page.locator(".page-tools").bounding_box()["x"]
        expect(page.get_by_role("button", name="Theme")).to_be_visible()
        page.keyboard.press("?")
        expect(page.locator("#page-keys")).to_be_visible()


@pytest.mark.browser
def test_failed_job_says_why_and_what_to_do_on_a_phone(services, folder):
    model = folder.parent / "a model without weights"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "qwen3_vl", "architectures": ["Qwen3VL"]}')
    services.change_settings({"model": str(model)})
    with served(services, folder) as address, open_browser(address, 390, 844, found=[]) as (page, expect):
        page.locator("#start").click()
        expect(page.locator(".run-strip[data-phase=failed]")).to_be_visible(timeout=180_000)
        parts = page.locator(".run-strip .run-line b, .run-strip [data-run=model]").all()
        name, step = (part.bounding_box() for part in parts)
        assert name["x"] + name["width"] <= step["x"]
        page.locator(".run-line").click()
        reason = page.locator("#run-card .run-middle p")
        expect(reason).to_contain_text("contains no *.safetensors weights")
        assert reason.evaluate(IS_WHOLE_JS)


@pytest.mark.browser
def test_search_has_room_for_what_is_typed_on_a_phone(services, folder):
    with served(services, folder) as address, open_browser(address, 390, 844) as (page, expect):
        page.locator(".grid-search input").fill("a zebra crossing at night")
        assert page.locator(".grid-search input").evaluate(IS_WHOLE_JS)
        page.locator(".grid-search input").fill("")
        page.locator(".grid-view").focus()
        expect(page.locator(".grid-sort")).to_be_visible()


@pytest.mark.browser
def test_limits_of_the_settings_are_not_cut(services, folder):
    services.change_settings({"max_frames": 31, "devices": ("cpu",)})  # with a button beside them
    cut = "each => each.scrollWidth > each.clientWidth + 1 && each.offsetWidth > 0"
    with served(services, folder) as address, open_browser(address) as (page, expect):
        page.get_by_role("tab", name="Settings").click()
        page.locator("#settings-advanced summary").click()
        expect(page.locator("#field-devices .field-reset")).to_be_visible()
        for width in (1280, 1024, 390):
            page.set_viewport_size({"width": width, "height": 800})
            names = page.locator(".limits").evaluate_all(f"all => all.filter({cut}).map(each => each.textContent)")
            assert names == []


@pytest.mark.browser
def test_findings_end_with_the_screen(services, folder):
    services.change_settings({"model": "demo"})  # with a notice above the tabs
    with served(services, folder) as address, open_browser(address) as (page, expect):
        page.get_by_role("tab", name="Dataset").click()
        page.locator("#dataset [data-act=check]").click()
        expect(page.locator("#dataset .dataset-groups button").first).to_be_visible()
        box = page.locator("#dataset .dataset-panes").bounding_box()
        assert 680 < box["y"] + box["height"] <= 720


@pytest.mark.browser
def test_history_is_as_high_as_its_rows_and_fills_a_phone(services, folder):
    with served(services, folder) as address, open_browser(address) as (page, expect):
        page.locator(".bar-history").click()
        expect(page.locator(".history-none b")).to_be_visible()
        assert page.locator(".history-dialog").bounding_box()["height"] < 400
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.locator(".history-dialog").bounding_box()["height"] == 844
