"""`python -m tests.tools.pictures OUT`: pictures of the page in every state, to look at after a change of it.

The app runs in this process with the demo model, once for each size of the screen. Each state is one sheet: all sizes,
light and dark. A state that cannot be reached is named, and the status is 1 then.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from captioner.demo.clips import write_samples
from captioner.library.comparisons.store import ComparisonStore
from captioner.services import Services
from captioner.system.roots import Roots
from captioner.ui.launch import launch
from captioner.ui.page import build
from captioner.ui.server.options import Access
from tests.support.axe import AT_REST, THEMES
from tests.support.chromium import open_browser
from tests.support.compared import keep_comparison

SIZES = ((1600, 900), (1280, 720), (1024, 768), (390, 844))
GAP = 16  # pixels between the pictures of a sheet
NUM_AGAIN = 160  # more files, so that the job can be seen running
LONG = (
    "A woman in a red coat walks slowly through a narrow street at dusk while the camera follows her from behind. "
    "Lanterns on both sides light wet cobblestones, and their reflections tremble when she steps over a puddle. "
) * 4
LONG_NAME = "interview with the director of the museum, second day, camera B, take 14 (corrected).png"
JOB_MS = 240_000
HAS_PICTURES = "[...document.querySelectorAll('.grid-picture > img')].slice(0, 4).every(img => img.src && img.complete)"


class Camera:
    """Takes the pictures of one size; keeps the states that could not be reached."""

    def __init__(self, page: Any, expect: Any, folder: Path, size: tuple[int, int]) -> None:
        self.page, self.expect, self._folder, self._size = page, expect, folder, size
        self.missed: list[str] = []

    def take(self, state: str) -> None:
        for theme in THEMES:
            self.page.emulate_media(color_scheme=theme)
            self.page.wait_for_function(AT_REST)
            self.page.wait_for_timeout(150)
            width, height = self._size
            self.page.screenshot(path=self._folder / f"{state}_{width}x{height}_{theme}.png")

    def reach(self, states: Callable[["Camera"], None]) -> None:
        """Go through some states; what fails ends these alone."""
        try:
            states(self)
        except Exception as error:  # the others are still worth a picture
            self.missed.append(f"{self._size[0]} px, {states.__name__}: {str(error).splitlines()[0]}")
        self.page.keyboard.press("Escape")

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name).click()


def idle(camera: Camera) -> None:
    page = camera.page
    camera.take("02 idle")
    for number, menu in enumerate(("filter-menu", "more-menu")):
        page.locator(f"[popovertarget={menu}]").click()
        camera.take(f"03 menu {'ab'[number]} {menu}")
        page.keyboard.press("Escape")
    for number, button in enumerate(("#model-chip", "#prompt-chip", "#start-more")):
        page.locator(button).click()
        camera.take(f"03 menu {'cde'[number]} {button[1:]}")
        page.keyboard.press("Escape")


def selection(camera: Camera) -> None:
    page = camera.page
    for at in range(3):
        page.locator(".grid-check").nth(at).click()
    camera.take("04 selection")
    page.locator(".grid-selecting [data-act=delete-media]").click()
    camera.take("05 question before files are deleted")
    page.keyboard.press("Escape")
    page.locator(".grid-selecting [data-act=edit]").click()
    page.locator("[name=find]").fill("a")
    page.locator(".bulk-list li").first.wait_for()
    camera.take("06 bulk edit")
    page.keyboard.press("Escape")
    page.locator("[data-act=unselect]").click()


def panel(camera: Camera) -> None:
    page = camera.page
    page.locator(".grid-tile", has_text="clip 02").locator("img").click()
    camera.expect(page.locator("#panel textarea")).to_have_value(LONG.strip())
    camera.take("07 panel")
    page.locator("#panel [data-act=delete]").click()
    camera.take("08 question of the panel")
    page.keyboard.press("Escape")
    page.locator(".panel-media").click()
    page.locator(".lightbox").wait_for()
    page.wait_for_timeout(500)
    camera.take("09 lightbox")
    page.keyboard.press("Escape")
    page.locator("#panel [data-act=close]").click()


def no_result(camera: Camera) -> None:
    page = camera.page
    page.locator(".grid-search input").fill("zebra crossing")
    page.locator(".grid-empty").wait_for()
    camera.take("10 nothing found")
    page.locator(".grid-search input").fill("")


def job(camera: Camera) -> None:
    page = camera.page
    page.locator("#start").click()
    page.locator(".run-strip[data-phase=running]").wait_for(timeout=JOB_MS)
    page.wait_for_timeout(4000)  # the first captions, and an estimate of the time left
    camera.take("11 running job")
    page.locator(".run-line").click()
    camera.take("12 card of the job")
    page.locator("#stop").click()
    page.locator(".run-strip[data-phase=stopped]").wait_for(timeout=JOB_MS)
    camera.take("13 stopped job")


def failures(camera: Camera) -> None:
    page = camera.page
    page.locator(".grid-search input").fill("broken")
    camera.expect(page.locator(".grid-tile")).to_have_count(1)
    page.locator(".grid-check").first.click()
    page.locator("#start").click()
    page.locator(".run-strip[data-bad]").wait_for(timeout=JOB_MS)
    page.locator("[data-act=unselect]").click()
    page.locator(".grid-search input").fill("")
    camera.take("14 ended with failures")
    page.locator(".run-line").click()
    camera.take("15 card of failures")
    page.keyboard.press("Escape")


def again(camera: Camera) -> None:
    page = camera.page
    page.locator(".grid-tile", has_text="clip 03").locator("img").click()
    page.locator("#panel [data-act=again]").click()
    page.locator(".panel-compare").wait_for(timeout=JOB_MS)
    camera.take("16 old and new caption")
    page.locator("#panel [data-act=close]").click()


def settings(camera: Camera) -> None:
    page = camera.page
    camera.tab("Settings")
    page.locator("#set-max-frames").wait_for()
    camera.take("17 settings")
    page.locator("#set-max-frames input").fill("31")
    page.locator("#settings-advanced summary").click()
    camera.take("18 settings changed")
    page.locator("#settings-advanced summary").scroll_into_view_if_needed()
    page.locator("#settings-advanced summary").evaluate("each => each.scrollIntoView()")
    camera.take("19 settings advanced")
    camera.tab("Gallery")
    camera.take("20 unsaved settings in the gallery")
    page.locator("#start").click()
    camera.take("21 question about settings")
    page.keyboard.press("Escape")
    camera.tab("Settings")
    page.locator("#discard-settings").click()


def prompts(camera: Camera) -> None:
    page = camera.page
    camera.tab("Prompts")
    page.locator("#prompt-list .list b").first.wait_for()
    camera.take("22 prompts")
    page.locator("#try-file input").fill(LONG_NAME)
    page.keyboard.press("Enter")
    page.locator("#try-other input").click()
    page.get_by_role("option", name="Short", exact=True).click()
    page.locator("#try-prompt").click()
    camera.expect(page.locator("#try-result .beside .trial.done")).to_have_count(2, timeout=JOB_MS)
    page.locator("#try-result").scroll_into_view_if_needed()
    camera.take("23 tester")


def compare(camera: Camera) -> None:
    page = camera.page
    page.get_by_role("button", name="Compare on many files…").click()
    page.locator(".compare-list li").first.wait_for()
    camera.take("24 comparisons")
    page.locator(".compare-list").get_by_role("button", name="Vote").first.click()
    page.locator(".compare-texts p").first.wait_for()
    page.wait_for_timeout(500)
    camera.take("25 vote")
    page.keyboard.press("1")
    page.get_by_role("button", name="All comparisons").click()
    page.locator(".compare-list").get_by_role("button", name="Result").first.click()
    camera.take("26 result")
    page.keyboard.press("Escape")


def dataset(camera: Camera) -> None:
    page = camera.page
    camera.tab("Dataset")
    page.locator("#dataset [data-act=check]").wait_for()
    camera.take("27 dataset")
    page.locator("#dataset [data-act=check]").click()
    page.locator("#dataset .dataset-groups button").first.wait_for(timeout=JOB_MS)
    camera.take("28 findings")
    camera.tab("Statistics")
    page.locator("#statistics [data-act=count]").click()
    page.locator("#statistics .dataset-groups button").first.wait_for(timeout=JOB_MS)
    page.wait_for_timeout(700)
    camera.take("29 statistics")


def dialogs(camera: Camera) -> None:
    page = camera.page
    camera.tab("Gallery")
    page.keyboard.press("?")
    page.locator("#page-keys").wait_for()
    camera.take("30 keys")
    page.keyboard.press("Escape")
    page.evaluate("document.querySelector('.bar-history').click()")
    page.locator(".history-list li").first.wait_for()
    camera.take("31 history")


def model_failed(camera: Camera) -> None:
    page = camera.page
    page.locator(".grid-search input").fill("still 02")
    page.locator("#start").click()
    page.locator(".run-strip[data-phase=failed]").wait_for(timeout=JOB_MS)
    page.locator(".grid-search input").fill("")
    camera.take("32 model failed")
    page.locator(".run-line").click()
    camera.take("33 card of a failed model")
    page.keyboard.press("Escape")
    camera.tab("Settings")
    camera.take("34 settings of a failed model")


STATES = (idle, selection, panel, no_result, job, failures, again, settings, prompts, compare, dataset, dialogs)


def fill_folder(folder: Path) -> None:
    """Write clips and images, some with captions, one that cannot be read, and copies in a folder of their own."""
    write_samples(folder, num_clips=9, num_stills=3)
    (folder / "still 01.png").rename(folder / LONG_NAME)
    (folder / "clip 02.txt").write_text(LONG)
    (folder / "clip 03.txt").write_text("A blue circle gets smaller on a black background, and is a disc, not a ball.")
    (folder / "broken take.mp4").write_bytes(b"\0" * 5000)
    (folder / "second day").mkdir()
    for number in range(NUM_AGAIN):
        os.link(folder / "clip 01.mp4", folder / "second day" / f"clip {number + 10}.mp4")


def picture_size(size: tuple[int, int], out: Path) -> list[str]:
    """Take the pictures of one size; return the states that could not be reached."""
    with tempfile.TemporaryDirectory() as name:
        folder, other = Path(name, "clips"), Path(name, "a model without weights")
        fill_folder(folder)
        other.mkdir()
        (other / "config.json").write_text('{"model_type": "qwen3_vl", "architectures": ["Qwen3VL"]}')
        chosen = {"model": "demo", "devices": ("cpu",), "recursive": True}
        with Services(Path(name, "state"), chosen, Roots([Path(name)])) as services:
            blocks, page_of = build(services, samples=write_samples, allow_delete=True)
            with open_browser(launch(blocks, page_of), *size, found=[]) as (page, expect):
                camera = Camera(page, expect, out, size)
                page.locator("#welcome h2").wait_for()
                camera.take("01 first use")
                page.locator("#folder").fill(str(folder))
                page.keyboard.press("Enter")
                page.locator(".grid-tile").first.wait_for()
                page.wait_for_function(HAS_PICTURES, timeout=JOB_MS)
                voted = keep_comparison(services, folder, 2)
                ComparisonStore(services.folder).change(voted.number, lambda now: replace(now, files=now.files[1:7]))
                for states in STATES:
                    camera.reach(states)
                services.change_settings({"model": str(other)})
                camera.reach(model_failed)
            blocks.close(verbose=False)
            blocks, page_of = build(services)
            address = launch(blocks, page_of, Access(services.roots, login=("anna", "a long password")))
            with open_browser("about:blank", *size, found=[]) as (page, expect):
                page.goto(address)
                page.locator("input[type=password]").wait_for()
                Camera(page, expect, out, size).take("35 login")
            blocks.close(verbose=False)
    return camera.missed


def write_sheet(state: str, folder: Path) -> None:
    """Write the pictures of a state as one: each theme a block, the two wide sizes in halves above the others."""
    blocks = []
    for theme in THEMES:
        pictures = [Image.open(path) for path in sorted(folder.glob(f"{state}_*_{theme}.png"), key=width_of)]
        row, rows = [], []
        for picture in reversed(pictures):
            picture.thumbnail((800, 450 if picture.width > picture.height * 1.5 else 600))
            if row and sum(each.width + GAP for each in row) + picture.width > 1616:
                rows.append(row)
                row = []
            row.append(picture)
        blocks += [*rows, row]
    height = sum(max(picture.height for picture in row) + GAP for row in blocks)
    sheet, y = Image.new("RGB", (1616, height), "#888"), 0
    for row in blocks:
        x = 0
        for picture in row:
            sheet.paste(picture, (x, y))
            x += picture.width + GAP
        y += max(picture.height for picture in row) + GAP
    sheet.save(folder / f"sheet {state}.png")


def width_of(path: Path) -> int:
    return int(path.stem.split("_")[1].partition("x")[0])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for the pictures")
    parser.add_argument("--width", type=int, action="append", help="only screens of this width; repeatable")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    missed = []
    for size in SIZES:
        if not args.width or size[0] in args.width:
            missed += picture_size(size, args.out)
    for state in sorted({path.stem.split("_")[0] for path in args.out.glob("*_*.png")}):
        write_sheet(state, args.out)
    print("\n".join(missed))
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
