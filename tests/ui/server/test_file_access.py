"""No request reads a file of this machine, or makes the app download one."""

import asyncio
import itertools
from pathlib import Path

import gradio as gr
import httpx
import pytest
from gradio import processing_utils
from gradio.utils import get_upload_folder

from captioner.ui.server.routes import PREFIX

ROOT = Path(__file__).resolve().parents[3]
REFUSED = "files are not downloaded from URLs; upload them"
STATIC = ("static", "assets", "svelte")
WAYS = (
    "/gradio_api/file={}", "/gradio_api/file/{}", "/file={}", "/gradio_api/proxy={}", "/gradio_api/deep_link?x={}",
    "/gradio_api/custom_component/x/client/../{}", f"{PREFIX}/media/{{}}", f"{PREFIX}/thumb/..%2f{{}}.jpg",
    *(f"/{kind}/{dots}{{}}" for kind in STATIC for dots in ("", "../../../../../..", "..%2f..%2f..%2f..%2f..%2f..")),
)  # fmt: skip


def test_gradio_serves_no_file_of_this_machine(web, user):
    files = [
        "/etc/passwd", "/etc/hostname", "/proc/self/environ", str(ROOT / "app.py"), "app.py", "README.md",
        str(web.services.folder / "captioner.sqlite"), str(web.services.folder / "settings.json"),
        str(web.folder / "secret name.mp4"), str(web.folder / "secret name.txt"), "http://127.0.0.1:1/",
        "https://evil.example/x",
    ]  # fmt: skip
    for way, file in itertools.product(WAYS, files):
        answer = user.get(httpx.URL(web.address + way.format(file)))
        assert answer.status_code in (403, 404), (way, file)
        assert b"root:" not in answer.content
        assert b"SQLite" not in answer.content


def test_an_upload_names_no_file_of_this_machine(web, user):
    """Only files that lie where uploads arrive are taken, and nothing is downloaded."""
    [number] = [number for number, fn in web.blocks.fns.items() if "receive" in (fn.name or "")]
    secret, incoming = web.folder / "secret name.mp4", Path(get_upload_folder())
    before = sorted(incoming.rglob("*"))
    paths = [str(path) for path in (secret, Path("/etc/passwd"), ROOT / "docs" / "gallery.png", incoming)]
    files = [*paths, *(f"file://{path}" for path in paths), f"{incoming}/../{secret}", "https://evil.example/x.mp4"]

    def send(*files: object) -> httpx.Response:
        event = {"data": [], "fn_index": number, "session_hash": "x", "event_data": {"files": files}}
        return user.post("/gradio_api/run/predict", json=event)

    answer = send(*([file, "x.mp4"] for file in files), *files, None, 1, [], ["x"])
    assert answer.status_code == 200, answer.text
    result = answer.json()["data"][0]["props"]["result"]
    assert (result["kept"], result["refused"]) == (0, [])
    for file in paths[:3]:
        answer = send({"path": file, "meta": {"_type": "gradio.FileData"}})
        assert (answer.status_code, list(answer.json())) == (500, ["error", "duration", "visible", "title"]), file
    assert secret.exists()
    assert sorted(incoming.rglob("*")) == before


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x.mp4", "https://evil.example/x", "https://evil.example"])
def test_no_endpoint_downloads_a_url(web, user, url):
    """Gradio takes any value of this form for a file, whatever the component."""
    incoming = Path(get_upload_folder())
    before = sorted(incoming.rglob("*"))
    file = {"path": url, "orig_name": "x.mp4", "meta": {"_type": "gradio.FileData"}}
    errors = {}
    for number, function in web.blocks.fns.items():
        if function.inputs and function.fn:
            data = [[{"x": file}], *[None] * (len(function.inputs) - 1)]
            body = {"data": data, "fn_index": number, "session_hash": "x", "event_data": {}}
            answer = user.post("/gradio_api/run/predict", json=body)
            assert answer.status_code == 500, (function.name, answer.text)
            errors[function.name] = answer.json()["error"]
    assert errors == dict.fromkeys(errors, REFUSED)
    assert {"get_caption", "set_caption", "list"} <= set(errors), sorted(errors)
    assert sorted(incoming.rglob("*")) == before


def test_gradio_has_no_other_way_to_download_a_url(web):
    block = gr.File(render=False)
    with pytest.raises(gr.Error, match=REFUSED):
        block.move_resource_to_block_cache("https://evil.example/x")
    for get in (processing_utils.async_ssrf_protected_get, processing_utils.async_ssrf_protected_download):
        with pytest.raises(gr.Error, match=REFUSED):
            asyncio.run(get("https://evil.example/x", cache_dir=""))


def test_no_component_has_functions_for_the_browser(web):
    for block in web.blocks.blocks.values():
        names = [name for name in dir(type(block)) if getattr(getattr(type(block), name, None), "_is_server_fn", False)]
        assert names == [], block
