"""The state, caption, flags and problems of each file of one scan. Files are named by their position in it."""

import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from captioner.captions.store import CHANGED_OUTSIDE, CaptionStore
from captioner.errors import CaptionError, StateError
from captioner.jobs.events import ItemDone, ItemEvent, ItemFailed, ItemProgress, ItemSkipped, ItemStarted
from captioner.system.database import path_text
from captioner.values import MediaItem

log = logging.getLogger(__name__)

State = Literal["pending", "done", "failed", "edited"]
STATES: tuple[State, ...] = ("pending", "done", "failed", "edited")
APPROVED_FLAG, CHANGED_OUTSIDE_FLAG = 1, 2  # bits of `FileStates.flags`
PREVIEW_LENGTH = 160
FileKey = tuple[Path, str, int, float, bool]  # folder, name, bytes, POSIX time, whether it has a caption


@dataclass(frozen=True)
class Counts:
    """The number of files in each state, and of approved captions and captions changed outside."""

    total: int = 0
    done: int = 0  # captioned, edited ones too
    pending: int = 0
    failed: int = 0
    edited: int = 0
    approved: int = 0
    changed_outside: int = 0  # as far as the captions were read


class FileStates:
    """Not thread-safe: call it under the lock of OpenFolder."""

    def __init__(
        self,
        folder: Path | None,
        items: tuple[MediaItem, ...],
        captions: CaptionStore,
        touch: Callable[[int], None],
    ) -> None:
        """`touch` is called with the position of each file that viewers have to see again."""
        self._folder, self._captions, self._touch = folder, captions, touch
        self.running: dict[int, int] = {}  # position -> tokens so far
        self.failures: dict[int, str] = {}
        self.problems: dict[int, str] = {}
        self.durations: dict[int, float] = {}  # seconds
        self.texts: dict[int, str] = {}  # the captions that were read
        self.captioned: set[int] = set()
        self.changed_outside: set[int] = set()
        self.edited: set[int] = set()
        self.approved: set[int] = set()
        self.find_captions(items)

    def find_captions(self, items: tuple[MediaItem, ...]) -> None:
        """Rescan which of the files have captions, without reading them; `items` are the same files as before.

        A file counts as captioned if its caption file exists and is not empty. Blank captions are detected when read.
        """
        self._items = items
        self.texts.clear()
        self.changed_outside.clear()
        self.captioned = {i for i, item in enumerate(self._items) if item.has_caption and _size(item)}
        self.find_marks()

    def find_marks(self) -> None:
        """Read from the database which captions are edited and which are approved."""
        states = self._captions.ownership
        edited, approved = (
            (states.edited_in(self._folder), states.approved_in(self._folder)) if self._folder else (set(), set())
        )
        numbers = self._numbers() if edited or approved else {}
        self.edited = {numbers[key] for key in edited & numbers.keys()}
        self.approved = {numbers[key] for key in approved & numbers.keys()}

    def indices(self, caption_paths: Iterable[Path]) -> list[int]:
        """Return the positions of the files with these captions; other captions are left out."""
        numbers = self._numbers()
        return [numbers[key] for key in map(path_text, caption_paths) if key in numbers]

    def digests(self) -> dict[int, bytes]:
        """Return `Ownership.digest_of` the captions that have one; none if the database cannot be used."""
        try:
            digests = self._captions.ownership.digests_in(self._folder) if self._folder else {}
        except StateError as error:
            log.warning("cannot find out which captions were changed outside: %s", error)
            return {}
        numbers = self._numbers() if digests else {}
        return {numbers[key]: digest for key, digest in digests.items() if key in numbers}

    def failures_by_file(self) -> dict[FileKey, str]:
        """Return why files failed, for `fail` after the next scan."""
        return {self._key(index): reason for index, reason in self.failures.items()}

    def fail(self, failures: dict[FileKey, str]) -> None:
        """Mark files as failed again, if neither they nor the existence of their captions changed."""
        if failures:
            keys = ((index, self._key(index)) for index in range(len(self._items)))
            self.failures = {index: failures[key] for index, key in keys if key in failures}

    def state(self, index: int) -> State:
        """Return the state of a file."""
        if index in self.failures:
            return "failed"
        if index not in self.captioned:
            return "pending"
        return "edited" if index in self.edited else "done"

    def flags(self, index: int) -> int:
        """Return the sum of APPROVED_FLAG and CHANGED_OUTSIDE_FLAG, each if it applies."""
        if index not in self.captioned:
            return 0
        return APPROVED_FLAG * (index in self.approved) + CHANGED_OUTSIDE_FLAG * (index in self.changed_outside)

    def problem(self, index: int) -> str:
        """Return why a file failed or cannot be read, or ""."""
        return self.failures.get(index) or self.problems.get(index, "")

    def text(self, index: int) -> str:
        """Return the caption, which is read once; "" if there is none or it cannot be read."""
        if index in self.captioned and index not in self.texts:
            self.read(index, self._digest(index))
        return self.texts[index] if index in self.captioned else ""

    def read(self, index: int, expected_digest: bytes | None) -> None:
        """Read a caption. expected_digest: from `digests`; a caption written since then is recognized."""
        path = self._items[index].caption_path
        try:
            text, changed_outside = self._captions.read_with_origin(path, expected_digest)
            if changed_outside:
                text, changed_outside = self._captions.read_with_origin(path, self._digest(index))
        except CaptionError as error:
            self.problems[index] = str(error)
            self.texts[index] = ""
            return
        self.texts[index] = text
        if not text:
            self.captioned.discard(index)
        if not text or changed_outside != (index in self.changed_outside):
            self._touch(index)
        (self.changed_outside.add if changed_outside else self.changed_outside.discard)(index)

    def columns(self) -> dict[str, list]:
        """Return all files as columns of equal length.

        kinds: 1 for a clip, 0 for an image. sizes: bytes. times: POSIX time of the last change. states: index into
        STATES. flags: see `flags`; CHANGED_OUTSIDE_FLAG only once the captions are read. durations: seconds, 0 if
        unknown. lengths: characters of the captions, 0 if not read.
        """
        items, indices = self._items, range(len(self._items))
        return {
            "names": [item.name for item in items],
            "kinds": [int(item.kind == "video") for item in items],
            "sizes": [item.size_bytes for item in items],
            "times": [int(item.modified_s) for item in items],
            "states": [STATES.index(self.state(i)) for i in indices],
            "flags": [self.flags(i) for i in indices],
            "durations": [self.durations.get(i, 0) for i in indices],
            "lengths": [len(self.texts.get(i, "")) for i in indices],
        }

    def row(self, index: int) -> dict:
        """Return one file as a row: its position as "index", the same values, and short texts."""
        text = self.text(index)
        return {
            "index": index,
            "state": STATES.index(self.state(index)),
            "flags": self.flags(index),
            "duration": self.durations.get(index, 0),
            "length": len(text),
            "preview": text[:PREVIEW_LENGTH],
            "problem": self.problem(index),
        }

    def counts(self) -> Counts:
        """Count the files in each state; takes milliseconds for 50,000 files."""
        total, failed = len(self._items), len(self.failures)
        done = len(self.captioned - self.failures.keys())
        edited = len((self.edited & self.captioned) - self.failures.keys())
        approved, changed_outside = (len(marked & self.captioned) for marked in (self.approved, self.changed_outside))
        return Counts(total, done, total - done - failed, failed, edited, approved, changed_outside)

    def apply(self, index: int, event: ItemEvent) -> None:
        """Apply an event of a job to a file."""
        if isinstance(event, ItemStarted | ItemProgress):
            self.running[index] = getattr(event, "tokens", 0)
            return
        self.running.pop(index, None)
        if isinstance(event, ItemFailed):
            self.failures[index] = event.reason
            self._touch(index)
        elif isinstance(event, ItemDone):
            self.problems.pop(index, None)
            self.set_text(index, event.caption, edited=False)
        elif isinstance(event, ItemSkipped) and (index not in self.captioned or event.reason == CHANGED_OUTSIDE):
            self.forget_text(index)

    def reload(self, index: int) -> None:
        """Read the caption again, whether there was one or not."""
        self.captioned.add(index)
        self.texts.pop(index, None)
        self.problems.pop(index, None)
        self.text(index)
        self._touch(index)

    def set_text(self, index: int, text: str, edited: bool) -> None:
        """Set a text that this program has just written."""
        self.texts[index] = text
        self.failures.pop(index, None)
        self.changed_outside.discard(index)
        (self.captioned.add if text else self.captioned.discard)(index)
        (self.edited.add if edited and text else self.edited.discard)(index)
        if not text:
            self.approved.discard(index)
        self._touch(index)

    def forget_text(self, index: int) -> None:
        """Note that another program wrote a caption; it is read when needed."""
        self.captioned.add(index)
        self.texts.pop(index, None)
        self._touch(index)

    def _key(self, index: int) -> FileKey:
        item = self._items[index]
        return item.folder, item.filename, item.size_bytes, item.modified_s, index in self.captioned

    def _digest(self, index: int) -> bytes | None:
        try:
            return self._captions.ownership.digest_of(self._items[index].caption_path)
        except StateError as error:
            log.warning("cannot find out whether a caption was changed outside: %s", error)
            return None

    def _numbers(self) -> dict[str, int]:
        """Return the position of each caption, by `path_text`."""
        starts = {folder: path_text(folder / "x")[:-1] for folder in {item.folder for item in self._items}}
        return {
            starts[item.folder] + item.caption_name if item.caption_name.isascii() else path_text(item.caption_path): i
            for i, item in enumerate(self._items)
        }


def _size(item: MediaItem) -> int:
    try:
        return os.stat(os.path.join(item.folder, item.caption_name)).st_size  # noqa: PTH116, PTH118 - 50,000 times
    except OSError:
        return 0
