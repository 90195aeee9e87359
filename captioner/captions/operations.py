"""Operations: changes to captions that can be undone as a whole. A job, a bulk edit, an undo; each has a number."""

import json
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from captioner.errors import JobError
from captioner.system.database import Database, path_text, text_path

Kind = Literal["job", "bulk", "undo"]
State = Literal["running", "done", "stopped", "failed", "interrupted", "resumed", "dismissed"]

# Of a job what became of its items, of the others how many captions changed.
_COUNTS = """
    (SELECT count(DISTINCT caption_path) FROM caption_changes c WHERE c.operation = o.id AND made = 1) AS changed,
    (SELECT count(*) FROM job_items i WHERE i.operation = o.id AND i.state = 'done') AS done,
    (SELECT count(*) FROM job_items i WHERE i.operation = o.id AND i.state = 'failed') AS failed,
    (SELECT count(*) FROM job_items i WHERE i.operation = o.id AND i.state = 'skipped') AS skipped
"""


@dataclass(frozen=True)
class OperationInfo:
    """One line of the history. `changed`: caption files that it replaced, made or deleted. Times are POSIX seconds."""

    id: int
    kind: Kind
    title: str
    folder: Path
    state: State  # "interrupted": its process ended; "resumed", "dismissed": it was cut short, and is offered no more
    reason: str
    total: int
    done: int
    failed: int
    skipped: int
    changed: int
    created_at_s: float
    ended_at_s: float | None
    undone_at_s: float | None  # None: it stands


def begin_operation(
    connection: sqlite3.Connection, kind: Kind, title: str, folder: Path, total: int, request: object = None
) -> int:
    """Add an operation within the caller's transaction; returns its number. request: what JSON can hold."""
    cursor = connection.execute(
        "INSERT INTO operations (kind, title, folder, state, reason, total, request_json, created_at_s) "
        "VALUES (?, ?, ?, 'running', '', ?, ?, ?)",
        (kind, title, path_text(folder), total, json.dumps(request), time.time()),
    )
    return cursor.lastrowid or 0


def end_operation(connection: sqlite3.Connection, operation: int, state: State, reason: str = "") -> None:
    """Note how it ended, within the caller's transaction. state "running" opens it again."""
    ended_at_s = None if state == "running" else time.time()
    connection.execute(
        "UPDATE operations SET state = ?, reason = ?, ended_at_s = ? WHERE id = ?",
        (state, reason, ended_at_s, operation),
    )


def request_of(database: Database, operation: int) -> object:
    """The `request` of its begin. Raises JobError for an unknown number."""
    rows = database.rows("SELECT request_json FROM operations WHERE id = ?", (operation,))
    if not rows:
        raise _unknown(operation)
    return json.loads(rows[0]["request_json"])


def operation_info(database: Database, operation: int) -> OperationInfo:
    """Raises JobError for an unknown number."""
    rows = database.rows(f"SELECT o.*, {_COUNTS} FROM operations o WHERE o.id = ?", (operation,))
    if not rows:
        raise _unknown(operation)
    return _info(rows[0])


def recent_operations(database: Database, limit: int = 50) -> list[OperationInfo]:
    """The latest first."""
    rows = database.rows(f"SELECT o.*, {_COUNTS} FROM operations o ORDER BY o.id DESC LIMIT ?", (limit,))
    return [_info(row) for row in rows]


def last_standing(database: Database) -> OperationInfo | None:
    """What an undo without a number undoes: the latest operation that changed a caption, stands, and is no undo."""
    rows = database.rows(
        f"SELECT o.*, {_COUNTS} FROM operations o WHERE o.kind != 'undo' AND o.undone_at_s IS NULL AND EXISTS "
        "(SELECT 1 FROM caption_changes c WHERE c.operation = o.id AND c.made = 1) ORDER BY o.id DESC LIMIT 1"
    )
    return _info(rows[0]) if rows else None


def undo_of(database: Database, operation: int) -> int | None:
    """The latest undo of an operation that was not undone itself; to undo that is to redo the operation."""
    rows = database.rows(
        "SELECT max(id) AS id FROM operations WHERE kind = 'undo' AND undone_at_s IS NULL "
        "AND json_extract(request_json, '$.undoes') = ?",
        (operation,),
    )
    return rows[0]["id"]


def mark_undone(connection: sqlite3.Connection, operation: int, undone: bool) -> None:
    """Within the caller's transaction. undone False: it stands again, since its undo was undone."""
    connection.execute(
        "UPDATE operations SET undone_at_s = ? WHERE id = ?", (time.time() if undone else None, operation)
    )


def _info(row: sqlite3.Row) -> OperationInfo:
    values = {name: row[name] for name in OperationInfo.__dataclass_fields__}
    values["done"] = row["done"] if row["kind"] == "job" else row["changed"]
    return OperationInfo(**values | {"folder": text_path(row["folder"])})


def _unknown(operation: int) -> JobError:
    return JobError(f"there is no operation {operation}; see `captioner history` for those that there are")
