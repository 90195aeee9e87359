"""The page: header, progress card, three tabs, and the one handler that keeps all of it up to date."""

import html
import os
import time
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from captioner.devices import cuda_missing
from captioner.errors import CaptionerError
from captioner.services import Services
from captioner.ui import views
from captioner.ui.gallery import Gallery, gallery_tab
from captioner.ui.pictures import picture_routes
from captioner.ui.prompts_tab import PromptDesk, prompts_tab
from captioner.ui.settings_tab import SettingsForm, settings_tab
from captioner.ui.shelf import Shelf
from captioner.ui.wiring import PLUMBING, only_changed

TITLE = "Video Caption Suite"
LOOPBACK = ("127.0.0.1", "localhost")
PULSE_S = 2.5 if "SPACE_ID" in os.environ else 1.0  # a Space limits how often a page may ask
CSS = Path(__file__).with_name("app.css")
SYSTEM_FONTS = ["system-ui", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif"]
THEME = gr.themes.Base(
    primary_hue="indigo", neutral_hue="slate", font=SYSTEM_FONTS, font_mono=["ui-monospace", "monospace"]
).set(  # plain fields: the frames around groups of them are in app.css
    body_background_fill="*neutral_100",
    body_background_fill_dark="*neutral_950",
    background_fill_primary_dark="*neutral_900",
    body_text_color_subdued="*neutral_500",
    body_text_color_subdued_dark="*neutral_400",
    block_info_text_color="*body_text_color_subdued",
    block_background_fill="transparent",
    block_background_fill_dark="transparent",
    block_border_width="0px",
    block_padding="0px",
    block_title_text_color="*body_text_color",
    block_title_text_size="13px",
    block_title_text_weight="500",
    block_info_text_size="12px",
    button_large_text_size="14px",
    button_large_padding="7px 16px",
    button_large_text_weight="500",
    form_gap_width="0px",
    input_background_fill="white",
    input_background_fill_dark="*neutral_950",
    input_border_width="1px",
    input_border_color="*neutral_300",
    input_border_color_dark="*neutral_700",
    input_padding="7px 10px",
    input_text_size="14px",
    layout_gap="10px",
)


class Page:
    """All handlers over one Services, and what they have in common."""

    def __init__(self, services: Services, folder: Path | None = None) -> None:
        """`folder` is opened at once. Raises FolderError."""
        self.services, self.shelf = services, Shelf(services)
        self.gallery, self.form, self.desk = Gallery(services, self.shelf), SettingsForm(services), PromptDesk(services)
        self._cuda_missing = cuda_missing()
        if folder is not None:
            self.shelf.open(folder, services.settings.recursive)

    def pulse(self, cursor: str, picked: str, wanted: str, page: int) -> list[Any]:
        """Everything that moves, for one tab; only what that tab does not show yet. Runs every second in each."""
        progress = self.services.events.snapshot()
        shown, gallery = self.gallery.render(progress, picked, wanted, page)
        status = views.status(progress, time.time())
        values = [status, views.notices(self._is_demo(), self._cuda_missing), *gallery, *self.form.render(progress)]
        return [gr.skip() if shown.page == page else shown.page, *only_changed(cursor, values)]

    def _is_demo(self) -> bool:
        try:
            return self.services.preset().key == "demo"
        except CaptionerError:
            return False


def build(services: Services, folder: Path | None = None) -> tuple[gr.Blocks, Page]:
    """Draw the page and wire it. Raises FolderError when `folder` cannot be opened."""
    page = Page(services, folder)
    with gr.Blocks(title=TITLE, fill_width=True, analytics_enabled=False, delete_cache=(3600, 3600)) as blocks:
        cursor = gr.Textbox("", visible=False)
        with gr.Row(elem_id="header"):
            gr.HTML(f"<h1>{html.escape(TITLE)}</h1>", apply_default_css=False, elem_id="title")
            notices = gr.HTML(apply_default_css=False, elem_id="notices")
            start = gr.Button("Caption", variant="primary", interactive=False, scale=0, elem_id="start")
            stop = gr.Button("Stop", variant="stop", interactive=False, min_width=90, scale=0, elem_id="stop")
        status = gr.HTML(apply_default_css=False, elem_id="status")
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab("Gallery"):
                gallery = gallery_tab(page.gallery, start, stop)
            with gr.Tab("Settings") as tab:
                settings = settings_tab(page.form, tab)
            with gr.Tab("Prompts") as tab:
                prompts = prompts_tab(page.desk, tab)
        inputs = [cursor, gallery.picked, gallery.wanted, gallery.page]
        outputs = [gallery.page, cursor, status, notices, *gallery.outputs, *settings.outputs]
        gr.on([blocks.load, gr.Timer(PULSE_S).tick], page.pulse, inputs, outputs, **PLUMBING)
        for event in (*gallery.refreshing, *settings.refreshing):
            event.then(page.pulse, inputs, outputs, **PLUMBING)
        blocks.load(page.form.fill, None, [*settings.controls, settings.filled], **PLUMBING)
        blocks.load(page.desk.choose, prompts.chosen, prompts.outputs, **PLUMBING)
    return blocks, page


def launch(
    blocks: gr.Blocks, page: Page, host: str | None = None, port: int | None = None, open_browser: bool = False
) -> str:
    """Serve the page from threads of its own; returns its address. host, port: Gradio's own choice if None.

    Raises CaptionerError, as for a port that is taken.
    """
    host = host or os.environ.get("GRADIO_SERVER_NAME")
    app_kwargs: dict[str, Any] = {"routes": picture_routes(page.services, page.shelf).routes}
    if (host or LOOPBACK[0]) in LOOPBACK:  # else another site could reach it under a name of its own (DNS rebinding)
        app_kwargs["middleware"] = [Middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK))]
    blocks.queue(default_concurrency_limit=None, max_size=100)
    try:
        _, address, _ = blocks.launch(
            server_name=host,
            server_port=port,
            inbrowser=open_browser,
            prevent_thread_lock=True,
            quiet=True,
            app_kwargs=app_kwargs,
            allowed_paths=[],
            max_file_size="1mb",
            ssr_mode=False,
            run_history=False,
            footer_links=[],
            enable_monitoring=False,
            state_session_capacity=200,
            show_error=True,
            theme=THEME,
            css_paths=CSS,
        )
    except OSError as error:
        raise CaptionerError(f"cannot serve the page: {error}") from None
    return address
