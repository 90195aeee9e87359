"""The replicas that are alive now or will be started again, and one queue of all their events."""

import contextlib
import os
import queue
import threading
import time
from collections import Counter
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
    """One place of the pool, for one replica after another."""

    spec: ModelSpec
    folder: Path
    num_threads: int
    proven: bool = False  # a replica of this spec has answered
    failures: int = 0
    losses: int = 0


class ReplicaPool:
    """Keeps replicas between jobs; starts and ends them as the wanted specs change. Used by one thread.

    A lost replica is started again: at once, then after 1, 2, 4 ... seconds, until it fails too often in a row.
    A spec may stand for several replicas, and for more of them as a cluster grows.
    """

    def __init__(self, start: StartReplica | None = None, count: CountReplicas | None = None) -> None:
        self._launcher = Launcher()
        self._start, self._count = start or self._launcher.start, count or self._launcher.count
        self.specs: tuple[ModelSpec, ...] = ()  # that are wanted; other threads may read them
        self._clusters: list[ModelSpec] = []  # those of the specs that stand for any number of replicas
        self._seats: dict[str, _Seat] = {}
        self._alive: dict[str, Replica] = {}  # the next three are by seat
        self._restarts_s: dict[str, float] = {}  # monotonic time when the next replica of a seat will be started
        self.ready: dict[str, Replica] = {}  # the replicas whose model is loaded
        self._counts: list[int] = []  # see _count_in_clusters
        self.closing = threading.Event()  # set by any thread: the replicas will be ended without waiting for them
        self._inbox: queue.Queue[tuple[Replica, ReplicaEvent]] = queue.Queue()

    @property
    def num_alive(self) -> int:
        """The number of replicas, also of those that are loading."""
        return len(self._alive)

    @property
    def loading(self) -> bool:
        """True while a replica loads its model or will be started again."""
        return bool(self._restarts_s) or len(self.ready) < len(self._alive)

    @property
    def num_expected(self) -> int:
        """The number of replicas that are alive or will be started again."""
        return len(self._alive) + len(self._restarts_s)

    def events(self, timeout_s: float) -> Iterator[tuple[Replica, ReplicaEvent]]:
        """Yield all events that arrived, waiting up to `timeout_s` for the first. Drops those of ended replicas."""
        with contextlib.suppress(queue.Empty):
            replica, event = self._inbox.get(timeout=timeout_s)
            while True:
                if self._alive.get(replica.name) is replica:
                    if isinstance(event, Ready):
                        self.ready[replica.name] = replica
                    yield replica, event
                replica, event = self._inbox.get_nowait()

    def ensure(self, specs: tuple[ModelSpec, ...], folder: Path) -> tuple[list[Replica], list[str]]:
        """Make the pool hold one replica for each spec. Return the new replicas and the names of the ended ones.

        Other replicas are ended first, so that their memory is free. A replica that was given up is tried again.
        """
        self.specs, self._clusters = specs, [spec for spec in specs if is_cluster(spec.device)]
        self._counts = self._count_in_clusters()
        wanted = self._wanted(specs)
        ended = [name for name, seat in self._seats.items() if wanted.get(name) != seat.spec or seat.folder != folder]
        for name in ended:
            del self._seats[name]
            self._restarts_s.pop(name, None)
            self.ready.pop(name, None)
            if replica := self._alive.pop(name, None):
                replica.close()
        self._launcher.release(specs)
        num_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        share = max(1, num_cores // max(1, sum(not is_cluster(spec.device) for spec in specs)))
        missing = [name for name in wanted if name not in self._alive]
        self._seats |= {name: _Seat(wanted[name], folder, share) for name in missing}
        return [self._fill(name) for name in missing], ended

    def restart_due(self) -> list[Replica]:
        """Start the replicas that are due to be started again or that a cluster has room for now, and return them."""
        now_s, counts = time.monotonic(), self._count_in_clusters()
        if counts != self._counts:
            self._counts = counts
            for name, spec in self._wanted(self.specs).items():
                if name not in self._seats:
                    folder = next(iter(self._seats.values())).folder
                    self._seats[name] = _Seat(spec, folder, 1)
                    self._restarts_s[name] = now_s
        return [self._fill(name) for name, due_s in list(self._restarts_s.items()) if due_s <= now_s]

    def answered(self, replica: Replica) -> None:
        """Note that the replica works; its earlier failures no longer count."""
        seat = self._seats[replica.name]
        seat.proven, seat.failures, seat.losses = True, 0, 0

    def lost(self, replica: Replica, final: bool = False, blameless: bool = False) -> None:
        """End what may be left of a lost replica, and plan when to start the next one.

        final: another one would fail in the same way. blameless: an item caused the loss.
        """
        seat = self._seats[replica.name]
        del self._alive[replica.name]
        self.ready.pop(replica.name, None)
        replica.close()
        seat.losses, seat.failures = seat.losses + 1, seat.failures + (not blameless)
        if (final and not seat.proven) or seat.failures >= MAX_FAILURES or seat.losses >= MAX_LOSSES:
            return
        delay_s = FIRST_DELAY_S * 2 ** (seat.failures - 2) if seat.failures > 1 else 0.0
        self._restarts_s[replica.name] = time.monotonic() + min(delay_s, MAX_DELAY_S)

    def close(self) -> list[str]:
        """End all replicas and return their names."""
        names, replicas = list(self._seats), self._alive.values()
        closing = [threading.Thread(target=replica.close, name=f"close {replica.name}") for replica in replicas]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()
        for by_seat in (self._seats, self._alive, self._restarts_s, self.ready):
            by_seat.clear()
        self.specs, self._clusters = (), []
        self._launcher.release()
        return names

    def _count_in_clusters(self) -> list[int]:
        """Return how many replicas each of the clusters stands for; nothing else changes during a job."""
        return [self._count(spec) for spec in self._clusters]

    def _wanted(self, specs: tuple[ModelSpec, ...]) -> dict[str, ModelSpec]:
        """Return the specs by the names of their replicas: the device, with a number if it is wanted several times."""
        wanted: dict[str, ModelSpec] = {}
        num_named: Counter[str] = Counter()
        for spec in specs:
            for _ in range(self._count(spec)):
                num_named[spec.device] += 1
                number = num_named[spec.device]
                wanted[f"{spec.device} #{number}" if number > 1 else spec.device] = spec
        return wanted

    def _fill(self, name: str) -> Replica:
        seat = self._seats[name]
        self._restarts_s.pop(name, None)
        self.ready.pop(name, None)
        replica = self._alive[name] = self._start(name, replace(seat.spec), seat.folder, seat.num_threads)
        threading.Thread(target=self._pump, args=(replica,), name=f"pump {name}", daemon=True).start()
        return replica

    def _pump(self, replica: Replica) -> None:
        while True:
            for event in replica.events(PUMP_INTERVAL_S):
                self._inbox.put((replica, event))
                if isinstance(event, Lost):
                    return
