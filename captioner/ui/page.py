"""The page: header, four tabs, and the one handler that keeps all of it up to date."""

import os
from pathlib import Path
from typing import Any

import gradio as gr

from captioner.errors import CaptionerError
from captioner.services import Services
from captioner.system.devices import cuda_missing
from captioner.ui import scripts
from captioner.ui.dataset.tab import DatasetHandlers, dataset_tab
from captioner.ui.format import notices
from captioner.ui.gallery.folders import Samples
from captioner.ui.gallery.tab import Gallery, gallery_tab
from captioner.ui.prompts.handlers import PromptHandlers
from captioner.ui.prompts.tab import prompts_tab
from captioner.ui.runs import machine
from captioner.ui.runs.bulk import Bulk, bulk_dialog
from captioner.ui.runs.buttons import RunButtons, run_card
from captioner.ui.runs.history import History, history_dialog
from captioner.ui.server.api import public_api
from captioner.ui.server.uploads import UploadHandlers, Uploads, upload_controls
from captioner.ui.settings.tab import SettingsForm, settings_tab
from captioner.ui.wiring import Pulse, in_background, keep_up_to_date

TITLE = "Video Caption Suite"
PULSE_S = 2.5 if "SPACE_ID" in os.environ else 1.0  # a Space limits how often a page may ask


class Page:
    """The handlers of all tabs over one Services."""

    def __init__(
        self,
        services: Services,
        folder: Path | None = None,
        remote: bool = False,
        samples: Samples | None = None,
        allow_delete: bool = False,
    ) -> None:
        """Open `folder`, if given, or raise FolderError.

        remote: browsers are on other machines, so they may upload. samples: writes sample clips into a new folder.
        """
        if folder is not None:
            services.open_folder(folder, services.settings.recursive)
        self.services, self.gallery, self.form = (
            services,
            Gallery(services, samples, allow_delete),
            SettingsForm(services, remote),
        )
        self.run = RunButtons(services, self.gallery.bar.enter)
        self.history, self.bulk = History(services, self.gallery.bar.enter), Bulk(services)
        self.prompts, self.dataset = PromptHandlers(services), DatasetHandlers(services)
        self.uploads: Uploads | None = None
        if remote:
            uploads = services.folder / "uploads"
            uploads.mkdir(exist_ok=True)
            services.roots.add(uploads)
            self.uploads = Uploads(uploads, examine=services.sandbox.probe)
        self.readings = machine.Readings()
        self._cuda_missing = cuda_missing()
        self.pulse: Pulse = lambda *_: ""  # until the page is built

    def render(self, dismissed: str, seen: str, opened: str, prompt: str = "", search: str = "") -> list[Any]:
        """Return the values of everything that changes by itself; runs every second for each browser."""
        snapshot = self.services.events.snapshot()
        return [
            self.run.render(snapshot, self.services.events.now_s(), dismissed),
            self.notices(),
            *self.gallery.render(snapshot, seen, opened),
            *self.form.render(snapshot),
            *self.dataset.render(),
            self.prompts.list_prompts(prompt, search),  # not the editor: it may hold unsaved text
        ]

    def resources(self) -> str:
        """Return the machine's load as HTML."""
        return machine.view(self.readings.latest())

    def notices(self) -> str:
        """Return the warnings above the tabs as HTML."""
        return notices(self._is_demo(), self._cuda_missing)

    def _is_demo(self) -> bool:
        try:
            return self.services.preset().key == "demo"
        except CaptionerError:
            return False


def build(
    services: Services,
    folder: Path | None = None,
    remote: bool = False,
    samples: Samples | None = None,
    allow_delete: bool = False,
) -> tuple[gr.Blocks, Page]:
    """Draw the page and wire it; the arguments are those of Page."""
    page = Page(services, folder, remote, samples, allow_delete)
    with gr.Blocks(title=TITLE, fill_width=True, analytics_enabled=False, delete_cache=(3600, 3600)) as blocks:
        public_api(services)  # first: Gradio numbers a name that is taken already
        with gr.Row(elem_id="header"):
            scripts.component("page", "title", (), {})
            run = run_card(page.run)
            chip = gr.HTML(apply_default_css=False, elem_id="chip")
        warnings = gr.HTML(page.notices(), apply_default_css=False, elem_id="notices")
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab("Gallery"):
                gallery = gallery_tab(page.gallery)
                operations = [*history_dialog(page.history), *bulk_dialog(page.bulk)]
                uploads = upload_controls(UploadHandlers(services, page.uploads), services) if page.uploads else []
            with gr.Tab("Settings"):
                settings = settings_tab(page.form)
            with gr.Tab("Prompts") as tab:
                prompts = prompts_tab(page.prompts, tab, blocks.load)
            with gr.Tab("Dataset"):
                dataset = dataset_tab(page.dataset)
        page.pulse = keep_up_to_date(
            [blocks.load],
            [*run.refreshing, *gallery.refreshing, *operations, *settings.refreshing, *dataset.refreshing, *uploads],
            page.render,
            [run.dismissed, *gallery.inputs, prompts.chosen, prompts.search],
            [run.html, warnings, *gallery.outputs, *settings.outputs, *dataset.outputs, prompts.listing],
            gr.Timer(PULSE_S).tick,
        )
        in_background([blocks.load, gr.Timer(machine.READ_EVERY_S).tick], page.resources, None, chip)
    return blocks, page
