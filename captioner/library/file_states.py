"""The state, caption, flags and problems of each file of one scan. Files are named by their position in it."""

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

from captioner.captions.file_marks import MARKS, Mark
from captioner.captions.flaws import flaw_of_failure
from captioner.captions.store import CaptionStore
from captioner.captions.written import CHANGED_OUTSIDE
from captioner.dataset.lint.finding import LintOptions
from captioner.errors import CaptionError, StateError
from captioner.jobs.events import ItemDone, ItemEvent, ItemFailed, ItemProgress, ItemScored, ItemSkipped, ItemStarted
from captioner.library.counts import Counts, count
from captioner.library.faults import Fault, fault_in, fault_of
from captioner.library.file_scores import FileScores
from captioner.library.measured import FileMeasured
from captioner.library.recorded import caption_size, failures_of, marks_of, positions_by_caption, scores_of
from captioner.system.database import path_text
from captioner.values import MediaItem

log = logging.getLogger(__name__)

State = Literal["pending", "done", "failed", "edited"]
STATES: tuple[State, ...] = ("pending", "done", "failed", "edited")
# Bits of `FileStates.flags`.
APPROVED_FLAG, CHANGED_OUTSIDE_FLAG, FLAWED_FLAG = 1, 2, 4
MARK_FLAGS: dict[Mark, int] = dict(zip(MARKS, (8, 16), strict=True))
PREVIEW_LENGTH = 600  # what the largest tile shows


class FileStates:
    """Not thread-safe: call it under the lock of OpenFolder."""

    def __init__(
        self,
        folder: Path | None,
        items: Sequence[MediaItem],
        captions: CaptionStore,
        touch: Callable[[int], None],
        scanned: Path | None = None,
        lint: LintOptions | None = None,
    ) -> None:
        """folder: where the captions are. touch: called with the position of each file that viewers have to see again.

        scanned: the folder of the files, if their marks and earlier failures are to be shown. lint: see `check`.
        """
        self.lint = lint
        self._folder, self._captions, self._touch = folder, captions, touch
        self.running: dict[int, int] = {}  # position -> tokens so far
        self.failures: dict[int, str] = {}
        self.problems: dict[int, str] = {}
        self.doubts: dict[int, str] = {}  # of captions whose text is a guess, see `Decoded.doubt`
        self.durations: dict[int, float] = {}  # seconds
        self.measured = FileMeasured(captions.database, scanned, items)
        self.texts: dict[int, str] = {}  # the captions that were read
        self.captioned: set[int] = set()
        self.changed_outside: set[int] = set()
        self.edited: set[int] = set()
        self.approved: set[int] = set()
        self.flaws: dict[int, str] = {}  # of captions as a model wrote them, see captions/flaws
        self.found: dict[int, Fault] = {}  # by the linter, in captions that were read
        self.marks: dict[int, Mark] = {}  # given by a person
        self.scores = FileScores()
        self.find_captions(items)
        if scanned:
            self.marks, self.failures = marks_of(captions, scanned, items), failures_of(captions, scanned, items)

    def find_captions(self, items: Sequence[MediaItem]) -> None:
        """Rescan which of the files have captions, without reading them; `items` are the same files as before.

        A file counts as captioned if its caption file exists and is not empty. Blank captions are detected when read.
        """
        self._items = items
        self.texts.clear()
        self.found.clear()
        self.scores.clear()
        self.doubts.clear()
        self.changed_outside.clear()
        self.captioned = {i for i, item in enumerate(items) if item.has_caption and caption_size(item)}
        self.find_marks()

    def find_marks(self) -> None:
        """Read from the database which captions are edited, approved or flawed."""
        if self._folder is None:
            return
        ownership = self._captions.ownership
        edited, approved = ownership.edited_in(self._folder), ownership.approved_in(self._folder)
        flaws = ownership.flaws_in(self._folder)
        positions = positions_by_caption(self._items) if edited or approved or flaws else {}
        self.scores.keep(scores_of(self._captions, self._folder, self._items))
        self.flaws = {positions[key]: flaw for key, flaw in flaws.items() if key in positions}
        self.edited = {positions[key] for key in edited & positions.keys()}
        self.approved = {positions[key] for key in approved & positions.keys()}

    def positions(self, caption_paths: Iterable[Path]) -> list[int]:
        """Return the positions of the files with these captions; other captions are left out."""
        positions = positions_by_caption(self._items)
        return [positions[key] for key in map(path_text, caption_paths) if key in positions]

    def digests(self) -> dict[int, bytes]:
        """Return `Ownership.digest_of` the captions that have one; none if the database cannot be used."""
        try:
            digests = self._captions.ownership.digests_in(self._folder) if self._folder else {}
        except StateError as error:
            log.warning("cannot find out which captions were changed outside: %s", error)
            return {}
        positions = positions_by_caption(self._items) if digests else {}
        return {positions[key]: digest for key, digest in digests.items() if key in positions}

    def keep_failures(self, before: "FileStates") -> None:
        """Mark the files that failed in an earlier scan, unless they or the existence of their captions changed."""
        failures = {before._key(position): reason for position, reason in before.failures.items()}
        if failures:
            keys = ((position, self._key(position)) for position in range(len(self._items)))
            self.failures |= {position: failures[key] for position, key in keys if key in failures}

    def state(self, position: int) -> State:
        if position in self.failures:
            return "failed"
        if position not in self.captioned:
            return "pending"
        return "edited" if position in self.edited else "done"

    def flags(self, position: int) -> int:
        """Return the sum of the flags that apply."""
        mark, is_captioned = self.marks.get(position), position in self.captioned
        approved, outside = (is_captioned and position in marked for marked in (self.approved, self.changed_outside))
        is_flawed = self.fault(position) is not None and not (approved or outside)
        flags = APPROVED_FLAG * approved + CHANGED_OUTSIDE_FLAG * outside + FLAWED_FLAG * is_flawed
        return flags + (MARK_FLAGS[mark] if mark else 0)

    def fault(self, position: int) -> Fault | None:
        """Return what is wrong with a model's last answer or with the caption; None if nothing is known."""
        if position in self.failures:
            return fault_of(flaw_of_failure(self.failures[position]))
        known = fault_of(self.flaws.get(position, "")) or self.found.get(position)
        return known if position in self.captioned else None

    def check(self, position: int) -> None:
        """Lint a caption that was read, by itself, unless `lint` is None, and find out whether it has a score."""
        item, text = self._items[position], self.texts.get(position)
        self.found.pop(position, None)
        self.scores.check(position, item, text)
        if text and self.lint and (fault := fault_in(item, text, self.lint, self.measured.get(position))):
            self.found[position] = fault

    def problem(self, position: int) -> str:
        return self.failures.get(position) or self.problems.get(position, "")

    def text(self, position: int) -> str:
        """Return the caption, which is read once; "" if there is none or it cannot be read."""
        if position in self.captioned and position not in self.texts:
            self.read(position, self._digest(position))
        return self.texts[position] if position in self.captioned else ""

    def read(self, position: int, expected_digest: bytes | None) -> None:
        """Read a caption. expected_digest: from `digests`; a caption written since then is recognized."""
        path = self._items[position].caption_path
        try:
            decoded, changed_outside = self._captions.read_with_origin(path, expected_digest)
            if changed_outside:
                decoded, changed_outside = self._captions.read_with_origin(path, self._digest(position))
        except CaptionError as error:
            self.problems[position] = str(error)
            self.texts[position] = ""
            return
        text = self.texts[position] = decoded.body
        self.check(position)
        if not text:
            self.captioned.discard(position)
        if decoded.doubt and text:
            self.doubts[position] = decoded.doubt
        is_marked = decoded.doubt or position in self.found or position in self.scores.valid
        if not text or is_marked or changed_outside != (position in self.changed_outside):
            self._touch(position)
        (self.changed_outside.add if changed_outside else self.changed_outside.discard)(position)

    def columns(self) -> dict[str, list]:
        """Return all files as columns of equal length.

        kinds: 1 for a clip. sizes: bytes. times: POSIX time of the last change. states: index into STATES. durations:
        seconds, 0 if unknown. measured: see FileMeasured.bits. lengths: characters of the captions. scores: see
        captions/scores; None if it has none. Lengths and CHANGED_OUTSIDE_FLAG are 0, and scores None, until it is read.
        """
        items, positions = self._items, range(len(self._items))
        return {
            "names": [item.name for item in items],
            "kinds": [int(item.kind == "video") for item in items],
            "sizes": [item.size_bytes for item in items],
            "times": [int(item.modified_s) for item in items],
            "states": [STATES.index(self.state(i)) for i in positions],
            "flags": [self.flags(i) for i in positions],
            "durations": [self.durations.get(i, 0) for i in positions],
            "measured": [self.measured.bits(i) for i in positions],
            "lengths": [len(self.texts.get(i, "")) for i in positions],
            "scores": [self.scores.value(i) for i in positions],
        }

    def row(self, position: int) -> dict:
        """Return one file as a row: its position as "index", the same values, and short texts."""
        text, fault = self.text(position), self.fault(position)
        return {
            "index": position,
            "state": STATES.index(self.state(position)),
            "flags": self.flags(position),
            "duration": self.durations.get(position, 0),
            "measured": self.measured.bits(position),
            "length": len(text),
            "score": self.scores.value(position),
            "preview": text[:PREVIEW_LENGTH],
            "problem": self.problem(position),
            "doubt": self.doubts.get(position, ""),
            "flaw": fault.text if fault else "",
            "badge": fault.badge if fault else "",
        }

    def counts(self) -> Counts:
        """Count the files in each state."""
        return count(len(self._items), self.captioned, self.failures, self.edited, self.approved, self.changed_outside)

    def apply(self, position: int, event: ItemEvent) -> None:
        """Apply an event of a job to a file."""
        if isinstance(event, ItemStarted | ItemProgress):
            self.running[position] = getattr(event, "tokens", 0)
            return
        self.running.pop(position, None)
        if isinstance(event, ItemScored) and event.made:
            self.scores.keep({position: event.made})
            self.check(position)
            self._touch(position)
        elif isinstance(event, ItemFailed):
            self.failures[position] = event.reason
            self._touch(position)
        elif isinstance(event, ItemDone):
            self.problems.pop(position, None)
            self.set_text(position, event.caption, edited=False)
            if event.flaw:
                self.flaws[position] = event.flaw
        elif isinstance(event, ItemSkipped) and (position not in self.captioned or event.reason == CHANGED_OUTSIDE):
            self._mark_unread(position)

    def reload(self, position: int) -> None:
        """Read the caption again, whether there was one or not."""
        self._mark_unread(position)
        self.problems.pop(position, None)
        self.text(position)

    def reread(self, position: int) -> bool:
        """Read the caption again after another program may have changed it; return whether anything is different."""
        before, old = self.row(position), self.texts.get(position)
        self.captioned.add(position)
        for known in (self.texts, self.doubts):
            known.pop(position, None)
        text = self.text(position)
        if text != old and text:
            self.failures.pop(position, None)  # somebody has written what the model could not
        if self.row(position) == before and text == old:
            return False
        self._touch(position)
        return True

    def set_text(self, position: int, text: str, edited: bool) -> None:
        """Set a text that this program has just written."""
        self.texts[position] = text
        self.check(position)
        for marks in (self.failures, self.doubts, self.flaws):
            marks.pop(position, None)
        self.changed_outside.discard(position)
        (self.captioned.add if text else self.captioned.discard)(position)
        (self.edited.add if edited and text else self.edited.discard)(position)
        if not text:
            self.approved.discard(position)
        self._touch(position)

    def set_mark(self, positions: Iterable[int], mark: Mark | None) -> None:
        """Set the marks that a person has just given."""
        for position in positions:
            self.marks.pop(position, None)
            if mark:
                self.marks[position] = mark
            self._touch(position)

    def _mark_unread(self, position: int) -> None:
        self.captioned.add(position)
        self.texts.pop(position, None)
        self.doubts.pop(position, None)
        self._touch(position)

    def _key(self, position: int) -> tuple:
        item = self._items[position]
        return item.folder, item.filename, item.size_bytes, item.modified_s, position in self.captioned

    def _digest(self, position: int) -> bytes | None:
        try:
            return self._captions.ownership.digest_of(self._items[position].caption_path)
        except StateError as error:
            log.warning("cannot find out whether a caption was changed outside: %s", error)
            return None
