"""The replicas that are alive now or will be again, and one queue of all that they say."""

import math
import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from captioner.replicas.process import ProcessReplica
from captioner.replicas.protocol import Lost, Replica, ReplicaEvent
from captioner.values import ModelSpec

PUMP_INTERVAL_S = 0.2
MAX_FAILURES = 3  # in a row: lost on start, or with all its work undone
MAX_LOSSES = 12  # in a row, those included for which an item is to blame
FIRST_DELAY_S, MAX_DELAY_S = 1.0, 60.0  # after the first loss, which is made good at once; doubled each time

StartReplica = Callable[[str, ModelSpec, Path, int], Replica]


@dataclass(eq=False)
class _Seat:
    """One place of the pool: the replica there, or when the next one comes."""

    spec: ModelSpec
    folder: Path
    num_threads: int
    replica: Replica | None = None
    proven: bool = False  # a replica of this spec has answered
    failures: int = 0
    losses: int = 0
    restart_s: float = math.inf  # monotonic


class ReplicaPool:
    """Keeps replicas between jobs; starts and ends them as the wanted specs change. Used by one thread.

    What is lost comes back: at once, then after 1, 2, 4 ... seconds, until it has failed MAX_FAILURES times in a row.
    """

    def __init__(self, start: StartReplica = ProcessReplica) -> None:
        self._start = start
        self._seats: dict[str, _Seat] = {}
        self.closing = threading.Event()  # set by any thread: what runs is not worth waiting for
        self.inbox: queue.Queue[tuple[Replica, ReplicaEvent]] = queue.Queue()

    @property
    def replicas(self) -> list[Replica]:
        return [seat.replica for seat in self._seats.values() if seat.replica]

    @property
    def restarting(self) -> bool:
        """Whether a lost replica will be started again."""
        return any(seat.restart_s < math.inf for seat in self._seats.values())

    @property
    def num_expected(self) -> int:
        """Replicas that are there or will be started again."""
        return sum(bool(seat.replica) or seat.restart_s < math.inf for seat in self._seats.values())

    def ensure(self, specs: tuple[ModelSpec, ...], folder: Path) -> tuple[list[Replica], list[str]]:
        """Make the pool hold exactly one replica a spec. Returns the new replicas and the names of the ended ones.

        Whatever differs in any option that shapes the model is ended first, so that its memory is free. Who was given
        up gets a new chance.
        """
        wanted = {_name(i, spec, specs): spec for i, spec in enumerate(specs)}
        ended = [name for name, seat in self._seats.items() if wanted.get(name) != seat.spec or seat.folder != folder]
        for name in ended:
            seat = self._seats.pop(name)
            if seat.replica:
                seat.replica.close()
        started = []
        share = max(1, _num_cores() // len(specs))
        for name, spec in wanted.items():
            if name not in self._seats or self._seats[name].replica is None:
                self._seats[name] = _Seat(spec, folder, share)
                started.append(self._fill(name))
        return started, ended

    def restart_due(self) -> list[Replica]:
        """Start those whose time has come; returns them."""
        now_s = time.monotonic()
        return [self._fill(name) for name, seat in self._seats.items() if seat.restart_s <= now_s]

    def answered(self, replica: Replica) -> None:
        """It works: what it failed at before counts no more."""
        seat = self._seats[replica.name]
        seat.proven, seat.failures, seat.losses = True, 0, 0

    def lost(self, replica: Replica, final: bool = False, blameless: bool = False) -> None:
        """End what may be left of it, and plan its successor.

        final: no other would fare better. blameless: an item was to blame.
        """
        seat = self._seats[replica.name]
        seat.replica = None
        replica.close()
        seat.losses += 1
        seat.failures += not blameless
        if (final and not seat.proven) or seat.failures >= MAX_FAILURES or seat.losses >= MAX_LOSSES:
            return
        delay_s = FIRST_DELAY_S * 2 ** (seat.failures - 2) if seat.failures > 1 else 0.0
        seat.restart_s = time.monotonic() + min(delay_s, MAX_DELAY_S)

    def close(self) -> list[str]:
        """End all replicas; returns their names."""
        names = list(self._seats)
        closing = [threading.Thread(target=replica.close, name=f"close {replica.name}") for replica in self.replicas]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()
        self._seats.clear()
        return names

    def _fill(self, name: str) -> Replica:
        seat = self._seats[name]
        seat.restart_s = math.inf
        seat.replica = self._start(name, replace(seat.spec), seat.folder, seat.num_threads)
        threading.Thread(target=self._pump, args=(seat.replica,), name=f"pump {name}", daemon=True).start()
        return seat.replica

    def _pump(self, replica: Replica) -> None:
        while True:
            for event in replica.events(PUMP_INTERVAL_S):
                self.inbox.put((replica, event))
                if isinstance(event, Lost):
                    return


def _num_cores() -> int:
    """That this process may use; a container or a scheduler may have given it fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _name(index: int, spec: ModelSpec, specs: tuple[ModelSpec, ...]) -> str:
    """The device; with a number behind it when several replicas share one."""
    before = sum(other.device == spec.device for other in specs[:index])
    return f"{spec.device} #{before + 1}" if before else spec.device
