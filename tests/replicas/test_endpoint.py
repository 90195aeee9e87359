"""Jobs on model servers: a real `transformers serve` with the demo model, and mixed pools."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter

import pytest
from transformers.utils import is_serve_available

from captioner.cli.bench.models import DEMO_FOLDER
from captioner.demo.clips import write_samples
from captioner.errors import SettingsError
from captioner.jobs.events import ItemDone, ItemFailed, ItemProgress, JobEnded, ReplicaChanged
from captioner.services import Services
from tests.support.model_server import FakeServer, running

KEY = "the-very-secret-key-0123456789"
SERVE_S = 120.0  # to import torch and load the model on a busy machine


@contextlib.contextmanager
def transformers_serve(port):
    """Run `transformers serve` with the demo model; yields its process."""
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(DEMO_FOLDER)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_until_up(port):
    deadline = time.monotonic() + SERVE_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
            return
        time.sleep(0.2)
    raise TimeoutError("transformers serve did not start")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def captions_of(folder):
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.txt"))}


@pytest.mark.skipif(not is_serve_available(), reason="transformers serve needs the libraries of transformers[serving]")
def test_transformers_serve_captions_every_sample_also_if_it_is_killed_on_the_way(tmp_path):
    port, clips = free_port(), tmp_path / "clips"
    write_samples(clips, num_clips=9, num_stills=3)
    overrides = {"endpoint": f"http://127.0.0.1:{port}#2", "frame_size": 64, "max_frames": 8, "max_new_tokens": 40}
    with contextlib.ExitStack() as stack, Services(tmp_path / "state", overrides) as services:
        first = stack.enter_context(transformers_serve(port))
        wait_until_up(port)
        services.open_folder(clips, recursive=False)
        done, states, is_killed = Counter(), [], False
        for event in services.jobs.follow(services.start()):
            if isinstance(event, ItemDone):
                done[event.item] += 1
            if isinstance(event, ReplicaChanged):
                states.append(dict(event.report))
            if isinstance(event, ItemProgress) and sum(done.values()) >= 3 and not is_killed:
                first.send_signal(signal.SIGKILL)
                first.wait()
                is_killed = True
                stack.enter_context(transformers_serve(port))
        made = services.captions.provenance(clips / "clip 01.txt")[0]
    assert isinstance(event, JobEnded)
    assert (event.outcome, event.done, event.failed) == ("done", 12, 0), event
    assert is_killed
    assert any("it is tried again" in state.get("note", "") for state in states)
    assert set(done.values()) == {1}
    captions = captions_of(clips)
    assert len(captions) == 12
    assert all(text.startswith("A") for text in captions.values()), captions
    assert made.caption.model == str(DEMO_FOLDER)
    assert made.caption.device == f"http://127.0.0.1:{port}/v1"


def test_a_mixed_pool_of_a_device_and_two_servers_is_one_job(tmp_path):
    clips = tmp_path / "clips"
    write_samples(clips, num_clips=0, num_stills=24)
    servers = FakeServer((str(DEMO_FOLDER),), token_s=0.05), FakeServer((str(DEMO_FOLDER),), key=KEY, token_s=0.05)
    with running(servers[0]) as one, running(servers[1]) as two, pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB", KEY)
        overrides = {"model": "demo", "devices": "cpu", "endpoint": [f"{one}#1", f"{two}#1"], "endpoint_key": "LAB"}
        with Services(tmp_path / "state", overrides) as services:
            services.open_folder(clips, recursive=False)
            list(services.jobs.follow(services.load()))  # so that all are ready at once
            *_, ended = services.jobs.follow(services.start())
            made = [services.captions.provenance(path)[0].caption for path in clips.glob("*.txt")]
    assert (ended.outcome, ended.done) == ("done", 24)
    assert {caption.device for caption in made} == {"cpu", one, two}
    assert {caption.model for caption in made} == {str(DEMO_FOLDER)}
    assert {headers.get("authorization") for headers in servers[1].headers} == {f"Bearer {KEY}"}
    found = [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert found == []


FAULTS = ("429", "500", "html", "json", "shape", "half", "error", "zipped")


def test_a_job_on_a_hostile_server_loses_no_file_and_writes_none_twice(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    clips = tmp_path / "clips"
    write_samples(clips, num_clips=0, num_stills=1)
    names = {*(f"{fault} once" for fault in FAULTS), "400 always", "long always", "key always", "fine thanks"}
    still = (clips / "still 01.png").rename(clips / "fine thanks.png")
    for name in names - {still.stem}:
        shutil.copy(still, clips / f"{name}.png")
    server = FakeServer(key=KEY)
    with running(server) as url, Services(tmp_path / "state", {"endpoint": f"{url}#3", "prompt": "{name}"}) as services:
        services.open_folder(clips, recursive=False)
        log = list(services.jobs.follow(services.start()))
    done = Counter(event.item for event in log if isinstance(event, ItemDone))
    failed = {event.item: event.reason for event in log if isinstance(event, ItemFailed)}
    assert done == {f"{name}.png": 1 for name in names if not name.endswith("always")}
    assert failed == {
        "400 always.png": "the server refused the request (HTTP 400: no: Bearer [hidden])",
        "key always.png": "the server's answer contains its key",
        "long always.png": "the server sent much more text than max_new_tokens allows",
    }
    assert {path.stem for path in clips.glob("*.txt")} == {name for name in names if not name.endswith("always")}
    assert all(count == 2 for prompt, count in server.tries.items() if prompt.endswith("once"))
    assert KEY not in caplog.text + repr([event.to_json() for event in log])
    assert [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()] == []


@pytest.mark.parametrize(
    "address",
    ["gpu-lab:8000", "ftp://host", "http://:5", "http://me:word@host", "http://host/v1?key=abc", "http://h#0"],
)
def test_addresses_that_are_none_or_hold_a_key_are_refused_without_repeating_them(tmp_path, address):
    with pytest.raises(SettingsError) as refused:
        Services(tmp_path, {"endpoint": address})
    assert address not in str(refused.value)
    assert "give addresses such as http://localhost:8000" in str(refused.value)


@pytest.mark.parametrize("key", ["sk-proj-abcdef", "0f3c9a", "hunter2", "A B"])
def test_a_key_in_the_place_of_its_name_is_refused_without_repeating_it(tmp_path, key):
    with pytest.raises(SettingsError) as refused:
        Services(tmp_path, {"endpoint_key": key})
    assert key not in str(refused.value)
