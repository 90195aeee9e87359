"""A replica at the other end of a connection, which may lead to a process of this machine or to a cluster."""

import contextlib
import logging
import multiprocessing
import queue
import threading
import time
from abc import ABC, abstractmethod
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from pathlib import Path

from captioner.formatting import plural
from captioner.replicas.protocol import Answer, Load, Lost, Ready, ReplicaEvent
from captioner.values import CaptionRequest, ModelSpec

log = logging.getLogger(__name__)

START_TIMEOUT_S = 3600.0  # loading 150 GB from a slow disk takes half of that


class PipedReplica(ABC):
    """Sends requests through a connection, and receives events from it. Its kinds say what is at the far end.

    A worker that leaves requests unanswered, or is silent too long while it has some, is killed and reported as lost.
    """

    context = multiprocessing.get_context("spawn")

    def __init__(self, name: str, spec: ModelSpec, folder: Path, num_threads: int) -> None:
        """Start the worker. folder: holds the model. num_threads: this replica's share of the machine's cores."""
        self.name, self.spec, self.folder = name, spec, folder
        self.capacity = 0
        self._guard = threading.Lock()  # of the next two
        self._open: set[int] = set()  # ids of requests without an answer
        self._num_submitted = 0
        self._silent_s, self._max_silence_s = 0.0, START_TIMEOUT_S
        self._connection, far_end = self.context.Pipe()
        self._open_far_end(far_end, num_threads)
        far_end.close()
        self._outbox: queue.SimpleQueue[CaptionRequest | int | None] = queue.SimpleQueue()
        threading.Thread(target=self._send, name=f"send {name}", daemon=True).start()

    @abstractmethod
    def _open_far_end(self, far_end: Connection, num_threads: int) -> None: ...

    @abstractmethod
    def _kill(self) -> None: ...

    @abstractmethod
    def _describe_end(self) -> list[ReplicaEvent]: ...

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
            return [*events, *self._describe_end()]
        if fault := self._fault(events, time.monotonic() - began_s):
            self._kill()
            events.append(Lost(fault))
        return events

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


def hand_over(connection: Connection, process_id: int | None, far_end: Connection, name: str, folder: Path) -> None:
    """Send the far end of a replica's connection, its name and the folder of its model to a process. Raise OSError.

    No copy of it stays here, so the replica sees when that process ends, at whatever moment. A pickled connection would
    stay open here until the process takes it.
    """
    connection.send((name, folder))
    send_handle(connection, far_end.fileno(), process_id)


def take_over(connection: Connection) -> tuple[Connection, str, Path]:
    """Return what `hand_over` sends. Raise EOFError and OSError."""
    name, folder = connection.recv()
    return type(connection)(recv_handle(connection)), name, folder
