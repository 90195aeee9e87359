"""Serve the page: Gradio's own server with our routes in it."""

import os
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from captioner.errors import CaptionerError
from captioner.ui.api import check_mcp
from captioner.ui.layout import Page
from captioner.ui.routes import media_routes
from captioner.ui.theme import CSS, THEME

LOOPBACK = ("127.0.0.1", "localhost")


def is_remote(host: str | None) -> bool:
    """Whether browsers on other machines can reach a page served at `host`; None is Gradio's choice."""
    return (host or os.environ.get("GRADIO_SERVER_NAME") or LOOPBACK[0]) not in LOOPBACK


def launch(
    blocks: gr.Blocks,
    page: Page,
    host: str | None = None,
    port: int | None = None,
    open_browser: bool = False,
    login: tuple[str, str] | None = None,
    mcp: bool = False,
) -> str:
    """Serve the page from threads of its own; returns its address. host, port: Gradio's own choice if None.

    login: (name, password) that every browser has to give. Raises CaptionerError, as for a port that is taken.
    """
    if mcp and login:
        raise CaptionerError("--mcp cannot stand behind a login; leave one of them out")
    if mcp:
        check_mcp()
    host = host or os.environ.get("GRADIO_SERVER_NAME")
    app_kwargs: dict[str, Any] = {"routes": media_routes(page.services).routes}
    if not is_remote(host):  # else another site could reach it under a name of its own (DNS rebinding)
        app_kwargs["middleware"] = [Middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK))]
    blocks.queue(default_concurrency_limit=None, max_size=100)
    try:
        _, address, _ = blocks.launch(
            server_name=host,
            server_port=port,
            inbrowser=open_browser,
            prevent_thread_lock=True,
            quiet=True,
            auth=login,
            mcp_server=mcp,
            app_kwargs=app_kwargs,
            allowed_paths=[],
            max_file_size=page.uploads.limits.max_file_bytes if page.uploads else "1mb",  # of a prompts file
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
    if mcp and blocks.mcp_error:
        raise CaptionerError(f"the MCP tools cannot be served: {str(blocks.mcp_error).splitlines()[0]}")
    return address
