"""The page: header, run card, three tabs, and the one handler that keeps all of it up to date."""

import html
import os
import time
from pathlib import Path
from typing import Any

import gradio as gr

from captioner.errors import CaptionerError
from captioner.services import Services
from captioner.system.devices import cuda_missing
from captioner.ui import format as views
from captioner.ui.gallery.tab import Gallery, gallery_tab
from captioner.ui.prompts.tab import PromptDesk, prompts_tab
from captioner.ui.runs import card as progress
from captioner.ui.runs import machine
from captioner.ui.runs.bulk import Bulk, bulk_dialog
from captioner.ui.runs.buttons import RunButtons, run_card
from captioner.ui.runs.history import History, history_dialog
from captioner.ui.server.api import public_api
from captioner.ui.server.uploads import Transfer, Uploads, upload_controls
from captioner.ui.settings.tab import SettingsForm, settings_tab
from captioner.ui.wiring import in_background, keep_up_to_date

TITLE = "Video Caption Suite"
PULSE_S = 2.5 if "SPACE_ID" in os.environ else 1.0  # a Space limits how often a page may ask
RESOURCES_S = 2.0


class Page:
    """All handlers over one Services, and what they have in common."""

    def __init__(self, services: Services, folder: Path | None = None, remote: bool = False) -> None:
        """`folder` is opened at once. remote: browsers are on other machines, so they may upload.

        Raises FolderError.
        """
        if folder is not None:
            services.open_folder(folder, services.settings.recursive)
        self.services, self.gallery, self.form = services, Gallery(services), SettingsForm(services)
        self.run = RunButtons(services, self.gallery.enter)
        self.history, self.bulk = History(services, self.gallery.enter), Bulk(services)
        self.desk, self.uploads = PromptDesk(services), None
        if remote:
            uploads = services.folder / "uploads"
            uploads.mkdir(exist_ok=True)
            services.roots.add(uploads)
            self.uploads = Uploads(uploads, examine=services.sandbox.probe)
        self.readings = machine.Readings()
        self._cuda_missing = cuda_missing()

    def render(self, dismissed: float, seen: str, opened: str, prompt: str = "", search: str = "") -> list[Any]:
        """Everything that moves, for one browser. Runs every second in each."""
        snapshot = self.services.events.snapshot()
        return [
            progress.strip(snapshot),
            progress.card(snapshot, time.time(), int(dismissed or 0), self.run.surroundings(snapshot)),
            views.notices(self._is_demo(), self._cuda_missing),
            *self.gallery.render(snapshot, seen, opened),
            *self.form.render(snapshot),
            self.desk.list(prompt, search),  # not the editor: it may hold what is not saved yet
        ]

    def resources(self) -> str:
        return machine.view(self.readings.latest())

    def _is_demo(self) -> bool:
        try:
            return self.services.preset().key == "demo"
        except CaptionerError:
            return False


def build(services: Services, folder: Path | None = None, remote: bool = False) -> tuple[gr.Blocks, Page]:
    """Draw the page and wire it; arguments as of Page. Raises FolderError when `folder` cannot be opened."""
    page = Page(services, folder, remote)
    with gr.Blocks(title=TITLE, fill_width=True, analytics_enabled=False, delete_cache=(3600, 3600)) as blocks:
        public_api(services)  # first, for a name that is taken gets a number
        with gr.Row(elem_id="header"):
            gr.HTML(f"<h1>{html.escape(TITLE)}</h1>", apply_default_css=False, elem_id="title")
            strip = gr.HTML(apply_default_css=False, elem_id="strip")
            chip = gr.HTML(apply_default_css=False, elem_id="chip")
        notices = gr.HTML(apply_default_css=False, elem_id="notices")
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab("Gallery"):
                run = run_card(page.run)
                gallery = gallery_tab(page.gallery)
                operations = [*history_dialog(page.history), *bulk_dialog(page.bulk)]
                uploading = _upload_row(page) if page.uploads else []
            with gr.Tab("Settings") as tab:
                settings = settings_tab(page.form, tab)
            with gr.Tab("Prompts") as tab:
                prompts = prompts_tab(page.desk, tab)
        keep_up_to_date(
            [blocks.load, gr.Timer(PULSE_S).tick],
            [*run.refreshing, *gallery.refreshing, *operations, *settings.refreshing, *uploading],
            page.render,
            [run.dismissed, *gallery.inputs, prompts.chosen, prompts.search],
            [strip, run.html, notices, *gallery.outputs, *settings.outputs, prompts.listing],
        )
        in_background([blocks.load, gr.Timer(RESOURCES_S).tick], page.resources, None, chip)
        in_background(blocks.load, page.desk.choose, prompts.chosen, prompts.outputs)
    return blocks, page


def _upload_row(page: Page) -> list[Any]:
    """Returns the events after which everything is rendered anew."""
    with gr.Row(elem_id="transfer"):
        return upload_controls(Transfer(page.services, page.uploads), page.uploads.limits).refreshing
