"""The Dataset tab in a browser: check, read, show in the gallery, fix and undo; long lists stay small in the page."""

import contextlib
import os
from collections.abc import Iterator

import gradio as gr
import pytest

from captioner.services import Services
from captioner.ui.dataset.tab import DatasetHandlers, dataset_tab
from captioner.ui.gallery.tab import Gallery, gallery_tab
from captioner.ui.scripts import preload_links
from captioner.ui.server.routes import media_routes
from captioner.ui.theme import CSS, THEME
from captioner.ui.wiring import keep_up_to_date
from tests.support.axe import severe_faults
from tests.support.chromium import open_browser
from tests.support.gallery_page import picture

pytestmark = pytest.mark.browser

NUM_MANY = 500


@pytest.fixture
def services(tmp_path) -> Iterator[Services]:
    with Services(tmp_path / "state") as services:
        yield services


@contextlib.contextmanager
def opened_tab(services: Services) -> Iterator[tuple]:
    """Give a page with the gallery and this tab, which is shown."""
    gallery, handlers = Gallery(services), DatasetHandlers(services)

    def render(seen: str, opened: str) -> list:
        return [*gallery.render(services.events.snapshot(), seen, opened), *handlers.render()]

    with gr.Blocks(analytics_enabled=False, fill_width=True) as blocks:
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab("Gallery"):
                shown = gallery_tab(gallery)
            with gr.Tab("Dataset"):
                tab = dataset_tab(handlers)
        acting, outputs = [*shown.refreshing, *tab.refreshing], [*shown.outputs, *tab.outputs]
        keep_up_to_date([blocks.load, gr.Timer(0.5).tick], acting, render, shown.inputs, outputs)
    blocks.queue(default_concurrency_limit=None)
    options = {"prevent_thread_lock": True, "quiet": True, "ssr_mode": False, "run_history": False, "footer_links": []}
    routes = {"routes": media_routes(services).routes}
    _, address, _ = blocks.launch(
        app_kwargs=routes, css_paths=CSS, theme=THEME, head=preload_links(), show_error=True, **options
    )
    try:
        with open_browser(address) as (page, expect):
            page.locator(".grid-tile").first.wait_for()
            page.get_by_role("tab", name="Dataset").click()
            expect(page.locator("[name=trainer] option")).to_have_count(8)
            yield page, expect
    finally:
        blocks.close(verbose=False)


def test_findings_are_shown_fixed_undone_and_found_in_the_gallery(services, tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    for name in "abcd":
        picture(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(f"a teal picture, {name}")
    (folder / "b.txt").write_bytes(b"one\ntwo")
    (folder / "d.txt").unlink()
    services.open_folder(folder, recursive=False)
    with opened_tab(services) as (page, expect):
        page.locator("[name=trainer]").select_option("sd-scripts")
        page.locator("[data-act=check]").click()
        now = page.locator(".dataset-now")
        expect(now).to_have_text("2 errors in 4 files for sd-scripts")
        expect(page.locator(".dataset-groups button")).to_have_text(
            ["errorImage without a caption1", "errorCaption of several lines1"]
        )
        expect(page.locator(".dataset-row")).to_have_text(["d.pngno d.txt"])

        page.locator("[data-code=caption-lines]").click()
        expect(page.locator(".dataset-row")).to_have_text(["b.pngits caption has 2 lines"])
        expect(page.locator(".dataset-does")).to_have_text(
            "sd-scripts takes the first line alone unless enable_wildcard is set."
        )
        assert (faults := severe_faults(page)) == [], faults
        page.locator("[data-act=repair]").click()
        expect(now).to_have_text("1 caption file repaired. 1 error in 4 files for sd-scripts")
        assert (folder / "b.txt").read_bytes() == b"one two"
        page.locator("[data-act=undo]").click()
        expect(now).to_have_text("1 caption file restored. 2 errors in 4 files for sd-scripts")
        assert (folder / "b.txt").read_bytes() == b"one\ntwo"

        page.locator("[data-code=caption-lines]").click()
        page.locator("#dataset [data-act=show]").click()
        expect(page.locator(".grid-tile")).to_have_count(1)
        expect(page.locator(".bar-filter span").first).to_have_text("Caption of several lines")
        page.locator("[data-act=unfilter]").click()
        expect(page.locator(".grid-tile")).to_have_count(4)

        page.get_by_role("tab", name="Dataset").click()
        page.locator("[data-code=image-without-caption]").click()
        page.locator(".dataset-row button").click()
        expect(page.locator("#panel")).to_contain_text("d.png")


def test_a_long_list_of_files_has_few_nodes_and_reaches_its_end(services, tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    first = picture(folder / "0000.png")
    for number in range(1, NUM_MANY):
        os.link(first, folder / f"{number:04d}.png")
    services.open_folder(folder, recursive=False)
    with opened_tab(services) as (page, expect):
        page.locator("[data-act=check]").click()
        expect(page.locator(".dataset-groups i")).to_have_text([str(NUM_MANY)])
        expect(page.locator(".dataset-row").first).to_have_text("0000.pngno 0000.txt")
        page.locator(".dataset-rows").evaluate("each => { each.scrollTop = each.scrollHeight; }")
        expect(page.locator(".dataset-row").last).to_have_text(f"{NUM_MANY - 1:04d}.pngno {NUM_MANY - 1:04d}.txt")
        assert page.locator(".dataset-row").count() < 60
