"""One tab of the page alone, over real services, in a real server."""

import contextlib
from collections.abc import Callable, Iterator

import gradio as gr
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from captioner.services import Services
from captioner.ui.scripts import preload_links
from captioner.ui.server.routes import media_routes
from captioner.ui.settings.tab import SettingsForm, settings_tab
from captioner.ui.theme import CSS, THEME
from captioner.ui.wiring import keep_up_to_date


class Recorder:
    """Keeps the headers and bodies of all responses, which are not compressed then."""

    def __init__(self, app: ASGIApp, sent: list[bytes]) -> None:
        self._app, self._sent = app, sent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def record(message: Message) -> None:
            if message["type"].startswith("http.response"):
                self._sent.append(repr(message.get("headers", "")).encode())
                self._sent.append(message.get("body", b""))
            await send(message)

        if scope["type"] == "http":
            scope = {**scope, "headers": [each for each in scope["headers"] if each[0] != b"accept-encoding"]}
        await self._app(scope, receive, record)


@contextlib.contextmanager
def serve_tab(
    services: Services, title: str, draw: Callable[[gr.Blocks, gr.Tab], None], sent: list[bytes] | None = None
) -> Iterator[str]:
    """Gives the address of a page with an empty first tab and the tab that `draw` draws. sent: gets all responses."""
    with gr.Blocks(analytics_enabled=False) as blocks, gr.Tabs():
        with gr.Tab("Gallery"):
            gr.HTML("")
        with gr.Tab(title) as tab:
            draw(blocks, tab)
    blocks.queue(default_concurrency_limit=None)
    _, address, _ = blocks.launch(
        server_name="127.0.0.1",
        prevent_thread_lock=True,
        quiet=True,
        ssr_mode=False,
        run_history=False,
        max_file_size="1mb",
        show_error=True,
        theme=THEME,
        css_paths=CSS,
        app_kwargs={
            "routes": media_routes(services).routes,
            "middleware": [] if sent is None else [Middleware(Recorder, sent=sent)],
        },
        head=preload_links(),  # as the page has it: the first change of the form must not wait for a script
    )
    try:
        yield address
    finally:
        blocks.close(verbose=False)


def draw_settings(services: Services) -> Callable[[gr.Blocks, gr.Tab], None]:
    """The Settings tab, kept up to date as the page does it."""
    form = SettingsForm(services)

    def render() -> list:
        return form.render(services.events.snapshot())

    def draw(blocks: gr.Blocks, tab: gr.Tab) -> None:
        settings = settings_tab(form)
        keep_up_to_date([blocks.load, gr.Timer(0.3).tick], settings.refreshing, render, [], settings.outputs)

    return draw
