"""Every change to a caption file, and the one way to make it: a crash at any moment costs neither text."""

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

MAX_CAPTION_BYTES = 1_000_000  # hundreds of pages; what is longer is something else that bears the name

# As `write_atomic` names them.
_TEMPORARY = re.compile(r"\..*\.\d+-\d+\.tmp")


@dataclass(frozen=True)
class Change:
    """One caption file replaced, made or deleted."""

    path: Path
    before: bytes | None  # None: there was no file
    after: bytes | None  # None: it is deleted
    origin: Origin
    operation: int | None = None  # a number of captioner.captions.operations
    made: Made | None = None  # how a model made it


class ChangeLog:
    """The table caption_changes. `lock` is held from reading a file until the change that follows is made."""

    def __init__(self, database: Database, scratch: Path) -> None:
        self._database, self._scratch = database, scratch
        self.lock = threading.RLock()

    def make(self, changes: Sequence[Change]) -> list[CaptionError | None]:
        """Make the changes; returns for each why it was not made, or None. Two transactions for all of them.

        First the texts before and after are committed, then each file is replaced whole, then it is noted that this
        was done. What stands between the first and the last when the program ends is what `settle` looks at. A file
        that no longer holds `before` is left alone. Raises StateError with no file touched; a failure of the last
        step is only logged, since the captions are safe and the next `settle` completes it.
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
                        _note(connection, row, change, problem)
            except StateError as error:
                what = changes[0].path if len(changes) == 1 else f"{len(changes)} captions"
                log.warning("the change of %s is noted at the next start: %s", what, error)
        return problems

    def note(self, change: Change) -> None:
        """The file holds already what was to be written: it is ours now, if it was not. A failure is only logged."""
        key, data = path_text(change.path), change.after or b""
        try:
            with self._database.transaction() as connection:
                stamp = stamp_of(connection, key)
                if stamp is None or stamp.digest != digest(data):
                    put_stamp(connection, key, Stamp(change.origin, digest(data)))
                if change.made:
                    insert_made(connection, change.made, "written")
        except StateError as error:
            log.warning("who wrote %s is not recorded: %s", change.path, error)

    def settle(self, operation: int | None = None) -> dict[Path, bool]:
        """Complete or forget every change that was under way when the program ended; says which were made.

        A change whose file cannot be read now, as on a drive that is not there, waits for the next time and is not in
        the answer. Removes the temporary files of such changes, and of all killed writes if no operation is given.
        Raises StateError.
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
        """None: it cannot be told now."""
        try:
            now = _look(change.path)
        except CaptionError as error:
            log.warning("whether a caption was written is looked at again at the next start: %s", error)
            return None
        with self._database.transaction() as connection:
            return _decide(connection, row, change, now)

    def _replace(self, change: Change) -> CaptionError | None:
        path = change.path
        try:
            if read_bytes(path) != change.before:
                return CaptionError(f"the caption {path} was changed by another program just now; try again")
            if len(change.after or b"") > MAX_CAPTION_BYTES:
                return CaptionError(f"cannot write the caption {path}: {_too_long(len(change.after))}")
            if change.after is None:
                path.unlink(missing_ok=True)
            else:
                write_atomic(path, change.after, self._scratch)
        except CaptionError as error:
            return error
        except OSError as error:
            with contextlib.suppress(CaptionError):
                if _look(path) == change.after:  # it took effect all the same, as it may on a network drive
                    return None
            return _InDoubt(f"cannot write the caption {path}: {error.strerror}{_advice(error)}")
        return None


class _InDoubt(CaptionError):
    """It was tried and failed, so what stands in the file has to be looked at."""


def read_bytes(path: Path) -> bytes | None:
    """None when there is no file. Raises CaptionError, also for a pipe or device, and more than MAX_CAPTION_BYTES."""
    try:
        with open(path, "rb", buffering=0, opener=_without_waiting) as file:
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


def _look(path: Path) -> bytes | None:
    """As `read_bytes`, but a file in a folder that is not there, as on a drive, cannot be read rather than is none."""
    if not path.parent.is_dir():
        raise CaptionError(f"cannot read the caption {path}: its folder is not there")
    return read_bytes(path)


def _without_waiting(path: str, flags: int) -> int:
    """To open a pipe would wait for somebody to write into it."""
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
    """By what stands in the file now, finish or forget a change; returns whether it was made."""
    if now == change.after:
        _finish(connection, row, change)
    elif now == change.before or not change.before:
        _forget(connection, row, change)
    else:  # changed by others since: whether ours was made or not, the text before it is kept
        decide_made(connection, path_text(change.path), was_made=False)
        connection.execute("UPDATE caption_changes SET made = 1, operation = NULL WHERE id = ?", (row,))
    return now == change.after


def _note(connection: sqlite3.Connection, row: int, change: Change, problem: CaptionError | None) -> None:
    """What became of a change just now. What cannot be told is left to `settle`."""
    if problem is None:
        _finish(connection, row, change)
    elif isinstance(problem, _InDoubt):
        with contextlib.suppress(CaptionError):
            _decide(connection, row, change, _look(change.path))
    else:
        _forget(connection, row, change)


def _forget(connection: sqlite3.Connection, row: int, change: Change) -> None:
    decide_made(connection, path_text(change.path), was_made=False)
    connection.execute("DELETE FROM caption_changes WHERE id = ?", (row,))


def _stamp_after(connection: sqlite3.Connection, key: str, change: Change) -> Stamp | None:
    """An undo also brings back who wrote what stood there before."""
    if change.origin != "undo":
        return None if change.after is None else Stamp(change.origin, digest(change.after))
    undone = undone_by(connection, change.operation)
    # The plus keeps SQLite from looking through all changes of the operation.
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
        return "; make the folder writable or copy it to where you may write"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "; free some space"
    return ""
