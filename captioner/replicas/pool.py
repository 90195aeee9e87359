"""The replicas that are alive now or will be started again, and one queue of all their events."""

import contextlib
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from captioner.replicas.launcher import Launcher
from captioner.replicas.protocol import Lost, Ready, Replica, ReplicaEvent
from captioner.system.clusters import is_cluster
from captioner.values import ModelSpec

PUMP_INTERVAL_S = 0.2
MAX_FAILURES = 3  # losses in a row, on start or without an answer, for which no item is to blame
MAX_LOSSES = 12  # losses in a row, also those for which an item is to blame
FIRST_DELAY_S, MAX_DELAY_S = 1.0, 60.0  # before the second restart, doubled each time; the first comes at once

StartReplica = Callable[[str, ModelSpec, Path, int], Replica]
CountReplicas = Callable[[ModelSpec], int]


@dataclass(eq=False)
class _Seat:
    """One place of the pool: its replica, or when the next one will be started."""

    spec: ModelSpec
    folder: Path
    num_threads: int
    replica: Replica | None = None
    ready: bool = False  # the replica's model is loaded
    proven: bool = False  # a replica of this spec has answered
    failures: int = 0
    losses: int = 0
    restart_s: float = math.inf  # monotonic; inf: no restart is planned


class ReplicaPool:
    """Keeps replicas between jobs; starts and ends them as the wanted specs change. Used by one thread.

    A lost replica is started again: at once, then after 1, 2, 4 ... seconds, until it fails too often in a row.
    A spec may stand for several replicas, and for more of them as a cluster grows.
    """

    def __init__(self, start: StartReplica | None = None, count: CountReplicas | None = None) -> None:
        self._launcher = Launcher()
        self._start, self._count = start or self._launcher.start, count or self._launcher.count
        self._specs: tuple[ModelSpec, ...] = ()
        self._seats: dict[str, _Seat] = {}
        self.closing = threading.Event()  # set by any thread: the replicas will be ended without waiting for them
        self._inbox: queue.Queue[tuple[Replica, ReplicaEvent]] = queue.Queue()

    @property
    def replicas(self) -> list[Replica]:
        return [seat.replica for seat in self._seats.values() if seat.replica]

    @property
    def ready(self) -> list[Replica]:
        """The replicas whose model is loaded."""
        return [seat.replica for seat in self._seats.values() if seat.replica and seat.ready]

    @property
    def loading(self) -> bool:
        """True while a replica loads its model or will be started again."""
        return any(seat.restart_s < math.inf or (seat.replica and not seat.ready) for seat in self._seats.values())

    @property
    def num_expected(self) -> int:
        """The number of replicas that are alive or will be started again."""
        return sum(bool(seat.replica) or seat.restart_s < math.inf for seat in self._seats.values())

    def events(self, timeout_s: float) -> Iterator[tuple[Replica, ReplicaEvent]]:
        """Yield all events that arrived, waiting up to `timeout_s` for the first. Drops those of ended replicas."""
        with contextlib.suppress(queue.Empty):
            replica, event = self._inbox.get(timeout=timeout_s)
            while True:
                seat = self._seats.get(replica.name)
                if seat and seat.replica is replica:
                    seat.ready = seat.ready or isinstance(event, Ready)
                    yield replica, event
                replica, event = self._inbox.get_nowait()

    def ensure(self, specs: tuple[ModelSpec, ...], folder: Path) -> tuple[list[Replica], list[str]]:
        """Make the pool hold one replica for each spec. Return the new replicas and the names of the ended ones.

        Other replicas are ended first, so that their memory is free. A replica that was given up is tried again.
        """
        self._specs, wanted = specs, self._wanted(specs)
        ended = [name for name, seat in self._seats.items() if wanted.get(name) != seat.spec or seat.folder != folder]
        for name in ended:
            if replica := self._seats.pop(name).replica:
                replica.close()
        self._launcher.release(specs)
        num_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        share = max(1, num_cores // max(1, sum(not is_cluster(spec.device) for spec in specs)))
        missing = [name for name in wanted if name not in self._seats or self._seats[name].replica is None]
        self._seats |= {name: _Seat(wanted[name], folder, share) for name in missing}
        return [self._fill(name) for name in missing], ended

    def restart_due(self) -> list[Replica]:
        """Start the replicas that are due to be started again or that a cluster has room for now, and return them."""
        now_s = time.monotonic()
        for name, spec in self._wanted(self._specs).items():
            if name not in self._seats:
                folder = next(iter(self._seats.values())).folder
                self._seats[name] = _Seat(spec, folder, 1, restart_s=now_s)
        return [self._fill(name) for name, seat in self._seats.items() if seat.restart_s <= now_s]

    def answered(self, replica: Replica) -> None:
        """Note that the replica works; its earlier failures no longer count."""
        seat = self._seats[replica.name]
        seat.proven, seat.failures, seat.losses = True, 0, 0

    def lost(self, replica: Replica, final: bool = False, blameless: bool = False) -> None:
        """End what may be left of a lost replica, and plan when to start the next one.

        final: another one would fail in the same way. blameless: an item caused the loss.
        """
        seat = self._seats[replica.name]
        seat.replica = None
        replica.close()
        seat.losses, seat.failures = seat.losses + 1, seat.failures + (not blameless)
        if (final and not seat.proven) or seat.failures >= MAX_FAILURES or seat.losses >= MAX_LOSSES:
            return
        delay_s = FIRST_DELAY_S * 2 ** (seat.failures - 2) if seat.failures > 1 else 0.0
        seat.restart_s = time.monotonic() + min(delay_s, MAX_DELAY_S)

    def close(self) -> list[str]:
        """End all replicas and return their names."""
        names = list(self._seats)
        closing = [threading.Thread(target=replica.close, name=f"close {replica.name}") for replica in self.replicas]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()
        self._seats.clear()
        self._specs = ()
        self._launcher.release()
        return names

    def _wanted(self, specs: tuple[ModelSpec, ...]) -> dict[str, ModelSpec]:
        every = tuple(spec for spec in specs for _ in range(self._count(spec)))
        return {_name(i, spec, every): spec for i, spec in enumerate(every)}

    def _fill(self, name: str) -> Replica:
        seat = self._seats[name]
        seat.restart_s, seat.ready = math.inf, False
        seat.replica = self._start(name, replace(seat.spec), seat.folder, seat.num_threads)
        threading.Thread(target=self._pump, args=(seat.replica,), name=f"pump {name}", daemon=True).start()
        return seat.replica

    def _pump(self, replica: Replica) -> None:
        while True:
            for event in replica.events(PUMP_INTERVAL_S):
                self._inbox.put((replica, event))
                if isinstance(event, Lost):
                    return


def _name(index: int, spec: ModelSpec, specs: tuple[ModelSpec, ...]) -> str:
    """Return the device of a spec, with a number if an earlier spec has the same device: "cpu", "cpu #2"."""
    before = sum(other.device == spec.device for other in specs[:index])
    return f"{spec.device} #{before + 1}" if before else spec.device
