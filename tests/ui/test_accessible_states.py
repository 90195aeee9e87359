"""axe-core in the states that a person meets on the way: first use, uploads, a running job, dialogs, a trial."""

import os
from dataclasses import replace

import pytest

from captioner.demo.clips import write_samples
from captioner.services import Services
from captioner.system.roots import Roots
from captioner.ui.launch import launch
from captioner.ui.page import build
from tests.support.axe import States
from tests.support.captions import CAPTION
from tests.support.chromium import open_browser

NUM_FILES = 400  # so many that the job runs until it is stopped
DRAG_JS = """type => {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File(['x'], 'a.mp4'));
  document.body.dispatchEvent(new DragEvent(type, {dataTransfer, bubbles: true}));
}"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Give the address of a page that takes uploads and may delete, with no folder open, its folder and services."""
    folder = tmp_path_factory.mktemp("media")
    write_samples(folder, num_clips=1, num_stills=1)
    (folder / "a still.txt").write_text("A picture with a caption.")
    for number in range(NUM_FILES):
        os.link(folder / "clip 01.mp4", folder / f"clip {number:03} again.mp4")
    os.link(folder / "still 01.png", folder / "a still.png")
    settings = {"model": "demo", "devices": ("cpu",), "max_frames": 2}
    with Services(tmp_path_factory.mktemp("state"), settings, Roots([folder])) as services:
        services.prompts.create("Mine", "Say it in a few words.")
        blocks, page = build(services, remote=True, samples=write_samples, allow_delete=True)
        yield launch(blocks, page), folder, services
        blocks.close(verbose=False)


@pytest.mark.browser
def test_first_use_dialogs_a_running_job_and_a_trial_have_no_severe_fault(served):
    address, folder, services = served
    with open_browser(address) as (page, expect):
        states = States(page)
        expect(page.locator("#welcome h2")).to_be_visible()
        states.check("first use")
        page.evaluate(DRAG_JS, "dragenter")
        expect(page.locator(".upload-drop")).to_be_visible()
        states.check("drop zone")
        page.evaluate(DRAG_JS, "dragleave")
        page.locator("#folder").fill(str(folder))
        page.keyboard.press("Enter")
        expect(page.locator("#start")).to_have_text(f"Caption {NUM_FILES + 2} pending")
        in_gallery(page, expect, states, services)
        in_a_job(page, expect, states)
        in_prompts(page, expect, states)
        assert states.faults == {}
        assert len(states.seen) == 12


def in_gallery(page, expect, states, services) -> None:
    page.locator(".grid-tile").first.click()
    expect(page.locator("#panel textarea")).to_have_value("A picture with a caption.")
    item = services.library.lookup.find("a still.png").item
    services.captions.write(item, replace(CAPTION, text="Another caption."), "overwrite")
    services.library.edits.refresh([item.caption_path])
    expect(page.locator(".panel-compare")).to_be_visible()
    states.check("old and new text")
    page.locator("#panel [data-act=delete]").click()
    expect(page.locator("[data-act=delete-no]")).to_be_focused()
    states.check("question of the panel")
    page.keyboard.press("Escape")
    page.locator(".panel-media").click()
    expect(page.locator(".lightbox img")).to_be_visible()
    states.check("enlarged image")
    page.keyboard.press("Alt+ArrowRight")
    expect(page.locator(".lightbox span")).to_contain_text("Frame")
    states.check("enlarged clip")
    page.keyboard.press("Escape")
    page.locator(".grid-check").first.click()
    page.locator(".grid-selecting [data-act=edit]").click()
    page.locator("[name=find]").fill("caption")
    expect(page.locator(".bulk-list li")).to_have_count(1)
    states.check("bulk edit")
    page.keyboard.press("Escape")
    page.locator("[data-act=delete-media]").click()
    expect(page.locator("#trash-question [popover]")).to_be_visible()
    states.check("question before files are deleted")
    page.keyboard.press("Escape")
    page.locator("[data-act=unselect]").click()


def in_a_job(page, expect, states) -> None:
    page.get_by_role("tab", name="Settings").click()
    page.locator("#set-max-frames input").fill("4")
    page.get_by_role("tab", name="Gallery").click()
    page.locator("#start").click()
    expect(page.locator("#unsaved-question [popover]")).to_be_visible()
    states.check("question about settings")
    page.locator("#unsaved-question").get_by_role("button", name="Save and caption").click()
    expect(page.locator(".run-strip[data-phase=running]")).to_be_visible(timeout=90_000)
    states.check("running job")
    page.locator(".run-line").click()
    expect(page.locator("#run-card")).to_be_visible()
    states.check("card of the job")
    workers, failed = (page.locator(f"[data-list={name}]").bounding_box() for name in ("replicas", "failures"))
    assert workers["width"] > 3 * failed["width"]  # as nothing has failed
    assert page.evaluate(
        "(({scrollWidth, clientWidth}) => scrollWidth <= clientWidth)(document.querySelector('.run-model'))"
    )
    page.keyboard.press("Escape")
    page.locator("#stop").click()
    expect(page.locator(".run-strip[data-phase=stopped]")).to_be_visible(timeout=90_000)


def in_prompts(page, expect, states) -> None:
    page.get_by_role("tab", name="Prompts").click()
    page.locator("#try-other input").click()
    page.get_by_role("option", name="Mine", exact=True).click()
    page.locator("#try-prompt").click()
    expect(page.locator("#try-result .beside .trial.done")).to_have_count(2, timeout=90_000)
    states.check("two prompts side by side")
