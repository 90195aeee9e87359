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
from tests.support.hostile_models import auto_map, drop, index, make, marker, put, write

LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
ASKED = "{% if 'Describe this.' not in messages[0].content|string %}" + LOOP + "{% endif %}"

CASES = {
    "code that transformers would ask about": (
        [auto_map(), put("config.json", model_type="own")],
        "model needs to run code from its own files, which is not allowed"),
    "kernel of the Hub": (
        [put("config.json", attn_implementation="evil/kernel")],
        "has the attn_implementation 'evil/kernel', which is not allowed; choose another model"),
    "pickle": ([drop("model.safetensors")], "contains no *.safetensors weights that belong together"),
    "weights above the folder": (
        [index(["../outside.safetensors"])], "which is not a *.safetensors file of its folder; choose another model"),
    "template without an end": (
        [write("chat_template.jinja", LOOP)], "chat template did not end within 10 s; choose another model"),
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
    done = subprocess.run(command, cwd=ROOT, env=env, stdin=stdin, capture_output=True, text=True, timeout=300)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("at_terminal", [True, False])
def test_hostile_model_is_one_line(tmp_path, samples, called, name, at_terminal):
    if at_terminal and "template" in name:
        pytest.skip("takes 10 s, and does not depend on the terminal")
    proxy, connections = called
    changes, expected = CASES[name]
    model = make(tmp_path, *changes)
    near, far = pty.openpty()
    os.write(near, b"y\ny\n")  # the answer to any question
    status, err = caption(tmp_path, samples, model, proxy, far if at_terminal else subprocess.DEVNULL)
    os.close(near)
    os.close(far)
    assert status == 2
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert expected in lines[0]
    assert "[y/N]" not in err
    assert not marker(model).exists()
    assert connections == []
    assert captions(samples) == {}


def test_benchmark_asks_nothing(tmp_path, called):
    proxy, connections = called
    model = make(tmp_path, auto_map(), put("config.json", model_type="own"))
    near, far = pty.openpty()
    os.write(near, b"y\ny\n")
    status, err = run(proxy, far, "bench", "engine", "--model", model, "--clips", "1")
    os.close(near)
    os.close(far)
    assert status == 2
    assert err.splitlines()[-1] == "error: model needs to run code from its own files, which is not allowed"
    assert not marker(model).exists()
    assert connections == []


def test_model_whose_code_is_not_needed_captions_without_it(tmp_path, samples, called):
    proxy, connections = called
    clips = shutil.copytree(samples, tmp_path / "clips")
    model = make(tmp_path, auto_map())
    status, _ = caption(tmp_path, clips, model, proxy, subprocess.DEVNULL)
    assert status == 0
    assert len(captions(clips)) == 2
    assert not marker(model).exists()
    assert connections == []


def test_template_that_waits_for_the_real_prompt_fails_the_files_in_one_line_each(tmp_path, samples, called):
    proxy, connections = called
    clips = shutil.copytree(samples, tmp_path / "clips")
    template = (ROOT / "captioner" / "demo" / "model" / "chat_template.jinja").read_text()
    model = make(tmp_path, write("chat_template.jinja", ASKED + template))
    status, err = caption(tmp_path, clips, model, proxy, subprocess.DEVNULL)
    assert status == 1
    assert err.count("chat template did not end within 10 s; choose another model") == 2
    assert captions(clips) == {}
    assert connections == []
