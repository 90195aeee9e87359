"""Replicas in a Ray cluster: each is an actor there, with the same worker process as on this machine.

The app itself never becomes a driver of Ray, which would end the program if the head node went away: one process of its
own does, for all replicas of a cluster.
"""

import contextlib
import os
import threading
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from captioner.replicas.piped import PipedReplica, hand_over, take_over
from captioner.replicas.process import prepare_process
from captioner.replicas.protocol import Cancelled, Lost, ReplicaEvent
from captioner.system.processes import block_sigint, complete_environment
from captioner.values import ModelSpec

CLOSE_TIMEOUT_S = 8.0  # for the actors to end
RAY_MISSING = 'workers in a Ray cluster need the package ray: pip install "ray[default]>=2.60"'


def bridge_main(connection: Connection, spec: ModelSpec) -> None:
    """Run the process that talks to the cluster."""
    prepare_process()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # otherwise Ray reports to its makers
    try:
        from captioner.replicas.ray_bridge import serve  # imports ray, which only this process needs
    except ModuleNotFoundError:
        with contextlib.suppress(EOFError, OSError):
            while True:
                far_end = take_over(connection)[0]
                far_end.send(Lost(RAY_MISSING, final=True))
                far_end.close()
        return
    serve(connection, spec)


class RayCluster:
    """The process that talks to one cluster, started when the first replica is. Used by one thread."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec, self._num_places = spec, 1
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None

    def open(self, far_end: Connection, name: str, folder: Path) -> None:
        """Make an actor for the replica whose connection this is; the process is started if there is none."""
        if not self._pass_on(far_end, name, folder):
            self._start()
            self._pass_on(far_end, name, folder)  # if it has ended already, the replica notices

    def _pass_on(self, far_end: Connection, name: str, folder: Path) -> bool:
        """Hand a connection over to the process; return False if there is none."""
        if not (self._process and self._connection and self._process.is_alive()):
            return False
        try:
            hand_over(self._connection, self._process.pid, far_end, name, folder)
        except OSError:
            return False
        return True

    @property
    def num_places(self) -> int:
        """How many workers the nodes of the cluster have room for now; 1 before that is known."""
        with contextlib.suppress(EOFError, OSError):
            while self._connection and self._connection.poll():
                self._num_places = max(1, self._connection.recv())
        return self._num_places

    def close(self) -> None:
        """End the process and all actors."""
        if self._process and self._connection:
            self._connection.close()
            self._process.join(CLOSE_TIMEOUT_S)
            self._process.kill()
            self._process.join()

    def _start(self) -> None:
        context = PipedReplica.context
        self._connection, far_end = context.Pipe()
        self._process = context.Process(target=bridge_main, args=(far_end, self._spec), name="ray", daemon=True)
        complete_environment()
        with block_sigint():
            self._process.start()
        far_end.close()


class RayReplica(PipedReplica):
    """A replica whose worker process runs on a node of a Ray cluster; `spec.device` is the cluster's address."""

    def __init__(self, cluster: RayCluster, name: str, spec: ModelSpec, folder: Path) -> None:
        self._cluster, self._gone = cluster, threading.Event()
        super().__init__(name, spec, folder, num_threads=1)

    def events(self, timeout_s: float) -> list[ReplicaEvent]:
        events = super().events(timeout_s)
        if any(isinstance(event, Lost) for event in events):
            self._gone.set()
        return events

    def close(self) -> None:
        self._kill()
        self._gone.wait(CLOSE_TIMEOUT_S)

    def _open_far_end(self, far_end: Connection, num_threads: int) -> None:
        self._cluster.open(far_end, self.name, self.folder)

    def _kill(self) -> None:
        self._outbox.put(None)

    def _describe_end(self) -> list[ReplicaEvent]:
        """Give back what was not answered: no file is to blame for the end of the connection."""
        with self._guard:
            given_back: list[ReplicaEvent] = [Cancelled(request_id) for request_id in self._open]
        return [*given_back, Lost("the connection to the Ray cluster ended")]
