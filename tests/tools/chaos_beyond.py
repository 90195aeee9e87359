"""Workers beyond this program in the chaos runs: a model server of its own process, and the nodes of a Ray cluster.

`python -m tests.tools.chaos_beyond PORT` is the server.
"""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
SERVER_KINDS = ("server", "server twice", "server, then program")
RAY_KINDS = ("ray worker", "ray node", "ray node, then program")
TOKEN_S, AT_ONCE = 0.01, 2  # so that a run takes some seconds
NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20}


@dataclass(frozen=True)
class Place:
    """Where the captions of a run are made: options of the command line, and what can be killed there by name."""

    options: tuple[str, ...]
    victims: dict[str, Callable[[], bool]]  # each kills, starts again, and returns whether there was anything to kill


@contextlib.contextmanager
def server_place() -> Iterator[Place]:
    """Yield a model server that can be killed."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    running = [_start_server(port)]

    def kill() -> bool:
        running[0].kill()
        running[0].wait()
        running[0] = _start_server(port)
        return True

    try:
        yield Place(("--endpoint", f"http://127.0.0.1:{port}/v1#{AT_ONCE}"), {"server": kill})
    finally:
        running[0].kill()
        running[0].wait()


def _start_server(port: int) -> subprocess.Popen:
    server = subprocess.Popen([sys.executable, "-m", "tests.tools.chaos_beyond", str(port)], cwd=ROOT)
    while server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return server
        time.sleep(0.05)
    raise RuntimeError("the model server did not start")


def serve(port: int) -> None:
    """Run the model server until it is killed."""
    from tests.support.model_server import FakeServer, running

    with running(FakeServer(token_s=TOKEN_S), port):
        threading.Event().wait()


@contextlib.contextmanager
def ray_place() -> Iterator[Place]:
    """Yield a cluster of two nodes, of which the second can be killed, and the worker processes of both."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
    second = [cluster.add_node(**NODE)]

    def kill_worker() -> bool:
        found = [each for raylet in _raylets() for each in raylet.children(recursive=True) if _is_actor(each)]
        for actor in found[:1]:
            actor.kill()
        return bool(found)

    def kill_node() -> bool:
        cluster.remove_node(second[0], allow_graceful=False)
        second[0] = cluster.add_node(**NODE)
        return True

    try:
        options = ("--ray", cluster.address, "--ray-gpus", "0", "--model", "demo", "--batch-size", "2")
        yield Place(options, {"ray worker": kill_worker, "ray node": kill_node})
    finally:
        cluster.shutdown()


def _raylets() -> list[psutil.Process]:
    return [each for each in psutil.Process().children() if each.name() == "raylet"]


def _is_actor(process: psutil.Process) -> bool:
    try:
        return "NodeWorker" in " ".join(process.cmdline())
    except psutil.Error:
        return False


if __name__ == "__main__":
    serve(int(sys.argv[1]))
