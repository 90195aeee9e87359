"""The player marks the part of a clip that its caption is about."""

import shutil
from dataclasses import replace

import pytest

from captioner.demo.clips import write_samples
from captioner.media.probe import probe
from captioner.values import MediaFacts
from tests.support.captions import CAPTION
from tests.support.chromium import open_browser
from tests.support.gallery_page import served


@pytest.mark.browser
def test_player_marks_the_captioned_part_and_nothing_for_a_whole_clip(services, tmp_path):
    [sample] = write_samples(tmp_path / "made", num_clips=1, num_stills=0)
    folder = tmp_path / "media"
    folder.mkdir()
    duration_s = probe(sample.path).duration_s
    for name, span_s in {"a.mp4": None, "b.mp4": (duration_s / 4, duration_s / 2)}.items():
        shutil.copy(sample.path, folder / name)
        item = next(each for each in services.open_folder(folder, False).items if each.filename == name)
        services.captions.write(item, replace(CAPTION, facts=MediaFacts(span_s=span_s)), "overwrite")
    services.open_folder(folder, False)
    with served(services) as address, open_browser(address) as (page, expect):
        bar = page.locator(".panel-span")
        page.locator(".grid-tile").nth(1).click()
        expect(bar).to_be_visible()
        expect(bar).to_have_attribute(
            "aria-label", f"The caption is about {duration_s / 4:.1f} s to {duration_s / 2:.1f} s"
        )
        edges = bar.evaluate("bar => ['--from', '--to'].map(name => parseFloat(bar.style.getPropertyValue(name)))")
        assert edges == pytest.approx([25, 50], abs=1)
        page.locator(".grid-tile").nth(0).click()
        expect(page.locator(".panel-title")).to_contain_text("a.mp4")
        expect(bar).to_be_hidden()
