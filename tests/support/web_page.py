"""The whole page on a folder with a secret clip, as others reach it."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import gradio as gr
import httpx

from captioner.services import Services
from captioner.ui.gallery.grid import entry_id
from captioner.ui.launch import launch
from captioner.ui.page import Page, build
from captioner.ui.server.options import Access
from captioner.ui.server.uploads import Limits
from tests.support.media_maker import make_picture, make_video

LOGIN = ("me", "a long password")
SECRETS = ("secret name", "SECRET CAPTION", LOGIN[1])  # a file, its caption, the password
PARAMETERS = {
    "path": "x", "size": "64", "key": "x", "url_path": "x.hf.space/x", "path_or_url": "x", "event_id": "x", "run": "x",
    "session_hash": "x", "component_id": "1", "segment_id": "x", "ext": "ts", "api_name": "status", "id": "x",
    "version": "x", "environment": "client", "type": "x", "file_name": "x", "number": "1", "position": "0",
}  # fmt: skip


@dataclass
class WebPage:
    """A served page; `address` has no slash at its end."""

    blocks: gr.Blocks
    page: Page
    address: str
    services: Services
    folder: Path

    @cached_property
    def routes(self) -> list[tuple[str, str]]:
        """(method, path) of every route of the server, with a value for each parameter."""
        first = entry_id(self.services.library, self.services.library.items[0])
        found = set()
        for route in itertools.chain.from_iterable(
            getattr(getattr(route, "original_router", None), "routes", [route]) for route in self.blocks.app.routes
        ):
            path = route.path.replace(":path", "").replace("{entry_id}", first)
            path = path.format(**PARAMETERS) if "{" in path else path
            found |= {(method, path) for method in route.methods}
        assert len(found) > 70  # includes those of mounted routers
        return sorted(found)

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.address, timeout=60)

    def try_login(self, password: str = LOGIN[1]) -> httpx.Response:
        return httpx.post(f"{self.address}/login", data={"username": LOGIN[0], "password": password})

    @contextmanager
    def log_in(self) -> Iterator[httpx.Client]:
        """Give a client that is logged in."""
        with self.client() as client:
            answer = client.post("/login", data={"username": LOGIN[0], "password": LOGIN[1]})
            assert answer.status_code == 200
            yield client


def make_secret_folder(folder: Path) -> Path:
    """A clip with a caption, a picture, and a broken clip."""
    make_video(folder / "secret name.mp4")
    (folder / "secret name.txt").write_text("SECRET CAPTION")
    make_picture(folder / "b.png")
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


@contextmanager
def serve_page(
    services: Services, folder: Path, exposed: bool = True, limits: Limits | None = None
) -> Iterator[WebPage]:
    """Serve the page with a login and uploads, or without them for this machine alone."""
    blocks, page = build(services, folder, remote=exposed)
    if limits:
        page.uploads.limits = limits
    access = Access(services.roots, exposed=True, login=LOGIN) if exposed else None
    address = launch(blocks, page, access).rstrip("/")
    try:
        yield WebPage(blocks, page, address, services, folder)
    finally:
        blocks.close(verbose=False)
