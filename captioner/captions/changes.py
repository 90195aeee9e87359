"""The only way to change a caption file. A crash at any moment loses neither the old text nor the new one."""

import contextlib
import errno
import logging
import os
import re
import sqlite3
import stat
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from captioner.captions.operations import undone_by
from captioner.captions.ownership import Origin, Stamp, digest, follow_approval, put_stamp, stamp_of
from captioner.captions.provenance import Made, decide_made, insert_made
from captioner.errors import CaptionError, StateError
from captioner.system.database import Database, path_text, text_path
from captioner.system.files import flush_folder, write_atomic

log = logging.getLogger(__name__)

MAX_CAPTION_BYTES = 1_000_000  # hundreds of pages: a longer file is not a caption

_TEMPORARY = re.compile(r"\..*\.\d+-\d+\.tmp")  # the names that `write_atomic` gives


@dataclass(frozen=True)
class Change:
    """The replacement, creation or deletion of one caption file."""

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

    def __init__(self, database: Database, scratch: Path) -> None:
        self._database, self._scratch = database, scratch
        self.lock = threading.RLock()

    def make(self, changes: Sequence[Change]) -> list[CaptionError | None]:
        """Make the changes in two transactions, and return for each one the reason why it was not made, or None.

        The first transaction records the texts before and after; then each file is replaced whole; the second
        transaction records that this was done. If the program ends in between, `settle` finds out what was done. A file
        that no longer holds `before` is left alone. Raises StateError before any file is touched; a failure of the
        second transaction is only logged, since the captions are safe and the next `settle` completes it.
        """
        if not changes:
            return []
        with self.lock:
            with self._database.transaction() as connection:
                rows = [_insert(connection, change) for change in changes]
            problems = [self._replace(change) for change in changes]
            for folder in {change.path.parent for change in changes}:
                flush_folder(folder)
            try:
                with self._database.transaction() as connection:
                    for row, change, problem in zip(rows, changes, problems, strict=True):
                        _conclude(connection, row, change, problem)
            except StateError as error:
                what = changes[0].path if len(changes) == 1 else f"{len(changes)} captions"
                log.warning("the change of %s will be recorded at the next start: %s", what, error)
        return problems

    def record_unchanged(self, change: Change) -> None:
        """Record the origin of a text that the file already holds. A failure is only logged."""
        key, data = path_text(change.path), change.after or b""
        try:
            with self._database.transaction() as connection:
                stamp = stamp_of(connection, key)
                if stamp is None or stamp.digest != digest(data):
                    put_stamp(connection, key, Stamp(change.origin, digest(data)))
                if change.made:
                    insert_made(connection, change.made, "written")
        except StateError as error:
            log.warning("cannot record who wrote %s: %s", change.path, error)

    def settle(self, operation: int | None = None) -> dict[Path, bool]:
        """Complete or drop the changes that were under way when the program ended; return whether each was made.

        A change whose file cannot be read now, for example on an unplugged drive, is left for the next call and missing
        from the result. Removes the temporary files of these changes, and those of all killed writes if no operation is
        given. Raises StateError.
        """
        with self.lock:
            rows = self._database.rows(
                "SELECT * FROM caption_changes WHERE made = 0 AND (?1 IS NULL OR operation = ?1) ORDER BY id",
                (operation,),
            )
            changes = {row["id"]: _from_row(row) for row in rows}
            for folder in {change.path.parent for change in changes.values()}:
                _remove_temporaries(folder, tuple(f".{change.path.name[:80]}." for change in changes.values()))
            if operation is None:
                _remove_temporaries(self._scratch, (".",))
            settled = {change.path: self._settle_one(row, change) for row, change in changes.items()}
        return {path: made for path, made in settled.items() if made is not None}

    def _settle_one(self, row: int, change: Change) -> bool | None:
        """Return whether the change was made, or None if that cannot be determined now."""
        try:
            now = _read_in_folder(change.path)
        except CaptionError as error:
            log.warning("whether a caption was written will be checked again at the next start: %s", error)
            return None
        with self._database.transaction() as connection:
            return _decide(connection, row, change, now)

    def _replace(self, change: Change) -> CaptionError | None:
        path = change.path
        try:
            if read_bytes(path) != change.before:
                return CaptionError(f"the caption {path} was just changed by another program; try again")
            if change.after is None:
                path.unlink(missing_ok=True)
            elif len(change.after) > MAX_CAPTION_BYTES:
                return CaptionError(f"cannot write the caption {path}: {_too_long(len(change.after))}")
            else:
                write_atomic(path, change.after, self._scratch)
        except CaptionError as error:
            return error
        except OSError as error:
            with contextlib.suppress(CaptionError):
                if _read_in_folder(path) == change.after:  # a network drive may report failure and do it all the same
                    return None
            return _InDoubt(f"cannot write the caption {path}: {error.strerror}{_advice(error)}")
        return None


class _InDoubt(CaptionError):
    """The change failed halfway, so the file has to be read to know what it holds."""


def read_bytes(path: Path) -> bytes | None:
    """Return the content of a caption file, or None if there is no file.

    Raises CaptionError, also if it is not a regular file or longer than MAX_CAPTION_BYTES.
    """
    try:
        with open(path, "rb", buffering=0, opener=_open_nonblocking) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise CaptionError(f"cannot read the caption {path}: not a regular file")
            if status.st_size > MAX_CAPTION_BYTES:
                raise CaptionError(f"cannot read the caption {path}: {_too_long(status.st_size)}")
            return file.readall()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CaptionError(f"cannot read the caption {path}: {error.strerror}") from None


def _read_in_folder(path: Path) -> bytes | None:
    """Like read_bytes, but raise CaptionError if the folder is missing, for example on an unplugged drive."""
    if not path.parent.is_dir():
        raise CaptionError(f"cannot read the caption {path}: its folder is missing")
    return read_bytes(path)


def _open_nonblocking(path: str, flags: int) -> int:
    """Opening a FIFO would otherwise block until someone writes."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _too_long(num_bytes: int) -> str:
    return f"{num_bytes:,} bytes is longer than any caption"


def _insert(connection: sqlite3.Connection, change: Change) -> int:
    key = path_text(change.path)
    stamp = stamp_of(connection, key)
    if change.made:
        insert_made(connection, change.made, "pending")
    cursor = connection.execute(
        "INSERT INTO caption_changes (caption_path, before, after, origin, operation, made, changed_at_s, "
        "state_origin, state_digest) VALUES (?, ?, ?, ?, ?, 0, ?, ?, ?)",
        (key, change.before, change.after, change.origin, change.operation, time.time())
        + ((stamp.origin, stamp.digest) if stamp else (None, None)),
    )
    return cursor.lastrowid or 0


def _finish(connection: sqlite3.Connection, row: int, change: Change) -> None:
    key = path_text(change.path)
    put_stamp(connection, key, _stamp_after(connection, key, change))
    follow_approval(connection, key, None if change.origin == "job" else change.after)
    decide_made(connection, key, was_made=True)
    connection.execute("UPDATE caption_changes SET made = 1 WHERE id = ?", (row,))


def _decide(connection: sqlite3.Connection, row: int, change: Change, now: bytes | None) -> bool:
    """Complete or drop a change, depending on the file's content now; return whether it was made."""
    if now == change.after:
        _finish(connection, row, change)
    elif now == change.before or not change.before:
        _drop(connection, row, change)
    else:  # changed outside since: the change may have been made, so the text before it is kept
        decide_made(connection, path_text(change.path), was_made=False)
        connection.execute("UPDATE caption_changes SET made = 1, operation = NULL WHERE id = ?", (row,))
    return now == change.after


def _conclude(connection: sqlite3.Connection, row: int, change: Change, problem: CaptionError | None) -> None:
    """Complete or drop a change that was just tried; leave it to `settle` if the file cannot be read."""
    if problem is None:
        _finish(connection, row, change)
    elif isinstance(problem, _InDoubt):
        with contextlib.suppress(CaptionError):
            _decide(connection, row, change, _read_in_folder(change.path))
    else:
        _drop(connection, row, change)


def _drop(connection: sqlite3.Connection, row: int, change: Change) -> None:
    decide_made(connection, path_text(change.path), was_made=False)
    connection.execute("DELETE FROM caption_changes WHERE id = ?", (row,))


def _stamp_after(connection: sqlite3.Connection, key: str, change: Change) -> Stamp | None:
    """Return who wrote what the file now holds. An undo brings back the stamp from before the undone operation."""
    if change.origin != "undo" or change.operation is None:
        return None if change.after is None else Stamp(change.origin, digest(change.after))
    undone = undone_by(connection, change.operation)
    # The plus makes SQLite use the index on caption_path, not the one on operation.
    sql = "SELECT * FROM caption_changes WHERE caption_path = ? AND +operation = ? AND made = 1 ORDER BY id LIMIT 1"
    first = connection.execute(sql, (key, undone)).fetchone()
    return None if first["state_origin"] is None else Stamp(first["state_origin"], first["state_digest"])


def _from_row(row: sqlite3.Row) -> Change:
    return Change(text_path(row["caption_path"]), row["before"], row["after"], row["origin"], row["operation"])


def _remove_temporaries(folder: Path, starts: tuple[str, ...]) -> None:
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.name.startswith(starts) and _TEMPORARY.fullmatch(path.name):
                path.unlink()


def _advice(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "; make the folder writable, or copy it to a folder that is"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "; free some space"
    return ""
