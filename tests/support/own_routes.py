"""The app's own routes inside Gradio's app, and what its tests ask them."""

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr
import httpx
from fastapi.testclient import TestClient
from gradio.routes import App
from PIL import Image

from captioner.services import Services
from captioner.ui.gallery.grid import entry_id
from captioner.ui.server.routes import PREFIX, media_routes

NAMES = ["a.mp4", "b.png", "broken.mp4", "sub/a.mp4"]  # the files of the fixture `folder`, in the library's order


def client_of(services: Services) -> TestClient:
    app = App.create_app(gr.Blocks(), app_kwargs={"routes": media_routes(services).routes})
    return TestClient(app, base_url=f"http://127.0.0.1{PREFIX}/")


@contextmanager
def serve_routes(services: Services, auth: tuple[str, str] | None = None) -> Iterator[str]:
    """Serve the routes as the page does, with an endpoint `pulse`; gives the server's address."""
    with gr.Blocks() as blocks:
        gr.Button("Pulse").click(lambda: "beat", None, gr.Textbox(), api_name="pulse", queue=False)
    _, address, _ = blocks.launch(
        server_name="127.0.0.1",
        prevent_thread_lock=True,
        quiet=True,
        auth=auth,
        ssr_mode=False,
        app_kwargs={"routes": media_routes(services).routes},
    )
    try:
        yield address
    finally:
        blocks.close(verbose=False)


def id_of(services: Services, name: str) -> str:
    return entry_id(services.library, services.library.lookup.find(name).item)


def error_of(answer: httpx.Response) -> tuple[int, str]:
    assert_private(answer)
    return answer.status_code, answer.json()["detail"]


def assert_private(answer: httpx.Response) -> None:
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["cache-control"].startswith("private")


def jpeg_size(data: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "JPEG"
        return image.size


def read_captions(services: Services) -> None:
    """Read all captions, as the library does by itself once it was listed; it notices the blank one."""
    for name in NAMES:
        services.library.lookup.find(name)


def wait_for_captions(services: Services) -> None:
    """Wait for the thread that reads all captions after the first listing; then the list stays as it is."""
    services.library.listing()
    for thread in [thread for thread in threading.enumerate() if thread.name == "captions"]:
        thread.join()
