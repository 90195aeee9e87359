"""No process is left when the app ends, however it ends and whatever its replica is doing."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from gradio_client import Client

from tests.support.patience import END_TIMEOUT_S

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 120


@pytest.fixture
def app(tmp_path) -> Iterator[subprocess.Popen]:
    """`python app.py --demo`, whose replica has begun to load the model."""
    command = [sys.executable, str(ROOT / "app.py"), "--demo", "--state", str(tmp_path / "state")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as app:
        try:
            line = app.stdout.readline()
            address = next(word for word in line.split() if word.startswith("http://"))
            Client(address, verbose=False).predict(api_name="/start")
            yield app
        finally:
            app.kill()


def replica_of(app: subprocess.Popen) -> psutil.Process:
    """Return the replica once it imports torch; by then it has asked the system to end it with the app."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        for process in psutil.Process(app.pid).children():
            if "spawn_main" in str(process.cmdline()) and process.memory_info().rss > 120e6:
                return process
        time.sleep(0.05)
    raise TimeoutError("the app started no replica")


@pytest.mark.skipif(sys.platform != "linux", reason="a stopped process cannot see by itself that the app is gone")
@pytest.mark.parametrize("hangs", [False, True], ids=["loading", "hanging"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_app(app, number, hangs):
    replica = replica_of(app)
    if hangs:
        replica.suspend()
    processes = [psutil.Process(app.pid), *psutil.Process(app.pid).children(recursive=True)]
    app.send_signal(number)
    app.wait(END_TIMEOUT_S)
    _, left = psutil.wait_procs(processes, END_TIMEOUT_S)
    assert [process for process in left if process.status() != psutil.STATUS_ZOMBIE] == []
