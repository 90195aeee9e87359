"""The SQLite file of the state folder: its connection, transactions and migrations."""

import contextlib
import logging
import os
import re
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from captioner.errors import StateError
from captioner.system.migrations import MIGRATIONS

log = logging.getLogger(__name__)

BUSY_TIMEOUT_S = 15.0
_ESCAPED_BYTE = re.compile(r"\\x([89a-f][0-9a-f])")


class Database:
    """One connection behind one lock, for any thread; several processes may open the same file.

    A committed transaction is on disk (synchronous=FULL), so a caption is replaced only after its old text is safe.
    Every method raises StateError with one line if the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        with self._one_line_errors():
            self._connection = sqlite3.connect(path, BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            try:
                self._prepare("FULL")
            except StateError as error:
                if "disk I/O error" not in str(error):
                    raise
                self._prepare("OFF")  # some mounts refuse to flush files
                log.warning("%s cannot be flushed to the disk; a power cut may lose the latest changes", path)
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self, synchronous: str) -> None:
        self._connection.row_factory = sqlite3.Row
        with self._one_line_errors():
            self._connection.execute(f"PRAGMA synchronous = {synchronous}")
        # Switching to WAL ignores the busy timeout while another process opens a new file; then that one switches.
        with self._one_line_errors(), contextlib.suppress(sqlite3.OperationalError):
            self._connection.execute("PRAGMA journal_mode = WAL")
        with self.transaction() as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # detects a damaged schema now
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > len(MIGRATIONS):
                newer = f"a newer version of this program (schema {version}, this one knows {len(MIGRATIONS)})"
                advice = "update the program or choose another folder with --state"
                raise StateError(f"{self.path} was written by {newer}; {advice}")
            for script in MIGRATIONS[version:]:
                for statement in script.split(";\n"):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        with self._one_line_errors():
            self._connection.execute("PRAGMA foreign_keys = ON")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit everything in the block, or nothing if it raises. Transactions do not nest."""
        with self._lock, self._one_line_errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Run one statement in its own transaction; return the id of the last inserted row."""
        with self.transaction() as connection:
            return connection.execute(sql, parameters).lastrowid or 0

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Return all rows of a query, with columns by name."""
        with self._lock, self._one_line_errors():
            return self._connection.execute(sql, parameters).fetchall()

    def close(self) -> None:
        """Close the file. A second call does nothing; any other call afterwards raises StateError."""
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def _one_line_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            is_refused = any(words in str(error) for words in ("I/O", "locking", "readonly"))
            advice = "; choose another folder with --state" if is_refused else ""
            raise StateError(f"cannot use the database {self.path}: {error}{advice}") from error
        except sqlite3.ProgrammingError as error:
            if "closed" not in str(error):
                raise  # a wrong statement is a bug, not a fault of the file
            raise StateError(f"the database {self.path} is closed") from error
        except OverflowError:
            raise StateError("no such number") from None  # it has more than 64 bits
        except sqlite3.IntegrityError:
            raise
        except sqlite3.DataError as error:
            raise StateError(f"cannot store this in the database {self.path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise StateError(f"{self.path} is damaged ({error}); move it away to start with an empty one") from error


def escape_surrogates(text: str) -> str:
    """Return text that SQLite can hold: bytes of a file name that are not UTF-8 become \\x escapes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def path_text(path: Path) -> str:
    """Return the text for a path in the database; bytes of names that are not UTF-8 become \\x escapes."""
    return escape_surrogates(str(path.absolute()))


def texts_under(folder: Path) -> tuple[str, str]:
    """Return the bounds of the `path_text` of all files under a folder, at any depth; the second one is excluded."""
    start = path_text(folder).rstrip(os.sep) + os.sep
    return start, start[:-1] + chr(ord(os.sep) + 1)


def text_path(text: str) -> Path:
    """Return the path for a text made by `path_text`. A file with such an escape in its name is found first."""
    path = Path(text)
    if os.name == "nt" or "\\x" not in text or os.path.lexists(path):
        return path
    return Path(_ESCAPED_BYTE.sub(lambda match: chr(0xDC00 + int(match[1], 16)), text))
