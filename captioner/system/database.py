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

log = logging.getLogger(__name__)

BUSY_TIMEOUT_S = 15.0
_ESCAPED_BYTE = re.compile(r"\\x([89a-f][0-9a-f])")

# Script n brings a file from version n to n + 1. A script that was released never changes; append a new one.
# Statements end with ";" at the end of a line. Times are POSIX seconds.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE caption_history (
        id INTEGER PRIMARY KEY,
        caption_path TEXT NOT NULL,
        data BLOB NOT NULL,
        replaced_at_s REAL NOT NULL,
        origin TEXT NOT NULL
    );
    CREATE INDEX caption_history_path ON caption_history (caption_path, id);
    CREATE TABLE captions_made (
        id INTEGER PRIMARY KEY,
        media_path TEXT NOT NULL,
        caption_path TEXT NOT NULL,
        text TEXT NOT NULL,
        outcome TEXT NOT NULL,
        model TEXT NOT NULL,
        prompt TEXT NOT NULL,
        options_json TEXT NOT NULL,
        seed INTEGER NOT NULL,
        frame_times_json TEXT NOT NULL,
        seconds REAL NOT NULL,
        num_prompt_tokens INTEGER NOT NULL,
        num_tokens INTEGER NOT NULL,
        device TEXT NOT NULL,
        finish_reason TEXT NOT NULL,
        warning TEXT NOT NULL,
        created_at_s REAL NOT NULL,
        job TEXT NOT NULL
    );
    CREATE INDEX captions_made_path ON captions_made (caption_path, id);
    CREATE INDEX captions_made_job ON captions_made (job);
    """,
    """
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY,
        model TEXT NOT NULL,
        quantization TEXT NOT NULL,
        devices TEXT NOT NULL,
        plan_json TEXT NOT NULL,
        num_captions INTEGER NOT NULL,
        num_prompt_tokens INTEGER NOT NULL,
        num_tokens INTEGER NOT NULL,
        seconds REAL NOT NULL,
        created_at_s REAL NOT NULL
    );
    CREATE INDEX runs_model ON runs (model, quantization, devices, id);
    """,
    """
    CREATE TABLE caption_state (
        caption_path TEXT PRIMARY KEY,
        origin TEXT NOT NULL,
        digest BLOB NOT NULL,
        changed_at_s REAL NOT NULL
    );
    """,
    """
    CREATE TABLE operations (
        id INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        title TEXT NOT NULL,
        folder TEXT NOT NULL,
        state TEXT NOT NULL,
        reason TEXT NOT NULL,
        total INTEGER NOT NULL,
        request_json TEXT NOT NULL,
        created_at_s REAL NOT NULL,
        ended_at_s REAL,
        undone_at_s REAL
    );
    CREATE TABLE job_lists (
        operation INTEGER PRIMARY KEY REFERENCES operations (id),
        items_json TEXT NOT NULL
    );
    CREATE TABLE job_items (
        operation INTEGER NOT NULL REFERENCES operations (id),
        name TEXT NOT NULL,
        state TEXT NOT NULL,
        reason TEXT NOT NULL DEFAULT '',
        replica TEXT NOT NULL DEFAULT '',
        losses INTEGER NOT NULL DEFAULT 0,
        started_at_s REAL,
        ended_at_s REAL,
        PRIMARY KEY (operation, name)
    ) WITHOUT ROWID;
    CREATE TABLE caption_changes (
        id INTEGER PRIMARY KEY,
        caption_path TEXT NOT NULL,
        before BLOB,
        after BLOB,
        origin TEXT NOT NULL,
        operation INTEGER REFERENCES operations (id),
        made INTEGER NOT NULL,
        changed_at_s REAL NOT NULL,
        state_origin TEXT,
        state_digest BLOB
    );
    CREATE INDEX caption_changes_path ON caption_changes (caption_path, id);
    CREATE INDEX caption_changes_operation ON caption_changes (operation) WHERE operation IS NOT NULL;
    CREATE INDEX caption_changes_unmade ON caption_changes (id) WHERE made = 0;
    INSERT INTO caption_changes (id, caption_path, before, origin, made, changed_at_s)
        SELECT id, caption_path, data, origin, 1, replaced_at_s FROM caption_history;
    DROP TABLE caption_history;
    CREATE TABLE caption_approvals (
        caption_path TEXT PRIMARY KEY,
        digest BLOB NOT NULL,
        approved_at_s REAL NOT NULL
    );
    """,
    """
    ALTER TABLE operations ADD COLUMN undoes INTEGER REFERENCES operations (id);
    UPDATE operations SET undoes = json_extract(request_json, '$.undoes') WHERE kind = 'undo';
    CREATE INDEX operations_undoes ON operations (undoes) WHERE undoes IS NOT NULL;
    """,
    """
    ALTER TABLE captions_made ADD COLUMN flaw TEXT NOT NULL DEFAULT '';
    ALTER TABLE caption_state ADD COLUMN flaw TEXT NOT NULL DEFAULT '';
    ALTER TABLE caption_changes ADD COLUMN state_flaw TEXT NOT NULL DEFAULT '';
    CREATE TABLE captions_unwritten (
        operation INTEGER NOT NULL REFERENCES operations (id),
        name TEXT NOT NULL,
        made INTEGER NOT NULL REFERENCES captions_made (id),
        before_digest BLOB,
        media_size INTEGER NOT NULL,
        media_time_ns INTEGER NOT NULL,
        PRIMARY KEY (operation, name)
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE captions_made ADD COLUMN captioned_bytes INTEGER;
    ALTER TABLE captions_made ADD COLUMN captioned_modified_s REAL;
    """,
    """
    ALTER TABLE captions_made ADD COLUMN thinking TEXT NOT NULL DEFAULT '';
    ALTER TABLE captions_made ADD COLUMN adapter TEXT NOT NULL DEFAULT '';
    """,
    """
    CREATE TABLE file_marks (
        media_path TEXT PRIMARY KEY,
        mark TEXT NOT NULL,
        marked_at_s REAL NOT NULL
    );
    CREATE INDEX job_items_failed ON job_items (operation) WHERE state = 'failed';
    """,
    """
    CREATE TABLE media_facts (
        folder TEXT NOT NULL,
        name TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        modified_s REAL NOT NULL,
        info_json TEXT NOT NULL,
        PRIMARY KEY (folder, name)
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE captions_made ADD COLUMN span_json TEXT NOT NULL DEFAULT 'null';
    """,
    """
    CREATE TABLE lint_found (
        folder TEXT NOT NULL, name TEXT NOT NULL,
        stamp TEXT NOT NULL, text TEXT NOT NULL, hits_json TEXT NOT NULL,
        PRIMARY KEY (folder, name)
    ) WITHOUT ROWID;
    """,
)


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


def text_path(text: str) -> Path:
    """Return the path for a text made by `path_text`. A file with such an escape in its name is found first."""
    path = Path(text)
    if os.name == "nt" or "\\x" not in text or os.path.lexists(path):
        return path
    return Path(_ESCAPED_BYTE.sub(lambda match: chr(0xDC00 + int(match[1], 16)), text))
