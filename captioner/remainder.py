"""What is left of a job: its items in the table job_items that have had no outcome. Every one may raise StateError."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from sqlite3 import Row

from captioner.database import Database, path_text
from captioner.values import MediaItem

LEFT = "state IN ('waiting', 'running')"
UNDECIDED = "whether its caption was written cannot be told now"

_SET_OUTCOME = "UPDATE job_items SET state = ?, reason = ?, ended_at_s = ? WHERE operation = ? AND position = ?"


def count_left(database: Database, operation: int) -> int:
    (row,) = database.rows(f"SELECT count(*) AS num FROM job_items WHERE operation = ? AND {LEFT}", (operation,))
    return row["num"]


def items_left(database: Database, operation: int, about: dict) -> list[tuple[MediaItem, Row]]:
    """With `position` and `losses`. about: what the job was asked for."""
    root, folders = Path(about["folder"]), {}
    found = []
    rows = database.rows(
        f"SELECT position, item_json, losses FROM job_items WHERE operation = ? AND {LEFT} ORDER BY position",
        (operation,),
    )
    for row in rows:
        fields = json.loads(row["item_json"])
        parent, _, filename = fields[0].rpartition("/")
        if parent not in folders:
            folders[parent] = root / parent
        found.append((MediaItem(folders[parent], filename, *fields), row))
    return found


def reconcile(database: Database, operation: int, about: dict) -> bool:
    """Give an outcome to the items whose captions were written since the job began, by itself or by anything.

    Returns whether anything was written since.
    """
    touched = _touched_since(database, operation, about)
    if not touched:
        return False
    news = []
    for item, row in items_left(database, operation, about):
        key = path_text(item.caption_path)
        if key in touched:
            news.append((*touched[key], operation, row["position"]))
    with database.transaction() as connection:
        connection.executemany(_SET_OUTCOME, news)
    return True


def leave_out(
    database: Database, operation: int, about: dict, obstacle: Callable[[MediaItem], str]
) -> list[tuple[MediaItem, str]]:
    """Skip the items with an obstacle, and those whose change is still undecided; returns them with the reasons."""
    sql = "SELECT caption_path FROM caption_changes WHERE operation = ? AND made = 0"
    undecided = {row["caption_path"] for row in database.rows(sql, (operation,))}
    left_out, news = [], []
    for item, row in items_left(database, operation, about):
        unknown = undecided and path_text(item.caption_path) in undecided
        if reason := UNDECIDED if unknown else obstacle(item):
            left_out.append((item, reason))
            news.append(("skipped", reason, time.time(), operation, row["position"]))
    if news:
        with database.transaction() as connection:
            connection.executemany(_SET_OUTCOME, news)
    return left_out


def newest(database: Database) -> dict[str, int]:
    """What a caption changed or made from now on has a greater number than."""
    (row,) = database.rows(
        "SELECT (SELECT coalesce(max(id), 0) FROM caption_changes) AS newest_change, "
        "(SELECT coalesce(max(id), 0) FROM captions_made) AS newest_made"
    )
    return dict(row)


def _touched_since(database: Database, operation: int, about: dict) -> dict[str, tuple[str, str, float]]:
    """Key of a caption -> (state, reason, POSIX time) of the item that it belongs to."""
    touched = {}
    rows = database.rows(
        "SELECT caption_path, operation, changed_at_s FROM caption_changes WHERE id > ? AND made = 1",
        (about["newest_change"],),
    )
    for row in rows:
        own = row["operation"] == operation
        outcome = ("done", "") if own else ("skipped", "its caption was changed since")
        if own or row["caption_path"] not in touched:
            touched[row["caption_path"]] = (*outcome, row["changed_at_s"])
    rows = database.rows(  # also where the new text was that of the file already, so that nothing changed
        "SELECT caption_path, outcome, job, created_at_s FROM captions_made WHERE id > ? AND outcome != 'pending'",
        (about["newest_made"],),
    )
    for row in rows:
        own = row["job"] == str(operation) and row["outcome"] == "written"
        outcome = ("done", "") if own else ("skipped", "it was captioned since")
        touched.setdefault(row["caption_path"], (*outcome, row["created_at_s"]))
    return touched
