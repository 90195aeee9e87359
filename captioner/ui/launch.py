"""Starts the page: Gradio's server with the app's own routes, behind the guard."""

import hashlib
import json
import os
from pathlib import Path
from typing import NoReturn

import gradio as gr
from gradio import processing_utils
from gradio.utils import get_upload_folder
from starlette.middleware import Middleware
from starlette.routing import Route

from captioner import __version__
from captioner.errors import CaptionerError
from captioner.ui.page import Page
from captioner.ui.scripts import add_head, early_start, preload_links
from captioner.ui.server import assets
from captioner.ui.server.api import check_mcp
from captioner.ui.server.failures import HANDLERS, replace_gradio_failures
from captioner.ui.server.guard import HUB, LOGOUT, Guard
from captioner.ui.server.listen import replace_gradio_server
from captioner.ui.server.login import log_out
from captioner.ui.server.options import Access
from captioner.ui.server.routes import PREFIX, media_routes
from captioner.ui.theme import CSS, THEME

PROMPTS_BYTES = 1_000_000  # the limit for an imported file of prompts
# The list of files and our scripts are fetched while the page is still being built from some seventy scripts.
LIST = f'<link rel="preload" href="{PREFIX.lstrip("/")}/list.json" as="fetch" crossorigin>'
PRELOAD = early_start() + LIST + preload_links()
FORM_BYTES = 100_000  # the size of an upload form besides its files


def launch(
    blocks: gr.Blocks,
    page: Page,
    access: Access | None = None,
    port: int | None = None,
    open_browser: bool = False,
    mcp: bool = False,
) -> str:
    """Serve the page from background threads and return its address. Raise CaptionerError, as for a taken port.

    access: only this machine if None. port: the first free one from 7860 if None.
    """
    access = access or Access(page.services.roots)
    if access.exposed and not access.login:
        raise CaptionerError("a page that others can reach needs a login; give one with --login NAME:PASSWORD")
    if mcp:
        check_mcp()
    disable_url_downloads()
    replace_gradio_server()
    replace_gradio_failures()
    add_head(PRELOAD)
    blocks.queue(default_concurrency_limit=None, max_size=100)
    try:
        address, link = _serve(blocks, page, access, port, open_browser, mcp)
    except OSError as error:
        raise CaptionerError(f"cannot serve the page: {error}") from None
    if mcp and blocks.mcp_error:
        raise CaptionerError(f"cannot serve the MCP tools: {str(blocks.mcp_error).splitlines()[0]}")
    if access.share and not link:
        raise CaptionerError("cannot create a public link, for the reason above; remove --share, or use --listen")
    blocks.share = False  # otherwise the page would load its scripts from another site
    return link or address


def _serve(
    blocks: gr.Blocks, page: Page, access: Access, port: int | None, open_browser: bool, mcp: bool
) -> tuple[str, str | None]:
    version = page_version(blocks)
    guard = Middleware(
        Guard,
        loopback=not access.login,
        framed_by=f"'self' {HUB}" if "SPACE_ID" in os.environ else "'self'",
        upload_room=lambda: upload_room(page),
        version=version,
    )
    routes = [assets.ROUTE, *media_routes(page.services, page.pulse).routes, Route(LOGOUT, log_out)]
    _, address, link = blocks.launch(
        server_name=access.host,
        server_port=port,
        root_path=access.root_path,
        share=access.share,  # explicit, or an environment variable or a notebook would decide
        inbrowser=open_browser,
        prevent_thread_lock=True,
        quiet=True,
        auth=access.login,
        mcp_server=mcp,
        app_kwargs={"routes": routes, "middleware": [guard], "exception_handlers": HANDLERS},
        max_file_size=page.uploads.limits.max_file_bytes if page.uploads else PROMPTS_BYTES,
        num_workers=0,  # Gradio's file servers would not be behind the guard
        ssr_mode=False,
        run_history=False,
        footer_links=[],
        enable_monitoring=False,
        state_session_capacity=200,
        show_error=not access.exposed,  # texts of unexpected errors
        theme=THEME,
        css_paths=CSS,
        head=f'<meta name="page-version" content="{version}">',
    )
    return address, link


def page_version(blocks: gr.Blocks) -> str:
    """Return a checksum that changes when the page would call other functions, or with other scripts."""
    parts = [__version__, gr.__version__, blocks.config["dependencies"]]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def disable_url_downloads() -> None:
    """Stop Gradio from downloading URLs sent as file values; it looks up these two functions in their module."""
    for name in ("async_ssrf_protected_download", "async_ssrf_protected_get"):
        setattr(processing_utils, name, _refuse_download)


async def _refuse_download(*_: object, **__: object) -> NoReturn:
    raise gr.Error("files are not downloaded from URLs; upload them", print_exception=False)


def upload_room(page: Page) -> int:
    """Return how many bytes the form of an upload may have now, or 0 if no upload is possible."""
    room_bytes = page.uploads.room_bytes(Path(get_upload_folder())) if page.uploads else PROMPTS_BYTES
    return FORM_BYTES + room_bytes if room_bytes else 0
