"""The end of a job: files that a slow worker would hold for long move to a worker that has nothing else to do."""

from collections.abc import Iterable
from dataclasses import dataclass

SMOOTHING = 0.2  # weight of the newest answer in a worker's pace
MIN_GAIN_S = 1.0
GAIN = 2.0  # an item moves if it is expected to take this many times as long where it is


@dataclass(frozen=True, eq=False)
class Held:
    """An item at a worker."""

    request_id: int
    replica: str
    since_s: float  # monotonic


class LastItems:
    """Knows how long workers take for an item. A worker that items were taken from gets no more if there are others."""

    def __init__(self) -> None:
        self.slow: set[str] = set()  # workers that items were taken from
        self._pace_s: dict[str, float] = {}  # worker -> mean time from an item to its caption

    def answered(self, replica: str, seconds: float) -> None:
        """Note how long a worker took for an item."""
        before = self._pace_s.get(replica, seconds)
        self._pace_s[replica] = before + SMOOTHING * (seconds - before)

    def to_move(self, held: Iterable[Held], idle: dict[str, int], now_s: float) -> list[int]:
        """Return the ids of requests to cancel, those that have longest to go first. idle: free workers -> their room.

        Each worker's items are taken at most once, so that none goes back and forth.
        """
        paces = [(self._pace_s[name], room) for name, room in idle.items() if name in self._pace_s]
        if not paces:
            return []
        pace_s, room = min(paces)[0], sum(room for _, room in paces)
        left = {each: self._left_s(each, now_s) for each in held if each.replica not in self.slow}
        late = sorted((each for each in left if left[each] > GAIN * pace_s + MIN_GAIN_S), key=lambda each: -left[each])
        self.slow |= {each.replica for each in late[:room]}
        return [each.request_id for each in late[:room]]

    def _left_s(self, held: Held, now_s: float) -> float:
        """Return how long the item will take from now on: the rest of the usual time, or as long as it is overdue."""
        return abs(self._pace_s.get(held.replica, 0.0) - (now_s - held.since_s))
