"""`captioner export --push` against a Hub of its own: what is uploaded, who may read it, and what goes wrong."""

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from captioner.cli.main import main

TOKEN = "hf_" + "aB3" * 11
COMMIT = "1" * 40


class Hub(BaseHTTPRequestHandler):
    """A Hub whose data sets are `server.sets`: name -> {"private": ..., "files": {path: bytes}}."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        name = "/".join(self.path.split("?")[0].split("/")[3:5])
        found = self.server.sets.get(name)
        if found and found["private"] and not self.headers["Authorization"]:
            found = None  # huggingface_hub issue 4571: asked without the token when no file has changed
        about = found and {"id": name, "sha": COMMIT, "private": found["private"], "siblings": []}
        self.send(200 if found else 404, about or {})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.tokens.add(self.headers["Authorization"])
        name = "/".join(self.path.split("?")[0].split("/")[3:5])
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            if asked["organization"] == "others":
                self.send(403, {"error": f"no rights for {TOKEN}"})
            elif name in self.server.sets:
                self.send(409, {"error": "exists", "url": f"{self.server.address}/datasets/{name}"})
            else:
                is_private = asked.get("private", False) or asked.get("visibility") == "private"  # newer versions
                self.server.sets[name] = {"private": is_private, "files": {}}
                self.send(200, {"url": f"{self.server.address}/datasets/{name}"})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            self.send(200, {"files": [self.mode(name, file["path"]) for file in files]})
        elif "/commit/" in self.path:
            self.server.commits += 1
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.sets[name]["files"][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.send(200, {"commitUrl": f"{self.server.address}/datasets/{name}/commit/{COMMIT}", "commitOid": COMMIT})
        else:
            self.send(404, {})

    def mode(self, name, path):
        data = self.server.sets[name]["files"].get(path)
        about = {"path": path, "uploadMode": "regular", "shouldIgnore": False}
        return about if data is None else about | {"oid": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()}

    def send(self, status, about):
        body = json.dumps(about).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.sets, server.tokens = {"me/open": {"private": False, "files": {}}}, set()
    server.commits = 0
    server.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.fixture
def export(tmp_path, hub):
    """A function (options, environment) -> the finished process of `captioner export`."""
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "a b.mp4").write_bytes(b"clip")
    (folder / "a b.txt").write_text("A red ball.")

    def run(*options, **environment):
        environment = {
            **os.environ,
            "HF_ENDPOINT": hub.address,
            "HF_HUB_OFFLINE": "0",
            "HF_HOME": str(tmp_path / "hub"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_TOKEN": TOKEN,
            **environment,
        }
        command = [sys.executable, "-m", "captioner", "--state", str(tmp_path / "own"), "export", str(folder)]
        return subprocess.run(
            [*command, "--format", "hf", "--to", str(tmp_path / "to"), *options],
            env=environment, capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[2],
        )  # fmt: skip

    return run


def test_pushed_data_set_is_private_and_has_all_files(export, hub, tmp_path):
    done = export("--push", "me/clips")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"pushed to {hub.address}/datasets/me/clips"
    assert TOKEN not in done.stdout + done.stderr
    assert hub.sets["me/clips"]["private"] is True
    row = {"file_name": "a b.mp4", "text": "A red ball."}
    assert hub.sets["me/clips"]["files"].keys() == {"train/a b.mp4", "train/metadata.jsonl"}
    assert json.loads(hub.sets["me/clips"]["files"]["train/metadata.jsonl"]) == row
    assert hub.sets["me/clips"]["files"]["train/a b.mp4"] == b"clip"
    assert hub.tokens == {f"Bearer {TOKEN}"}
    again = export("--push", "me/clips", "--to", str(tmp_path / "again"), "--json")
    assert json.loads(again.stdout.splitlines()[-1]) == {"pushed": f"{hub.address}/datasets/me/clips"}
    assert hub.sets["me/clips"]["private"] is True
    assert hub.commits == 1  # nothing had changed


def test_nothing_is_published_without_being_asked(export, hub, tmp_path):
    done = export("--push", "me/open")
    assert (done.returncode, hub.sets["me/open"]["files"]) == (2, {})
    assert "me/open is public; push it with --public" in done.stderr
    done = export("--push", "me/open", "--public", "--to", str(tmp_path / "again"))
    assert (done.returncode, len(hub.sets["me/open"]["files"])) == (0, 2)


@pytest.mark.parametrize(
    ("repo", "environment", "reason"),
    [
        ("others/clips", {}, "the Hub does not let this token write to others/clips"),
        ("me/clips", {"HF_ENDPOINT": "http://127.0.0.1:9"}, "the Hub cannot be reached"),
        ("me/clips", {"HF_HUB_OFFLINE": "1"}, "offline mode is on (HF_HUB_OFFLINE)"),
    ],
)
def test_failed_push_keeps_the_folder_and_says_how_to_try_again(export, tmp_path, repo, environment, reason):
    done = export("--push", repo, **environment)
    to = tmp_path / "to"
    again = f"try again with: hf upload {repo} {to} --repo-type dataset --private"
    assert done.returncode == 2
    assert done.stderr == f"error: {to} is written but not pushed: {reason}; {again}\n"
    assert (to / "train" / "metadata.jsonl").is_file()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--push", "clips"), "clips is not a name on the Hub; give --push owner/name"),
        (("--push", "me/my clips"), "me/my clips is not a name on the Hub; give --push owner/name"),
        (("--push", "me/clips", "--format", "jsonl"), "only --format hf or webdataset can be pushed, not jsonl"),
        (("--public",), "--public is about what is pushed; name it with --push OWNER/NAME"),
        (("--push", "me/clips"), "pushing needs a login to the Hub; use `hf auth login` or set HF_TOKEN"),
    ],
)
def test_what_cannot_be_pushed_is_said_before_anything_is_written(tmp_path, capsys, monkeypatch, options, line):
    monkeypatch.setattr("captioner.dataset.exports.push.get_token", lambda: None)
    to = tmp_path / "to"
    assert (
        main(["--state", str(tmp_path / "own"), "export", str(tmp_path), "--format", "hf", "--to", str(to), *options])
        == 2
    )
    assert capsys.readouterr().err == f"error: {line}\n"
    assert not to.exists()
