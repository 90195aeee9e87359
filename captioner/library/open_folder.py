"""The state of the open folder that the viewers, the look-ups and the edits share."""

import contextlib
import secrets
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from captioner.captions.store import CaptionStore
from captioner.dataset.lint.finding import LintOptions
from captioner.jobs.event_log import EventLog
from captioner.jobs.events import ItemEvent, ItemScored, JobEnded, JobStarted
from captioner.library.file_states import FileStates
from captioner.values import KindFilter, MediaItem

KEPT_CHANGES = 4000  # a viewer that missed more fetches the whole list


@dataclass(frozen=True)
class Scan:
    """The files that one scan of a folder found. A viewer with another `id` still shows an earlier scan."""

    id: str = ""
    folder: Path | None = None  # None: no folder was opened yet
    recursive: bool = False
    kinds: KindFilter = "all"
    items: tuple[MediaItem, ...] = ()
    warnings: tuple[str, ...] = ()
    captions_in: Path | None = None  # the folder of the captions

    @cached_property
    def positions(self) -> dict[str, int]:
        """The place of each name in `items`."""
        return {item.name: position for position, item in enumerate(self.items)}

    def position(self, item: MediaItem) -> int | None:
        """Return the place of this very file, or None if it is not in the folder."""
        position = self.positions.get(item.name)
        if position is None:
            return None
        known = self.items[position]
        return position if known is item or known.path == item.path else None


class OpenFolder:
    """The files of the open folder, their states and the latest changes.

    Hold `lock`, best by `current`, to use anything but `scan`, which any thread may read.
    """

    def __init__(self, events: EventLog, captions: CaptionStore) -> None:
        self.lock = threading.RLock()
        self.captions = captions
        self.lint: LintOptions | None = None  # what the captions are checked for
        self.cursor = self.revision = 0
        self._events = events
        self._job, self._trying = 0, False  # the running job, and whether it changes no caption file
        self._changed: deque[tuple[int, int]] = deque(maxlen=KEPT_CHANGES)  # (revision, position)
        # Ids differ from those of an earlier process, which an open browser tab may still use.
        self._num_scans = secrets.randbits(40)
        self.show(Scan())

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Hold the lock after applying all events."""
        with self.lock:
            self._catch_up()
            yield

    def show(self, scan: Scan) -> None:
        """Replace the open folder; every viewer has to fetch the list again."""
        self._set_scan(scan)
        self.oldest = self.revision  # the first revision from which all changes are known
        captions_in = scan.captions_in or scan.folder
        self.files = FileStates(captions_in, scan.items, self.captions, self.touch, scan.folder, self.lint)

    def positions(self, names: Iterable[str]) -> list[int]:
        """Return the positions of the files of these names; unknown names are left out."""
        known = self.scan.positions
        return [known[name] for name in names if name in known]

    def touch(self, position: int) -> None:
        """Note that viewers have to see this file again."""
        self.revision += 1
        self._changed.append((self.revision, position))
        if len(self._changed) == KEPT_CHANGES:
            self.oldest = max(self.oldest, self._changed[0][0] - 1)

    def forget_changes(self) -> None:
        """Have every viewer fetch the list again."""
        self.revision += 1
        self.oldest = self.revision

    def changed_since(self, revision: int) -> list[int]:
        """Return the positions of the files that changed after a revision, each once."""
        return list(dict.fromkeys(position for number, position in self._changed if number > revision))

    def _set_scan(self, scan: Scan) -> None:
        self._num_scans += 1
        self.scan = replace(scan, id=f"{self._num_scans:x}")
        self._changed.clear()

    def _catch_up(self) -> None:
        events = self._events.since(self.cursor)
        if events and events[0].number > self.cursor + 1:  # some events are gone: nobody asked for too long
            items = tuple(item._replace(has_caption=item.caption_path.is_file()) for item in self.scan.items)
            self._set_scan(replace(self.scan, items=items))
            self.files.find_captions(items)
        for event in events:
            self.cursor = event.number
            if isinstance(event, JobStarted):
                self._job, self._trying = event.job, not event.saves
            elif isinstance(event, JobEnded) and event.job == self._job:
                self.files.running.clear()
                if not self._trying:
                    for measured in self.files.measured.reload():
                        self.touch(measured)
                self._trying = False
            elif isinstance(event, ItemScored) or (isinstance(event, ItemEvent) and not self._trying):
                position = self.scan.positions.get(event.item)
                if position is not None and self.scan.items[position].path == event.path:
                    self.files.apply(position, event)
