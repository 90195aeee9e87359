"""A replica in a separate process: all its memory is returned when it ends, and a crash stays inside."""

import contextlib
import ctypes
import logging
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from captioner.formatting import plural
from captioner.redaction import hide_secrets
from captioner.replicas.protocol import Answer, Load, Lost, Ready, ReplicaEvent
from captioner.system.error_log import ErrorLog, one_line_handler
from captioner.system.processes import block_sigint, complete_environment, end_after_the_app
from captioner.values import CaptionRequest, ModelSpec

log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 1.0  # for a worker to end by itself; it has nothing to clean up
START_TIMEOUT_S = 3600.0  # loading 150 GB from a slow disk takes half of that
EXIT_TIMEOUT_S = 3.0  # from the end of the connection to the end of the process
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def worker_main(connection: Connection, spec: ModelSpec, folder: Path, num_threads: int) -> None:
    """Run the worker process."""
    prepare_process()
    try:
        from captioner.replicas.worker import serve  # imports torch and transformers, which only this process needs
    except Exception:  # a damaged installation may raise anything
        log.exception("the libraries of the worker cannot be loaded")
        sys.exit(1)
    serve(connection, spec, folder, num_threads)


def prepare_process() -> None:
    """Make this process a worker: it ends with the app, and logs no secrets."""
    end_after_the_app()
    multiprocessing.current_process().daemon = False  # so that it may start the process for chat templates
    _end_with_the_app()
    hide_secrets()
    logging.basicConfig(level=logging.WARNING, handlers=[one_line_handler(ErrorLog(None))])


class ProcessReplica:
    """A replica in a spawned worker process; worker.py is the other end of the connection.

    A worker that leaves requests unanswered, or is silent too long while it has some, is killed and reported as lost.
    On Linux the worker ends with the thread that created it, so that thread must live long enough.
    """

    context = multiprocessing.get_context("spawn")
    main = staticmethod(worker_main)

    def __init__(self, name: str, spec: ModelSpec, folder: Path, num_threads: int) -> None:
        """Start the worker. folder: holds the model. num_threads: this replica's share of the machine's cores."""
        self.name, self.spec, self.folder = name, spec, folder
        self.capacity = 0
        self._guard = threading.Lock()  # of the next two
        self._open: set[int] = set()  # ids of requests without an answer
        self._num_submitted = 0
        self._silent_s, self._max_silence_s = 0.0, START_TIMEOUT_S
        self._connection, far_end = self.context.Pipe()
        arguments = (far_end, spec, folder, num_threads)
        self._process = self.context.Process(target=self.main, args=arguments, name=f"replica {name}", daemon=True)
        complete_environment()
        with block_sigint():
            self._process.start()
        far_end.close()
        self._outbox: queue.SimpleQueue[CaptionRequest | int | None] = queue.SimpleQueue()
        threading.Thread(target=self._send, name=f"send {name}", daemon=True).start()

    def submit(self, request: CaptionRequest) -> None:
        with self._guard:
            self._open.add(request.id)
            self._num_submitted += 1
        self._outbox.put(request)

    def cancel(self, request_id: int) -> None:
        self._outbox.put(request_id)

    def events(self, timeout_s: float) -> list[ReplicaEvent]:
        events: list[ReplicaEvent] = []
        began_s = time.monotonic()
        try:
            while self._connection.poll(0 if events else timeout_s):
                events.append(self._connection.recv())
        except (EOFError, OSError):
            self._process.join(EXIT_TIMEOUT_S)
            reason = f"its process ended unexpectedly (exit code {self._process.exitcode})"
            raised = self._process.exitcode == 1  # an exception, which another worker would raise again
            return [*events, Lost(reason, final=raised and not self.capacity)]
        if fault := self._fault(events, time.monotonic() - began_s):
            self._process.kill()
            events.append(Lost(fault))
        return events

    def close(self) -> None:
        self._outbox.put(None)
        self._process.join(CLOSE_TIMEOUT_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _fault(self, events: list[ReplicaEvent], waited_s: float) -> str:
        """Return why the worker is lost, after `waited_s` seconds in which it sent `events`; "" if it is not."""
        with self._guard:
            for event in events:
                match event:
                    case Ready():
                        self.capacity, self._max_silence_s = event.capacity, event.max_silence_s
                    case Answer():
                        if event.id not in self._open:
                            log.warning("replica %s answered request %d, which it was not given", self.name, event.id)
                        self._open.discard(event.id)
                    case Load():
                        num_known = event.running + event.waiting + event.decoding + event.queued
                        if self._open and not num_known and event.num_received == self._num_submitted:
                            return f"it left {plural(len(self._open), 'request')} unanswered"
            # Count at most a second at a time: this process may have been suspended, or the machine asleep.
            busy = self._open or not self.capacity
            self._silent_s = self._silent_s + min(waited_s, 1.0) if busy and not events else 0.0
        return f"it did not respond for {self._silent_s:.0f} s" if self._silent_s > self._max_silence_s else ""

    def _send(self) -> None:
        with contextlib.suppress(OSError):  # events() reports a worker that is gone
            for message in iter(self._outbox.get, None):
                self._connection.send(message)  # blocks while the worker is suspended
            self._connection.send(None)


def _end_with_the_app() -> None:
    """Make this process end when the app is killed, even while it loads a model or a decoder hangs."""

    def watch(app: BaseProcess) -> None:
        app.join()
        os._exit(1)

    if sys.platform == "linux":  # a thread does not notice the app's end while C code holds the GIL
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if app := multiprocessing.parent_process():
        threading.Thread(target=watch, args=(app,), name="watch the app", daemon=True).start()
