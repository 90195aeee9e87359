"""`captioner caption --model FOLDER` with folders of an attacker, as a person runs it: at a terminal or without."""

import os
import pty
import shutil
import socket
import subprocess
import sys
import threading

import pytest

from captioner.demo.clips import write_samples
from tests.cli.test_main import ROOT, captions
from tests.support.hostile_models import auto_map, index, make, marker, put, write

LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
ASKED = "{% if 'Describe this.' not in messages[0].content|string %}" + LOOP + "{% endif %}"

NEEDS_CODE = "model needs to run code from its own files, which is not allowed"
CODE = [auto_map(), put("config.json", model_type="own")]
CASES = {
    "code that transformers would ask about": ("terminal", CODE, NEEDS_CODE),
    "code, with nobody to ask": ("closed", CODE, NEEDS_CODE),
    "weights above the folder": (
        "nothing", [index(["../outside.safetensors"])],
        "which is not a *.safetensors file of its folder; choose another model"),
    "template without an end": (
        "nothing", [write("chat_template.jinja", LOOP)], "chat template did not end within 10 s; choose another model"),
}  # fmt: skip


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    write_samples(folder, num_clips=1, num_stills=1)
    return folder


@pytest.fixture
def called():
    """The address of a proxy that notes each connection and hangs up, and the connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        connections = []

        def accept():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connections.append(connection.recv(1000))
                connection.close()

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", connections
        server.shutdown(socket.SHUT_RDWR)


def caption(tmp_path, clips, model, proxy, stdin):
    """Run `caption` -> (exit status, standard error)."""
    return run(proxy, stdin, "--state", tmp_path / "state", "caption", clips, "--model", model, "--devices", "cpu")


def run(proxy, stdin, *arguments):
    """Run the program as somebody with the Hub within reach -> (exit status, standard error)."""
    env = {key: value for key, value in os.environ.items() if key not in ("HF_HUB_OFFLINE", "NO_PROXY", "no_proxy")}
    env |= dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"), proxy)
    command = [sys.executable, "-m", "captioner", *map(str, arguments)]
    if stdin == "closed":
        command = ["sh", "-c", 'exec "$@" <&-', "sh", *command]
    near, far = pty.openpty()
    os.write(near, b"y\ny\n")  # the answer to any question
    stream = far if stdin == "terminal" else subprocess.DEVNULL
    done = subprocess.run(command, cwd=ROOT, env=env, stdin=stream, capture_output=True, text=True, timeout=300)
    os.close(near)
    os.close(far)
    assert "Traceback" not in done.stderr
    assert "[y/N]" not in done.stderr + done.stdout
    return done.returncode, done.stderr


@pytest.mark.parametrize("name", CASES)
def test_hostile_model_is_one_line(tmp_path, samples, called, name):
    proxy, connections = called
    stdin, changes, expected = CASES[name]
    model = make(tmp_path, *changes)
    status, err = caption(tmp_path, samples, model, proxy, stdin)
    assert status == 2
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert expected in lines[0]
    assert not marker(model).exists()
    assert connections == []
    assert captions(samples) == {}


def test_benchmark_asks_nothing(tmp_path, called):
    proxy, connections = called
    model = make(tmp_path, *CODE)
    status, err = run(proxy, "terminal", "bench", "engine", "--model", model, "--clips", "1")
    assert status == 2
    assert err.splitlines()[-1] == f"error: {NEEDS_CODE}"
    assert not marker(model).exists()
    assert connections == []


def test_model_whose_code_is_not_needed_captions_without_it(tmp_path, samples, called):
    proxy, connections = called
    clips = shutil.copytree(samples, tmp_path / "clips")
    model = make(tmp_path, auto_map())
    status, _ = caption(tmp_path, clips, model, proxy, "nothing")
    assert status == 0
    assert len(captions(clips)) == 2
    assert not marker(model).exists()
    assert connections == []


def test_template_that_waits_for_the_real_prompt_fails_the_files_in_one_line_each(tmp_path, samples, called):
    proxy, connections = called
    clips = shutil.copytree(samples, tmp_path / "clips")
    template = (ROOT / "captioner" / "demo" / "model" / "chat_template.jinja").read_text()
    model = make(tmp_path, write("chat_template.jinja", ASKED + template))
    status, err = caption(tmp_path, clips, model, proxy, "nothing")
    assert status == 1
    assert err.count("chat template did not end within 10 s; choose another model") == 2
    assert captions(clips) == {}
    assert connections == []
