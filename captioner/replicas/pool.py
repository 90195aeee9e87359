"""The replicas that are alive now, and one queue of all that they say."""

import logging
import os
import queue
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from captioner.replicas.base import Lost, Replica, ReplicaEvent
from captioner.replicas.process import ProcessReplica
from captioner.values import ModelSpec

log = logging.getLogger(__name__)

PUMP_INTERVAL_S = 0.2

StartReplica = Callable[[str, ModelSpec, Path, int], Replica]


class ReplicaPool:
    """Keeps replicas between jobs; starts and ends them as the wanted specs change. Used by one thread."""

    def __init__(self, start: StartReplica = ProcessReplica) -> None:
        self._start = start
        self._members: dict[str, tuple[ModelSpec, Path, Replica]] = {}
        self.inbox: queue.Queue[tuple[Replica, ReplicaEvent]] = queue.Queue()

    @property
    def replicas(self) -> list[Replica]:
        return [replica for _, _, replica in self._members.values()]

    def ensure(self, specs: tuple[ModelSpec, ...], folder: Path) -> tuple[list[Replica], list[str]]:
        """Make the pool hold exactly one replica a spec. Returns the new replicas and the names of the ended ones.

        Whatever differs in any option that shapes the model is ended first, so that its memory is free.
        """
        wanted = {_name(i, spec, specs): spec for i, spec in enumerate(specs)}
        ended = [
            name
            for name, (spec, old_folder, _) in self._members.items()
            if wanted.get(name) != spec or old_folder != folder
        ]
        for name in ended:
            self._members.pop(name)[2].close()
        started = []
        share = max(1, (os.cpu_count() or 1) // len(specs))
        for name, spec in wanted.items():
            if name not in self._members:
                replica = self._start(name, replace(spec), folder, share)
                self._members[name] = (spec, folder, replica)
                threading.Thread(target=self._pump, args=(replica,), name=f"pump {name}", daemon=True).start()
                started.append(replica)
        return started, ended

    def drop(self, replica: Replica) -> None:
        """Forget a replica that is lost, and end what may be left of it."""
        if self._members.pop(replica.name, None):
            replica.close()

    def close(self) -> list[str]:
        """End all replicas; returns their names."""
        names = list(self._members)
        closing = [threading.Thread(target=replica.close, name=f"close {replica.name}") for replica in self.replicas]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()
        self._members.clear()
        return names

    def _pump(self, replica: Replica) -> None:
        while True:
            for event in replica.events(PUMP_INTERVAL_S):
                self.inbox.put((replica, event))
                if isinstance(event, Lost):
                    return


def _name(index: int, spec: ModelSpec, specs: tuple[ModelSpec, ...]) -> str:
    """The device; with a number behind it when several replicas share one."""
    before = sum(other.device == spec.device for other in specs[:index])
    return f"{spec.device} #{before + 1}" if before else spec.device
