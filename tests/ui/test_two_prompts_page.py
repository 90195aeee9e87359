"""Two prompts tried on the same file, and the order of the library, in a real browser."""

import gradio as gr
import pytest

from captioner.demo.clips import write_samples
from captioner.ui.prompts.handlers import PromptHandlers
from captioner.ui.prompts.tab import prompts_tab
from tests.support.chromium import open_browser
from tests.support.tab_page import serve_tab


@pytest.fixture
def address(services, tmp_path):
    folder = tmp_path / "clips"
    write_samples(folder)
    services.open_folder(folder, recursive=False)
    services.prompts.create("Mine", "Say it in a few words. {Name}")

    def draw(blocks: gr.Blocks, tab: gr.Tab) -> None:
        prompts_tab(PromptHandlers(services), tab, blocks.load)

    with serve_tab(services, "Prompts", draw) as address:
        yield address


@pytest.mark.browser
def test_two_prompts_are_tried_side_by_side_on_the_same_file(services, address):
    with open_browser(address) as (page, expect):
        page.get_by_role("tab", name="Prompts").click()
        expect(page.locator("#prompt-name input")).to_have_value("Detailed")
        expect(page.locator("#prompt-list .list b").first).to_have_text("Mine")
        page.locator("#try-other input").click()
        page.get_by_role("option", name="Mine", exact=True).click()
        page.locator("#try-prompt").click()
        expect(page.locator("#try-result .beside .trial.done")).to_have_count(2, timeout=120_000)
        assert page.locator("#try-result h4").all_text_contents() == ["This prompt", "Mine"]
        expect(page.locator("#try-prompt")).to_be_enabled()
        page.locator("[data-pick=Mine]").click()
        expect(page.locator("#prompt-preview .unknown")).to_have_text("{Name}")
        expect(page.locator(".preview-note")).to_contain_text("Did you mean {name}?")


@pytest.mark.browser
def test_long_name_ends_before_the_arrow_of_its_list(services, address):
    with open_browser(address) as (page, _):
        page.get_by_role("tab", name="Prompts").click()
        page.locator("#try-file input").fill("a long name of a clip " * 5)
        for field in ("#try-file", "#try-other"):
            text, arrow = (page.locator(f"{field} {part}").bounding_box() for part in ("input", ".icon-wrap"))
            assert text["x"] + text["width"] <= arrow["x"]
