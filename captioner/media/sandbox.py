"""Reads media files in worker processes, so that a hostile file costs nothing but itself.

A file that hangs or crashes its decoder or fills the memory costs one worker, which is replaced, and gives an error of
one line. A worker imports only the decoders, cannot write files (except on Windows), and its answers are read as JSON
and bytes, never unpickled. It could read other files and use the network; container.py and picture.py keep media files
from making it do so. It ends with the app, even if the app is killed: when its pipe closes or its time limit is over.
"""

import contextlib
import json
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
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
except ImportError:  # on Windows, where the app itself watches memory and time
    resource = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

WORKERS = 4  # one more than the thumbnails made at the same time
MEMORY_BYTES = 2_000_000_000  # of one worker: what the largest allowed picture needs
THUMBNAIL_S, PROBE_S, SHEET_S = 20.0, 30.0, 60.0  # limits for one file; a contact sheet decodes as much as a caption
START_S, CLOSE_S = 60.0, 1.0
WATCH_S = 0.2  # between two checks of the memory of a busy worker
MAX_ANSWER_BYTES = 64_000_000

Answer = tuple[dict[str, Any], bytes]  # sent as JSON, and the bytes of a JPEG

CLOSING = "not read: the app is closing"
TOO_LARGE = "needs too much memory to read; make it smaller first"


def _too_slow(limit_s: float) -> str:
    return f"takes more than {limit_s:.0f} s to read; the file may be damaged, or its disk slow"


class Sandbox:
    """Up to `count` worker processes, started when first needed. Any thread may call, and waits while all are busy.

    All methods except close() raise MediaError with one line that does not repeat the path.
    """

    def __init__(self, count: int = WORKERS, memory_bytes: int = MEMORY_BYTES) -> None:
        self._turns, self._memory_bytes = threading.Semaphore(count), memory_bytes
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._closed, self._lock = False, threading.Lock()

    def thumbnail(self, item: MediaItem, limit_s: float = THUMBNAIL_S) -> Thumbnail:
        """Make the thumbnail of a file in a worker."""
        info, data = self._run("thumbnail", limit_s, item)
        return Thumbnail(data, float(info["duration_s"]))

    def probe(self, path: Path, kind: MediaKind | None = None, limit_s: float = PROBE_S) -> MediaInfo:
        """Probe a file in a worker."""
        return MediaInfo(**self._run("probe", limit_s, path, kind)[0])

    def sheet(self, item: MediaItem, plan: SamplePlan, limit_s: float = SHEET_S) -> bytes:
        """Make the contact sheet of a file in a worker: a JPEG of the frames that the plan takes."""
        return self._run("sheet", limit_s, item, plan)[1]

    def close(self) -> None:
        """End all workers; what they are reading fails."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            for worker in self._busy:
                worker.kill()
        for worker in idle:
            worker.disconnect()  # all of them before waiting for the first to end
        for worker in idle:
            worker.end()

    def _run(self, task: str, limit_s: float, *arguments: Any) -> Answer:
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
            with self._lock:
                is_reused = not answer.get("leaving") and not self._closed
                if is_reused:
                    self._idle.append(worker)
            if not is_reused:
                worker.end()
        if "error" in answer:
            raise MediaError(str(answer["error"]))
        return answer["info"], data

    def _take(self) -> "_Worker":
        with self._lock:
            worker = self._idle.pop() if self._idle else _Worker(self._memory_bytes)
            self._busy.add(worker)
            if self._closed:
                worker.kill()
        return worker


class _Worker:
    """The app's side of one worker process, for one thread at a time except for kill()."""

    def __init__(self, memory_bytes: int) -> None:
        self._memory_bytes = memory_bytes
        self._process: BaseProcess | None = None  # started by the first ask()
        self._killed, self._lock = False, threading.Lock()

    def ask(self, task: str, limit_s: float, arguments: tuple[Any, ...]) -> Answer:
        """Return the answer. Raises MediaError, also after `limit_s`; then this worker cannot be used again."""
        process = self._process or self._start()
        try:
            self._connection.send((task, limit_s, arguments))
            self._wait(process, limit_s, _too_slow(limit_s))
            return json.loads(self._receive()), self._receive()
        except (EOFError, OSError, ValueError):
            raise MediaError(CLOSING if self._killed else _cause_of_death(process, limit_s)) from None

    def kill(self) -> None:
        """End the process, from any thread; an ask() that waits raises MediaError."""
        with self._lock:
            self._killed = True
            if self._process:
                self._process.kill()

    def disconnect(self) -> None:
        """Close the pipe, which ends an idle process."""
        if self._process:
            self._connection.close()

    def end(self) -> None:
        """Close the pipe and wait for the process to end; kill it after CLOSE_S."""
        self.disconnect()
        if self._process:
            self._process.join(CLOSE_S)
            self._process.kill()
            self._process.join()

    def _start(self) -> BaseProcess:
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
            self._wait(process, START_S, "")
            self._receive()
            return process
        except (EOFError, OSError, MediaError):
            if self._killed:
                raise MediaError(CLOSING) from None
            log.error("a process that reads media did not start (exit code %s)", process.exitcode)
            raise MediaError("not read: the process that reads media did not start; see the log") from None

    def _wait(self, process: BaseProcess, limit_s: float, too_late: str) -> None:
        """Wait for an answer. Raises MediaError after `limit_s`, or if the process takes too much memory."""
        deadline_s = time.monotonic() + limit_s
        while not self._connection.poll(WATCH_S):
            if time.monotonic() > deadline_s:
                raise MediaError(too_late)
            with contextlib.suppress(psutil.Error):
                if psutil.Process(process.pid).memory_info().rss > self._memory_bytes:
                    raise MediaError(TOO_LARGE)

    def _receive(self) -> bytes:
        return self._connection.recv_bytes(MAX_ANSWER_BYTES)


def _cause_of_death(process: BaseProcess, limit_s: float) -> str:
    process.join(CLOSE_S)
    code = process.exitcode
    if code is None or code >= 0:
        return "its decoder ended unexpectedly; the file is damaged or malicious"
    if hasattr(signal, "SIGALRM") and code == -signal.SIGALRM:
        return _too_slow(limit_s)
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"its decoder crashed ({name}); the file is damaged or malicious"


# In the worker process


def _serve(connection: Connection, memory_bytes: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit(memory_bytes)
    connection.send_bytes(b"ready")
    while True:
        try:
            task, limit_s, arguments = connection.recv()
        except (EOFError, OSError):
            return
        _alarm(limit_s + 1)  # the app gives up first
        answer, data = _answer(task, arguments)
        _alarm(0)
        with contextlib.suppress(OSError):  # the app is gone
            connection.send_bytes(json.dumps(answer).encode())
            connection.send_bytes(data)
        if answer.get("leaving"):
            return


def _limit(memory_bytes: int) -> None:
    """Limit this process's memory (on macOS only the app does), and keep it from writing files and messages."""
    with open(os.devnull, "w") as null:  # decoders print messages about damaged files
        os.dup2(null.fileno(), 2)
    if resource is None:
        return
    data_bytes = _data_bytes() + memory_bytes
    for kind, limit in ((resource.RLIMIT_DATA, data_bytes), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):  # a lower limit is already set
            resource.setrlimit(kind, (limit, limit))


def _data_bytes() -> int:
    """Return the bytes that the limit counts before a file is read: mostly the stacks of numpy's threads."""
    try:
        fields = Path("/proc/self/statm").read_text().split()
    except OSError:
        return 0
    return int(fields[5]) * resource.getpagesize()


def _alarm(limit_s: float) -> None:
    """Have the operating system end this process after `limit_s`; 0 cancels that."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, limit_s)


def _answer(task: str, arguments: tuple[Any, ...]) -> Answer:
    try:
        info, data = TASKS[task](*arguments)
        return {"info": info}, data
    except MediaError as error:
        return {"error": str(error)}, b""
    except MemoryError:
        return {"error": TOO_LARGE, "leaving": True}, b""
    except Exception as error:  # an unexpected error of a decoder costs this file, not the process
        text = (str(error).splitlines() or [""])[0][:200]
        return {"error": f"cannot be read ({type(error).__name__}: {text})"}, b""


def _make_thumbnail(item: MediaItem) -> Answer:
    made = make_thumbnail(item)
    return {"duration_s": made.duration_s}, made.data


TASKS: dict[str, Callable[..., Answer]] = {
    "thumbnail": _make_thumbnail,
    "probe": lambda path, kind: (asdict(probe(path, kind)), b""),
    "sheet": lambda item, plan: ({}, make_sheet(item, plan)),
}
