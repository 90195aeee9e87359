"""A page with the Gallery tab alone, and folders for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gradio as gr
from PIL import Image

from captioner.services import Services
from captioner.ui.gallery.tab import Gallery, gallery_tab
from captioner.ui.scripts import preload_links
from captioner.ui.server.routes import media_routes
from captioner.ui.theme import CSS
from captioner.ui.wiring import keep_up_to_date


def picture(path: Path) -> Path:
    Image.new("RGB", (64, 48), "teal").save(path)
    return path


def make_folder(folder: Path) -> Path:
    """Make a folder with four pictures; the first two have captions."""
    folder.mkdir()
    for name in "abcd":
        picture(folder / f"{name}.png")
    (folder / "a.txt").write_text("A zebra at noon.")
    (folder / "b.txt").write_text("A horse at night.")
    return folder


@contextmanager
def served(services: Services) -> Iterator[str]:
    """Serve a page with this tab alone, refreshed twice a second, and yield its address."""
    gallery = Gallery(services)

    def render(seen: str, opened: str) -> list:
        return gallery.render(services.events.snapshot(), seen, opened)

    with gr.Blocks(analytics_enabled=False, fill_width=True) as blocks:
        tab = gallery_tab(gallery)
        keep_up_to_date([blocks.load, gr.Timer(0.5).tick], tab.refreshing, render, tab.inputs, tab.outputs)
    blocks.queue(default_concurrency_limit=None)
    routes = media_routes(services).routes
    options = {"prevent_thread_lock": True, "quiet": True, "ssr_mode": False, "run_history": False, "footer_links": []}
    _, address, _ = blocks.launch(
        app_kwargs={"routes": routes}, css_paths=CSS, head=preload_links(), show_error=True, **options
    )
    yield address
    blocks.close(verbose=False)


def press_in_menu(page, menu: str, button: str) -> None:
    """Open a menu of the toolbar, "filter" or "more", and click one of its buttons, given as a selector."""
    page.locator(f"[popovertarget={menu}-menu]").click()
    page.locator(f"#{menu}-menu {button}").click()
