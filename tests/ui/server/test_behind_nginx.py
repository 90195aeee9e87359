"""The page behind a real nginx: under a path or not, on another port, with the headers of Gradio's guide or fewer."""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from captioner.demo.clips import write_samples
from captioner.services import Services
from captioner.system.roots import Roots
from captioner.ui.launch import launch
from captioner.ui.page import build
from captioner.ui.server.options import Access
from tests.support.chromium import open_browser
from tests.support.web_page import LOGIN

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
GUIDE = (
    "proxy_buffering off; proxy_redirect off; proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; "
    'proxy_set_header Connection "upgrade"; proxy_set_header Host $host; '
    "proxy_set_header X-Forwarded-Host $host; proxy_set_header X-Forwarded-Proto $scheme;"
)
HOST = "proxy_set_header Host $host;"
CONFIG = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}
http {{
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    server {{ listen 127.0.0.1:{port}; location {path} {{ proxy_pass {upstream}; {headers} }} }}
}}
"""

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


@pytest.fixture
def behind_nginx(tmp_path) -> Iterator[Callable]:
    """Start nginx before an app; gives a function: (path, headers, strip, access options) -> address of the page."""
    with contextlib.ExitStack() as stack:

        def start(path: str = "/", headers: str = HOST, strip: bool = True, **options) -> str:
            return stack.enter_context(served(tmp_path, path, headers, strip, options))

        yield start


@contextmanager
def served(folder: Path, path: str, headers: str, strip: bool, options: dict) -> Iterator[str]:
    write_samples(folder / "media", num_clips=2, num_stills=2)
    with Services(folder / "state", {"model": "demo"}, Roots([folder])) as services:
        blocks, page = build(services, folder / "media", remote=options.get("exposed", False))
        options = {"login": LOGIN} | options
        upstream = launch(blocks, page, Access(services.roots, **options)).replace("localhost", "127.0.0.1")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        upstream = upstream if strip else upstream.rstrip("/")
        text = CONFIG.format(folder=folder, port=port, path=path, upstream=upstream, headers=headers)
        (folder / "nginx.conf").write_text(text)
        nginx = subprocess.Popen([NGINX, "-c", folder / "nginx.conf"], stderr=subprocess.DEVNULL)
        try:
            address = f"http://127.0.0.1:{port}{path}"
            wait_for(address)
            yield address
        finally:
            nginx.terminate()
            nginx.wait()
            blocks.close(verbose=False)


def wait_for(address: str) -> None:
    for _ in range(100):
        try:
            httpx.get(address, trust_env=False)
            return
        except httpx.ConnectError:
            time.sleep(0.05)
    raise AssertionError("nginx did not start")


def log_in(address: str, origin: str, host: str) -> tuple[int, dict]:
    """As a browser does in a page that was opened with plain HTTP under another name."""
    headers = {"Origin": origin, "Host": host}
    form = {"username": LOGIN[0], "password": LOGIN[1]}
    answer = httpx.post(f"{address}login", data=form, headers=headers, trust_env=False)
    return answer.status_code, answer.json()


@pytest.mark.parametrize(
    ("path", "headers", "strip", "options"),
    [
        ("/", HOST, True, {}),
        ("/", GUIDE, True, {}),
        ("/", "proxy_set_header Host $http_host;", True, {}),
        ("/", "proxy_set_header X-Forwarded-Host $http_host;", True, {}),
        ("/", GUIDE, True, {"exposed": True, "host": "0.0.0.0"}),
        ("/captions/", GUIDE, True, {"root_path": "/captions"}),
        ("/captions/", GUIDE, False, {"root_path": "/captions"}),
        ("/a/b/", HOST, True, {"root_path": "/a/b"}),
        ("/captions/", GUIDE, True, {}),
    ],
)
def test_a_login_works_behind_nginx(behind_nginx, path, headers, strip, options):
    address = behind_nginx(path, headers, strip, **options)
    port = httpx.URL(address).port
    assert log_in(address, f"http://box.example:{port}", f"box.example:{port}") == (200, {"success": True})
    status, _ = log_in(address, "http://evil.example", f"box.example:{port}")
    assert status == 403


def test_a_missing_header_is_named_in_the_first_answer(behind_nginx):
    address = behind_nginx(headers="")
    port = httpx.URL(address).port
    for path in ("login", "gradio_api/vcs/reach"):
        headers = {"Origin": f"http://box.example:{port}"}
        answer = httpx.post(f"{address}{path}", headers=headers, trust_env=False)
        assert answer.status_code == 403
        assert "proxy_set_header Host $http_host;" in answer.json()["detail"]
    with httpx.Client(base_url=address, headers={"Origin": "https://box.example"}, trust_env=False) as client:
        answer = client.post("gradio_api/vcs/reach", headers={"Sec-Fetch-Site": "same-origin"})
    assert "X-Forwarded-Proto $scheme;" in answer.json()["detail"]


def test_a_page_without_a_login_says_that_it_needs_one(behind_nginx):
    address = behind_nginx(headers=HOST, login=None)
    answer = httpx.get(address, headers={"Host": "box.example"}, trust_env=False)
    assert answer.status_code == 400
    assert "start the app with --login NAME:PASSWORD" in answer.json()["detail"]


@pytest.mark.browser
@pytest.mark.parametrize(("path", "options"), [("/", {}), ("/captions/", {"root_path": "/captions"})])
def test_a_browser_captions_behind_nginx(behind_nginx, path, options):
    with open_browser(behind_nginx(path, GUIDE, **options)) as (page, expect):
        page.locator("input").nth(0).fill(LOGIN[0])
        page.locator("input[type=password]").fill(LOGIN[1])
        page.get_by_role("button", name="Log in").click()
        expect(page.locator(".grid-tile")).to_have_count(4)
        expect(page.locator(".grid-tile img").first).to_be_visible()
        page.locator("#start").click()
        expect(page.locator(".run-strip[data-phase=done]")).to_be_visible(timeout=60_000)
        expect(page.locator(".folder-counts")).to_contain_text("4 done")
