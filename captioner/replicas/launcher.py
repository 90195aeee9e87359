"""Starts a replica of the kind that a device is: a worker process here, a model server, or an actor in a cluster."""

from collections.abc import Sequence
from pathlib import Path

from captioner.replicas.endpoint import EndpointReplica
from captioner.replicas.process import ProcessReplica
from captioner.replicas.protocol import Replica
from captioner.replicas.ray_cluster import RayCluster, RayReplica
from captioner.system.clusters import is_cluster
from captioner.system.endpoints import is_endpoint
from captioner.values import ModelSpec


class Launcher:
    """Starts replicas, and owns the connections to clusters that several of them share. Used by one thread."""

    def __init__(self) -> None:
        self._clusters: dict[ModelSpec, RayCluster] = {}

    def start(self, name: str, spec: ModelSpec, folder: Path, num_threads: int) -> Replica:
        """Start the replica for the device of a spec."""
        if is_cluster(spec.device):
            cluster = self._clusters.setdefault(spec, RayCluster(spec))
            return RayReplica(cluster, name, spec, folder)
        kind = EndpointReplica if is_endpoint(spec.device) else ProcessReplica
        return kind(name, spec, folder, num_threads)

    def count(self, spec: ModelSpec) -> int:
        """Return how many replicas a spec stands for now: in a cluster those asked for, or as many as have room."""
        if not is_cluster(spec.device):
            return 1
        return spec.ray_workers or (self._clusters[spec].num_places if spec in self._clusters else 1)

    def release(self, specs: Sequence[ModelSpec] = ()) -> None:
        """Close the connections to all clusters but those of these specs."""
        for spec in self._clusters.keys() - set(specs):
            self._clusters.pop(spec).close()
