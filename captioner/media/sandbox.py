"""Media files read in processes apart from the app's, so that a hostile one costs no more than itself.

A file that hangs its decoder, crashes it or fills the memory costs one of these processes, which is replaced, and an
error of one line. A process holds nothing of the app's: it imports the decoders alone, can put nothing into a file
(but on Windows), and what comes back from it is read as JSON and bytes, never unpickled. It is not kept from reading
other files, nor from the network: that media cannot name any is seen to in container.py and picture.py.

It ends with the app, however that ends: when nobody holds the other end of its pipe, and at the latest when the time
for what it does is up, which the system sees to.
"""

import contextlib
import json
import logging
import multiprocessing
import os
import signal
import threading
import time
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from captioner.errors import MediaError
from captioner.media.contact_sheet import make_sheet
from captioner.media.probe import probe
from captioner.media.thumbnail import Thumbnail, make_thumbnail
from captioner.system.processes import block_sigint
from captioner.values import MediaInfo, MediaItem, MediaKind, SamplePlan

try:
    import resource
except ImportError:  # Windows, where the app watches memory and time by itself
    resource = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

WORKERS = 4  # one more than thumbnails are made at once
MEMORY_BYTES = 2_000_000_000  # of one worker: what the largest picture takes that is within its limit
THUMBNAIL_S, PROBE_S, SHEET_S = 20.0, 30.0, 60.0  # limits for one file; a sheet decodes as much as a caption
START_S = 60.0
CLOSE_S = 1.0
WATCH_S = 0.2  # between two looks at the memory of a worker that takes long
MAX_ANSWER_BYTES = 64_000_000

CLOSING = "not read: the app is closing"
TOO_LARGE = "needs too much memory to read; make it smaller first"


class Sandbox:
    """Up to `count` worker processes, each started when it is needed first. Any thread may call.

    One file at a time in each; who finds all of them busy waits. All methods but close() raise MediaError with one
    line that does not repeat the path.
    """

    def __init__(self, count: int = WORKERS, memory_bytes: int = MEMORY_BYTES) -> None:
        self._turns, self._memory_bytes = threading.Semaphore(count), memory_bytes
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._closed = False

    def thumbnail(self, item: MediaItem, limit_s: float = THUMBNAIL_S) -> Thumbnail:
        facts, data = self._run("thumbnail", limit_s, item)
        return Thumbnail(data, float(facts["duration_s"]))

    def probe(self, path: Path, kind: MediaKind | None = None, limit_s: float = PROBE_S) -> MediaInfo:
        return MediaInfo(**self._run("probe", limit_s, path, kind)[0])

    def sheet(self, item: MediaItem, plan: SamplePlan, limit_s: float = SHEET_S) -> bytes:
        """A JPEG of the frames that the plan takes."""
        return self._run("sheet", limit_s, item, plan)[1]

    def close(self) -> None:
        """End all workers. What they were doing fails."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            for worker in self._busy:
                worker.kill()
        for worker in idle:
            worker.hang_up()
        for worker in idle:
            worker.end()

    def _run(self, task: str, limit_s: float, *arguments: Any) -> tuple[dict[str, Any], bytes]:
        with self._turns:
            worker = self._take()
            try:
                answer, data = worker.ask(task, limit_s, arguments)
            except BaseException:
                worker.kill()
                worker.end()
                raise
            finally:
                with self._lock:
                    self._busy.discard(worker)
            self._give_back(worker, is_leaving=answer.get("leaving", False))
        if "error" in answer:
            raise MediaError(str(answer["error"]))
        return answer["facts"], data

    def _take(self) -> "_Worker":
        with self._lock:
            worker = self._idle.pop() if self._idle else _Worker(self._memory_bytes)
            self._busy.add(worker)
            if self._closed:
                worker.kill()
        return worker

    def _give_back(self, worker: "_Worker", is_leaving: bool) -> None:
        with self._lock:
            if not is_leaving and not self._closed:
                self._idle.append(worker)
                return
        worker.hang_up()
        worker.end()


class _Worker:
    """The near end of one process. For one thread at a time, but for kill()."""

    def __init__(self, memory_bytes: int) -> None:
        """Nothing is started yet."""
        self._memory_bytes = memory_bytes
        self._process: multiprocessing.process.BaseProcess | None = None
        self._killed = False
        self._lock = threading.Lock()

    def ask(self, task: str, limit_s: float, arguments: tuple[Any, ...]) -> tuple[dict[str, Any], bytes]:
        """(answer, data), in `limit_s` from when it is started. Raises MediaError, after which it is of no more use."""
        if self._process is None:
            self._start()
        try:
            self._connection.send((task, limit_s, arguments))
            self._wait(limit_s, f"takes over {limit_s:.0f} s to read; it may be damaged, or its disk slow")
            return json.loads(self._receive()), self._receive()
        except (EOFError, OSError, ValueError):
            raise MediaError(CLOSING if self._killed else self._cause_of_death(limit_s)) from None

    def kill(self) -> None:
        """From any thread: whoever waits for an answer is told."""
        with self._lock:
            self._killed = True
            if self._process:
                self._process.kill()

    def hang_up(self) -> None:
        """An idle one ends by itself then."""
        if self._process:
            self._connection.close()

    def end(self) -> None:
        if self._process:
            self._process.join(CLOSE_S)
            self._process.kill()
            self._process.join()
            self._connection.close()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, far_end = context.Pipe()
        process = context.Process(target=_serve, args=(far_end, self._memory_bytes), name="media", daemon=True)
        with self._lock:
            if self._killed:
                raise MediaError(CLOSING)
            with block_sigint():
                process.start()
            self._process = process
        far_end.close()
        try:
            self._wait(START_S, "")
            self._receive()
        except (EOFError, OSError, MediaError):
            if self._killed:
                raise MediaError(CLOSING) from None
            log.error("a process to read media in did not start (exit code %s)", process.exitcode)
            raise MediaError("not read: the process for it did not start; see the log") from None

    def _wait(self, limit_s: float, too_late: str) -> None:
        """For something to receive. Raises MediaError when the time is up, or it takes too much memory."""
        deadline_s = time.monotonic() + limit_s
        while not self._connection.poll(WATCH_S):
            if time.monotonic() > deadline_s:
                raise MediaError(too_late)
            with contextlib.suppress(psutil.Error):
                if psutil.Process(self._process.pid).memory_info().rss > self._memory_bytes:
                    raise MediaError(TOO_LARGE)

    def _receive(self) -> bytes:
        return self._connection.recv_bytes(MAX_ANSWER_BYTES)

    def _cause_of_death(self, limit_s: float) -> str:
        self._process.join(CLOSE_S)
        code = self._process.exitcode
        if code is None or code >= 0:
            return "its decoder ended unexpectedly; the file is damaged, or made to do harm"
        if hasattr(signal, "SIGALRM") and code == -signal.SIGALRM:
            return f"takes over {limit_s:.0f} s to read; it may be damaged, or its disk slow"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"its decoder crashed ({name}); the file is damaged, or made to do harm"


# The far end


def _serve(connection: Connection, memory_bytes: int) -> None:
    """What a worker runs, until the app hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit(memory_bytes)
    connection.send_bytes(b"ready")
    while True:
        try:
            task, limit_s, arguments = connection.recv()
        except (EOFError, OSError):
            return
        _alarm(limit_s + 1)
        answer, data = _answer(task, arguments)
        _alarm(0)
        with contextlib.suppress(OSError):  # nobody waits any more
            connection.send_bytes(json.dumps(answer).encode())
            connection.send_bytes(data)
        if answer.get("leaving"):
            return


def _limit(memory_bytes: int) -> None:
    """Of this process: no more memory than that, no files written, no dumps of it, nothing printed.

    macOS takes no limit of memory; there the app watches it.
    """
    with open(os.devnull, "w") as nowhere:  # decoders print what they think of a damaged file
        os.dup2(nowhere.fileno(), 2)
    if resource is None:
        return
    for kind, limit in (
        (resource.RLIMIT_DATA, _data_bytes() + memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        with contextlib.suppress(ValueError, OSError):  # a lower one is set already
            resource.setrlimit(kind, (limit, limit))


def _data_bytes() -> int:
    """What the limit counts, before any file is read: mostly the stacks of numpy's threads, one for each core."""
    try:
        fields = Path("/proc/self/statm").read_text().split()
    except OSError:
        return 0
    return int(fields[5]) * resource.getpagesize()


def _alarm(limit_s: float) -> None:
    """After this time the system ends the process, whatever it does; the app's own limit is a little shorter."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, limit_s)


def _answer(task: str, arguments: tuple[Any, ...]) -> tuple[dict[str, Any], bytes]:
    try:
        facts, data = TASKS[task](*arguments)
        return {"facts": facts}, data
    except MediaError as error:
        return {"error": str(error)}, b""
    except MemoryError:
        return {"error": TOO_LARGE, "leaving": True}, b""
    except Exception as error:  # a decoder's surprise costs this file, not the process
        text = (str(error).splitlines() or [""])[0][:200]
        return {"error": f"cannot be read ({type(error).__name__}: {text})"}, b""


def _make_thumbnail(item: MediaItem) -> tuple[dict[str, Any], bytes]:
    made = make_thumbnail(item)
    return {"duration_s": made.duration_s}, made.data


TASKS = {
    "thumbnail": _make_thumbnail,
    "probe": lambda path, kind: (asdict(probe(path, kind)), b""),
    "sheet": lambda item, plan: ({}, make_sheet(item, plan)),
}
