"""The actor on a node of a Ray cluster: around the same worker process that runs on this machine. Needs no ray here."""

import importlib.util
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from captioner.engine.download import find_model
from captioner.errors import CaptionerError
from captioner.replicas.process import ProcessReplica
from captioner.replicas.protocol import Answer, Failed, Finished, Lost, Ready, ReplicaEvent
from captioner.system.pinning import escapes
from captioner.values import CapabilityReport, CaptionRequest, ModelSpec

WAIT_S = 0.2
FOLDER = "captioner-files-"  # and the number of the process
NEEDED = ("torch", "transformers", "av", "PIL")  # by the worker process
Stamp = tuple[int, int]  # size and modification time (ns) of a file


def room_on(node: Mapping[str, Any], spec: ModelSpec) -> int:
    """Return how many workers fit on a node, as `ray.nodes()` describes it. A worker is on one GPU, or shares it."""
    if not node["Alive"]:
        return 0
    gpus, cpus = int(node["Resources"].get("GPU", 0)), node["Resources"].get("CPU", 0)
    by_cpus = math.floor(cpus / spec.ray_cpus) if spec.ray_cpus else math.inf
    by_gpus = gpus * math.floor(1 / spec.ray_gpus + 1e-6) if spec.ray_gpus else math.inf
    return int(min(by_cpus, by_gpus))


class NodeWorker:
    """Owns the worker process of a node. Commands come one at a time, beside the one call of events()."""

    def __init__(self) -> None:
        self._replica: ProcessReplica | None = None
        self._copies: Path | None = None  # the folder of the files that were sent
        self._copied: dict[int, Path] = {}  # request id -> the file's path on the app's machine
        self._fault = ""  # why files that are sent cannot be kept here

    def place(self) -> tuple[str, list[int]]:
        """Return the id of the node, and the numbers of the actor's GPUs there, as soon as the actor has its place."""
        import ray

        return ray.get_runtime_context().get_node_id(), ray.get_gpu_ids()

    def events(
        self, node: str, rows: tuple[tuple[str, str], ...], spec: ModelSpec, folder: Path, num_threads: int
    ) -> Iterator[list[ReplicaEvent]]:
        """Start the worker process and yield its events until it is lost. node, rows: for its report.

        Raise CaptionerError if the node cannot keep files, as on a full disk: no request is to blame for that.
        """
        spec = replace(spec, device="cuda:0" if spec.ray_gpus else "cpu")  # of those that Ray lets the actor see
        try:
            self._replica = ProcessReplica(node, spec, self._find_model(spec, folder), num_threads)
        except CaptionerError as error:
            yield [Lost(f"{node}: {error}", final=True)]
            return
        lost = False
        while not lost:
            if self._fault:
                raise CaptionerError(f"{node}: {self._fault}")
            if events := self._replica.events(WAIT_S):
                lost = isinstance(events[-1], Lost)
                yield [self._as_seen_by_the_app(event, node, rows) for event in events]

    def take(self, message: CaptionRequest | int, stamp: Stamp | None = None, data: Any = None) -> bool:
        """Take a request or the id of one to cancel. Return False if the file is needed: the path has another or none.

        stamp: of the file at the request's path. data: what it holds, as an array of bytes.
        """
        assert self._replica  # the app sends requests to workers that are ready
        if not isinstance(message, CaptionRequest):
            self._replica.cancel(message)
            return True
        if data is not None:
            try:
                message = self._copy(message, data)
            except OSError as error:
                self._fault = f"cannot keep a file that was sent: {error.strerror} ({error.filename})"
                return True
        elif not _has_file(message, stamp):
            return False
        self._replica.submit(message)
        return True

    def close(self) -> None:
        """End the worker process and delete what was copied."""
        if self._replica:
            self._replica.close()
        if self._copies:
            shutil.rmtree(self._copies, ignore_errors=True)

    def _find_model(self, spec: ModelSpec, folder: Path) -> Path:
        """Return the folder of the model on this node; it is downloaded if the node does not have it."""
        missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
        if missing:
            raise CaptionerError(
                f"the package {missing[0]} is missing; install the app's requirements.txt on every node"
            )
        if (folder / "config.json").is_file():
            return folder
        bundled = Path(__file__).parents[1] / "demo" / "model"
        if spec.source.replace("\\", "/").endswith("/captioner/demo/model") and bundled.is_dir():
            return bundled
        return find_model(spec.source, spec.offline, None)

    def _copy(self, request: CaptionRequest, data: Any) -> CaptionRequest:
        self._copies = self._copies or _make_folder()
        folder = self._copies / str(request.id)
        folder.mkdir()
        (folder / request.path.name).write_bytes(data)
        self._copied[request.id] = request.path
        return replace(request, path=folder / request.path.name, within=None)

    def _as_seen_by_the_app(self, event: ReplicaEvent, node: str, rows: tuple[tuple[str, str], ...]) -> ReplicaEvent:
        if isinstance(event, Answer) and event.id in self._copied:
            path = self._copied.pop(event.id)
            assert self._copies
            copy = self._copies / str(event.id)
            shutil.rmtree(copy, ignore_errors=True)
            if isinstance(event, Failed):
                event = replace(event, reason=event.reason.replace(str(copy / path.name), str(path)))
        match event:
            case Ready():
                report = event.report
                return replace(event, report=CapabilityReport(report.device, (*rows, *report.rows)))
            case Finished():
                return replace(event, caption=replace(event.caption, device=node))
        return event


def _make_folder() -> Path:
    """Make a folder for files that are sent, and delete those of workers that were killed before they could."""
    for left in Path(tempfile.gettempdir()).glob(f"{FOLDER}*-*"):
        number = left.name.removeprefix(FOLDER).split("-")[0]
        if number.isdecimal() and not psutil.pid_exists(int(number)):
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{FOLDER}{os.getpid()}-"))


def _has_file(request: CaptionRequest, stamp: Stamp | None) -> bool:
    """Return whether this node sees the very file of a request at its path."""
    try:
        stat = request.path.stat()
        return (stat.st_size, stat.st_mtime_ns) == stamp and not escapes(request.path, request.within)
    except OSError:
        return False
