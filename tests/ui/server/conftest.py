"""Fixtures: the whole page as others reach it, and the app's own routes on a folder."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from captioner.services import Services
from captioner.system.roots import Roots
from tests.support.hostile import HARD_STEMS
from tests.support.media_maker import make_audio, make_picture, make_video
from tests.support.own_routes import NAMES, client_of, read_captions
from tests.support.web_page import WebPage, make_secret_folder, serve_page


@pytest.fixture(scope="module")
def web(tmp_path_factory) -> Iterator[WebPage]:
    """The page for others, with a login and uploads."""
    folder = make_secret_folder(tmp_path_factory.mktemp("clips"))
    with (
        Services(tmp_path_factory.mktemp("state"), {"model": "demo"}, Roots([folder])) as services,
        serve_page(services, folder) as page,
    ):
        yield page


@pytest.fixture
def user(web) -> Iterator[httpx.Client]:
    """A client of `web` that is logged in."""
    with web.log_in() as client:
        yield client


@pytest.fixture(scope="module")
def local(web) -> Iterator[httpx.Client]:
    """A client of the page for this machine alone, over the same services."""
    with serve_page(web.services, web.folder, exposed=False) as page, page.client() as client:
        yield client


@pytest.fixture
def folder(tmp_path, services) -> Path:
    """Open a folder: two clips of the same name, a picture, and a broken clip. Two of the four have a caption."""
    folder = tmp_path / "media"
    (folder / "sub").mkdir(parents=True)
    make_video(folder / "a.mp4", 50)
    make_video(folder / "sub" / "a.mp4", 25, size=(64, 96))
    make_picture(folder / "b.png")
    make_audio(folder / "broken.mp4")
    (folder / "a.txt").write_text("A cat.")
    (folder / "b.txt").write_text(" \n")
    (folder / "sub" / "a.txt").write_text("Ein Kätzchen.", encoding="utf-8")
    services.open_folder(folder, True)
    read_captions(services)
    assert [item.name for item in services.library.items] == NAMES
    return folder


@pytest.fixture
def client(services, folder) -> TestClient:
    """A client of the app's own routes."""
    return client_of(services)


@pytest.fixture
def hostile_names(tmp_path, services) -> list[str]:
    """Open a folder of pictures with hostile names and with captions; gives the names."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    for stem in HARD_STEMS:
        make_picture(folder / "x.png").rename(folder / f"{stem}.png")
        (folder / f"{stem}.txt").write_text("Text.")
    services.open_folder(folder, False)
    return [f"{stem}.png" for stem in HARD_STEMS]
