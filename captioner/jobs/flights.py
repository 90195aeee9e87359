"""The items that replicas work on, and which replicas may take more."""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from captioner.captions.unwritten import FileStamp
from captioner.replicas.protocol import Replica
from captioner.values import MediaItem


@dataclass(frozen=True, eq=False)
class Flight:
    """An item that a replica works on."""

    item: MediaItem
    path: Path  # of the item
    replica: Replica
    alone: bool  # the replica gets nothing else meanwhile
    stamp: FileStamp | None  # of the file when it was submitted
    since_s: float  # monotonic time when it was submitted


class Flights:
    """The flights of one job, by request and by replica. No method looks at all of many replicas or flights."""

    def __init__(self) -> None:
        self._all: dict[int, Flight] = {}  # by request id
        self._at: dict[str, dict[int, Flight]] = {}  # replica -> its flights; none is empty
        self._free: set[str] = set()  # replicas that may have room

    def __len__(self) -> int:
        return len(self._all)

    def add(self, request_id: int, flight: Flight) -> None:
        """Note that a replica works on an item."""
        self._all[request_id] = self._at.setdefault(flight.replica.name, {})[request_id] = flight

    def get(self, request_id: int) -> Flight | None:
        """Return the flight of a request, None if it has ended."""
        return self._all.get(request_id)

    def pop(self, request_id: int) -> Flight | None:
        """Remove the flight of a request and return it, None if it has ended. Its replica may have room."""
        flight = self._all.pop(request_id, None)
        if flight:
            name = flight.replica.name
            self._free.add(name)
            del self._at[name][request_id]
            if not self._at[name]:
                del self._at[name]
        return flight

    def pop_all(self, replica: str) -> list[Flight]:
        """Remove the flights of a replica and return them."""
        flights = self._at.pop(replica, {})
        for request_id in flights:
            del self._all[request_id]
        return list(flights.values())

    def items(self) -> Iterable[tuple[int, Flight]]:
        """Return the flights with their request ids."""
        return self._all.items()

    def is_busy(self, replica: str) -> bool:
        """Return whether a replica works on anything."""
        return replica in self._at

    def may_have_room(self, replicas: Iterable[str]) -> None:
        """Note that these replicas may take more than before."""
        self._free.update(replicas)

    def rooms(self, replicas: dict[str, Replica], share: int) -> "Rooms":
        """Return how many more items these replicas may take. share: how many one may have at most."""
        free = [(self._room(replicas[name], share), name) for name in self._free if name in replicas]
        self._free = {name for room, name in free if room > 0}
        return Rooms([(-room, name) for room, name in free if room > 0])

    def _room(self, replica: Replica, share: int) -> int:
        flights = self._at.get(replica.name, {})
        if any(flight.alone for flight in flights.values()):
            return 0
        return min(replica.capacity, share) - len(flights)


class Rooms:
    """How many more items replicas may take."""

    def __init__(self, rooms: list[tuple[int, str]]) -> None:
        """rooms: of (-number, replica), all with room."""
        self._rooms = rooms
        heapq.heapify(rooms)

    def __bool__(self) -> bool:
        return bool(self._rooms)

    def take(self) -> str:
        """Return the replica with the most room, and count one item for it."""
        room, name = self._rooms[0]
        if room == -1:
            heapq.heappop(self._rooms)
        else:
            heapq.heapreplace(self._rooms, (room + 1, name))
        return name
