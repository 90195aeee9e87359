"""What a run has still to do, and how it finds the item that brings replicas down without failing any other."""

from collections import deque
from collections.abc import Collection, Iterable

from captioner.values import MediaItem

MAX_LOSSES = 2  # an item that may have cost this many replicas, the last one alone, is not tried again


class Backlog:
    """Items to run together, and items to run alone, one at a time on a replica that does nothing else meanwhile.

    A lost replica had many items in flight, and which one is to blame, if any, cannot be seen. Each is charged with a
    loss and runs alone from then on, after all others and on another replica if there is one: what is lost again was
    brought down by it, while the innocent ones finish. So an item is failed only for what it did alone, and every
    other one runs again once.
    """

    def __init__(self, items: Iterable[MediaItem], losses: dict[str, int]) -> None:
        """losses: by item name, of an earlier run over the same items; kept up to date."""
        self.together: deque[MediaItem] = deque()
        self.alone: deque[MediaItem] = deque()
        self.losses = losses
        self._lost_with: dict[str, str] = {}  # item name -> the replica that it may have cost last
        for item in items:
            (self.alone if losses.get(item.name) else self.together).append(item)

    def __len__(self) -> int:
        return len(self.together) + len(self.alone)

    def is_poison(self, item: MediaItem) -> bool:
        return self.losses.get(item.name, 0) >= MAX_LOSSES

    def suspect_for(self, replica: str, elsewhere: bool) -> bool:
        """Bring one that this replica may run to the front of `alone`; False if there is none.

        elsewhere: there are other replicas, so what was lost with this one is left to them.
        """
        for _ in range(len(self.alone)):
            if not elsewhere or self._lost_with.get(self.alone[0].name) != replica:
                return True
            self.alone.rotate(-1)
        return False

    def charge(self, replica: str, items: Collection[MediaItem]) -> list[MediaItem]:
        """A replica was lost with `items` in flight. Returns the poison among them; the rest is put back."""
        for item in items:
            self.losses[item.name] = self.losses.get(item.name, 0) + 1
            self._lost_with[item.name] = replica
            if not self.is_poison(item):
                self.alone.append(item)
        return [item for item in items if self.is_poison(item)]

    def put_back(self, items: Iterable[MediaItem]) -> None:
        """They could not be finished, through no fault of theirs: next in line again, as they were."""
        for item in reversed(list(items)):
            (self.alone if self.losses.get(item.name) else self.together).appendleft(item)

    def clear(self) -> list[MediaItem]:
        """Empty it; returns what was left."""
        left = [*self.together, *self.alone]
        self.together.clear()
        self.alone.clear()
        return left
