"""What was measured in clips, on the page: the line of the panel, and the filter."""

import pytest

from captioner.media.facts import FactsCache
from captioner.values import Measured, MediaInfo
from tests.support.chromium import open_browser
from tests.support.gallery_page import picture, press_in_menu, served
from tests.support.media_maker import make_video

MOVING = Measured(("pan left",), (1.0,), has_sound=False, step_s=0.5)
STATIC = Measured(("static",), black_s=((0.0, 1.5),), has_sound=False, step_s=0.5)


@pytest.mark.browser
def test_measured_clips_are_filtered_and_the_panel_says_what_was_measured(services, tmp_path):
    folder = tmp_path / "media"
    folder.mkdir()
    for name in ("a", "b", "c"):
        make_video(folder / f"{name}.mp4", num_frames=8, size=(96, 64))
    picture(folder / "d.png")
    (folder / "a.txt").write_text("Two boats, filmed by a camera that is fixed. The camera pans right.")
    services.open_folder(folder, False)
    info = MediaInfo(96, 64, 4.0, 8.0, 32, 0, "h264")
    files = services.library.items
    kept = {files[0]: MOVING, files[1]: STATIC}
    facts = FactsCache(services.database, services.sandbox.probe)
    facts.keep(folder, {item: MediaInfo(**vars(info) | {"measured": each}) for item, each in kept.items()})
    services.open_folder(folder, False)
    with served(services) as address, open_browser(address) as (page, expect):
        tiles, offered = page.locator(".grid-tile"), page.locator(".grid-measured button:visible")
        expect(tiles).to_have_count(4)
        page.locator("[popovertarget=filter-menu]").click()
        expect(offered).to_have_text(
            [
                "All",
                "Static camera 1",
                "Moving camera 1",
                "One shot 1",
                "Cuts 1",
                "No sound track 2",
                "Black or frozen 1",
            ]
        )
        page.keyboard.press("Escape")
        press_in_menu(page, "filter", "[data-measured=moving]")
        expect(tiles.locator("b")).to_have_text(["a.mp4"])
        expect(page.locator(".bar-filter span").first).to_have_text("Moving camera")
        page.locator("[data-act=unfilter]").click()
        expect(tiles).to_have_count(4)

        tiles.first.click()
        expect(page.locator(".panel-measured")).to_have_text("camera: pan left; 1 cut; no sound")
        expect(page.locator(".panel-fault")).to_contain_text("the camera does something else: pan left")
        page.keyboard.press("Alt+ArrowRight")
        expect(page.locator(".panel-measured")).to_contain_text("black from 0:00.00 to 0:01.50")
        assert page.locator(".panel-measured").evaluate("each => each.scrollWidth <= each.clientWidth")  # read whole
        page.keyboard.press("Alt+ArrowRight")
        expect(page.locator(".panel-title h3")).to_have_text("c.mp4")
        expect(page.locator(".panel-measured")).to_be_hidden()
