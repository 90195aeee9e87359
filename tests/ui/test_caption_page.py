"""What Caption would do and does, in a real browser: the job in the header, the chips, the menu, unsaved settings."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from captioner.demo.clips import write_samples
from captioner.services import Services
from captioner.ui.gallery.folders import Samples
from captioner.ui.launch import launch
from captioner.ui.page import build
from tests.support.chromium import open_browser
from tests.support.gallery_page import press_in_menu

MODEL_TIMEOUT_MS = 180_000
SHIFTS_JS = """window.shifts = [];
new PerformanceObserver(entries => {
  for (const entry of entries.getEntries()) if (!entry.hadRecentInput) {
    window.shifts.push([entry.value, entry.sources.map(({ node }) => node?.id || node?.className || String(node))]);
  }
}).observe({ type: 'layout-shift', buffered: true });"""
TILE_TOP_JS = "document.querySelector('.grid-tile').getBoundingClientRect().top"


@contextmanager
def served(
    services: Services, folder: Path | None, samples: Samples | None = None, allow_delete: bool = False
) -> Iterator[str]:
    blocks, page = build(services, folder, samples=samples, allow_delete=allow_delete)
    try:
        yield launch(blocks, page)
    finally:
        blocks.close(verbose=False)


@pytest.fixture
def folder(tmp_path) -> Path:
    write_samples(tmp_path / "media", num_clips=1, num_stills=2)
    return tmp_path / "media"


@pytest.mark.browser
@pytest.mark.parametrize(("size", "idle_top", "busy_top"), [((1280, 720), 200, 230), ((390, 844), 320, 320)])
def test_nothing_jumps_while_a_job_starts_runs_and_ends(services, folder, size, idle_top, busy_top):
    with served(services, folder) as address, open_browser("about:blank", *size) as (page, expect):
        page.add_init_script(SHIFTS_JS)
        page.goto(address)
        line = page.locator(".run-strip")
        expect(page.locator(".grid-tile")).to_have_count(3)
        expect(page.locator("#model-chip")).to_have_attribute(
            "title", "No model is loaded. Demo (toy world) loads when captioning starts."
        )
        assert page.evaluate(TILE_TOP_JS) < idle_top
        page.locator("#start").click()
        expect(line).to_contain_text("media" if size[0] > 760 else "of 3", timeout=MODEL_TIMEOUT_MS)  # its folder
        assert page.evaluate(TILE_TOP_JS) < busy_top
        expect(page.locator(".run-strip[data-phase=done]")).to_be_visible(timeout=MODEL_TIMEOUT_MS)
        expect(page.locator("#model-chip[data-state=ready]")).to_be_visible()
        page.wait_for_timeout(1500)  # one more refresh
        shifts = page.evaluate("window.shifts")
        assert sum(value for value, _ in shifts) < 0.02, shifts
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.browser
def test_selected_files_are_captioned_again_in_this_job_alone(services, folder):
    (folder / "still 01.txt").write_text("Before.")
    with served(services, folder) as address, open_browser(address) as (page, expect):
        page.locator(".grid-tile", has_text="still 01").locator(".grid-check").click()
        expect(page.locator("#start")).to_have_text("Caption 1 again…")
        page.locator("#start").click()
        page.locator("#caption-menu [data-choice=append]").click()
        expect(page.locator(".run-strip[data-phase=done]")).to_be_visible(timeout=MODEL_TIMEOUT_MS)
        text = (folder / "still 01.txt").read_text()
        assert text.startswith("Before. A ")
        assert services.settings.existing == "skip"
        page.locator("[data-act=unselect]").click()
        expect(page.locator("#start")).to_have_text("Caption 2 pending")


@pytest.mark.browser
def test_the_chips_change_the_model_and_the_prompt_and_unsaved_settings_are_asked_about(services, folder):
    services.prompts.create("Colors", "Name the color.")
    with served(services, folder) as address, open_browser(address, 1280, 720) as (page, expect):
        page.locator("#prompt-chip").click()
        page.locator("#prompt-menu").get_by_role("button", name="Colors").click()
        expect(page.locator("#prompt-chip")).to_have_text("Colors")
        assert services.settings.prompt_name == "Colors"

        page.get_by_role("tab", name="Settings").click()
        box = page.locator("#field-max_frames input[type=number]")
        expect(box).to_have_value("32")
        box.fill("24")
        page.get_by_role("tab", name="Gallery").click()
        expect(page.locator(".caption-unsaved")).to_have_text("1 setting not saved")
        page.locator("#start").click()
        question = page.locator("#unsaved-question")
        expect(question).to_contain_text("1 setting not saved")
        question.get_by_role("button", name="Cancel").click()
        assert services.events.snapshot().job == 0
        page.locator("#start").click()
        question.get_by_role("button", name="Save and caption").click()
        expect(page.locator("#stop")).to_be_visible()
        assert services.settings.max_frames == 24
        expect(page.locator(".caption-unsaved")).to_be_hidden()
        page.locator("#stop").click()
        expect(page.locator(".run-strip[data-phase=stopped]")).to_be_visible(timeout=MODEL_TIMEOUT_MS)

        services.change_settings({"model": str(folder / "gone")})
        expect(page.locator("#model-chip[data-state=missing]")).to_be_visible()
        page.locator("#start").click()
        expect(page.locator("#caption-menu .menu-note")).to_contain_text("Unknown model")
        page.locator("#caption-menu").get_by_role("button", name="Choose a model").click()
        expect(page.get_by_role("tab", name="Settings")).to_have_attribute("aria-selected", "true")


@pytest.mark.browser
def test_files_are_deleted_and_restored_only_where_that_is_allowed(services, folder):
    for allowed in (False, True):
        with served(services, folder, allow_delete=allowed) as address, open_browser(address) as (page, expect):
            tiles, delete = page.locator(".grid-tile"), page.locator("[data-act=delete-media]")
            tiles.first.locator(".grid-check").click()
            expect(page.locator(".grid-selected")).to_have_text("1 selected")
            if not allowed:
                expect(delete).to_be_hidden()
                continue
            delete.click()
            page.locator("#trash-question").get_by_role("button", name="Delete").click()
            expect(tiles).to_have_count(2)
            assert not (folder / "clip 01.mp4").exists()
            page.reload()
            expect(tiles).to_have_count(2)
            press_in_menu(page, "more", "[data-act=restore-media]")
            expect(tiles).to_have_count(3)
            assert (folder / "clip 01.mp4").exists()


REFUSAL = "I'm sorry, but I can't assist with that request."


@pytest.mark.browser
def test_captions_that_need_a_look_are_repaired(services, folder):
    """Of what is shown, then of a selection alone; the job is a job, with its line and Undo."""
    write_samples(folder, num_clips=0, num_stills=5)
    for i in range(1, 6):
        text = "A yellow square rests on gray ground." if i == 5 else f"{REFUSAL} {'Really. ' * i}"
        (folder / f"still 0{i}.txt").write_text(text)
    services.captions.approve([folder / "still 04.txt"])
    with served(services, folder) as address, open_browser(address) as (page, expect):
        expect(page.locator(".grid-tile", has_text="Refusal").first).to_be_visible()
        press_in_menu(page, "filter", "[data-state=flawed]")
        expect(page.locator(".grid-tile")).to_have_count(3)
        page.locator(".grid-tile", has_text="still 02").locator(".grid-check").click()
        page.locator("#start-more").click()
        expect(page.locator("#caption-menu [data-choice=repair]")).to_have_text("Repair 1 that needs a look")
        page.keyboard.press("Escape")
        page.locator("[data-act=unselect]").click()
        page.locator("#start-more").click()
        before = {path.name: path.read_bytes() for path in folder.glob("*.txt")}
        page.locator("#caption-menu [data-choice=repair]", has_text="Repair 3 that need a look").click()
        expect(page.locator(".run-strip[data-phase=done]")).to_be_visible(timeout=MODEL_TIMEOUT_MS)
        expect(page.locator(".run-outcome")).to_contain_text("3 captioned")
        expect(page.locator(".grid-tile")).to_have_count(0)
        after = {path.name: path.read_bytes() for path in folder.glob("*.txt")}
        assert {name for name in after if after[name] != before[name]} == {f"still 0{i}.txt" for i in (1, 2, 3)}
        assert not any(REFUSAL.encode() in after[f"still 0{i}.txt"] for i in (1, 2, 3))
        [repair] = services.jobs.journal.recent(1)
        assert repair.title == "Repair 3 captions with Demo (toy world)"
        services.undo(repair.id)
        assert {path.name: path.read_bytes() for path in folder.glob("*.txt")} == before
