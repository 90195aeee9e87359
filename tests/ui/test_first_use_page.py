"""A new user, from an empty state folder to captions, in a real browser."""

import os
from pathlib import Path

import pytest

from captioner.demo.clips import write_samples
from tests.support.chromium import open_browser
from tests.ui.test_caption_page import MODEL_TIMEOUT_MS, served

NUM_CLIPS = 20


@pytest.fixture
def clips(tmp_path) -> Path:
    folder = tmp_path / "clips"
    write_samples(folder, num_clips=2, num_stills=0)
    for path in list(folder.iterdir()):
        for number in range(NUM_CLIPS // 2 - 1):
            os.link(path, folder / f"copy {number:02} of {path.name}")
    return folder


@pytest.mark.browser
def test_from_nothing_to_captions_in_five_actions(services, clips):
    services.change_settings({"model": "qwen3-vl-2b", "max_frames": 2})
    with served(services, None) as address, open_browser(address) as (page, expect):
        expect(page.locator("#welcome h2")).to_be_visible()
        for hidden in ("#toolbar-rest", "#panes", "#counts"):
            expect(page.locator(hidden)).to_be_hidden()
        page.locator("#folder").fill(str(clips))  # 1
        page.locator("#model-chip").click()  # 2
        page.locator("#model-menu").get_by_role("button", name="Demo (toy world)").click()  # 3
        expect(page.locator("#model-chip")).to_have_text("Demo (toy world)")
        page.locator("#start").click()  # 4
        expect(page.locator(".run-strip[data-phase=done]")).to_contain_text("20 captioned", timeout=MODEL_TIMEOUT_MS)
        expect(page.locator("#counts")).to_have_text("20 files · 20 done · 0 pending")
        expect(page.locator("#welcome h2")).to_be_hidden()
    assert len(list(clips.glob("*.txt"))) == NUM_CLIPS


@pytest.mark.browser
def test_a_refused_path_is_explained_below_it_and_starts_nothing_later(services, clips):
    with served(services, None) as address, open_browser(address) as (page, expect):
        page.locator("#start").click()
        expect(page.locator("#folder")).to_be_focused()
        page.locator("#folder").fill(str(clips / "none"))
        page.locator("#start").click()
        error = page.locator(".folder-error")
        expect(error).to_have_text(f"No such folder: {clips / 'none'}.")
        page.locator("#folder").fill(str(clips / "copy 00 of clip 01.mp4"))
        expect(error).to_be_hidden()
        page.keyboard.press("Enter")
        expect(error).to_contain_text("not a folder", ignore_case=True)
        page.locator("#folder").fill(str(clips))
        page.keyboard.press("Enter")
        expect(page.locator("#start")).to_have_text("Caption 20 pending")
        assert services.events.snapshot().job == 0


@pytest.mark.browser
def test_sample_clips_are_one_click_away(services):
    services.change_settings({"model": "qwen3-vl-2b"})
    with served(services, None, write_samples) as address, open_browser(address) as (page, expect):
        page.get_by_role("button", name="Open sample clips").click()
        expect(page.locator("#start")).to_have_text("Caption 12 pending", timeout=MODEL_TIMEOUT_MS)
        expect(page.locator("#model-chip")).to_have_text("Demo (toy world)")
        expect(page.locator("#notices")).to_contain_text("toy world")
