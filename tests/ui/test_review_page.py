"""The hour of reviewing, in a real browser: many captions read, mended and approved without a mouse."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from captioner.demo.clips import write_samples
from captioner.ui.launch import launch
from captioner.ui.page import build
from tests.support.captions import CAPTION
from tests.support.chromium import open_browser
from tests.support.gallery_page import make_folder, picture, served

NUM_FILES, NUM_FIXES, MOST_KEYS = 20, 3, 26
LONG = "A red fox with a bushy tail runs through the deep snow of early morning. " * 10  # 150 words
COUNT_KEYS_JS = """() => {
  const root = document.documentElement;
  root.dataset.keys = 0;
  addEventListener('keydown', event => {
    if (!['Control', 'Shift', 'Alt', 'Meta'].includes(event.key)) root.dataset.keys = Number(root.dataset.keys) + 1;
  }, true);
}"""
NUM_ON_SCREEN_JS = "new Set([...document.querySelectorAll('.grid-tile')].map(tile => tile.offsetLeft)).size"


@pytest.fixture
def folder(services, tmp_path) -> Path:
    folder = make_folder(tmp_path / "media")
    services.open_folder(folder, False)
    return folder


def caption_by_job(services, name: str, text: str, policy: str = "overwrite") -> None:
    """Write a caption as a job does, and show it."""
    item = services.library.lookup.find(name).item
    services.captions.write(item, replace(CAPTION, text=text, prompt="Write 2 to 4 words."), policy)
    services.library.edits.refresh([item.caption_path])


@pytest.mark.browser
def test_twenty_captions_are_reviewed_with_three_fixes_in_few_key_presses_and_no_mouse(services, tmp_path):
    folder = tmp_path / "media"
    folder.mkdir()
    for number in range(NUM_FILES):
        picture(folder / f"{number:02}.png").with_suffix(".txt").write_text(f"Caption {number}")
    services.open_folder(folder, False)
    with served(services) as address, open_browser(address) as (page, expect):
        expect(page.locator(".grid-tile p").first).to_have_text("Caption 0")
        page.evaluate(COUNT_KEYS_JS)
        box, fixed = page.locator("#caption textarea"), (2, 7, 19)
        page.keyboard.press("Enter")  # opens the first file, though nothing has the focus
        expect(box).to_have_value("Caption 0")
        page.keyboard.press("Enter")  # goes to its caption
        expect(box).to_be_focused()
        for number in range(NUM_FILES):
            expect(box).to_have_value(f"Caption {number}")
            if number in fixed:
                page.keyboard.press(".")
            page.keyboard.press("Control+Enter")
        expect(page.locator(".grid-said")).to_contain_text("There is no next file")
        expect(page.locator(".panel-approve")).to_have_attribute("aria-pressed", "true")
        assert int(page.evaluate("document.documentElement.dataset.keys")) <= MOST_KEYS
        assert len(fixed) == NUM_FIXES
    items = services.library.items
    assert all(services.library.lookup.entry(item).approved for item in items)
    texts = [item.caption_path.read_text() for item in items]
    assert texts == [f"Caption {number}{'.' if number in fixed else ''}" for number in range(NUM_FILES)]


@pytest.mark.browser
def test_a_long_caption_leaves_its_buttons_on_the_screen_of_a_laptop(services, folder):
    (folder / "a.txt").write_text(LONG)
    assert len(LONG.split()) == 150
    blocks, page_of_app = build(services, folder)
    try:
        with open_browser(launch(blocks, page_of_app), 1280, 720) as (page, expect):
            page.locator(".grid-tile").first.click()
            expect(page.locator("#caption textarea")).to_have_value(LONG.strip())
            page.keyboard.press("Enter")
            page.keyboard.press("End")
            for name in ("#save-caption", "#approve-next"):
                expect(page.locator(name)).to_be_in_viewport(ratio=1)
            expect(page.locator("#caption textarea")).to_be_in_viewport(ratio=0.3)
            page.locator("[data-act=delete]").click()
            expect(page.locator("[data-act=delete-no]")).to_be_in_viewport(ratio=1)
            page.keyboard.press("Escape")
            expect(page.locator("[data-act=delete-no]")).to_be_hidden()
            expect(page.locator("#approve-next")).to_be_in_viewport(ratio=1)
    finally:
        blocks.close(verbose=False)


@pytest.mark.browser
def test_undo_and_redo_go_through_all_earlier_texts(services, folder):
    first = services.library.items[0]
    for text in ("Two.", "Three.", "Two.", "Four."):
        services.library.edits.save(first, text)
    with served(services) as address, open_browser(address) as (page, expect):
        box = page.locator("#caption textarea")
        undo, redo = page.locator("[data-act=undo]"), page.locator("[data-act=redo]")
        page.locator(".grid-tile").first.click()
        expect(box).to_have_value("Four.")
        expect(redo).to_be_disabled()
        for text in ("Two.", "Three.", "A zebra at noon."):
            undo.click()
            expect(box).to_have_value(text)
        expect(undo).to_be_disabled()
        assert (folder / "a.txt").read_text() == "A zebra at noon."
        for text in ("Three.", "Two.", "Four."):
            redo.click()
            expect(box).to_have_value(text)
        expect(redo).to_be_disabled()
        assert (folder / "a.txt").read_text() == "Four."

        box.fill("Typed.")
        undo.click()
        expect(box).to_have_value("Four.")
        redo.click()
        expect(box).to_have_value("Typed.")
        page.keyboard.press("Control+s")
        expect(page.locator(".panel-dirty")).to_have_text("Saved")
        page.locator(".panel-title").click()  # the keys mean the text's own undo while it has the focus
        page.locator(".grid-view").focus()
        page.keyboard.press("Control+z")
        expect(box).to_have_value("Four.")
        page.keyboard.press("Control+Shift+Z")
        expect(box).to_have_value("Typed.")
        page.locator("[data-act=delete]").click()
        page.locator("[data-act=delete-yes]").click()
        expect(box).to_have_value("")
        undo.click()
        expect(box).to_have_value("Typed.")


@pytest.mark.browser
def test_the_panel_closes_saves_and_gives_its_room_back(services, folder):
    with served(services) as address, open_browser(address) as (page, expect):
        tiles, box, panel = page.locator(".grid-tile"), page.locator("#caption textarea"), page.locator("#panel")
        expect(tiles).to_have_count(4)
        expect(panel).to_be_hidden()
        width = page.locator(".grid-view").bounding_box()["width"]
        for how in ("Escape", "button", "Escape in the text"):
            tiles.nth(1).click()
            expect(panel).to_be_visible()
            assert page.locator(".grid-view").bounding_box()["width"] < width - 290
            box.fill(f"Closed by {how}")
            if how == "button":
                page.get_by_role("button", name="Close the panel").click()
            else:
                page.keyboard.press("Escape")
            expect(panel).to_be_hidden()
            expect(page.locator(".grid-said")).to_have_text("Saved b.png")
            expect(tiles.nth(1).locator("p")).to_have_text(f"Closed by {how}")
            assert page.locator(".grid-view").bounding_box()["width"] == width
            expect(page.locator(".grid-view")).to_be_focused()
        page.keyboard.press("Enter")
        expect(box).to_have_value("Closed by Escape in the text")
        box.fill("Left by a step")
        page.keyboard.press("Alt+ArrowLeft")
        expect(page.locator(".grid-said")).to_have_text("Saved b.png")
        expect(page.locator(".panel-title h3")).to_have_text("a.png")


@pytest.mark.browser
def test_old_and_new_texts_are_compared_after_a_job_and_either_is_kept(services, folder):
    with served(services) as address, open_browser(address) as (page, expect):
        box, compare = page.locator("#caption textarea"), page.locator(".panel-compare")
        page.locator(".grid-tile").first.click()
        expect(box).to_have_value("A zebra at noon.")
        expect(compare).to_be_hidden()
        caption_by_job(services, "a.png", "A zebra <b> at night.")
        expect(compare.locator("p").first).to_have_text("A zebra at noon.")
        expect(compare.locator("del")).to_have_text(["noon"])
        expect(compare.locator("p").last).to_have_text("A zebra <b> at night.")
        assert "night" in compare.locator("ins").all_inner_texts()
        expect(page.locator(".panel-count")).to_contain_text("5 of 2–4 words")
        expect(page.locator(".panel-count")).to_have_attribute("data-off", "true")
        page.get_by_role("button", name="Keep the old one").click()
        expect(box).to_have_value("A zebra at noon.")
        expect(compare).to_be_hidden()
        expect(page.locator(".panel-count")).to_have_attribute("data-off", "false")

        caption_by_job(services, "a.png", "Third.")
        expect(compare).to_be_visible()
        page.get_by_role("button", name="Keep the new one").click()
        expect(compare).to_be_hidden()
        page.keyboard.press("Alt+ArrowRight")
        expect(box).to_have_value("A horse at night.")
        page.keyboard.press("Alt+ArrowLeft")
        expect(box).to_have_value("Third.")
        expect(compare).to_be_hidden()
        caption_by_job(services, "c.png", "The first one.")
        page.locator(".grid-tile").nth(2).click()
        expect(box).to_have_value("The first one.")
        expect(compare).to_be_hidden()


@pytest.mark.browser
def test_clips_play_muted_in_a_loop_and_are_stepped_through_frame_by_frame(services, tmp_path):
    write_samples(tmp_path / "clips", num_clips=2, num_stills=1)
    services.open_folder(tmp_path / "clips", False)
    with served(services) as address, open_browser(address) as (page, expect):
        video, playing = page.locator(".panel-media video"), page.locator(".panel-play")
        page.locator(".grid-tile").first.click()
        page.wait_for_function("document.querySelector('.panel-media video')?.currentTime > 0")
        assert video.evaluate("video => video.muted && video.loop")
        playing.click()
        expect(playing).to_have_attribute("aria-pressed", "false")
        page.keyboard.press("Alt+ArrowRight")
        expect(page.locator(".panel-title h3")).to_have_text("clip 02.mp4")
        page.wait_for_function("document.querySelector('.panel-media video')?.readyState > 1")
        assert video.evaluate("video => video.paused && video.currentTime === 0")  # it stays switched off

        page.locator(".panel-media").click()
        expect(page.locator(".lightbox")).to_be_visible()
        frame = page.locator(".lightbox-bar span")
        expect(frame).to_have_text(re.compile(r"Frame \d+ of \d+ · 0:0\d\.\d\d"))
        page.keyboard.press(".")
        page.wait_for_function("(video => video.paused && !video.seeking)(document.querySelector('.lightbox video'))")
        time_s = page.locator(".lightbox video").evaluate("video => video.currentTime")
        expect(frame).to_contain_text(f"0:0{int(time_s)}.{int(time_s * 100) % 100:02}")
        number = int(re.search(r"Frame (\d+)", frame.inner_text())[1])
        for key, by in ((",", -1), ("ArrowLeft", -1), (".", 1)):
            page.keyboard.press(key)
            number = max(1, number + by)
            expect(frame).to_contain_text(f"Frame {number} of")
        page.keyboard.press("Alt+ArrowLeft")
        expect(page.locator(".lightbox-bar b")).to_have_text("clip 01.mp4")
        page.keyboard.press("Escape")
        expect(page.locator(".lightbox")).to_be_hidden()
        expect(page.locator(".panel-title h3")).to_have_text("clip 01.mp4")  # Escape closed one of both
        page.locator(".grid-tile").nth(2).click()
        expect(page.locator(".panel-media img")).to_be_visible()
        expect(playing).to_be_hidden()


@pytest.mark.browser
def test_the_buttons_of_an_enlarged_clip_stay_on_a_phone_beside_a_long_name(services, tmp_path):
    write_samples(tmp_path / "clips", num_clips=1, num_stills=0)
    name = "a long name of a clip from the sea " * 4
    (tmp_path / "clips" / "clip 01.mp4").rename(tmp_path / "clips" / f"{name}.mp4")
    services.open_folder(tmp_path / "clips", False)
    with served(services) as address, open_browser(address, 390, 844) as (page, expect):
        page.locator(".grid-tile").first.click()
        page.locator(".panel-media").click()
        expect(page.locator(".lightbox-bar span")).to_contain_text("Frame")
        for part in page.locator(".lightbox :is(video, button, b)").all():
            box = part.bounding_box()
            assert box["x"] >= 0
            assert (box["x"] + box["width"] <= 390, box["y"] + box["height"] <= 844) == (True, True)
        assert page.locator(".lightbox-bar b").bounding_box()["width"] > 200
