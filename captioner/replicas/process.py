"""A replica in a process of its own: its memory comes back for certain, and a crash stays inside."""

import contextlib
import multiprocessing
import signal
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from captioner.replicas.base import Lost, Ready, ReplicaEvent
from captioner.values import CaptionRequest, ModelSpec

CLOSE_TIMEOUT_S = 3.0


class ProcessReplica:
    """The near end of a spawned worker process (see worker.py for the far end)."""

    def __init__(self, name: str, spec: ModelSpec, folder: Path, num_threads: int) -> None:
        """`folder` holds the model; `num_threads` is this replica's share of the machine's cores."""
        self.name, self.spec, self.folder = name, spec, folder
        self.capacity = 0
        context = multiprocessing.get_context("spawn")
        self._connection, far_end = context.Pipe()
        self._sending = threading.Lock()
        self._process = context.Process(
            target=_enter, args=(far_end, spec, folder, num_threads), name=f"replica {name}", daemon=True
        )
        with _deaf_to_interrupts():
            self._process.start()
        far_end.close()

    def submit(self, request: CaptionRequest) -> None:
        self._send(request)

    def cancel(self, request_id: int) -> None:
        self._send(request_id)

    def events(self, timeout_s: float) -> list[ReplicaEvent]:
        events: list[ReplicaEvent] = []
        try:
            while self._connection.poll(0 if events else timeout_s):
                events.append(self._connection.recv())
                if isinstance(events[-1], Ready):
                    self.capacity = events[-1].capacity
        except (EOFError, OSError):
            self._process.join(CLOSE_TIMEOUT_S)
            events.append(Lost(f"its process ended unexpectedly (exit code {self._process.exitcode})"))
        return events

    def close(self) -> None:
        self._send(None)
        self._process.join(CLOSE_TIMEOUT_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _send(self, message: CaptionRequest | int | None) -> None:
        # A worker that is gone is reported by events(), once.
        with self._sending, contextlib.suppress(OSError):
            self._connection.send(message)


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Ctrl+C reaches every process of a terminal; workers started in here inherit that they do not hear it.

    The app ends them in order. Windows has no such mask; there a worker is deaf from _enter() on.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _enter(connection: Connection, spec: ModelSpec, folder: Path, num_threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from captioner.replicas.worker import serve  # torch and transformers are wanted in this process alone

    serve(connection, spec, folder, num_threads)
