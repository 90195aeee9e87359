"""The only way to change a caption file. A crash at any moment loses neither the old text nor the new one."""

import contextlib
import errno
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from sqlite3 import Connection

from captioner.captions.files import CaptionFiles, NotWritten
from captioner.captions.operations import RUNS, undone_by
from captioner.captions.ownership import Origin, Stamp, digest, follow_approval, put_stamp, stamp_of
from captioner.captions.provenance import Made, Outcome, decide_made, insert_made
from captioner.errors import CaptionError, StateError
from captioner.system.database import Database, path_text, text_path
from captioner.system.replacing import Refused, temporary_start

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Change:
    """The replacement, creation or deletion of one caption file; `before` and `after` differ."""

    path: Path
    before: bytes | None  # None: there was no file
    after: bytes | None  # None: the file is deleted
    origin: Origin
    operation: int | None = None  # a row of the table operations
    made: Made | None = None  # how a model made the caption


class ChangeLog:
    """Makes changes and records them in the table caption_changes. Any thread may call.

    Hold `lock` from reading a file until the change that depends on it is made.
    """

    def __init__(self, database: Database, files: CaptionFiles) -> None:
        self._database, self.files = database, files
        self._refused: dict[Refused, Path] = {}  # what a file system refused since `refused` was called, and where
        self.lock = threading.RLock()

    def make(self, changes: Sequence[Change]) -> list[CaptionError | None]:
        """Make the changes, and return for each one the reason why it was not made, or None.

        One transaction records the texts, each file that still holds `before` is replaced whole, and a second
        transaction records that. If it is missing, `settle` finds out. Raises StateError before any file is touched.
        """
        if not changes:
            return []
        with self.lock:
            with self._database.transaction() as connection:
                rows = [_insert(connection, change) for change in changes]
            problems = [self._replace(change) for change in changes]
            for folder in {change.path.parent for change in changes}:
                self.files.flush(folder)
            try:
                with self._database.transaction() as connection:
                    for row, change, problem in zip(rows, changes, problems, strict=True):
                        self._conclude(connection, row, change, problem)
            except StateError as error:
                what = changes[0].path if len(changes) == 1 else f"{len(changes)} captions"
                log.warning("the change of %s will be recorded at the next start: %s", what, error)
        return problems

    def put(self, changes: Sequence[Change]) -> list[CaptionError | None]:
        """Like `make`, but only the origin is recorded of a text that its file already holds."""
        problems = iter(self.make([change for change in changes if change.before != change.after]))
        found: list[CaptionError | None] = []
        for change in changes:
            if change.before == change.after:
                self.record_unchanged(change)
                found.append(None)
            else:
                found.append(next(problems))
        return found

    def take_refused(self) -> dict[Refused, Path]:
        """Return what a file system refused since the last call, and in which folder."""
        with self.lock:
            refused, self._refused = self._refused, {}
        return refused

    def record_unchanged(self, change: Change) -> None:
        """Record the origin of a text that the file already holds. A failure is only logged."""
        key, found = path_text(change.path), digest(change.after or b"")
        try:
            with self._database.transaction() as connection:
                stamp = stamp_of(connection, key)
                if stamp is None or stamp.digest != found or stamp.origin == change.origin:
                    put_stamp(connection, key, Stamp(change.origin, found, change.made.flaw if change.made else ""))
                if change.made:
                    insert_made(connection, change.made, "written")
        except StateError as error:
            log.warning("cannot record who wrote %s: %s", change.path, error)

    def record_made(self, made: Made, outcome: Outcome) -> None:
        """Record a caption that is not written. A failure is only logged, or the file would be captioned again."""
        try:
            with self._database.transaction() as connection:
                insert_made(connection, made, outcome)
        except StateError as error:
            log.warning("cannot record how %s was captioned: %s", made.item.name, error)

    def settle(self, operation: int | None) -> dict[Path, bool]:
        """See CaptionStore.settle. A file that cannot be read now is left for the next call and not in the result."""
        sql = (
            "SELECT id, caption_path, before, after, origin, operation FROM caption_changes "
            "WHERE made = 0 AND (?1 IS NULL OR operation = ?1) ORDER BY id"
        )
        settled = {}
        with self.lock:
            rows = self._database.rows(sql, (operation,))
            changes = {row: Change(text_path(key), *values) for row, key, *values in rows}
            for folder in {change.path.parent for change in changes.values()}:
                starts = tuple(temporary_start(change.path) for change in changes.values())
                self.files.remove_temporaries(folder, starts)
            if operation is None:
                self.files.clear_scratch()
            for row, change in changes.items():
                try:
                    now = self.files.read_in_folder(change.path)
                except CaptionError as error:
                    log.warning("whether a caption was written will be checked again at the next start: %s", error)
                    continue
                if _is_torn(change, now) and self._replace(replace(change, before=now)) is None:
                    now = change.after
                with self._database.transaction() as connection:
                    settled[change.path] = _decide(connection, row, change, now)
        return settled

    def _replace(self, change: Change) -> CaptionError | None:
        path = change.path
        try:
            if change.made:
                self.files.make_subfolder(change.made.item)
            if self.files.read(path) != change.before:
                return CaptionError(f"the caption {path} was just changed by another program; try again")
            self._refused |= dict.fromkeys(self.files.replace(path, change.after) or (), path.parent)
        except CaptionError as error:
            return error
        except OSError as error:
            with contextlib.suppress(CaptionError):
                if self.files.read_in_folder(path) == change.after:  # a network drive may fail and do it all the same
                    return None
            return NotWritten(f"cannot write the caption {path}: {error.strerror}{_advice(error)}")
        return None

    def _conclude(self, connection: Connection, row: int, change: Change, problem: CaptionError | None) -> None:
        """Complete or drop a change that was just tried; leave it to `settle` if the file cannot be read."""
        if isinstance(problem, NotWritten):
            with contextlib.suppress(CaptionError):
                _decide(connection, row, change, self.files.read_in_folder(change.path))
        else:
            _decide(connection, row, change, change.before if problem else change.after)


def _insert(connection: Connection, change: Change) -> int:
    key = path_text(change.path)
    if change.made:
        insert_made(connection, change.made, "pending")
    sql = (
        "INSERT INTO caption_changes (caption_path, before, after, origin, operation, made, changed_at_s, "
        "state_origin, state_digest, state_flaw) VALUES (?, ?, ?, ?, ?, 0, ?, ?, ?, ?)"
    )
    stamp = stamp_of(connection, key) or (None, None, "")
    values = (key, change.before, change.after, change.origin, change.operation, time.time(), *stamp)
    return connection.execute(sql, values).lastrowid or 0


def _decide(connection: Connection, row: int, change: Change, now: bytes | None) -> bool:
    """Complete or drop a change, depending on the file's content now; return whether it was made."""
    key, was_made = path_text(change.path), now == change.after
    flaw = decide_made(connection, key, was_made)
    if was_made:
        put_stamp(connection, key, _stamp_after(connection, key, change, flaw))
        follow_approval(connection, key, None if change.origin == "job" else change.after)
        connection.execute("UPDATE caption_changes SET made = 1 WHERE id = ?", (row,))
    elif now == change.before or not change.before:
        connection.execute("DELETE FROM caption_changes WHERE id = ?", (row,))
    else:  # changed outside since: the change may have been made, so the text before it is kept
        connection.execute("UPDATE caption_changes SET made = 1, operation = NULL WHERE id = ?", (row,))
    return was_made


def _is_torn(change: Change, now: bytes | None) -> bool:
    """Return whether a file was left in the middle of being written over, where it cannot be replaced."""
    before, after = change.before or b"", change.after or b""
    if now is None or now in (change.before, after):
        return False
    num_equal = next((i for i, (one, other) in enumerate(zip(now, after, strict=False)) if one != other), len(now))
    return now[num_equal:] in (b"", before[num_equal:])


def _stamp_after(connection: Connection, key: str, change: Change, flaw: str) -> Stamp | None:
    """Return who wrote what the file now holds. An undo brings back the stamp from before the undone operation."""
    if change.origin != "undo" or change.operation is None:
        return None if change.after is None else Stamp(change.origin, digest(change.after), flaw)
    undone = undone_by(connection, change.operation)
    # The plus makes SQLite use the index on caption_path, not the one on operation.
    sql = "SELECT * FROM caption_changes WHERE caption_path = ?2 AND +operation IN runs AND before IS ?3 AND made = 1"
    first = connection.execute(f"{RUNS} {sql} ORDER BY id LIMIT 1", (undone, key, change.after)).fetchone()
    return None if first["state_origin"] is None else Stamp(*(first[f"state_{name}"] for name in Stamp._fields))


def _advice(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "; make the folder writable, or write the captions to another one with --captions-to DIR"
    if error.errno in (errno.EINVAL, errno.EILSEQ, errno.ENAMETOOLONG):
        return "; this file system may not hold such a name: rename the file"
    return "; free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
