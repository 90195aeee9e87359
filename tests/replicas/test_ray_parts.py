"""The parts of Ray workers that need no ray: settings, refusals, room on nodes, growing pools, and the node's side."""

import importlib.util
import os
import queue
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from captioner.config.settings import Settings
from captioner.demo.clips import write_samples
from captioner.errors import CaptionerError, ModelError, SettingsError
from captioner.jobs.events import ItemDone
from captioner.jobs.job import build_job
from captioner.replicas import ray_node
from captioner.replicas.pool import ReplicaPool
from captioner.replicas.protocol import Cancelled, Failed, Finished, Lost, Ready
from captioner.replicas.ray_cluster import RAY_MISSING, RayCluster, RayReplica
from captioner.replicas.ray_node import NodeWorker, room_on
from captioner.services import Services
from captioner.values import CapabilityReport, Caption, CaptionRequest, GenerationOptions, ModelSpec, SamplePlan
from tests.support.scripted import ScriptedReplica, finish

HAS_RAY = importlib.util.find_spec("ray") is not None
OPTIONS = GenerationOptions()


@pytest.mark.parametrize("address", ["auto", "LOCAL", "gpu-lab:6379", "10.0.0.3:6379", "[fe80::1]:6379", ""])
def test_addresses_of_clusters(address):
    assert Settings(ray=address).ray == address.lower()


@pytest.mark.parametrize(
    "address", ["gpu-lab", "ray://gpu-lab:10001", "http://gpu-lab:8265", "a b:1", "host:", "--x:1"]
)
def test_addresses_that_are_none_are_refused(tmp_path, address):
    with pytest.raises(SettingsError, match="give auto, local, or the address of the head node such as gpu-lab:6379"):
        Services(tmp_path, {"ray": address})


@pytest.mark.skipif(HAS_RAY, reason="ray is installed")
def test_without_ray_one_line_says_how_to_install_it(tmp_path):
    write_samples(tmp_path / "clips", num_clips=0, num_stills=1)
    with Services(tmp_path / "state", {"model": "demo", "ray": "auto"}) as services:
        services.open_folder(tmp_path / "clips", recursive=False)
        with pytest.raises(ModelError) as refused:
            services.start()
    assert str(refused.value) == RAY_MISSING


@pytest.mark.skipif(HAS_RAY, reason="ray is installed")
def test_a_job_that_is_resumed_without_ray_ends_with_that_line():
    spec = ModelSpec("demo", "ray:auto")
    cluster = RayCluster(spec)
    replica = RayReplica(cluster, "ray:auto", spec, Path("model"))
    events = wait_for_events(replica)
    replica.close()
    cluster.close()
    assert events[0] == Lost(RAY_MISSING, final=True)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be suspended")
def test_a_connection_that_is_killed_before_it_takes_a_worker_is_noticed_and_made_again():
    spec = ModelSpec("demo", "ray:127.0.0.1:1")
    cluster = RayCluster(spec)
    first = RayReplica(cluster, "one", spec, Path("model"))
    before = cluster._process
    os.kill(before.pid, signal.SIGSTOP)
    second = RayReplica(cluster, "two", spec, Path("model"))
    second.submit(CaptionRequest(7, Path("a.png"), "image", SamplePlan(), "p", OPTIONS))
    before.kill()
    assert wait_for_events(second) == [Cancelled(7), Lost("the connection to the Ray cluster ended")]
    third = RayReplica(cluster, "three", spec, Path("model"))
    assert cluster._process is not before
    assert isinstance(wait_for_events(third)[0], Lost)  # of the new process: nothing answers there, or ray is missing
    for replica in (first, second, third):
        replica.close()
    cluster.close()


def wait_for_events(replica):
    deadline_s, events = time.monotonic() + 60, []
    while not events and time.monotonic() < deadline_s:
        events = replica.events(0.2)
    return events


def test_a_cluster_is_one_spec_beside_devices_and_servers(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    with Services(None, {}) as services:
        preset = services.preset("demo")
    chosen = {"ray": "lab:6379", "ray_workers": 3, "ray_gpus": 0.5, "ray_cpus": 2, "offline": True}
    alone = build_job((), Settings(**chosen), preset, "p").model
    (spec,) = alone.specs
    assert (spec.device, spec.ray_workers, spec.ray_gpus, spec.ray_cpus) == ("ray:lab:6379", 3, 0.5, 2)
    assert spec.offline
    assert not (alone.find(lambda done, total: None) / "config.json").exists()  # no model is needed here
    mixed = build_job((), Settings(**chosen, devices="cpu", endpoint="http://h:1"), preset, "p").model
    assert [spec.device for spec in mixed.specs] == ["cpu", "ray:lab:6379", "http://h:1/v1"]
    assert (mixed.find(lambda done, total: None) / "config.json").exists()


@pytest.mark.parametrize(
    ("gpus", "cpus", "node_gpus", "node_cpus", "room"),
    [(1, 1, 8, 64, 8), (1, 16, 8, 64, 4), (0.5, 1, 2, 64, 4), (0.33, 1, 1, 8, 3), (0, 2, 8, 7, 3), (1, 1, 0, 64, 0)],
)
def test_room_on_a_node(gpus, cpus, node_gpus, node_cpus, room):
    node = {"Alive": True, "Resources": {"GPU": float(node_gpus), "CPU": float(node_cpus)}}
    assert room_on(node, ModelSpec("m", ray_gpus=gpus, ray_cpus=cpus)) == room
    assert room_on(node | {"Alive": False}, ModelSpec("m")) == 0


def test_a_pool_grows_with_the_cluster_during_a_job():
    room = {"ray:auto": 1, "cpu": 1}
    started = []

    def start(name, spec, folder, num_threads):
        started.append(name)
        return ScriptedReplica(name, finish)

    pool = ReplicaPool(start, lambda spec: room[spec.device])
    specs = ModelSpec("m", "cpu"), ModelSpec("m", "ray:auto")
    pool.ensure(specs, Path("model"))
    assert started == ["cpu", "ray:auto"]
    assert pool.restart_due() == []
    room["ray:auto"] = 3
    assert [replica.name for replica in pool.restart_due()] == ["ray:auto #2", "ray:auto #3"]
    assert pool.restart_due() == []
    room["ray:auto"] = 2
    assert pool.restart_due() == []  # what is lost says so itself
    assert pool.ensure(specs, Path("model")) == ([], ["ray:auto #3"])
    pool.close()
    assert pool.restart_due() == []


class StandIn:
    """In the place of the node's worker process."""

    def __init__(self, *about):
        self.about, self.taken, self.inbox = about, [], queue.Queue()

    submit = cancel = lambda self, message: self.taken.append(message)

    def events(self, timeout_s):
        return self.inbox.get()

    def close(self):
        pass


@pytest.fixture
def node(monkeypatch, tmp_path):
    monkeypatch.setattr(ray_node, "ProcessReplica", StandIn)
    (tmp_path / "config.json").write_text("{}")
    worker = NodeWorker()
    spec = ModelSpec("m", "ray:auto", ray_gpus=0.0)
    stream = worker.events("lab · CPU", (("node", "lab · CPU"),), spec, tmp_path, 3)
    worker.stream = stream
    caption = Caption("a ball", "m", "p", OPTIONS, device="cpu")
    first = [Ready(CapabilityReport("cpu", (("device", "cpu"),)), 4)]
    monkeypatch.setattr(StandIn, "__init__", _with_first(first))
    assert next(stream) == [Ready(CapabilityReport("cpu", (("node", "lab · CPU"), ("device", "cpu"))), 4)]
    worker.caption = caption
    yield worker
    worker.close()


def _with_first(events):
    def init(self, *about):
        self.about, self.taken, self.inbox = about, [], queue.Queue()
        self.inbox.put(events)

    return init


def request(path, number=1, within=None):
    return CaptionRequest(number, path, "image", SamplePlan(), "p", OPTIONS, within=within)


def test_a_node_uses_its_device_and_the_model_at_the_same_path(node, tmp_path):
    name, spec, folder, num_threads = node._replica.about
    assert (name, spec.device, folder, num_threads) == ("lab · CPU", "cpu", tmp_path, 3)


def test_a_node_takes_a_file_by_its_path_only_if_it_is_the_same(node, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"pixels")
    stat = path.stat()
    assert not node.take(request(tmp_path / "none.png"), (6, 0))
    assert not node.take(request(path), (stat.st_size, stat.st_mtime_ns + 1))
    assert not node.take(request(path), (stat.st_size + 1, stat.st_mtime_ns))
    assert not node.take(request(path, within=(tmp_path / "elsewhere",)), (stat.st_size, stat.st_mtime_ns))
    assert node._replica.taken == []
    assert node.take(request(path), (stat.st_size, stat.st_mtime_ns))
    assert node._replica.taken == [request(path)]


def test_a_file_that_was_sent_is_deleted_with_its_answer_and_named_as_the_app_knows_it(node, tmp_path):
    path = tmp_path / "none" / "a.png"
    for number in (1, 2):
        assert node.take(request(path, number, within=(tmp_path,)), None, np.frombuffer(b"pixels", np.uint8))
    first, second = node._replica.taken
    assert first.path.read_bytes() == b"pixels"
    assert (first.path.name, first.within) == ("a.png", None)
    assert node.take(2)  # a cancel
    node._replica.inbox.put([Failed(1, f"{first.path} is damaged"), Cancelled(2), Finished(3, node.caption)])
    failed, cancelled, finished = next(node.stream)
    assert failed == Failed(1, f"{path} is damaged")
    assert cancelled == Cancelled(2)
    assert finished.caption.device == "lab · CPU"
    assert not first.path.exists()
    assert not second.path.exists()


def test_a_node_that_cannot_keep_a_file_ends_and_charges_no_request(node, tmp_path):
    node._copies = tmp_path / "deleted by a cleaner"
    assert node.take(request(tmp_path / "none.png"), None, np.frombuffer(b"pixels", np.uint8))
    assert node._replica.taken == []
    with pytest.raises(CaptionerError) as refused:
        next(node.stream)
    why = f"cannot keep a file that was sent: No such file or directory ({node._copies / '1'})"
    assert str(refused.value) == f"lab · CPU: {why}"


def test_files_that_killed_workers_left_on_a_node_are_deleted(node, tmp_path, monkeypatch):
    """A worker that gets no file makes no folder."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    left = [tmp_path / f"captioner-files-{number}-abc" for number in (int(done.stdout), os.getpid())]
    for folder in left:
        (folder / "1").mkdir(parents=True)
    assert node._copies is None
    assert node.take(request(tmp_path / "a.png"), None, np.frombuffer(b"pixels", np.uint8))
    assert [folder.exists() for folder in left] == [False, True]
    assert (node._copies / "1" / "a.png").read_bytes() == b"pixels"
    node.close()
    assert not node._copies.exists()


def test_a_node_without_the_model_says_so_in_one_line(tmp_path):
    worker = NodeWorker()
    (events,) = worker.events("lab · CPU", (), ModelSpec(str(tmp_path / "none"), ray_gpus=0.0), Path("none"), 1)
    worker.close()
    (lost,) = events
    assert lost.final
    assert lost.reason.startswith("lab · CPU: no model folder at ")


def test_each_worker_has_its_part_of_the_speed(tmp_path):
    from captioner.jobs.events import ItemStarted, JobStarted, ReplicaChanged
    from captioner.jobs.progress import ProgressTracker

    tracker = ProgressTracker()
    rows = (("node", "lab · GPU 3"), ("device", "cuda:0"))
    tracker.add(JobStarted(job=1, total=2, model="m"))
    for name, report in (("ray:auto", rows), ("cpu", ())):
        tracker.add(ReplicaChanged(replica=name, state="ready", report=report))
    about = [(1, f"{name}.png", tmp_path) for name in "ab"]
    for second, (item, replica, tokens) in enumerate(((about[0], "ray:auto", 300), (about[1], "cpu", 100))):
        tracker.add(ItemStarted(*item, replica=replica, time_s=10.0 + second))
        tracker.add(ItemDone(*item, caption="", tokens=0, seconds=1, replica=replica, time_s=10.0 + second))
        tracker.add(ItemStarted(*item, replica=replica, time_s=10.0 + second))
        tracker.add(ItemDone(*item, caption="", tokens=tokens, seconds=1, replica=replica, time_s=12.0 + second))
    far, near = tracker.progress(13.0).replicas
    assert (far.label, far.done, far.tokens_per_s) == ("lab · GPU 3", 2, 150.0)
    assert (near.label, near.done, near.tokens_per_s) == ("cpu", 2, 50.0)
