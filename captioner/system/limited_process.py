"""A process with limits of time and memory, for work on what strangers made: media files, search patterns.

It cannot write files (except on Windows), and its answers are read as JSON and bytes, never unpickled. It ends with the
app, even if the app is killed: when its pipe closes or its time limit is over.
"""

import contextlib
import json
import logging
import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal

from captioner.system.processes import block_sigint, complete_environment, end_after_the_app

try:
    import psutil
except ImportError:  # on a bare image, whose system limits the memory
    psutil = None  # type: ignore[assignment]
try:
    import resource
except ImportError:  # on Windows, where the app itself watches memory and time
    resource = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

START_S, CLOSE_S = 60.0, 1.0
WATCH_S = 0.2  # between two checks of the memory of a busy process
MAX_ANSWER_BYTES = 64_000_000

Answer = tuple[dict[str, Any], bytes]  # sent as JSON and as it is; {"leaving": True} ends the process
AnswerTo = Callable[..., Answer]  # a function of a module, called in the process; raises MemoryError, nothing else


class ProcessFailure(Exception):
    """The process gave no answer and cannot be used again. `signal` names what ended it, if it crashed."""

    def __init__(self, reason: Literal["slow", "large", "ended", "closed", "not started"], signal: str = "") -> None:
        super().__init__(reason)
        self.reason, self.signal = reason, signal


class LimitedProcess:
    """The app's side of one process, for one thread at a time except for kill(). It starts with the first ask()."""

    context: BaseContext = multiprocessing.get_context("spawn")

    def __init__(self, name: str, answer_to: AnswerTo, memory_bytes: int, prepare: Callable[[], object] = dict) -> None:
        """memory_bytes: what the process may take beyond what it has taken when it is ready.

        prepare: a function of a module, called in the process before it is ready.
        """
        self._name, self._answer_to, self._memory_bytes, self._prepare = name, answer_to, memory_bytes, prepare
        self._max_bytes = math.inf  # while it imports its modules, and those of the program that started it
        self._process: BaseProcess | None = None
        self._killed, self._lock = False, threading.Lock()

    def ask(self, limit_s: float, *arguments: Any) -> Answer:
        """Return the answer. Raises ProcessFailure, also after `limit_s`; then this object cannot be used again."""
        process = self._process or self._start()
        try:
            self._connection.send((limit_s, arguments))
            self._wait(process, limit_s)
            answer, data = json.loads(self._receive()), self._receive()
        except (EOFError, OSError, ValueError):
            raise ProcessFailure("closed") if self._killed else _failure(process) from None
        if answer.get("out of memory"):
            raise ProcessFailure("large")
        return answer, data

    def kill(self) -> None:
        """End the process, from any thread; an ask() that waits raises ProcessFailure."""
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
        self._connection, far_end = self.context.Pipe()
        arguments = (far_end, self._answer_to, self._memory_bytes, self._prepare)
        process: BaseProcess = self.context.Process(  # type: ignore[attr-defined]  # missing in the types
            target=_serve, args=arguments, name=self._name, daemon=True
        )
        with self._lock:
            if self._killed:
                raise ProcessFailure("closed")
            complete_environment()
            with block_sigint():
                process.start()
            self._process = process
        far_end.close()
        try:
            self._wait(process, START_S)
            self._receive()
            self._max_bytes = _rss_bytes(process) + self._memory_bytes if psutil else math.inf
            return process
        except (EOFError, OSError, ProcessFailure):
            if self._killed:
                raise ProcessFailure("closed") from None
            log.error("the process %r did not start (exit code %s)", self._name, process.exitcode)
            raise ProcessFailure("not started") from None

    def _wait(self, process: BaseProcess, limit_s: float) -> None:
        """Wait for an answer. Raises ProcessFailure after `limit_s`, or if the process takes too much memory."""
        deadline_s = time.monotonic() + limit_s
        while not self._connection.poll(WATCH_S):
            if time.monotonic() > deadline_s:
                raise ProcessFailure("slow")
            if psutil and _rss_bytes(process) > self._max_bytes:
                raise ProcessFailure("large")

    def _receive(self) -> bytes:
        return self._connection.recv_bytes(MAX_ANSWER_BYTES)


def _rss_bytes(process: BaseProcess) -> int:
    try:
        return psutil.Process(process.pid).memory_info().rss
    except psutil.Error:  # it has ended
        return 0


def _failure(process: BaseProcess) -> ProcessFailure:
    process.join(CLOSE_S)
    code = process.exitcode
    if code is None or code >= 0:
        return ProcessFailure("ended")
    if hasattr(signal, "SIGALRM") and code == -signal.SIGALRM:
        return ProcessFailure("slow")
    return ProcessFailure("ended", signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}")


# In the process


def _serve(connection: Connection, answer_to: AnswerTo, memory_bytes: int, prepare: Callable[[], object]) -> None:
    end_after_the_app()
    prepare()
    _limit(memory_bytes)
    connection.send_bytes(b"ready")
    while True:
        try:
            limit_s, arguments = connection.recv()
        except (EOFError, OSError):
            return
        _alarm(limit_s + 1)  # the app gives up first
        try:
            answer, data = answer_to(*arguments)
        except MemoryError:
            answer, data = {"out of memory": True}, b""
        _alarm(0)
        with contextlib.suppress(OSError):  # the app is gone
            connection.send_bytes(json.dumps(answer).encode())
            connection.send_bytes(data)


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
    """Return the bytes that the limit counts before any work: mostly the stacks of numpy's threads."""
    try:
        fields = Path("/proc/self/statm").read_text().split()
    except OSError:
        return 0
    return int(fields[5]) * resource.getpagesize()


def _alarm(limit_s: float) -> None:
    """Have the operating system end this process after `limit_s`; 0 cancels that."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, limit_s)
