"""The open folder as the page shows it: the state of every file, kept true by the events of the jobs."""

import os
import threading
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from captioner import events as facts
from captioner.errors import CaptionerError
from captioner.services import Services
from captioner.values import MediaItem

State = Literal["pending", "running", "captioned", "failed"]
FILTERS = ("All", "Pending", "Captioned", "Failed")
PAGE_SIZE = 24


@dataclass(frozen=True)
class Tile:
    """One file on a page. `id` names it for as long as the folder stays open."""

    id: str
    item: MediaItem
    state: State
    text: str  # the caption
    problem: str = ""  # why it failed or cannot be read
    tokens: int = 0  # written so far while running
    info: str = ""  # what is known of its content

    @property
    def version(self) -> str:
        """Changes with the file, to go into addresses of pictures."""
        return f"{zlib.crc32(repr((str(self.item.path), self.item.modified_s)).encode('utf-8', 'replace')):08x}"


@dataclass(frozen=True)
class Shown:
    """One page of the filtered list; pages count from 0."""

    tiles: tuple[Tile, ...]
    page: int
    num_pages: int


@dataclass(frozen=True)
class Counts:
    total: int
    captioned: int
    pending: int
    failed: int


class Shelf:
    """Shared by all viewers; any thread may call. Reads no caption but those that are shown."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = threading.RLock()
        self._scan = int(time.time())  # in ids; a tab left open over a restart must not name another file by an old id
        self._cursor = 0
        self.folder: Path | None = None
        self.recursive = False
        self.warnings: tuple[str, ...] = ()
        self._forget(())

    def open(self, folder: Path, recursive: bool) -> int:
        """Scan a folder and show it instead; returns how many files it holds. Raises FolderError."""
        with self._lock:
            cursor = self._services.events.snapshot().cursor
            found = self._services.open_folder(folder, recursive)
            self._scan += 1
            self._cursor = cursor
            self.folder, self.recursive, self.warnings = folder.expanduser().absolute(), recursive, found.warnings
            self._forget(found.items)
            self._find_captions()
            return len(found.items)

    def counts(self) -> Counts:
        with self._lock:
            self._catch_up()
            total, failed = len(self._items), len(self._failures)
            captioned = len(self._captioned) - sum(i in self._captioned for i in self._failures)
            return Counts(total, captioned, total - captioned - failed, failed)

    def uncaptioned(self) -> list[str]:
        """Names of the files without a caption, failed ones too."""
        with self._lock:
            self._catch_up()
            return [item.name for i, item in enumerate(self._items) if i not in self._captioned]

    def show(self, wanted: str, page: int) -> Shown:
        """A page of the files under a filter; the last page if there are fewer."""
        with self._lock:
            self._catch_up()
            indices = self._filtered(wanted)
            num_pages = max(1, -(-len(indices) // PAGE_SIZE))
            page = min(max(0, page), num_pages - 1)
            first = page * PAGE_SIZE
            return Shown(tuple(self._tile(i) for i in indices[first : first + PAGE_SIZE]), page, num_pages)

    def find(self, tile_id: str) -> Tile | None:
        """The tile of this id, None for one of a folder that was open before."""
        with self._lock:
            index = self._parse(tile_id)
            if index is None:
                return None
            self._catch_up()
            return self._tile(index)

    def save(self, tile_id: str, text: str) -> str:
        """Write a caption by hand; returns it as it stands in the file. Raises CaptionError."""
        with self._lock:
            index = self._parse(tile_id)
            if index is None:
                return text
            saved = self._services.captions.save(self._items[index].caption_path, text)
            self._texts[index] = saved
            self._failures.pop(index, None)
            (self._captioned.add if saved else self._captioned.discard)(index)
            return saved

    def note(self, tile_id: str, problem: str = "", info: str = "") -> None:
        """Keep what reading the file has shown."""
        with self._lock:
            index = self._parse(tile_id)
            if index is not None and problem:
                self._unreadable[index] = problem
            elif index is not None:
                self._infos[index] = info

    def _forget(self, items: tuple[MediaItem, ...]) -> None:
        self._items = items
        self._index = {item.name: i for i, item in enumerate(items)}
        self._captioned: set[int] = set()
        self._running: dict[int, int] = {}  # index -> tokens so far
        self._failures: dict[int, str] = {}
        self._unreadable: dict[int, str] = {}
        self._infos: dict[int, str] = {}
        self._texts: dict[int, str] = {}  # of tiles that were shown

    def _find_captions(self) -> None:
        """A caption file counts if it is there and not empty; a blank one is noticed when it is shown."""
        self._texts.clear()
        self._captioned = {i for i, item in enumerate(self._items) if item.has_caption and _size(item)}

    def _parse(self, tile_id: str) -> int | None:
        scan, _, index = tile_id.partition("/")
        known = scan == str(self._scan) and index.isdecimal() and int(index) < len(self._items)
        return int(index) if known else None

    def _filtered(self, wanted: str) -> list[int] | range:
        every = range(len(self._items))
        if wanted == "Failed":
            return sorted(self._failures)
        if wanted == "Captioned":
            return sorted(self._captioned - self._failures.keys())
        if wanted == "Pending":
            return [i for i in every if i not in self._captioned and i not in self._failures]
        return every

    def _tile(self, index: int) -> Tile:
        item = self._items[index]
        text = self._text(index)
        problem = self._failures.get(index) or self._unreadable.get(index, "")
        state: State = "captioned" if index in self._captioned else "pending"
        if index in self._running:
            state = "running"
        elif index in self._failures:
            state = "failed"
        tokens, info = self._running.get(index, 0), self._infos.get(index, "")
        return Tile(f"{self._scan}/{index}", item, state, text, problem, tokens, info)

    def _text(self, index: int) -> str:
        if index not in self._captioned:
            return ""
        if index not in self._texts:
            try:
                self._texts[index] = self._services.captions.read(self._items[index].caption_path)
            except CaptionerError as error:
                self._unreadable[index] = str(error)
                return ""
            if not self._texts[index]:
                self._captioned.discard(index)
        return self._texts[index]

    def _catch_up(self) -> None:
        """Apply the events since the last call."""
        news = self._services.events.since(self._cursor)
        if news and news[0].number > self._cursor + 1:  # nobody looked for so long that events are gone
            self._items = tuple(item._replace(has_caption=item.caption_path.is_file()) for item in self._items)
            self._find_captions()
        for event in news:
            self._cursor = event.number
            if isinstance(event, facts.JobEnded):
                self._running.clear()
            elif isinstance(event, facts.ItemEvent):
                index = self._index.get(event.item)
                if index is not None and self._items[index].path == event.path:
                    self._apply(index, event)

    def _apply(self, index: int, event: facts.ItemEvent) -> None:
        if isinstance(event, facts.ItemStarted | facts.ItemProgress):
            self._running[index] = getattr(event, "tokens", 0)
            return
        self._running.pop(index, None)
        if isinstance(event, facts.ItemFailed):
            self._failures[index] = event.reason
        else:  # done or skipped: there is a caption, to be read when it is shown
            self._failures.pop(index, None)
            self._unreadable.pop(index, None)
            self._texts.pop(index, None)
            self._captioned.add(index)


def _size(item: MediaItem) -> int:
    try:
        return os.stat(os.path.join(item.folder, item.caption_name)).st_size  # noqa: PTH116, PTH118 - 50,000 times
    except OSError:
        return 0
