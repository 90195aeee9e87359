"""The open folder as any number of viewers see it: the list of its files, and what changed since a revision."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from captioner.captions.places import foreign_captions
from captioner.captions.store import CaptionStore
from captioner.dataset.lint.finding import LintOptions
from captioner.dataset.lint.lint import Linted, lint_set
from captioner.formatting import plural
from captioner.jobs.event_log import EventLog
from captioner.library.counts import Counts
from captioner.library.edits import READ_AT_ONCE, CaptionEdits
from captioner.library.faults import as_fault
from captioner.library.lookup import FileLookup
from captioner.library.open_folder import OpenFolder, Scan
from captioner.library.outside import OutsideChanges
from captioner.media.discover import ListingOptions, discover
from captioner.media.mirror import caption_root
from captioner.system.roots import EVERYWHERE, Roots
from captioner.values import KindFilter, MediaItem

READ_AFTER_S = 2.0  # gives the page of the first viewer time to load


@dataclass(frozen=True)
class Changes:
    """The changes of the list since a revision. rows None: too much has changed, fetch the whole list."""

    scan: str
    revision: int
    rows: tuple[dict, ...] | None
    running: dict[int, int]  # position in the list -> tokens so far


class Library:
    """Shared by all viewers; any thread may call. `lookup` finds files, `edits` changes their captions.

    `outside` finds what other programs changed.
    """

    def __init__(
        self,
        events: EventLog,
        captions: CaptionStore,
        roots: Roots = EVERYWHERE,
        lint_options: Callable[[], LintOptions | None] = lambda: None,
    ) -> None:
        """lint_options: returns what captions are checked for; None checks nothing."""
        self._lint_options = lint_options
        self._roots, self._open = roots, OpenFolder(events, captions)
        self.captions, self.lookup, self.edits = captions, FileLookup(self._open), CaptionEdits(self._open)
        self.outside = OutsideChanges(self._open)
        self._counted: tuple[tuple[str, int], Counts] = (("", -1), Counts())
        self._reading = ""  # the scan whose captions were read, or are being read

    @property
    def scan(self) -> Scan:
        """The files of the open folder, as one scan found them."""
        return self._open.scan

    @property
    def folder(self) -> Path | None:
        return self._open.scan.folder

    @property
    def items(self) -> tuple[MediaItem, ...]:
        return self._open.scan.items

    def open(self, folder: Path, options: ListingOptions = ListingOptions(), kinds: KindFilter = "all") -> int:
        """Scan a folder, show its files of these kinds, and return their number. Raises FolderError.

        When the same folder is scanned again, files that failed and are unchanged stay failed.
        """
        folder, shown = self._roots.resolve(folder), self._open
        with shown.current():
            cursor, revision = shown.cursor, shown.revision
        found, lint = discover(folder, options, self._roots.escapes), self._lint_options()
        items, warnings = tuple(item for item in found.items if kinds in ("all", item.kind)), found.warnings
        if options.captions_to and (foreign := foreign_captions(self.captions.ownership, items)):
            other = next(iter(foreign.values()))
            warnings += (f"{plural(len(foreign), 'file')} would share a caption with other media, such as {other}",)
        with shown.current():
            shown.lint = lint
            before = shown.files if folder == shown.scan.folder else None
            changed = [shown.scan.items[position].caption_path for position in shown.changed_since(revision)]
            captions_in = caption_root(folder, options.captions_to) or folder
            shown.show(Scan("", folder, options.recursive, kinds, items, warnings, captions_in))
            if before:
                shown.files.keep_failures(before)
            # The scan may have seen a file before a job or a person changed it during the scan.
            shown.cursor = cursor
            if changed:
                self.edits.refresh(changed)
        return len(items)

    def listing(self) -> dict:
        """Return `FileStates.columns`. The first call after a scan also starts to read the captions."""
        with self._open.current():
            scan = self._open.scan
            if self._reading != scan.id:
                self._reading = scan.id
                threading.Thread(target=self._read_texts, args=(scan,), name="captions", daemon=True).start()
            about = {"scan": scan.id, "revision": self._open.revision, "folder": str(scan.folder or "")}
            return about | self._open.files.columns()

    def since(self, scan: str, revision: int) -> Changes:
        """Return what changed after a viewer's revision, each file once."""
        with self._open.current():
            shown, rows = self._open, None
            if scan == shown.scan.id and revision >= shown.oldest:
                rows = tuple(shown.files.row(position) for position in shown.changed_since(revision))
            return Changes(shown.scan.id, shown.revision, rows, dict(shown.files.running))

    def counts(self) -> Counts:
        """Return the number of files in each state, counted again only after a change."""
        with self._open.current():
            state = (self._open.scan.id, self._open.revision)
            if self._counted[0] != state:  # else every viewer would count 50,000 files each second
                self._counted = (state, self._open.files.counts())
            return self._counted[1]

    def note(self, item: MediaItem, duration_s: float = 0.0, problem: str = "") -> None:
        """Keep what reading a media file has shown, unless its folder is no longer open."""
        with self._open.lock:
            position, files = self._open.scan.position(item), self._open.files
            if position is None:
                return
            if problem and files.problems.get(position) != problem:
                files.problems[position] = problem
                self._open.touch(position)
            if duration_s and files.durations.get(position) != round(duration_s, 1):
                files.durations[position] = round(duration_s, 1)
                self._open.touch(position)

    def _read_texts(self, scan: Scan) -> None:
        """Read every caption, with pauses since the page is being built at the same time. Runs in its own thread."""
        files = self._open.files
        time.sleep(READ_AFTER_S)
        if scan is not self._open.scan:
            return
        digests = files.digests()
        for start in range(0, len(scan.items), READ_AT_ONCE):
            began_s = time.monotonic()
            with self._open.lock:
                if scan is not self._open.scan:
                    return
                for position in range(start, min(start + READ_AT_ONCE, len(scan.items))):
                    if position in files.captioned and position not in files.texts:
                        files.read(position, digests.get(position))
            time.sleep(time.monotonic() - began_s)
        self._check_set(scan)

    def check_again(self) -> None:
        """Check the captions again in the background if the settings have changed what they are checked for."""
        options = self._lint_options()
        with self._open.lock:
            before, scan = self._open.lint, self._open.scan
            if options and before and options.key == before.key:
                return
            self._open.lint = self._open.files.lint = options
            if not self._open.files.texts:
                return  # they are checked when they are read
        threading.Thread(target=self._check_texts, args=(scan, options), name="lint", daemon=True).start()

    def _check_texts(self, scan: Scan, options: LintOptions | None) -> None:
        files = self._open.files
        for start in range(0, len(scan.items), READ_AT_ONCE):
            began_s = time.monotonic()
            with self._open.lock:
                if scan is not self._open.scan or files.lint is not options:
                    return
                for position in range(start, min(start + READ_AT_ONCE, len(scan.items))):
                    files.check(position)
            time.sleep(time.monotonic() - began_s)
        self._check_set(scan)

    def _check_set(self, scan: Scan) -> None:
        """Find what only shows in the whole set, such as near-duplicates, once all captions were read."""
        files = self._open.files
        with self._open.lock:
            options, texts = files.lint, {i: text for i, text in sorted(files.texts.items()) if text}
        captions = [Linted(scan.items[i].name, text, ()) for i, text in texts.items()]
        found = lint_set(captions, options) if options and scan is self._open.scan else []
        with self._open.lock:
            if scan is not self._open.scan or not files.texts:
                return
            for each in found:
                position = scan.positions[each.file]
                if files.texts.get(position) == texts[position] and (fault := as_fault([each])):
                    files.found.setdefault(position, fault)
            self._open.forget_changes()  # the lengths are known now, too
