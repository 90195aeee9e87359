"""The public endpoints, through gradio_client against a running app, and as an agent would read them."""

import json
import shutil
import sys
import time

import gradio as gr
import httpx
import pytest
from gradio.utils import get_function_description
from gradio_client import Client
from gradio_client.exceptions import AppError
from PIL import Image

from captioner.config.presets import PRESETS
from captioner.errors import CaptionerError
from captioner.services import Services
from captioner.ui import page as layout
from captioner.ui.launch import launch
from captioner.ui.server import api
from captioner.ui.server.api import Api, endpoints, public_api

ENDPOINTS = ["/open_folder", "/start", "/stop", "/status", "/list", "/get_caption", "/set_caption", "/models"]
JOB_TIMEOUT_S = 120


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    with Services(tmp_path_factory.mktemp("state"), {"model": "demo"}) as services:
        yield services


@pytest.fixture(scope="module")
def client(services):
    with gr.Blocks() as blocks:
        box = gr.Textbox()
        box.change(str.upper, box, box, api_visibility="private")
        public_api(services)
    blocks.queue(default_concurrency_limit=None)
    _, address, _ = blocks.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, ssr_mode=False)
    yield Client(address, verbose=False)
    blocks.close(verbose=False)


@pytest.fixture
def folder(tmp_path):
    """Three pictures, of which the first has a caption, and a broken one."""
    folder = tmp_path / "media"
    folder.mkdir()
    for name in ("a", "b", "c"):
        Image.new("RGB", (64, 48), "red").save(folder / f"{name}.png")
    (folder / "d.png").write_bytes(b"no picture")
    (folder / "a.txt").write_text("A red square.")
    return folder


@pytest.fixture
def call(client, folder):
    """Calls an endpoint on the open folder."""

    def call(name: str, *args: object, **kwargs: object) -> object:
        return client.predict(*args, **kwargs, api_name=f"/{name}")

    call("open_folder", str(folder))
    return call


def test_exactly_these_endpoints_are_public(client):
    info = client.view_api(print_info=False, return_format="dict")
    assert (list(info["named_endpoints"]), info["unnamed_endpoints"]) == (ENDPOINTS, {})


def test_folder_is_opened_for_everybody(call, services, folder):
    assert call("open_folder", f"  {folder} ", recursive=True) == {
        "folder": str(folder),
        "files": {"total": 4, "done": 1, "pending": 3, "failed": 0, "edited": 0, "approved": 0, "elsewhere": 0},
        "recursive": True,
        "warnings": [],
    }
    assert services.library.folder == services.settings.folder == folder
    with pytest.raises(AppError, match=r"^no such folder: /no/such$"):
        call("open_folder", "/no/such")
    with pytest.raises(AppError, match=r"^give the path of a folder$"):
        call("open_folder", " ")


def test_files_are_listed_page_by_page(call, folder):
    first = call("list", limit=3)
    assert [file["name"] for file in first["files"]] == ["a.png", "b.png", "c.png"]
    assert first["files"][0] == {
        "name": "a.png",
        "kind": "image",
        "state": "done",
        "size_bytes": (folder / "a.png").stat().st_size,
        "duration_s": None,
        "caption": "A red square.",
        "caption_length": 13,
        "problem": "",
    }
    assert (first["total"], first["next_offset"]) == (4, 3)
    rest = call("list", offset=3, limit=1000)
    assert ([file["name"] for file in rest["files"]], rest["next_offset"]) == (["d.png"], None)
    pending = call("list", state="pending", limit=1)
    assert ([file["name"] for file in pending["files"]], pending["total"], pending["next_offset"]) == (["b.png"], 3, 1)
    assert call("list", offset=99)["files"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"limit": 1001}, "offset must be 0 or more, and limit from 1 to 1000"),
        ({"offset": -1}, "offset must be 0 or more, and limit from 1 to 1000"),
        ({"limit": "many"}, "limit: Input should be a valid integer, unable to parse string as an integer"),
        ({"state": "odd"}, "state: Input should be 'all', 'pending', 'done', 'failed' or 'edited'"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(call, arguments, message):
    with pytest.raises(AppError) as raised:
        call("list", **arguments)
    assert str(raised.value) == message


def test_caption_is_read_and_written(call, folder):
    assert call("get_caption", "a.png") == {"name": "a.png", "state": "done", "caption": "A red square.", "problem": ""}
    written = call("set_caption", "a.png", " A <b>blue</b>\nsquare. ", expected="A red square.")
    assert written == {"name": "a.png", "state": "edited", "caption": "A <b>blue</b>\nsquare.", "problem": ""}
    assert (folder / "a.txt").read_text() == "A <b>blue</b>\nsquare."
    with pytest.raises(AppError, match="changed meanwhile"):
        call("set_caption", "a.png", "Other", expected="A red square.")
    assert (folder / "a.txt").read_text() == "A <b>blue</b>\nsquare."
    for name in ("z.png", "../state/settings.json", "a"):
        with pytest.raises(AppError, match=r"^no such file in the open folder: "):
            call("get_caption", name)


def test_job_is_started_watched_and_started_again(call, folder):
    with pytest.raises(AppError, match=r"^no such file in the open folder: z\.png$"):
        call("start", ["a.png", "z.png"])
    before = call("status")["job"]
    started = call("start", ["b.png", "d.png", "b.png"])
    assert started == {"job": before + 1, "files": 2}
    status = wait(call, before + 1)
    assert (status["stage"], status["total"], status["done"], status["failed"]) == ("done", 2, 1, 1)
    assert [(failure["name"], failure["reason"][:22]) for failure in status["failures"]] == [
        ("d.png", "not a readable picture")
    ]
    assert status["files"] == {
        "total": 4,
        "done": 2,
        "pending": 1,
        "failed": 1,
        "edited": 0,
        "approved": 0,
        "elsewhere": 0,
    }
    assert (folder / "b.txt").read_text() == call("get_caption", "b.png")["caption"] != ""
    assert not (folder / "c.txt").exists()
    call("start", ["a.png"], "overwrite")
    assert wait(call, before + 2)["done"] == 1
    assert (folder / "a.txt").read_text() != "A red square."


def test_job_is_stopped(call, folder):
    for number in range(100):  # which take seconds
        shutil.copy(folder / "a.png", folder / f"{number}.png")
    call("open_folder", str(folder))
    job = call("start")["job"]
    call("stop", job)
    assert wait(call, job)["stage"] == "stopped"
    assert call("stop")["queued_jobs"] == 0


def test_models_are_listed_with_the_chosen_one(call, services):
    models = call("models")
    assert [model["key"] for model in models] == [preset.key for preset in PRESETS]
    assert [model["key"] for model in models if model["chosen"]] == ["demo"]
    services.change_settings({"model": "some/model"})
    assert [model["source"] for model in call("models") if model["chosen"]] == ["some/model"]
    services.change_settings({"model": "demo"})


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_not_utf8_can_be_sent(call, folder):
    (folder / "b.png").rename(folder / "b\udce4.png")
    (folder / "b\udce4.txt").write_text("Odd.")
    call("open_folder", str(folder))
    assert [file["name"] for file in call("list")["files"]][1] == "b?.png"
    assert call("get_caption", "b?.png") == {"name": "b?.png", "state": "done", "caption": "Odd.", "problem": ""}


def test_agents_can_read_what_each_endpoint_does(services):
    for name, function in endpoints(Api(services)).items():
        text, arguments, returns = get_function_description(function)
        assert text.endswith("."), name
        assert all(described.endswith(".") for described in arguments.values()), name
        assert len(returns) == 1, name
        assert returns[0].endswith("."), name


def test_missing_mcp_package_is_reported_in_one_line(monkeypatch):
    monkeypatch.setattr(api.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CaptionerError, match=r"^--mcp needs another package: pip install \"gradio\[mcp\]\"$"):
        api.check_mcp()


def test_agents_get_exactly_the_documented_endpoints_as_tools(services):
    """Over the protocol as it is sent, so that only the server needs the package."""
    pytest.importorskip("mcp", reason='only with "gradio[mcp]", which wants an older pydantic')
    blocks, page = layout.build(services)
    address = launch(blocks, page, mcp=True)
    try:
        question = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
        headers = {"Accept": "application/json, text/event-stream"}
        answer = httpx.post(f"{address}gradio_api/mcp/", json=question, headers=headers, follow_redirects=True)
        tools = json.loads(answer.text.partition("data: ")[2] or answer.text)["result"]["tools"]
        assert {tool["name"] for tool in tools} == {name[1:] for name in ENDPOINTS}
    finally:
        blocks.close(verbose=False)


def wait(call, job: int) -> dict:
    """The status once the job has ended."""
    deadline = time.monotonic() + JOB_TIMEOUT_S
    while time.monotonic() < deadline:
        status = call("status")
        if status["job"] == job and status["stage"] in ("done", "stopped", "failed"):
            return status
        time.sleep(0.1)
    raise AssertionError(status)
