"""`python app.py` as a user starts it: a real process, a real model, a real browser."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from chromium import open_browser

ROOT = Path(__file__).resolve().parents[1]
NUM_SAMPLES = 12
START_TIMEOUT_S = 60
MODEL_TIMEOUT_MS = 180_000


def command(*arguments: object) -> list[str]:
    return [sys.executable, str(ROOT / "app.py"), *map(str, arguments)]


@contextmanager
def running_app(*arguments: object) -> Iterator[tuple[subprocess.Popen, str]]:
    """The process, in a group of its own as in a terminal, and the address that it printed."""
    app = subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        line = app.stdout.readline()
        assert "http://" in line, app.stderr.read()
        yield app, next(word for word in line.split() if word.startswith("http://"))
    finally:
        if app.poll() is None:
            os.killpg(app.pid, signal.SIGKILL)
        app.wait()
        app.stdout.close()
        app.stderr.close()


def interrupt(app: subprocess.Popen) -> tuple[float, list[psutil.Process]]:
    """Ctrl+C, which a terminal sends to the whole group. Seconds until the end, and what is left of its processes."""
    children = psutil.Process(app.pid).children(recursive=True)
    started_s = time.monotonic()
    os.killpg(app.pid, signal.SIGINT)
    app.wait(timeout=30)
    seconds = time.monotonic() - started_s
    return seconds, [child for child in psutil.wait_procs(children, timeout=1)[1] if not _has_ended(child)]


def _has_ended(process: psutil.Process) -> bool:
    """Orphans stay as zombies where the first process of a container does not collect them."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.browser
def test_demo_captions_its_clips_live_and_ends_with_ctrl_c(tmp_path):
    state = tmp_path / "state"
    with running_app("--demo", "--state", state) as (app, address):
        with open_browser(address) as (page, expect):
            tiles = page.locator(".tile")
            expect(tiles).to_have_count(NUM_SAMPLES)
            expect(page.locator(".counts")).to_contain_text(f"{NUM_SAMPLES} files · 0 captioned")
            expect(page.locator("#notices")).to_contain_text("toy world")
            page.locator("#start").click()
            captioned = page.locator(".tile[data-state=captioned]")
            expect(captioned).to_have_count(NUM_SAMPLES, timeout=MODEL_TIMEOUT_MS)
            expect(page.locator(".status[data-stage=done]")).to_contain_text(f"{NUM_SAMPLES} / {NUM_SAMPLES}")
            expect(page.locator("#start")).to_have_text("Nothing to caption")

            tiles.first.click()
            box = page.locator("#caption textarea")
            file = state / "demo" / "clip 01.txt"
            assert file.read_text()
            expect(box).to_have_value(file.read_text())
            expect(page.locator(".details .facts")).to_contain_text("256×256")
            box.fill("Written by hand.")
            page.wait_for_timeout(2500)  # two pulses, which must leave the edit alone
            expect(box).to_have_value("Written by hand.")
            page.locator("#save-caption").click()
            expect(tiles.first.locator(".text")).to_have_text("Written by hand.")
            assert file.read_text() == "Written by hand."

            page.reload()
            expect(tiles.first.locator(".text")).to_have_text("Written by hand.")
            expect(page.locator(".status[data-stage=done]")).to_be_visible()
        assert not (state / "settings.json").exists()  # the user's own settings stay as they are
        seconds, left = interrupt(app)
        assert (seconds < 5, left, app.returncode, app.stderr.read()) == (True, [], 0, "")


@pytest.mark.browser
def test_ctrl_c_ends_it_while_the_model_loads_or_runs(tmp_path):
    with running_app("--demo", "--state", tmp_path / "state") as (app, address):
        with open_browser(address) as (page, expect):
            page.locator("#start").click()
            expect(page.locator(".status[data-stage=loading]")).to_be_visible()
            page.wait_for_timeout(500)
        seconds, left = interrupt(app)
        assert (seconds < 5, left) == (True, [])
        assert "Traceback" not in app.stderr.read()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/no/such/folder"], "error: no such folder: /no/such/folder"),
        (["--state", "/dev/null/state"], "error: cannot create the state folder"),
    ],
)
def test_what_cannot_run_is_said_in_one_line(tmp_path, arguments, message):
    given = arguments if "--state" in arguments else [*arguments, "--state", tmp_path]
    ended = subprocess.run(command(*given), capture_output=True, text=True, timeout=START_TIMEOUT_S)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(message)
    assert ended.stderr.count("\n") == 1


def test_a_port_that_is_taken_is_said_in_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = subprocess.run(
            command("--port", port, "--state", tmp_path), capture_output=True, text=True, timeout=START_TIMEOUT_S
        )
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ")
    assert str(port) in ended.stderr
