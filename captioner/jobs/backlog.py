"""The items that a run still has to caption. Finds the item that crashes replicas without failing any other."""

from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping

from captioner.values import MediaItem

MAX_LOSSES = 2  # an item is not tried again after this many replicas were lost with it, the last one with it alone


class Backlog:
    """Items to run together, and suspects to run alone: one at a time on a replica that does nothing else meanwhile.

    A lost replica had many items in flight, and nothing shows which one caused it. Each is charged with a loss and
    runs alone from then on, after all others and on another replica if there is one. If that one is lost too, the item
    is to blame. So an item fails only for what it did alone, and the others run once more.
    """

    def __init__(self, items: Iterable[MediaItem], losses: Mapping[str, int]) -> None:
        """losses: item name -> replicas lost with it in earlier jobs over the same items."""
        self.together: deque[MediaItem] = deque()
        self.alone: deque[MediaItem] = deque()
        self.losses = Counter(losses)  # item name -> replicas lost with it
        self._lost_with: dict[str, str] = {}  # item name -> the last replica that was lost with it
        for item in items:
            (self.alone if self.losses[item.name] else self.together).append(item)

    def __len__(self) -> int:
        return len(self.together) + len(self.alone)

    def is_poison(self, item: MediaItem) -> bool:
        """Return whether the item crashes replicas."""
        return self.losses[item.name] >= MAX_LOSSES

    def find_suspect(self, replica: str, has_others: bool) -> bool:
        """Move a suspect that this replica may run to the front of `alone`; return False if there is none.

        has_others: there are other replicas, so items that were lost with this one are left to them.
        """
        for _ in range(len(self.alone)):
            if not has_others or self._lost_with.get(self.alone[0].name) != replica:
                return True
            self.alone.rotate(-1)
        return False

    def charge(self, replica: str, items: Collection[MediaItem]) -> list[MediaItem]:
        """Charge `items` with the loss of a replica. Return those that are to blame; the rest is put back."""
        for item in items:
            self.losses[item.name] += 1
            self._lost_with[item.name] = replica
            if not self.is_poison(item):
                self.alone.append(item)
        return [item for item in items if self.is_poison(item)]

    def put_back(self, items: Iterable[MediaItem]) -> None:
        """Put items that were interrupted through no fault of their own back at the front."""
        for item in reversed(list(items)):
            (self.alone if self.losses[item.name] else self.together).appendleft(item)

    def drop(self, items: Collection[MediaItem]) -> None:
        """Remove these items."""
        names = {item.name for item in items}
        self.together, self.alone = (
            deque(item for item in waiting if item.name not in names) for waiting in (self.together, self.alone)
        )

    def clear(self) -> list[MediaItem]:
        """Remove all items and return them."""
        left = [*self.together, *self.alone]
        self.together, self.alone = deque(), deque()
        return left
