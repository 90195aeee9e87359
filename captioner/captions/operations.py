"""The table operations: jobs, bulk edits and undos, each of which can be undone as a whole.

Functions with the argument `connection` run in the caller's transaction.
"""

import json
import time
from dataclasses import dataclass, fields
from pathlib import Path
from sqlite3 import Connection, Row
from typing import Any, Literal

from captioner.errors import JobError
from captioner.system.database import Database, path_text, text_path

Kind = Literal["job", "bulk", "undo"]
State = Literal["running", "done", "stopped", "failed", "interrupted", "resumed", "dismissed"]

# An operation, the job that it resumes, the one that this resumes, and so on: all runs of one job.
RUNS = """WITH RECURSIVE runs (id) AS (SELECT ?1 UNION ALL
    SELECT o.resumes FROM operations o JOIN runs USING (id) WHERE o.resumes IS NOT NULL) """

# How many captions an operation changed, and the outcomes of a job's items.
_INFO = f"""{RUNS} SELECT o.*,
    (SELECT count(DISTINCT caption_path) FROM caption_changes c WHERE c.operation IN runs AND made = 1) AS changed,
    (SELECT count(*) FROM job_items i WHERE i.operation = o.id AND i.state = 'done') AS done,
    (SELECT count(*) FROM job_items i WHERE i.operation = o.id AND i.state = 'failed') AS failed,
    (SELECT count(*) FROM job_items i WHERE i.operation = o.id AND i.state = 'skipped') AS skipped
    FROM operations o WHERE o.id = ?1"""

_UNFINISHED = "kind = 'job' AND state IN ('interrupted', 'stopped', 'failed') AND undone_at_s IS NULL"


@dataclass(frozen=True)
class OperationInfo:
    """One line of the history. Times are POSIX time.

    `changed` counts the caption files replaced, made or deleted, also by the runs of a job that this one resumes.
    """

    id: int
    kind: Kind
    title: str
    folder: Path
    state: State  # "interrupted": its process ended; "resumed" and "dismissed": it ended early and is not offered again
    reason: str
    total: int
    done: int
    failed: int
    skipped: int
    changed: int
    created_at_s: float
    ended_at_s: float | None
    undone_at_s: float | None  # None: it was not undone, or its undo was undone


def begin_operation(
    connection: Connection,
    kind: Kind,
    title: str,
    folder: Path,
    total: int,
    request: object = None,
    undoes: int | None = None,
    resumes: int | None = None,
) -> int:
    """Add an operation and return its number. request: what JSON can hold; resumes: the job it is the rest of."""
    cursor = connection.execute(
        "INSERT INTO operations (kind, title, folder, state, reason, total, request_json, created_at_s, undoes, "
        "resumes) VALUES (?, ?, ?, 'running', '', ?, ?, ?, ?, ?)",
        (kind, title, path_text(folder), total, json.dumps(request), time.time(), undoes, resumes),
    )
    return cursor.lastrowid or 0


def end_operation(database: Database, operation: int, state: State, reason: str = "") -> None:
    """Record how an operation ended."""
    sql = "UPDATE operations SET state = ?, reason = ?, ended_at_s = max(created_at_s, ?) WHERE id = ?"
    database.execute(sql, (state, reason, time.time(), operation))


def interrupt_running(database: Database) -> None:
    """End the operations that were cut short when the program ended: jobs can be resumed, the others are stopped."""
    database.execute(
        "UPDATE operations SET ended_at_s = max(created_at_s, ?), "
        "state = CASE kind WHEN 'job' THEN 'interrupted' ELSE 'stopped' END, "
        "reason = 'the program ended' || CASE kind WHEN 'job' THEN ' while it ran' ELSE '' END WHERE state = 'running'",
        (time.time(),),
    )


def request_of(database: Database, operation: int) -> Any:
    """Return the `request` that `begin_operation` was given. Raise JobError for an unknown number."""
    return json.loads(_row(database, "SELECT request_json FROM operations WHERE id = ?", operation)["request_json"])


def operation_info(database: Database, operation: int) -> OperationInfo:
    """Return what the history shows of an operation. Raise JobError for an unknown number."""
    row = _row(database, _INFO, operation)
    values = {field.name: row[field.name] for field in fields(OperationInfo)}
    if row["kind"] != "job":
        values["done"] = row["changed"]
    return OperationInfo(**values | {"folder": text_path(row["folder"])})


def _row(database: Database, sql: str, operation: int) -> Row:
    rows = database.rows(sql, (operation,))
    if not rows:
        raise JobError(f"there is no job or bulk edit {operation}; run `captioner history` to list them")
    return rows[0]


def recent_operations(database: Database, limit: int = 50, cache: dict | None = None) -> list[OperationInfo]:
    """Return the latest operations, the latest first.

    cache: keeps what cannot change any more between calls, since counting the items of a job with 50,000 takes time.
    """
    known: dict[tuple, OperationInfo] = {} if cache is None else cache
    found = []
    for row in database.rows("SELECT id, state, undone_at_s FROM operations ORDER BY id DESC LIMIT ?", (limit,)):
        key = tuple(row)
        info = known.get(key) or operation_info(database, row["id"])
        if row["state"] in ("done", "resumed", "dismissed"):
            known[key] = info
        found.append(info)
    return found


def last_standing(database: Database) -> OperationInfo | None:
    """Return the latest job or bulk edit that changed a caption and was not undone; of a resumed job its last run."""
    sql = (
        "SELECT id FROM operations WHERE kind != 'undo' AND undone_at_s IS NULL AND state != 'resumed' ORDER BY id DESC"
    )
    found = (operation_info(database, row["id"]) for row in database.rows(sql))
    return next((each for each in found if each.changed), None)


def resumed_as(database: Database, operation: int) -> int | None:
    """Return the job that resumes a job."""
    rows = database.rows("SELECT id FROM operations WHERE resumes = ?", (operation,))
    return rows[0]["id"] if rows else None


def undo_of(database: Database, operation: int) -> int | None:
    """Return the latest undo of an operation, unless it was undone itself. Undoing it redoes the operation."""
    rows = database.rows("SELECT max(id) AS id FROM operations WHERE undoes = ? AND undone_at_s IS NULL", (operation,))
    return rows[0]["id"]


def undone_by(connection: Connection, operation: int) -> int | None:
    """Return the operation that an undo undoes; None for another kind of operation."""
    (undoes,) = connection.execute("SELECT undoes FROM operations WHERE id = ?", (operation,)).fetchone()
    return undoes


def mark_undone(connection: Connection, operation: int) -> None:
    """Record that all runs of an operation were undone. If it is an undo, what it undid stands again, and so on."""
    number: int | None = operation
    undone = True
    while number is not None:
        time_s = time.time() if undone else None
        connection.execute(f"{RUNS} UPDATE operations SET undone_at_s = ?2 WHERE id IN runs", (number, time_s))
        number, undone = undone_by(connection, number), not undone


def unfinished_jobs(database: Database) -> list[Row]:
    """Return the rows of jobs that ended early and were not undone, resumed or dismissed; the newest first."""
    return database.rows(f"SELECT * FROM operations WHERE {_UNFINISHED} ORDER BY id DESC")


def close_unfinished(connection: Connection, operation: int, state: State) -> bool:
    """Give an unfinished job its final state; return False if it was not unfinished."""
    reason = "CASE ?1 WHEN 'done' THEN '' ELSE reason END"
    sql = f"UPDATE operations SET state = ?1, reason = {reason} WHERE id = ?2 AND {_UNFINISHED}"
    return connection.execute(sql, (state, operation)).rowcount > 0


def dismiss_failed_starts(connection: Connection, job: int) -> None:
    """Dismiss the jobs before `job` over the same items that failed to start."""
    connection.execute(
        "UPDATE operations AS o SET state = 'dismissed' WHERE kind = 'job' AND state = 'failed' AND id < ?1 "
        "AND (folder, total) = (SELECT folder, total FROM operations WHERE id = ?1) "
        "AND resumes IS NULL AND NOT EXISTS (SELECT 1 FROM job_items WHERE operation = o.id) "
        "AND (SELECT items_json FROM job_lists WHERE operation = o.id) "
        "= (SELECT items_json FROM job_lists WHERE operation = ?1)",
        (job,),
    )
