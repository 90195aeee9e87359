"""The process between the app and a Ray cluster: one actor for each replica. Ray places them, and says where.

An actor or node that dies gives its work back without charging the files; the app then asks for another actor, which
waits in Ray until a node has room for it.
"""

import contextlib
import errno
import logging
import math
import os
import socket
import stat
import threading
import time
from collections import deque
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.exceptions import ObjectStoreFullError, OutOfDiskError, RayError, RayTaskError

from captioner.formatting import plural
from captioner.replicas.piped import take_over
from captioner.replicas.protocol import Answer, Cancelled, Failed, Lost, ReplicaEvent
from captioner.replicas.ray_node import NodeWorker, room_on
from captioner.system.clusters import PREFIX, WORDS
from captioner.system.pinning import pinned
from captioner.values import CaptionRequest, ModelSpec

log = logging.getLogger(__name__)

SIZE_INTERVAL_S = 1.0  # between two looks at the cluster's nodes
PLACE_TIMEOUT_S = 600.0  # for the first actor to be placed, if the cluster had room for one before
CLOSE_TIMEOUT_S = 3.0
CONNECT_TIMEOUT_S = 5.0
PACKAGE = Path(__file__).parents[1]
MAX_FILES_SENT = 4  # by one replica at once, so that few are in the object store
NO_ROOM = "{where} has no room for a worker with {needs}"


def serve(connection: Connection, spec: ModelSpec) -> None:
    """Connect to the cluster and make an actor for each replica that arrives, until the app closes the connection."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    bridge, problem = Bridge(spec), ""
    try:
        bridge.connect()
    except Exception as error:  # Ray raises anything from ConnectionError to AssertionError
        problem = f"cannot use the Ray cluster {spec.device.removeprefix(PREFIX)}: {_explain(error)}"
    threading.Thread(target=bridge.watch, args=(connection,), name="nodes", daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        while True:
            far_end, name, folder = take_over(connection)
            if problem:
                far_end.send(Lost(problem, final=True))
                far_end.close()
            else:
                link = _Link(bridge, far_end, folder)
                threading.Thread(target=link.run, name=f"actor {name}", daemon=True).start()
    if not problem:
        with contextlib.suppress(Exception):
            ray.shutdown()  # which ends all actors of this driver
    os._exit(0)


class Bridge:
    """The connection to the cluster, and what is known of its nodes. Any thread may call."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.dashboard = ""
        self.num_placed = 0  # actors that run now
        self.had_room_s = -math.inf  # monotonic time when the cluster last had room for an actor, or one ran

    def connect(self) -> None:
        """Connect to the cluster, or start one on this machine. Nodes get the code of this version of the package."""
        environment: dict[str, Any] = {"py_modules": [str(PACKAGE)]}
        environment["excludes"] = ["__pycache__"]
        if self.spec.offline:
            environment["env_vars"] = {"HF_HUB_OFFLINE": "1"}
        address = self.spec.device.removeprefix(PREFIX)
        if address not in WORDS:
            _reach(address)
        context = ray.init(
            address, runtime_env=environment, logging_level=logging.ERROR, log_to_driver=False, configure_logging=False
        )
        self.dashboard = f"http://{context.dashboard_url}" if context.dashboard_url else ""
        self.find_room()

    def watch(self, connection: Connection) -> None:
        """Tell the app how many workers the cluster has room for whenever that changes."""
        known = 0
        with contextlib.suppress(Exception):  # the app or the cluster is gone
            while True:
                if (room := self.find_room()) != known:
                    connection.send(room)
                    known = room
                time.sleep(SIZE_INTERVAL_S)

    def find_room(self) -> int:
        """Return how many workers the nodes have room for, were they used for nothing else."""
        room = sum(room_on(node, self.spec) for node in ray.nodes())
        if room or self.num_placed:
            self.had_room_s = time.monotonic()
        return room

    def problem(self) -> str:
        """Return why no actor can be placed, "" if it is worth waiting."""
        if self.spec.ray_workers or time.monotonic() - self.had_room_s < PLACE_TIMEOUT_S:
            return ""
        nodes = [node for node in ray.nodes() if node["Alive"]]
        needs = f"{self.spec.ray_gpus:g} GPU" if self.spec.ray_gpus else plural(self.spec.ray_cpus, "CPU")
        advice = "; --ray-gpus 0 uses CPUs" if self.spec.ray_gpus else ""
        where = f"the Ray cluster ({plural(len(nodes), 'node')})"
        return f"{NO_ROOM.format(where=where, needs=needs)}{advice}; --ray-workers waits for nodes to be started"


class _Link:
    """One replica: its connection to the app, and its actor."""

    def __init__(self, bridge: Bridge, connection: Connection, folder: Path) -> None:
        self._bridge, self._connection, self._folder = bridge, connection, folder
        self._sending = threading.Lock()
        self._open: set[int] = set()  # ids of requests without an answer
        self._files: deque[Any] = deque()  # references to answers for files that were sent
        self._closed = threading.Event()
        self._error: RayError | None = None  # of a command

    def run(self) -> None:
        """Make the actor and pass its events on until it ends."""
        spec = self._bridge.spec
        groups = {"events": 1, "commands": 1}  # commands in one thread arrive in order
        options = {"num_gpus": spec.ray_gpus, "num_cpus": spec.ray_cpus, "max_restarts": 0}
        try:
            self._actor = ray.remote(concurrency_groups=groups)(NodeWorker).options(**options).remote()
            threading.Thread(target=self._read, name="commands", daemon=True).start()
            if self._wait_for_a_place():
                self._pass_on_events()
        except Exception as error:  # of Ray; or the app is gone
            reason = f"its actor in the Ray cluster ended: {_explain(self._error or error)}"
            with contextlib.suppress(OSError):
                self._give_back()
                self._send(Lost(reason))
        finally:
            with contextlib.suppress(Exception):
                ray.kill(self._actor)
            self._connection.close()

    def _wait_for_a_place(self) -> bool:
        ready = self._actor.place.remote()
        while not ray.wait([ready], timeout=1.0)[0]:
            if problem := self._bridge.problem():
                self._send(Lost(problem, final=True))
            if problem or self._closed.is_set():
                return False
        node_id, gpus = ray.get(ready)
        node = next(node for node in ray.nodes() if node["NodeID"] == node_id)
        address, name, host = node["NodeManagerAddress"], node["NodeName"], node["NodeManagerHostname"]
        device = f"GPU {', '.join(map(str, gpus))}" if gpus else "CPU"
        self._node = f"{host if name == address else name} · {device}"  # a name that was given to it, or the machine's
        spec, cores = self._bridge.spec, node["Resources"].get("CPU", 1)
        share = int(cores / max(1, room_on(node, spec))) if spec.ray_gpus else spec.ray_cpus
        dashboard = self._bridge.dashboard
        rows = (("node", self._node), ("address", address), *([("Ray dashboard", dashboard)] * bool(dashboard)))
        self._start = (self._node, rows, spec, self._folder, max(1, share))
        return True

    def _pass_on_events(self) -> None:
        self._bridge.num_placed += 1
        try:
            method = self._actor.events.options(num_returns="streaming", concurrency_group="events")
            for reference in method.remote(*self._start):
                for event in ray.get(reference):
                    if isinstance(event, Answer):
                        self._open.discard(event.id)
                    self._send(event)
        finally:
            self._bridge.num_placed -= 1

    def _read(self) -> None:
        """Pass the app's requests and cancels on, until it says that the replica ends or is gone."""
        command = self._actor.take.options(concurrency_group="commands")
        try:
            while (message := self._connection.recv()) is not None:
                if isinstance(message, CaptionRequest):
                    self._open.add(message.id)
                    self._submit(message, command)
                else:
                    command.remote(message)
        except RayError as error:
            self._error = error
            with contextlib.suppress(Exception):
                ray.kill(self._actor)  # so that run() ends, too
            return
        except (EOFError, OSError, TypeError):  # TypeError: run() has closed the connection meanwhile
            pass
        self._closed.set()
        with contextlib.suppress(Exception):
            ray.get(self._actor.close.remote(), timeout=CLOSE_TIMEOUT_S)
        with contextlib.suppress(Exception):
            ray.kill(self._actor)

    def _submit(self, request: CaptionRequest, command: Any) -> None:
        """Send a request; with the file if the node does not have the same one at its path."""
        try:
            about = request.path.stat()
            if ray.get(command.remote(request, (about.st_size, about.st_mtime_ns))):
                return
            if not stat.S_ISREG(about.st_mode):  # a pipe would be waited for
                raise OSError(errno.EINVAL, "it is not an ordinary file")
            with pinned(request.path, request.within) as path:
                data = np.fromfile(path, np.uint8)
            while len(self._files) >= MAX_FILES_SENT:
                ray.get(self._files.popleft())
            self._files.append(command.remote(request, None, ray.put(data)))
        except (ObjectStoreFullError, OutOfDiskError):
            self._fail(request, f"cannot send the file to {self._node}: Ray's object store is full")
        except RayError:
            raise
        except (OSError, MemoryError) as error:
            reason = getattr(error, "strerror", None) or "not enough memory"
            self._fail(request, f"cannot read the file to send it to {self._node}: {reason}")

    def _fail(self, request: CaptionRequest, reason: str) -> None:
        self._open.discard(request.id)
        self._send(Failed(request.id, reason))

    def _give_back(self) -> None:
        for request_id in list(self._open):
            self._send(Cancelled(request_id))

    def _send(self, event: ReplicaEvent) -> None:
        with self._sending:
            self._connection.send(event)


def _reach(address: str) -> None:
    """Raise ConnectionError if nothing answers at the address, for which Ray itself would wait for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(f"nothing answers at {address} ({getattr(error, 'strerror', None) or error})") from None


def _explain(error: Exception) -> str:
    """Return one line for an error of Ray, whose messages have many."""
    cause = error.cause if isinstance(error, RayTaskError) else None  # what our own code raised on the node
    text = str(cause or error)
    if "No module named" in text:
        missing = text.split("No module named", 1)[1].split("\n", 1)[0].strip(" '\"")
        return f"its node lacks the package {missing}; install the app's requirements.txt on every node"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]
