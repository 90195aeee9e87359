"""The page starts whatever proxies the environment names, and never asks one for itself."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from tests.support.web_page import serve_page

NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
DEAD = "http://127.0.0.1:9"
ENVIRONMENTS = {
    "dead": {"http_proxy": DEAD, "https_proxy": DEAD, "all_proxy": DEAD},
    "socks": {"all_proxy": "socks5://127.0.0.1:9", "http_proxy": "socks5h://127.0.0.1:9"},
    "socks without a version": {"all_proxy": "socks://127.0.0.1:9"},
    "no scheme": {"http_proxy": "proxy.example:3128"},
    "unknown scheme": {"http_proxy": "ftp://proxy.example", "all_proxy": "quic://x"},
    "no port": {"http_proxy": "http://proxy.example:", "https_proxy": "http://proxy.example:x"},
    "login in it": {"http_proxy": "http://me:p%40ss@127.0.0.1:9"},
    "networks": {"http_proxy": DEAD, "no_proxy": "10.0.0.0/8,192.168.0.0/16,::1/128,fe80::/10"},
    "brackets": {"http_proxy": DEAD, "no_proxy": "[::1],[fe80::1]:80"},
    "stars": {"http_proxy": DEAD, "no_proxy": "*.local, *,.example,,;|"},
    "spaces": {"http_proxy": " ", "no_proxy": " localhost "},
}


@pytest.fixture
def proxies(monkeypatch, request) -> None:
    for name in [name for name in os.environ if name.lower() in NAMES]:
        monkeypatch.delenv(name)
    for name, value in ENVIRONMENTS[request.param].items():
        monkeypatch.setenv(name, value)
        monkeypatch.setenv(name.upper(), value)


@pytest.mark.parametrize("proxies", ENVIRONMENTS, indirect=True)
def test_the_page_starts_whatever_the_proxies(services, tmp_path, proxies):
    with serve_page(services, tmp_path, exposed=False) as page:
        assert httpx.Client(trust_env=False).get(page.address).status_code == 200


@pytest.fixture
def seen() -> Iterator[list[str]]:
    """Serve a proxy that answers 503; gives its port and then each request that it sees."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            seen.append(f"{self.command} {self.path}")
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_HEAD = do_POST = do_CONNECT = handle_any

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    seen.append(f"http://127.0.0.1:{server.server_port}")
    yield seen
    server.shutdown()
    server.server_close()


def test_no_request_to_this_machine_goes_through_a_proxy(services, tmp_path, monkeypatch, seen):
    for name in ("http_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, seen[0])
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serve_page(services, tmp_path, exposed=False):
        pass
    assert seen[1:] == []


DOWNLOAD = """
import sys
from pathlib import Path
from captioner.engine.download import find_model
from captioner.errors import ModelError
try:
    find_model("owner/name", False, Path(sys.argv[1]))
except ModelError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("proxy", "no_proxy"),
    [("{503}", ""), (DEAD, ""), ("socks5://127.0.0.1:9", ""), ("socks://127.0.0.1:9", ""), ("ftp://x", ""),
     ("http://x:port", ""), (DEAD, "[::1],::1/128")],
)  # fmt: skip
def test_a_download_through_a_broken_proxy_fails_in_one_line(tmp_path, seen, proxy, no_proxy):
    proxy = proxy.replace("{503}", seen[0])
    environment = {name: value for name, value in os.environ.items() if name.lower() not in NAMES}
    environment |= {"HTTPS_PROXY": proxy, "HTTP_PROXY": proxy, "ALL_PROXY": proxy, "NO_PROXY": no_proxy}
    environment |= {"HF_HUB_OFFLINE": "0", "HF_HUB_DOWNLOAD_TIMEOUT": "3"}
    command = [sys.executable, "-c", DOWNLOAD, str(tmp_path)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stderr, ended.stdout.count("\n")) == (0, "", 1)
    assert "owner/name" in ended.stdout
    assert "proxy" in ended.stdout
