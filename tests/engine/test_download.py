"""Downloads from a small Hub on the loopback address: the library's real client against real HTTP."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from captioner.engine.download import find_model
from captioner.errors import ModelError

COMMIT = "a" * 40
FILES = {
    "config.json": b'{"model_type": "qwen3_vl"}',
    "model.safetensors": bytes(range(256)) * 12_000,
    "pytorch_model.bin": b"not wanted",
    "model.fp16.safetensors": b"not wanted",
    "consolidated.safetensors": b"not wanted",
    "original/model.safetensors": b"not wanted",
}
SHARDS = {
    "config.json": b"{}",
    "model.safetensors.index.json": b'{"weight_map": {"a": "part-1.safetensors", "b": "part-2.safetensors"}}',
    "part-1.safetensors": b"1" * 1000,
    "part-2.safetensors": b"2" * 1000,
    "part-3.safetensors": b"not wanted",
    "consolidated.safetensors": b"not wanted",
    "consolidated.00.pth": b"not wanted",
    "onnx/model.onnx_data": b"not wanted",
    "fp16/part-1.safetensors": b"not wanted",
}
REPOSITORIES = {"me/tiny": FILES, "me/shards": SHARDS}
WANTED_BYTES = len(FILES["config.json"]) + len(FILES["model.safetensors"])

SCRIPT = """
import json, sys
from pathlib import Path
from captioner.engine.download import find_model
from captioner.errors import ModelError
seen = []
try:
    folder = find_model(sys.argv[1], sys.argv[2] == "offline", None, lambda done, total: seen.append((done, total)))
    print(json.dumps({"files": sorted(p.name for p in Path(folder).iterdir()), "seen": seen}))
except ModelError as error:
    print(json.dumps({"error": str(error), "seen": seen}))
"""


class Hub(BaseHTTPRequestHandler):
    """One public model me/tiny, one gated me/gated; nothing else."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, with_body):
        path = urlsplit(self.path).path
        if path.startswith("/api/models/me/gated"):
            self.send(403, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "accept the terms"}, with_body)
        elif path.startswith("/api/models/") and (files := REPOSITORIES.get("/".join(path.split("/")[3:5]))):
            if "/tree/" in path:
                found = [{"type": "file", "path": n, "size": len(d), "oid": digest(d)} for n, d in files.items()]
                self.send(200, json.dumps(found).encode(), {}, with_body)
            else:
                name = "/".join(path.split("/")[3:5])
                about = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": n} for n in files]}
                self.send(200, json.dumps(about).encode(), {}, with_body)
        elif "/resolve/" in path and (data := self.file_at(path)) is not None:
            self.send(200, data, {"ETag": f'"{digest(data)}"', "X-Repo-Commit": COMMIT}, with_body)
        else:
            self.send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, with_body)

    def file_at(self, path):
        repository, _, rest = path.removeprefix("/").partition("/resolve/")
        return REPOSITORIES.get(repository, {}).get(rest.partition("/")[2])

    def send(self, status, body, headers, with_body):
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *args):
        pass


def digest(data):
    return hashlib.sha1(data).hexdigest()


@pytest.fixture(scope="module")
def endpoint():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def find(tmp_path):
    """A function (endpoint, source, mode) -> the result of find_model in a process with its own empty cache."""

    def run(endpoint, source, mode="online"):
        environment = {
            **os.environ,
            "HF_ENDPOINT": endpoint,
            "HF_HUB_OFFLINE": "0",
            "HF_HOME": str(tmp_path / "hub"),
            "HF_HUB_DISABLE_XET": "1",
        }
        arguments = [sys.executable, "-c", SCRIPT, source, mode]
        done = subprocess.run(
            arguments, env=environment, capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[2]
        )
        assert done.stdout, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


def test_download_fetches_the_wanted_files_and_reports_bytes(find, endpoint):
    answer = find(endpoint, "me/tiny")
    assert answer["files"] == ["config.json", "model.safetensors"]
    assert answer["seen"][0] == [0, WANTED_BYTES]
    assert answer["seen"][-1] == [WANTED_BYTES, WANTED_BYTES]
    dones = [done for done, _ in answer["seen"]]
    assert dones == sorted(dones)


def test_only_the_shards_of_the_index_are_downloaded(find, endpoint):
    answer = find(endpoint, "me/shards")
    assert answer["files"] == [
        "config.json", "model.safetensors.index.json", "part-1.safetensors", "part-2.safetensors",
    ]  # fmt: skip
    assert answer["seen"][-1] == [2002, 2002]  # the index was there before
    assert find("http://127.0.0.1:9", "me/shards", "offline")["files"] == answer["files"]


def test_second_use_downloads_nothing_and_works_offline(find, endpoint):
    find(endpoint, "me/tiny")
    assert find(endpoint, "me/tiny")["seen"] == []
    assert find("http://127.0.0.1:9", "me/tiny", "offline")["files"] == ["config.json", "model.safetensors"]


def test_downloaded_model_is_found_without_a_network(find, endpoint):
    find(endpoint, "me/tiny")
    assert find("http://127.0.0.1:9", "me/tiny")["files"] == ["config.json", "model.safetensors"]


@pytest.mark.parametrize(
    ("source", "mode", "reachable", "message"),
    [
        ("me/nothing", "online", True, "the Hub has no model me/nothing, or it is private and HF_TOKEN is not set"),
        (
            "me/gated",
            "online",
            True,
            "me/gated is gated: accept its terms on its Hub page, then log in with `hf auth login` or set HF_TOKEN",
        ),
        (
            "me/tiny",
            "offline",
            True,
            "me/tiny is not downloaded and offline mode is on; connect once, or give the folder of a downloaded model",
        ),
        (
            "me/tiny",
            "online",
            False,
            "me/tiny is not downloaded and the Hub cannot be reached; "
            "connect once, or give the folder of a downloaded model",
        ),
    ],
)
def test_failed_download_gets_one_line(find, endpoint, source, mode, reachable, message):
    assert find(endpoint if reachable else "http://127.0.0.1:9", source, mode)["error"] == message


def test_local_folder_needs_no_hub(tmp_path):
    assert find_model(str(tmp_path), offline=True, cache=None) == tmp_path


@pytest.mark.parametrize("source", ["no/such/folder", "/nowhere/at/all", "./missing", "nothing"])
def test_missing_folder_gets_one_line(source):
    with pytest.raises(ModelError) as error:
        find_model(source, offline=True, cache=None)
    expected = f"no model folder at {source}; give a folder with config.json, or a Hub id owner/name"
    assert str(error.value) == expected
