"""`python app.py` as a user starts it: a real process, a real model, a real browser."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from captioner.demo.clips import write_samples
from tests.support.chromium import open_browser
from tests.support.patience import END_TIMEOUT_S

ROOT = Path(__file__).resolve().parents[2]
NUM_SAMPLES = 12
START_TIMEOUT_S = 60
MODEL_TIMEOUT_MS = 180_000
LISTING_BEGUN_BY_JS = (
    "performance.getEntriesByType('resource').find(entry => entry.name.endsWith('/list.json')).initiatorType"
)


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
        with open_browser(address, 1600, 900) as (page, expect):
            expect(page.locator(".grid-tile")).to_have_count(NUM_SAMPLES)
            expect(page.locator(".folder-counts")).to_contain_text(
                f"{NUM_SAMPLES} files · 0 done · {NUM_SAMPLES} pending"
            )
            assert page.evaluate(LISTING_BEGUN_BY_JS) == "link"  # before the scripts that show it were there
            expect(page.locator("#notices")).to_contain_text("toy world")
            expect(page.locator("#start")).to_have_attribute("title", re.compile(r"^9 clips and 3 images, about "))
            page.locator("#start").click()
            expect(page.locator(".run-strip[data-phase=done]")).to_be_visible(timeout=MODEL_TIMEOUT_MS)
            expect(page.locator(".folder-counts")).to_contain_text(f"{NUM_SAMPLES} done · 0 pending")
            file = state / "demo" / "clip 01.txt"
            text = file.read_text()
            assert text.startswith("A ")
            first = page.locator(".grid-tile").first
            expect(first.locator("p")).to_have_text(text)

            first.click()
            box = page.locator("#panel textarea")
            expect(box).to_have_value(text)
            box.fill("Written by hand.")
            page.wait_for_timeout(2500)  # two pulses, which must leave the edit alone
            expect(box).to_have_value("Written by hand.")
            box.press("Control+s")
            expect(first.locator("p")).to_have_text("Written by hand.")
            assert file.read_text() == "Written by hand."

            page.reload()
            expect(page.locator(".grid-tile").first.locator("p")).to_have_text("Written by hand.")
            expect(page.locator(".run-strip[data-phase=done]")).to_be_visible()
            with page.expect_download() as download:
                page.get_by_label("More", exact=True).first.click()
                page.locator(".bar-zip").click()
            names = zipfile.ZipFile(download.value.path()).namelist()
            assert len(names) == NUM_SAMPLES
            assert "clip 01.txt" in names
        assert not (state / "settings.json").exists()  # the user's own settings stay as they are
        seconds, left = interrupt(app)
        assert (seconds < END_TIMEOUT_S, left, app.returncode, app.stderr.read()) == (True, [], 0, "")


@pytest.fixture
def many_clips(tmp_path) -> Path:
    """Names enough for a run of some ten seconds, and a broken file."""
    folder = tmp_path / "clips"
    write_samples(folder, num_clips=6, num_stills=0)
    for path in list(folder.iterdir()):
        for number in range(80):
            os.link(path, folder / f"copy {number:02} of {path.name}")
    (folder / "broken.mp4").write_bytes(b"this is no video")
    return folder


@pytest.mark.browser
def test_run_is_seen_after_a_reload_and_stopped_from_another_browser(tmp_path, many_clips, monkeypatch):
    monkeypatch.setenv("CAPTIONER_MODEL", "demo")
    monkeypatch.setenv("CAPTIONER_BATCH_SIZE", "2")
    with (
        running_app(many_clips, "--state", tmp_path / "state") as (_, address),
        open_browser(address) as (page, expect),
    ):
        page.locator("#start").click()
        expect(page.locator(".run-strip[data-phase=running]")).to_be_visible(timeout=MODEL_TIMEOUT_MS)
        page.reload()
        expect(page.locator(".run-strip[data-phase=running]")).to_be_visible()

        other = page.context.browser.new_context().new_page()
        other.goto(address)
        expect(other.locator(".run-strip[data-phase=running]")).to_be_visible()
        other.locator("#stop").click()
        for viewer in (page, other):
            expect(viewer.locator(".run-strip[data-phase=stopped]")).to_be_visible()
        expect(page.locator("#start")).to_be_enabled()
        captioned = len(list(many_clips.glob("*.txt")))
        assert 0 < captioned < 480
        expect(page.locator(".folder-counts")).to_contain_text(f"{captioned} done")
        expect(page.locator(".run")).to_contain_text("a text file, not a video")


@pytest.mark.browser
def test_settings_are_there_after_a_restart_and_in_every_browser(tmp_path, monkeypatch):
    monkeypatch.setenv("CAPTIONER_MODEL", "demo")
    for wanted, found in (("16", "32"), ("24", "16")):
        with running_app("--state", tmp_path / "state") as (_, address), open_browser(address) as (page, expect):
            page.get_by_role("tab", name="Settings").click()
            box = page.locator("#field-max_frames input")
            expect(box).to_have_value(found)
            box.fill(wanted)
            page.locator("#save-settings").click()
            other = page.context.browser.new_context().new_page()
            other.goto(address)
            other.get_by_role("tab", name="Settings").click()
            expect(other.locator("#field-max_frames input")).to_have_value(wanted)


@pytest.mark.browser
def test_ctrl_c_ends_it_while_the_model_loads_or_runs(tmp_path):
    with running_app("--demo", "--state", tmp_path / "state") as (app, address):
        with open_browser(address) as (page, expect):
            page.locator("#start").click()
            expect(page.locator(".run-strip[data-phase=loading]")).to_be_visible()
            page.wait_for_timeout(500)
        seconds, left = interrupt(app)
        assert (seconds < END_TIMEOUT_S, left) == (True, [])
        assert "Traceback" not in app.stderr.read()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/no/such/folder"], "error: no such folder: /no/such/folder"),
        (["--state", "/dev/null/state"], "error: cannot create the state folder"),
        (["--login", "me"], "error: the login must be NAME:PASSWORD"),
        (["--login", "me:secret", "--mcp"], "error: --mcp cannot be combined with a login"),
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
