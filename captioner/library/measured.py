"""Measurements in the files of a scan, and the bits by which viewers filter them."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from captioner.errors import StateError
from captioner.media.facts import measured_in
from captioner.system.database import Database
from captioner.values import Measured, MediaItem

log = logging.getLogger(__name__)

FILTERS: dict[str, Callable[[Measured], bool]] = {
    "static": lambda each: each.camera == ("static",),
    "moving": lambda each: each.camera not in ((), ("static",)),
    "one-shot": lambda each: not each.cuts_s,
    "cuts": lambda each: bool(each.cuts_s),
    "sound": lambda each: each.has_sound is True,
    "silent": lambda each: each.has_sound is False,
    "black": lambda each: bool(each.black_s or each.freezes_s),
}


class FileMeasured:
    """Holds what is kept for the files of a scan. Not thread-safe: call it under the lock of OpenFolder."""

    def __init__(self, database: Database, folder: Path | None, items: Sequence[MediaItem]) -> None:
        """folder: the scanned one; without one, nothing is known."""
        self._database, self._folder, self._items = database, folder, items
        self._known: dict[int, Measured] = {}
        self.reload()

    def reload(self) -> list[int]:
        """Read the database again, and return the positions of files that are measured since then."""
        before, known = self._known, {}
        try:
            known = measured_in(self._database, self._folder, self._items) if self._folder else {}
        except StateError as error:
            log.warning("cannot read what was measured: %s", error)
        self._known = {i: known[item.name] for i, item in enumerate(self._items) if item.name in known}
        return [i for i, each in self._known.items() if each != before.get(i)]

    def get(self, position: int) -> Measured | None:
        """Return what was measured in a file."""
        return self._known.get(position)

    def bits(self, position: int) -> int:
        """Return one bit for each of FILTERS that applies; 0 if nothing was measured."""
        measured = self.get(position)
        return sum(1 << n for n, applies in enumerate(FILTERS.values()) if applies(measured)) if measured else 0
