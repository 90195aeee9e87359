"""The open folder: every file's state, kept true by the events of jobs and by edits, and what changed since a revision.

Any number of viewers ask with a revision of their own; nothing is kept for them here.
"""

import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from captioner.captions.store import CaptionStore
from captioner.errors import JobError
from captioner.jobs.event_log import EventLog
from captioner.jobs.events import ItemEvent, JobEnded, JobStarted
from captioner.library.file_states import APPROVED_FLAG, ELSEWHERE_FLAG, Counts, FileStates, State
from captioner.media.discover import discover
from captioner.system.roots import EVERYWHERE, Roots
from captioner.values import Kinds, MediaItem

KEPT_CHANGES = 4000  # a viewer that missed more fetches the whole list
READ_AT_ONCE = 100
READ_AFTER_S = 2.0  # once somebody has looked at the list


@dataclass(frozen=True)
class Entry:
    """One file as a viewer sees it. `id` names it for as long as the folder stays open."""

    id: str  # "<scan>-<index>"
    index: int
    item: MediaItem
    state: State
    text: str
    problem: str = ""  # why it failed or cannot be read
    tokens: int | None = None  # written so far, while it runs
    approved: bool = False  # no job touches its caption
    elsewhere: bool = False  # its caption holds something else than we last wrote there


@dataclass(frozen=True)
class Changes:
    """rows None: too much has changed, fetch the listing."""

    scan: str
    revision: int
    rows: tuple[dict, ...] | None
    running: dict[int, int]  # index -> tokens so far


class Library:
    """Shared by all viewers; any thread may call."""

    def __init__(self, events: EventLog, captions: CaptionStore, roots: Roots = EVERYWHERE) -> None:
        self._events, self._captions, self._roots = events, captions, roots
        self._lock = threading.RLock()
        self._number = int(time.time() * 10)  # in ids; a tab left open over a restart names no other file by an old id
        self._cursor = self._revision = 0
        self._counted: tuple[tuple[int, int], Counts] = ((0, -1), Counts())
        self._job, self._trying = 0, False  # the job that runs, and whether it changes no caption
        self.folder: Path | None = None
        self.recursive, self.kinds = False, "all"
        self.warnings: tuple[str, ...] = ()
        self._forget(())

    @property
    def items(self) -> tuple[MediaItem, ...]:
        return self._items

    @property
    def captions(self) -> CaptionStore:
        return self._captions

    @property
    def scan(self) -> str:
        return f"{self._number:x}"

    def open(self, folder: Path, recursive: bool, kinds: Kinds = "all") -> int:
        """Scan a folder and show its files of these kinds instead; returns how many. Raises FolderError.

        Of the same folder a file that failed and is what it was has failed still.
        """
        folder = self._roots.resolve(folder)
        with self._lock:
            self._catch_up()
            cursor, revision = self._cursor, self._revision
        found = discover(folder, recursive, self._roots.leads_out)
        items = tuple(item for item in found.items if kinds in ("all", item.kind))
        with self._lock:
            self._catch_up()
            failures = self._files.failures_by_file() if folder == self.folder else {}
            changed = [self._items[index].caption_path for number, index in self._changed if number > revision]
            self._number += 1
            self.folder, self.recursive, self.kinds, self.warnings = folder, recursive, kinds, found.warnings
            self._forget(items)
            self._files.fail(failures)
            self._cursor = cursor  # the scan may have seen a file before what happened to it meanwhile, by a job
            if changed:  # or by hand
                self.refresh(changed)
        return len(items)

    def listing(self) -> dict:
        """All files as columns of equal length (see FileStates.columns), for 50,000 to travel as one small document."""
        with self._lock:
            self._catch_up()
            if not self._reading:
                self._reading = True
                threading.Thread(target=self._read_texts, args=(self._number,), name="captions", daemon=True).start()
            about = {"scan": self.scan, "revision": self._revision, "folder": str(self.folder or "")}
            return about | self._files.columns()

    def since(self, scan: str, revision: int) -> Changes:
        """What changed after a viewer's revision, each file once."""
        with self._lock:
            self._catch_up()
            lost = self._changed[0][0] - 1 if len(self._changed) == KEPT_CHANGES else 0
            known = scan == self.scan and revision >= max(lost, self._oldest)
            rows = None
            if known:
                touched = dict.fromkeys(index for number, index in self._changed if number > revision)
                rows = tuple(self.row(index) for index in touched)
            return Changes(self.scan, self._revision, rows, dict(self._files.running))

    def row(self, index: int) -> dict:
        """One file's line for a viewer: short texts, numbers."""
        with self._lock:
            return self._files.row(index)

    def counts(self) -> Counts:
        with self._lock:
            self._catch_up()
            if self._counted[0] != (self._number, self._revision):  # else every viewer would count 50,000 each second
                self._counted = ((self._number, self._revision), self._files.counts())
            return self._counted[1]

    def find(self, entry_id: str) -> Entry | None:
        """The file of this id; None for one of a folder that was open before."""
        with self._lock:
            index = self._parse(entry_id)
            if index is None:
                return None
            self._catch_up()
            files = self._files
            text, state = files.text(index), files.state(index)
            flags, tokens = files.flags(index), files.running.get(index)
            approved, elsewhere = bool(flags & APPROVED_FLAG), bool(flags & ELSEWHERE_FLAG)
            about = (self._items[index], state, text, files.problem(index), tokens, approved, elsewhere)
            return Entry(self.entry_id(index), index, *about)

    def find_named(self, name: str) -> Entry | None:
        """The file of this name as it can be sent, with "?" for what is no text."""
        with self._lock:
            index = self._by_name.get(name)
            if index is None and "?" in name:
                sendable = (item.name.encode("utf-8", "replace").decode() for item in self._items)
                index = next((i for i, other in enumerate(sendable) if other == name), None)
            return None if index is None else self.find(self.entry_id(index))

    def entry_id(self, index: int) -> str:
        return f"{self.scan}-{index}"

    def names(self, indices: Iterable[int]) -> list[str]:
        """Names by index, unknown ones left out."""
        with self._lock:
            return [self._items[i].name for i in indices if 0 <= i < len(self._items)]

    def with_state(self, *states: State) -> list[str]:
        """Names of all files in one of these states."""
        with self._lock:
            self._catch_up()
            return [item.name for i, item in enumerate(self._items) if self._files.state(i) in states]

    def without_text(self, names: Iterable[str]) -> list[str]:
        """Those of `names` whose caption is not known to hold a text: it was not read yet, or there is none."""
        with self._lock:
            self._catch_up()
            files = self._files
            return [
                name
                for name in names
                if (i := self._by_name.get(name)) is not None and not (i in files.captioned and files.texts.get(i))
            ]

    def search(self, words: str) -> list[int]:
        """Indices of the files whose name or caption holds all the words, whatever their case."""
        wanted = words.casefold().split()
        with self._lock:
            self._catch_up()
            texts = self._files.texts
            haystacks = [f"{item.name}\n{texts.get(i, '')}".casefold() for i, item in enumerate(self._items)]
        found = list(range(len(haystacks)))
        for word in wanted:
            found = [i for i in found if word in haystacks[i]]
        return found

    def save(self, entry_id: str, text: str, expected: str | None = None) -> str:
        """Write a caption by hand; returns it as it stands in the file.

        expected: what the editor started from; raises CaptionError when the file holds something else by now.
        """
        with self._lock:
            index = self._index(entry_id)
            path = self._items[index].caption_path
            if not path.parent.is_dir():
                raise JobError(f"the folder {path.parent} is not there any more, so no caption can be saved in it")
            if expected is not None and self._captions.read(path) != expected:
                self._files.look_again(index)
                raise JobError("the caption was changed meanwhile; look at the new text before you save")
            saved = self._captions.save(path, text)
            self._files.set_text(index, saved, edited=True)
            return saved

    def delete(self, entry_id: str) -> bool:
        """Delete a caption file; its text stays in the history. False when there was none."""
        with self._lock:
            index = self._index(entry_id)
            deleted = self._captions.delete(self._items[index].caption_path)
            self._files.set_text(index, "", edited=False)
            return deleted

    def restore(self, entry_id: str, change: int) -> str:
        """Put back what stood before a change, as `CaptionStore.restore`; returns the text."""
        with self._lock:
            index = self._index(entry_id)
            text = self._captions.restore(self._items[index].caption_path, change)
            self._files.set_text(index, text, edited=True)
            return text

    def approve(self, names: Iterable[str], on: bool = True) -> int:
        """Lock the captions of these files against jobs and bulk edits as they stand, or unlock them; returns how many.

        Files without a caption are left out.
        """
        paths = [item.caption_path for item in self.with_names(names)]
        done = self._captions.approve(paths, on)
        self.refresh(paths)
        return done

    def with_names(self, names: Iterable[str]) -> list[MediaItem]:
        """The files of these names that are there, in the order of the folder."""
        with self._lock:
            return [self._items[i] for i in sorted({self._by_name[name] for name in names if name in self._by_name})]

    def refresh(self, caption_paths: Sequence[Path]) -> None:
        """Look at these captions again, after something other than a job or the methods here has changed them."""
        with self._lock:
            self._catch_up()
            files, indices = self._files, self._files.indices(caption_paths)
            files.find_marks()
        for start in range(0, len(indices), READ_AT_ONCE):
            with self._lock:
                if files is self._files:
                    for index in indices[start : start + READ_AT_ONCE]:
                        files.look_again(index)

    def note(self, index: int, scan: str, duration_s: float = 0.0, problem: str = "") -> None:
        """Keep what reading a file has shown."""
        with self._lock:
            if scan != self.scan or not 0 <= index < len(self._items):
                return
            if problem and self._files.problems.get(index) != problem:
                self._files.problems[index] = problem
                self._touch(index)
            if duration_s and self._files.durations.get(index) != round(duration_s, 1):
                self._files.durations[index] = round(duration_s, 1)
                self._touch(index)

    def _forget(self, items: tuple[MediaItem, ...]) -> None:
        self._items = items
        self._by_name = {item.name: i for i, item in enumerate(items)}
        self._changed: deque[tuple[int, int]] = deque(maxlen=KEPT_CHANGES)  # (revision, index)
        self._oldest = self._revision  # a viewer of before has to fetch the list
        self._reading = False  # every caption, for search and previews: once somebody looks at the list
        self._files = FileStates(self.folder, items, self._captions, self._touch)

    def _read_texts(self, number: int) -> None:
        """In a thread of its own: read every caption, for search, lengths and flags, a few at a time.

        Half of the time it does nothing, and at first for a while: the page of whoever looks is still being built.
        """
        files = self._files
        time.sleep(READ_AFTER_S)
        if number != self._number:
            return
        digests = files.digests()
        for start in range(0, len(self._items), READ_AT_ONCE):
            began_s = time.monotonic()
            with self._lock:
                if number != self._number:
                    return
                for index in range(start, min(start + READ_AT_ONCE, len(self._items))):
                    if index in files.captioned and index not in files.texts:
                        files.read(index, digests.get(index))
            time.sleep(time.monotonic() - began_s)
        with self._lock:
            if number == self._number and files.texts:  # lengths are known now
                self._revision += 1
                self._oldest = self._revision

    def _index(self, entry_id: str) -> int:
        index = self._parse(entry_id)
        if index is None:
            raise JobError("the folder of this file is no longer open; open it again")
        self._catch_up()  # what a job wrote before is not to look newer than the edit to come
        return index

    def _parse(self, entry_id: str) -> int | None:
        scan, _, index = entry_id.partition("-")
        known = scan == self.scan and index.isascii() and index.isdecimal() and int(index) < len(self._items)
        return int(index) if known else None

    def _touch(self, index: int) -> None:
        self._revision += 1
        self._changed.append((self._revision, index))

    def _catch_up(self) -> None:
        """Apply the events since the last call."""
        news = self._events.since(self._cursor)
        if news and news[0].number > self._cursor + 1:  # nobody looked for so long that events are gone
            self._items = tuple(item._replace(has_caption=item.caption_path.is_file()) for item in self._items)
            self._files.find_captions(self._items)
            self._changed.clear()
            self._number += 1
        for event in news:
            self._cursor = event.number
            if isinstance(event, JobStarted):
                self._job, self._trying = event.job, not event.saves
            elif isinstance(event, JobEnded) and event.job == self._job:
                self._trying = False
                self._files.running.clear()
            elif isinstance(event, ItemEvent) and not self._trying:
                index = self._by_name.get(event.item)
                if index is not None and self._items[index].path == event.path:
                    self._files.apply(index, event)


def parse_ranges(text: str, limit: int) -> Sequence[int]:
    """ "0-4,7" -> [0, 1, 2, 3, 4, 7], only below `limit`; what is no number is left out."""
    indices: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first.isascii() and first.isdecimal() and (not last or (last.isascii() and last.isdecimal())):
            indices += range(int(first), min(int(last or first) + 1, limit))
        if len(indices) >= limit:  # each at most once, from anyone who plays fair
            break
    return [index for index in indices if index < limit]
