"""Serve the page: Gradio's own server with our routes in it and the guard before them all."""

import os
from pathlib import Path
from typing import NoReturn

import gradio as gr
from gradio import processing_utils
from gradio.utils import get_upload_folder
from starlette.middleware import Middleware

from captioner.errors import CaptionerError
from captioner.ui.page import Page
from captioner.ui.server.api import check_mcp
from captioner.ui.server.guard import HUB, Guard
from captioner.ui.server.options import Access
from captioner.ui.server.routes import PREFIX, media_routes
from captioner.ui.theme import CSS, THEME

PROMPTS_BYTES = 1_000_000  # of an imported file
# The list of files travels while the page is still being built from some seventy scripts; see grid.js.
EARLY = f'<link rel="preload" href="{PREFIX.lstrip("/")}/list.json" as="fetch" crossorigin>'
FORM_BYTES = 100_000  # what a form of uploads holds besides the files


def launch(
    blocks: gr.Blocks,
    page: Page,
    access: Access | None = None,
    port: int | None = None,
    open_browser: bool = False,
    mcp: bool = False,
) -> str:
    """Serve the page from threads of its own; returns its address. access: this machine alone if None.

    port: the first free one from 7860 if None. Raises CaptionerError, as for a port that is taken.
    """
    access = access or Access(page.services.roots)
    if access.exposed and not access.login:
        raise CaptionerError("a page that others can reach needs a login; give one with --login NAME:PASSWORD")
    if mcp:
        check_mcp()
    limits = page.uploads.limits if page.uploads else None
    guard = Middleware(
        Guard,
        loopback=not access.exposed,
        framed_by=f"'self' {HUB}" if "SPACE_ID" in os.environ else "'self'",
        upload_room=lambda: upload_room(page),
    )
    fetch_nothing()
    blocks.queue(default_concurrency_limit=None, max_size=100)
    try:
        _, address, link = blocks.launch(
            server_name=access.host,
            server_port=port,
            share=access.share,  # else a variable or a notebook could choose
            inbrowser=open_browser,
            prevent_thread_lock=True,
            quiet=True,
            auth=access.login,
            mcp_server=mcp,
            app_kwargs={"routes": media_routes(page.services).routes, "middleware": [guard]},
            max_file_size=limits.max_file_bytes if limits else PROMPTS_BYTES,
            num_workers=0,  # of Gradio's for files, which would not stand behind the guard
            ssr_mode=False,
            run_history=False,
            footer_links=[],
            enable_monitoring=False,
            state_session_capacity=200,
            show_error=not access.exposed,  # of what no message was written for
            theme=THEME,
            css_paths=CSS,
            head=EARLY,
        )
    except OSError as error:
        raise CaptionerError(f"cannot serve the page: {error}") from None
    if mcp and blocks.mcp_error:
        raise CaptionerError(f"the MCP tools cannot be served: {str(blocks.mcp_error).splitlines()[0]}")
    if access.share and not link:
        raise CaptionerError("no public link could be made, for the reason above; leave out --share, or use --listen")
    blocks.share = False  # else the page would take its scripts from another site
    return link or address


def fetch_nothing() -> None:
    """Else Gradio downloads whatever address is sent to any event in the form of a file.

    All ways to it, awaited or not, lead through these two functions, which it looks up in their module.
    """
    processing_utils.async_ssrf_protected_download = _refuse_address
    processing_utils.async_ssrf_protected_get = _refuse_address


async def _refuse_address(*_: object, **__: object) -> NoReturn:
    raise gr.Error("files are not fetched from an address; upload them", print_exception=False)


def upload_room(page: Page) -> int:
    """Bytes that the form of an upload may have now; 0 for none."""
    room_bytes = page.uploads.room_bytes(Path(get_upload_folder())) if page.uploads else PROMPTS_BYTES
    return FORM_BYTES + room_bytes if room_bytes else 0
