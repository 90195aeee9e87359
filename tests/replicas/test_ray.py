"""Jobs in a real Ray cluster of two nodes, with CPU actors and the demo model. Skipped without the package ray."""

import os
import signal
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from captioner.cli.bench.models import DEMO_FOLDER
from captioner.demo.clips import write_samples
from captioner.jobs.events import ItemDone, JobEnded, ReplicaChanged
from captioner.replicas.protocol import Answer, Cancelled, Finished, Lost, Ready, ReplicaEvent, Scored
from captioner.replicas.ray_cluster import RayCluster, RayReplica
from captioner.services import Services
from captioner.values import CaptionRequest, GenerationOptions, ModelSpec, SamplePlan
from tests.support.model_server import FakeServer, running
from tests.support.tiny import YES_AND_NO, make_tiny_model

pytest.importorskip("ray", reason="needs the package ray")
pytestmark = pytest.mark.filterwarnings("ignore::Warning:ray")

SMALL = {"model": "demo", "frame_size": 64, "max_frames": 8, "max_new_tokens": 40}
NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
SHORT = GenerationOptions(max_new_tokens=40)
START_S = 240.0  # for a worker to import torch on a busy machine


@pytest.fixture(scope="module")
def cluster():
    """A cluster of the nodes "attic", the head, and "lab"."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    head = {**NODE, "node_name": "attic", "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.lab = cluster.add_node(**NODE, node_name="lab")
    yield cluster
    cluster.shutdown()


def captions_of(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.txt"))}


def nodes_of(services: Services, folder: Path) -> Counter[str]:
    """Return how many captions of a folder each node wrote."""
    paths = folder.glob("*.txt")
    return Counter(services.captions.provenance(path)[0].caption.device.split(" ")[0] for path in paths)


def workers_of(node: str) -> list[psutil.Process]:
    """Return the worker processes that the actors of a node have started."""
    raylets = [p for p in psutil.Process().children() if p.name() == "raylet" and node in " ".join(p.cmdline())]
    below = [p for raylet in raylets for p in raylet.children(recursive=True)]
    return [p for p in below if _is_spawned(p) and not _is_spawned(p.parent())]  # not the one for chat templates


def _is_spawned(process: psutil.Process) -> bool:
    return "spawn_main" in " ".join(process.cmdline())


def test_two_nodes_write_the_captions_of_one_process(cluster, tmp_path):
    folders = tmp_path / "here", tmp_path / "there"
    for folder in folders:
        write_samples(folder, num_clips=12, num_stills=12)
    with Services(tmp_path / "state 1", SMALL | {"devices": "cpu"}) as services:
        services.open_folder(folders[0], recursive=False)
        list(services.jobs.follow(services.start()))
    elsewhere = {"ray": cluster.address, "ray_gpus": 0, "ray_workers": 2, "batch_size": 2}
    with Services(tmp_path / "state 2", SMALL | elsewhere) as services:
        services.open_folder(folders[1], recursive=False)
        list(services.jobs.follow(services.load()))  # so that both are ready at once
        *_, ended = services.jobs.follow(services.start())
        assert (ended.outcome, ended.done) == ("done", 24), ended
        assert captions_of(folders[1]) == captions_of(folders[0])
        assert set(nodes_of(services, folders[1])) == {"attic", "lab"}
        nodes = [dict(replica.report)["node"].split(" ")[0] for replica in services.events.snapshot().replicas]
        assert sorted(nodes) == ["attic", "lab"]
        assert len(workers_of("")) == 2
    assert not workers_of("")


def test_a_killed_node_gives_its_work_back_and_a_new_one_is_used(cluster, tmp_path):
    clips = tmp_path / "clips"
    write_samples(clips, num_clips=0, num_stills=60)
    settings = SMALL | {"ray": cluster.address, "ray_gpus": 0, "batch_size": 2}
    done, ready, killed_s, added_s, suspended = Counter(), [], 0.0, 0.0, []
    with Services(tmp_path / "state", settings) as services:
        services.open_folder(clips, recursive=False)
        list(services.jobs.follow(services.load()))
        for event in services.jobs.follow(services.start()):
            if isinstance(event, ItemDone):
                done[event.item] += 1
            if isinstance(event, ReplicaChanged) and event.state == "ready":
                ready.append((time.monotonic(), dict(event.report)["node"].split(" ")[0]))
            if sum(done.values()) >= 6 and not killed_s:
                suspended = workers_of("attic")  # so that the job lasts until the new node is there
                for process in suspended:
                    process.suspend()
                killed_s = time.monotonic()
                cluster.remove_node(cluster.lab, allow_graceful=False)
            if isinstance(event, ReplicaChanged) and event.state == "lost":
                assert "its actor in the Ray cluster ended" in event.detail
                cluster.lab = cluster.add_node(**NODE, node_name="loft")
                added_s = time.monotonic()
            if ready and ready[-1][1] == "loft" and suspended:
                for process in suspended:
                    process.resume()
                suspended = []
        used = nodes_of(services, clips)
    assert isinstance(event, JobEnded)
    assert (event.outcome, event.done, event.failed) == ("done", 60, 0), event
    assert set(done.values()) == {1}
    assert len(captions_of(clips)) == 60
    assert used["loft"] >= 1
    assert used["attic"] + used["lab"] + used["loft"] == 60
    assert killed_s < added_s < ready[-1][0] < added_s + START_S


def answers_of(address: str, folder: Path, *requests: CaptionRequest, early: bool = False) -> dict[int, ReplicaEvent]:
    """Return the answers of a worker in a cluster to these requests, and how it was lost as number -1.

    early: the requests do not wait until the worker is ready.
    """
    spec = ModelSpec(str(folder), f"ray:{address}", ray_gpus=0.0, ray_workers=1)
    ray = RayCluster(spec)
    replica = RayReplica(ray, "ray", spec, folder)
    answers, deadline_s = {}, time.monotonic() + START_S
    try:
        for request in requests if early else ():
            replica.submit(request)
        while len(answers) < len(requests) + early and -1 not in answers and time.monotonic() < deadline_s:
            for event in replica.events(0.5):
                match event:
                    case Ready() if not replica._num_submitted:
                        for request in requests:
                            replica.submit(request)
                    case Answer():
                        answers[event.id] = event
                    case Lost():
                        answers[-1] = event
    finally:
        replica.close()
        ray.close()
    return answers


def request_for(number: int, path: Path, options: GenerationOptions = SHORT) -> CaptionRequest:
    kind = "video" if path.suffix == ".mp4" else "image"
    return CaptionRequest(number, path, kind, SamplePlan(frame_size=64), "p", options)


def test_a_file_that_a_node_does_not_see_travels_with_its_request(cluster, tmp_path, monkeypatch):
    write_samples(tmp_path, num_clips=1, num_stills=1)
    os.mkfifo(tmp_path / "pipe.png")
    with open(tmp_path / "larger than the object store.png", "wb") as large:
        large.truncate(2 * NODE["object_store_memory"])
    monkeypatch.chdir(tmp_path)
    names = "clip 01.mp4", "still 01.png", "none.png", "pipe.png", "larger than the object store.png"
    paths = [Path("/proc/self/cwd") / name for name in names]  # another folder for each process
    answers = answers_of(cluster.address, DEMO_FOLDER, *map(request_for, range(5), paths))
    assert isinstance(answers[0], Finished), answers
    assert isinstance(answers[1], Finished), answers
    assert answers[1].caption.text
    assert answers[2].reason.startswith("cannot read the file to send it to")
    assert "No such file" in answers[2].reason
    assert answers[3].reason.endswith("it is not an ordinary file")
    assert answers[4].reason.startswith("begins with zeros instead of an image")


def test_a_node_scores(cluster, tmp_path):
    write_samples(tmp_path, num_clips=1, num_stills=0)
    folder = make_tiny_model(tmp_path / "model", corpus=YES_AND_NO)
    options = GenerationOptions(max_new_tokens=1, scores=True)
    answers = answers_of(cluster.address, folder, request_for(0, tmp_path / "clip 01.mp4", options))
    assert isinstance(answers[0], Scored), answers
    assert 0 < answers[0].yes < 1


def test_an_error_on_a_node_ends_its_worker_and_gives_its_work_back(cluster, tmp_path):
    """It left the requests unanswered for an hour."""
    write_samples(tmp_path, num_clips=0, num_stills=1)
    answers = answers_of(cluster.address, DEMO_FOLDER, request_for(0, tmp_path / "still 01.png"), early=True)
    assert answers[0] == Cancelled(0)
    assert answers[-1] == Lost("its actor in the Ray cluster ended: RayTaskError(AssertionError)")


def test_a_file_that_the_object_store_cannot_hold_fails_alone(tmp_path, monkeypatch):
    from ray.cluster_utils import Cluster

    write_samples(tmp_path, num_clips=0, num_stills=1)
    with open(tmp_path / "large.png", "wb") as large:
        large.truncate(2 * NODE["object_store_memory"])
    paths = [Path("/proc/self/cwd") / name for name in ("large.png", "still 01.png")]  # not seen by the node
    full_disk = {"_system_config": {"local_fs_capacity_threshold": 0.0}}  # so that nothing can be moved there
    cluster = Cluster(initialize_head=True, head_node_args=NODE | full_disk | {"include_dashboard": False})
    monkeypatch.chdir(tmp_path)
    try:
        answers = answers_of(cluster.address, DEMO_FOLDER, *map(request_for, range(2), paths))
    finally:
        cluster.shutdown()
    assert answers[0].reason.startswith("cannot send the file to")
    assert answers[0].reason.endswith("Ray's object store is full")
    assert isinstance(answers[1], Finished), answers


def test_a_mixed_pool_of_a_device_a_server_and_a_cluster_is_one_job(cluster, tmp_path):
    clips = tmp_path / "clips"
    write_samples(clips, num_clips=0, num_stills=36)
    with running(FakeServer((str(DEMO_FOLDER),), token_s=0.05)) as url:
        mixed = {"devices": "cpu", "endpoint": f"{url}#1", "ray": cluster.address, "ray_gpus": 0, "ray_workers": 1}
        with Services(tmp_path / "state", SMALL | mixed | {"batch_size": 1}) as services:
            services.open_folder(clips, recursive=False)
            list(services.jobs.follow(services.load()))
            *_, ended = services.jobs.follow(services.start())
            used = nodes_of(services, clips)
    assert (ended.outcome, ended.done) == ("done", 36), ended
    assert {"cpu", url} < set(used)
    assert len(used) == 3, used


def test_a_killed_connection_to_the_cluster_costs_no_file(cluster, tmp_path):
    clips, done, killed = tmp_path / "clips", Counter(), False
    write_samples(clips, num_clips=0, num_stills=24)
    settings = SMALL | {"ray": cluster.address, "ray_gpus": 0, "ray_workers": 1, "batch_size": 2}
    with Services(tmp_path / "state", settings) as services:
        services.open_folder(clips, recursive=False)
        for event in services.jobs.follow(services.start()):
            if isinstance(event, ItemDone):
                done[event.item] += 1
                if not killed:
                    (bridge,) = [p for p in psutil.Process().children() if "spawn_main" in " ".join(p.cmdline())]
                    bridge.send_signal(signal.SIGKILL)
                    killed = True
    assert (event.outcome, event.done) == ("done", 24), event
    assert set(done.values()) == {1}


def test_a_cluster_without_room_is_refused_in_one_line(cluster, tmp_path):
    write_samples(tmp_path / "clips", num_clips=0, num_stills=1)
    with Services(tmp_path / "state", SMALL | {"ray": cluster.address}) as services:
        services.open_folder(tmp_path / "clips", recursive=False)
        *_, ended = services.jobs.follow(services.start())
    assert ended.outcome == "failed"
    assert "has no room for a worker with 1 GPU; --ray-gpus 0 uses CPUs" in ended.reason


def test_a_cluster_that_is_not_there_is_refused_in_one_line(tmp_path):
    write_samples(tmp_path / "clips", num_clips=0, num_stills=1)
    with Services(tmp_path / "state", SMALL | {"ray": "127.0.0.1:1"}) as services:
        services.open_folder(tmp_path / "clips", recursive=False)
        *_, ended = services.jobs.follow(services.start())
    assert ended.outcome == "failed"
    assert "cannot use the Ray cluster 127.0.0.1:1: nothing answers at 127.0.0.1:1" in ended.reason
    assert "\n" not in ended.reason
