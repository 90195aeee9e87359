"""What is known of each file of one scan: its state, caption, flags and problems. Files are named by their index."""

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
FileKey = tuple[Path, str, int, float, bool]  # folder, name, bytes, POSIX seconds, whether it has a caption


@dataclass(frozen=True)
class Counts:
    total: int = 0
    done: int = 0  # captioned, edited ones too
    pending: int = 0
    failed: int = 0
    edited: int = 0
    approved: int = 0
    changed_outside: int = 0  # captions that hold something else than we last wrote there, as far as they were read


class FileStates:
    """Not thread-safe: the library calls it under its lock. `touch` is called with what changed by being looked at."""

    def __init__(
        self,
        folder: Path | None,
        items: tuple[MediaItem, ...],
        captions: CaptionStore,
        touch: Callable[[int], None],
    ) -> None:
        """Says of each file whether it has a caption: if one is there and not empty; blank ones show when read."""
        self._folder, self._captions, self._touch = folder, captions, touch
        self.running: dict[int, int] = {}  # tokens so far
        self.failures: dict[int, str] = {}
        self.problems: dict[int, str] = {}
        self.durations: dict[int, float] = {}  # seconds
        self.texts: dict[int, str] = {}  # of the captions that were read
        self.captioned: set[int] = set()
        self.changed_outside: set[int] = set()
        self.edited: set[int] = set()
        self.approved: set[int] = set()
        self.find_captions(items)

    def find_captions(self, items: tuple[MediaItem, ...]) -> None:
        """Anew from the disk and the database; no caption is read. items: the same files as before."""
        self._items = items
        self.texts.clear()
        self.changed_outside.clear()
        self.captioned = {i for i, item in enumerate(self._items) if item.has_caption and _size(item)}
        self.find_marks()

    def find_marks(self) -> None:
        """Anew from the database, which captions are edited and which approved."""
        states = self._captions.ownership
        edited, approved = (
            (states.edited_in(self._folder), states.approved_in(self._folder)) if self._folder else (set(), set())
        )
        numbers = self._numbers() if edited or approved else {}
        self.edited = {numbers[key] for key in edited & numbers.keys()}
        self.approved = {numbers[key] for key in approved & numbers.keys()}

    def indices(self, caption_paths: Iterable[Path]) -> list[int]:
        """Of the files with these captions; others are left out."""
        numbers = self._numbers()
        return [numbers[key] for key in map(path_text, caption_paths) if key in numbers]

    def digests(self) -> dict[int, bytes]:
        """Of what we last wrote into the captions, or was approved; none if the database cannot tell."""
        try:
            digests = self._captions.ownership.digests_in(self._folder) if self._folder else {}
        except StateError as error:
            log.warning("which captions were changed outside is not known: %s", error)
            return {}
        numbers = self._numbers() if digests else {}
        return {numbers[key]: digest for key, digest in digests.items() if key in numbers}

    def failures_by_file(self) -> dict[FileKey, str]:
        """Why files failed, for `fail` of the next scan."""
        return {self._key(index): reason for index, reason in self.failures.items()}

    def fail(self, failures: dict[FileKey, str]) -> None:
        """Let those of these files fail that are what they were, and have a caption only if they had one."""
        if failures:
            keys = ((index, self._key(index)) for index in range(len(self._items)))
            self.failures = {index: failures[key] for index, key in keys if key in failures}

    def state(self, index: int) -> State:
        if index in self.failures:
            return "failed"
        if index not in self.captioned:
            return "pending"
        return "edited" if index in self.edited else "done"

    def flags(self, index: int) -> int:
        if index not in self.captioned:
            return 0
        return APPROVED_FLAG * (index in self.approved) + CHANGED_OUTSIDE_FLAG * (index in self.changed_outside)

    def problem(self, index: int) -> str:
        return self.failures.get(index) or self.problems.get(index, "")

    def text(self, index: int) -> str:
        """The caption, read once; "" for none, and for one that cannot be read."""
        if index in self.captioned and index not in self.texts:
            self.read(index, self._digest(index))
        return self.texts[index] if index in self.captioned else ""

    def read(self, index: int, expected_digest: bytes | None) -> None:
        """Read a caption. expected_digest: as in `digests`, from which the file may differ by now."""
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
        """All files as columns of equal length.

        states: index into STATES. flags: sum of APPROVED_FLAG and CHANGED_OUTSIDE_FLAG, the latter once the captions
        are read. durations: seconds, 0 while not known. lengths: of the captions in characters.
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
        """The same of one file, with short texts."""
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
        total, failed = len(self._items), len(self.failures)
        done = len(self.captioned - self.failures.keys())
        edited = len((self.edited & self.captioned) - self.failures.keys())
        approved, changed_outside = (len(marked & self.captioned) for marked in (self.approved, self.changed_outside))
        return Counts(total, done, total - done - failed, failed, edited, approved, changed_outside)

    def apply(self, index: int, event: ItemEvent) -> None:
        """What a job did."""
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
        """Read the caption, whether there was one or not."""
        self.captioned.add(index)
        self.texts.pop(index, None)
        self.problems.pop(index, None)
        self.text(index)
        self._touch(index)

    def set_text(self, index: int, text: str, edited: bool) -> None:
        """What we wrote just now."""
        self.texts[index] = text
        self.failures.pop(index, None)
        self.changed_outside.discard(index)
        (self.captioned.add if text else self.captioned.discard)(index)
        (self.edited.add if edited and text else self.edited.discard)(index)
        if not text:
            self.approved.discard(index)
        self._touch(index)

    def forget_text(self, index: int) -> None:
        """A caption is there that somebody else has written."""
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
            log.warning("whether a caption was changed outside is not known: %s", error)
            return None

    def _numbers(self) -> dict[str, int]:
        """`path_text` of each caption -> index."""
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
