"""A replica in a process of its own: its memory comes back for certain, and a crash stays inside."""

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
from pathlib import Path

from captioner.redaction import hide_secrets
from captioner.replicas.protocol import Cancelled, Failed, Finished, Load, Lost, Ready, ReplicaEvent
from captioner.system.processes import block_sigint
from captioner.values import CaptionRequest, ModelSpec

log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 1.0  # for a worker to end by itself; it has nothing to put in order
START_TIMEOUT_S = 3600.0  # to load a model of 150 GB from a slow disk takes half of that
EXIT_TIMEOUT_S = 3.0  # from the end of its connection to that of its process
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def enter(connection: Connection, spec: ModelSpec, folder: Path, num_threads: int) -> None:
    """What the worker process runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_the_app()
    hide_secrets()
    from captioner.replicas.worker import serve  # torch and transformers are wanted in this process alone

    serve(connection, spec, folder, num_threads)


class ProcessReplica:
    """The near end of a spawned worker process (see worker.py for the far end).

    Holds the worker to its word: one that leaves requests unanswered, or says nothing while it has some, is killed and
    reported as lost. On Linux it must be made in a thread that lives as long as the worker shall.
    """

    context = multiprocessing.get_context("spawn")
    enter = staticmethod(enter)

    def __init__(self, name: str, spec: ModelSpec, folder: Path, num_threads: int) -> None:
        """`folder` holds the model; `num_threads` is this replica's share of the machine's cores."""
        self.name, self.spec, self.folder = name, spec, folder
        self.capacity = 0
        self._guard = threading.Lock()  # of the next two
        self._open: set[int] = set()  # ids of requests without an answer
        self._num_submitted = 0
        self._silent_s, self._max_silence_s = 0.0, START_TIMEOUT_S
        self._connection, far_end = self.context.Pipe()
        self._process = self.context.Process(
            target=self.enter, args=(far_end, spec, folder, num_threads), name=f"replica {name}", daemon=True
        )
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
            return [*events, Lost(f"its process ended unexpectedly (exit code {self._process.exitcode})")]
        fault = self._fault(events, time.monotonic() - began_s)
        if fault:
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
        """How the worker broke its word, going by what it said in the last `waited_s`; "" if it did not."""
        with self._guard:
            for event in events:
                match event:
                    case Ready():
                        self.capacity, self._max_silence_s = event.capacity, event.max_silence_s
                    case Finished() | Failed() | Cancelled():
                        if event.id not in self._open:
                            log.warning("replica %s answered request %d, which it does not have", self.name, event.id)
                        self._open.discard(event.id)
                    case Load():
                        if self._open and event.idle and event.num_received == self._num_submitted:
                            return f"it left {len(self._open)} requests without an answer"
            # No more than a second at a time: this process may have been stopped or the machine asleep.
            busy = self._open or not self.capacity
            self._silent_s = self._silent_s + min(waited_s, 1.0) if busy and not events else 0.0
        return f"it said nothing for {self._silent_s:.0f} s" if self._silent_s > self._max_silence_s else ""

    def _send(self) -> None:
        """In a thread of its own: a worker that is stopped takes nothing. events() tells of one that is gone, once."""
        with contextlib.suppress(OSError):
            while True:
                message = self._outbox.get()
                self._connection.send(message)
                if message is None:
                    return


def _end_with_the_app() -> None:
    """Whatever this worker is doing when the app is killed: loading, a long step, or a decoder that hangs.

    A thread sees the app's end on every system, but not while C code holds the GIL; there Linux's signal helps.
    """

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=watch, name="watch the app", daemon=True).start()
