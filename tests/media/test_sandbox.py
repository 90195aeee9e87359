"""The processes that read media: their results, and the cost of a file that hangs, crashes or grows."""

import contextlib
import multiprocessing
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from PIL import Image

from captioner.errors import MediaError
from captioner.media import container, picture
from captioner.media.contact_sheet import make_sheet
from captioner.media.probe import probe
from captioner.media.sandbox import Sandbox
from captioner.media.thumbnail import make_thumbnail
from captioner.services import Services
from captioner.values import SamplePlan
from tests.support.media_doors import item_of
from tests.support.media_maker import make_picture, make_video

pytestmark = pytest.mark.usefixtures("spawned_processes")

ROOT = Path(__file__).parents[2]
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="other systems take no limit of memory")


def workers() -> list[psutil.Process]:
    own = {child.pid for child in multiprocessing.active_children() if child.name == "media"}
    return [process for process in psutil.Process().children() if process.pid in own]


def wait_for_reader(path: Path) -> psutil.Process:
    """Return the worker that has the file open."""
    while True:
        for process in workers():
            if any(file.path == str(path) for file in process.open_files()):
                return process
        time.sleep(0.02)


def is_running(process: psutil.Process) -> bool:
    """A zombie counts as ended: its parent was killed and cannot reap it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def make_slow_gif(path: Path) -> Path:
    """Make 300 frames of 3000 x 3000: 20 seconds of decoding, within the limits."""
    Image.new("P", (3000, 3000), 1).save(path)
    data = path.read_bytes()
    start = data.index(b"\x2c\0\0\0\0" + struct.pack("<HH", 3000, 3000))
    path.write_bytes(data[:start] + data[start:-1] * 300 + b";")
    return path


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    sandbox = Sandbox(2)
    yield sandbox
    sandbox.close()
    assert workers() == []


class TestReading:
    def test_gives_the_same_as_this_process(self, sandbox, tmp_path):
        clip = item_of(make_video(tmp_path / "a.mp4", 50))
        assert sandbox.thumbnail(clip) == make_thumbnail(clip)
        assert sandbox.probe(clip.path) == probe(clip.path)
        assert sandbox.sheet(clip, SamplePlan()) == make_sheet(clip, SamplePlan())
        with pytest.raises(MediaError, match=r"^no such file; it was moved or deleted$"):
            sandbox.probe(tmp_path / "gone.mp4")
        assert len(workers()) == 1

    def test_several_files_at_once_and_no_more_processes_than_allowed(self, sandbox, tmp_path):
        items = [item_of(make_picture(tmp_path / f"{number}.png")) for number in range(12)]
        with ThreadPoolExecutor(6) as pool:
            assert list(pool.map(sandbox.thumbnail, items)) == [make_thumbnail(item) for item in items]
        assert 1 <= len(workers()) <= 2

    def test_a_worker_starts_in_half_a_second_and_is_small(self):
        code = (
            "import captioner.media.sandbox, psutil, sys, time; "
            "print(time.process_time(), psutil.Process().memory_info().rss, *{m.split('.')[0] for m in sys.modules})"
        )
        ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        seconds, rss_bytes, *modules = ran.stdout.split()
        assert float(seconds) < 1.0  # 0.35 s of an idle machine
        assert int(rss_bytes) < 100_000_000
        assert not {"torch", "transformers", "gradio", "pydantic", "fastapi"} & set(modules)

    def test_the_app_reads_no_media_itself(self, tmp_path, monkeypatch):
        """Thumbnails, sheets and plans are made although this process cannot open media."""
        (tmp_path / "media").mkdir()
        make_video(tmp_path / "media" / "a.mp4", 50)
        make_picture(tmp_path / "media" / "b.png")

        def refuse(path):
            raise AssertionError(f"{path} was opened in the app's process")

        monkeypatch.setattr(container, "_open", refuse)
        monkeypatch.setattr(picture.Image, "open", refuse)
        with Services(tmp_path / "state") as services:
            services.open_folder(tmp_path / "media", False)
            for item in services.library.items:
                assert services.sandbox.thumbnail(item).data
                assert services.sandbox.sheet(item, SamplePlan())
            assert services.estimate().num_unreadable == 0
        assert workers() == []


class TestTrouble:
    def test_file_that_takes_too_long_is_abandoned(self, sandbox, tmp_path):
        slow, good = make_slow_gif(tmp_path / "a.gif"), item_of(make_picture(tmp_path / "b.png"))
        started_s = time.monotonic()
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(sandbox.probe, slow, None, 1.5)
            sandbox.thumbnail(good)
            assert not waiting.done()  # who asks meanwhile is served
            with pytest.raises(
                MediaError, match=r"^takes more than 2 s to read; the file may be damaged, or its disk slow$"
            ):
                waiting.result()
        assert time.monotonic() - started_s < 8
        assert sandbox.thumbnail(good).data

    @pytest.mark.skipif(not hasattr(signal, "SIGSEGV") or os.name == "nt", reason="POSIX signals")
    def test_crash_costs_only_its_own_file(self, sandbox, tmp_path):
        slow, good = make_slow_gif(tmp_path / "a.gif"), item_of(make_picture(tmp_path / "b.png"))
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(sandbox.probe, slow)
            wait_for_reader(slow).send_signal(signal.SIGSEGV)
            with pytest.raises(MediaError, match=r"^its decoder crashed \(SIGSEGV\); the file is damaged or mal"):
                waiting.result()
        assert sandbox.thumbnail(good).data

    @linux_only
    def test_memory_is_limited(self, tmp_path):
        sandbox = Sandbox(1, memory_bytes=200_000_000)
        Image.new("P", (10_000, 10_000)).save(tmp_path / "a.png")  # a few KB that take 400 MB in color
        good = item_of(make_picture(tmp_path / "b.png"))
        with pytest.raises(MediaError, match="memory"):
            sandbox.thumbnail(item_of(tmp_path / "a.png"))
        assert sandbox.thumbnail(good).data
        sandbox.close()

    def test_closing_ends_reading(self, tmp_path):
        sandbox, slow = Sandbox(2), make_slow_gif(tmp_path / "a.gif")
        with ThreadPoolExecutor() as pool:
            waiting = [pool.submit(sandbox.probe, slow) for _ in range(3)]
            wait_for_reader(slow)
            started_s = time.monotonic()
            sandbox.close()
            for each in waiting:
                with pytest.raises(MediaError, match=r"^not read: the app is closing$"):
                    each.result()
        assert time.monotonic() - started_s < 3
        with pytest.raises(MediaError, match=r"^not read: the app is closing$"):
            sandbox.probe(slow)
        assert workers() == []

    @pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
    @pytest.mark.parametrize(("busy", "within_s"), [(False, 4.0), (True, 10.0)])
    def test_no_worker_outlives_an_app_that_is_killed(self, tmp_path, busy, within_s):
        """An idle worker ends with its pipe; the operating system ends a busy one after its time limit."""
        good, slow = make_picture(tmp_path / "a.png"), make_slow_gif(tmp_path / "b.gif")
        script = tmp_path / "app.py"
        script.write_text(
            "import sys, threading, time\n"
            "from pathlib import Path\n"
            "from captioner.media.sandbox import Sandbox\n"
            "if __name__ == '__main__':\n"
            "    sandbox = Sandbox(1)\n"
            "    sandbox.probe(Path(sys.argv[1]))\n"
            "    if len(sys.argv) > 2:\n"
            "        threading.Thread(target=sandbox.probe, args=(Path(sys.argv[2]), None, 2.0)).start()\n"
            "        time.sleep(0.5)\n"
            "    print('ready', flush=True)\n"
            "    time.sleep(60)\n"
        )
        command = [sys.executable, script, good, *([slow] if busy else [])]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as app:
            assert app.stdout.readline() == "ready\n"
            children = psutil.Process(app.pid).children(recursive=True)
            assert children
            app.kill()
        deadline_s = time.monotonic() + within_s
        while any(is_running(child) for child in children):
            assert time.monotonic() < deadline_s
            time.sleep(0.05)

    def test_interrupt_of_the_terminal_does_not_reach_a_worker(self, sandbox, tmp_path):
        good = item_of(make_picture(tmp_path / "a.png"))
        sandbox.thumbnail(good)
        (worker,), num_threads = workers(), threading.active_count()
        if os.name != "nt":
            worker.send_signal(signal.SIGINT)
        assert sandbox.thumbnail(good).data
        assert workers() == [worker]
        assert threading.active_count() <= num_threads
