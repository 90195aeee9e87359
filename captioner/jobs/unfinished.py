"""What is left of a job: of its list in job_lists, all without an outcome in job_items. Every one may raise StateError.

The list is one document, since a job may begin with 50,000 files; only what was told of an item has a row.
"""

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from captioner.jobs.recorder import storable, told
from captioner.system.database import Database, path_text
from captioner.values import MediaItem

UNDECIDED = "whether its caption was written cannot be told now"

_ENDED = "state NOT IN ('waiting', 'running')"


def count_ended(database: Database, operation: int) -> int:
    """Return how many items of a job have an outcome."""
    ((num,),) = database.rows(f"SELECT count(*) FROM job_items WHERE operation = ? AND {_ENDED}", (operation,))
    return num


def items_text(items: Iterable[MediaItem]) -> str:
    """For job_lists: what `items_left` reads again, given the folder."""
    return json.dumps([item[2:] for item in items], separators=(",", ":"))


def items_left(database: Database, operation: int, about: dict) -> list[MediaItem]:
    """In the order of the job. about: what the job was asked for."""
    root, folders = Path(about["folder"]), {}
    sql = f"SELECT name FROM job_items WHERE operation = ? AND {_ENDED}"
    ended = {row["name"] for row in database.rows(sql, (operation,))}
    ((text,),) = database.rows("SELECT items_json FROM job_lists WHERE operation = ?", (operation,))
    found = []
    for fields in json.loads(text):
        parent, _, filename = fields[0].rpartition("/")
        if parent not in folders:
            folders[parent] = root / parent
        if storable(fields[0]) not in ended:
            found.append(MediaItem(folders[parent], filename, *fields))
    return found


def losses_of(database: Database, operation: int) -> dict[str, int]:
    """Name of an item as in job_items -> replicas that it has cost, where that is any."""
    rows = database.rows("SELECT name, losses FROM job_items WHERE operation = ? AND losses > 0", (operation,))
    return {row["name"]: row["losses"] for row in rows}


def reconcile(database: Database, operation: int, about: dict) -> bool:
    """Give an outcome to the items whose captions were written since the job began, by itself or by anything.

    Returns whether anything was written since.
    """
    touched = _touched_since(database, operation, about)
    if not touched:
        return False
    news = []
    for item in items_left(database, operation, about):
        key = path_text(item.caption_path)
        if key in touched:
            news.append((item, *touched[key]))
    _end_items(database, operation, news)
    return True


def leave_out(
    database: Database, operation: int, items: Iterable[MediaItem], obstacle: Callable[[MediaItem], str]
) -> list[tuple[MediaItem, str]]:
    """Skip the items left that have an obstacle, or whose change is undecided; returns them with the reasons."""
    sql = "SELECT caption_path FROM caption_changes WHERE operation = ? AND made = 0"
    undecided = {row["caption_path"] for row in database.rows(sql, (operation,))}
    left_out = []
    for item in items:
        unknown = undecided and path_text(item.caption_path) in undecided
        if reason := UNDECIDED if unknown else obstacle(item):
            left_out.append((item, reason))
    _end_items(database, operation, [(item, "skipped", reason, time.time()) for item, reason in left_out])
    return left_out


def _end_items(database: Database, operation: int, news: list[tuple[MediaItem, str, str, float]]) -> None:
    """news: (item, state, reason, POSIX time)."""
    if not news:
        return
    with database.transaction() as connection:
        for item, state, reason, time_s in news:
            connection.execute(*told(operation, item.name, state=state, reason=storable(reason), ended_at_s=time_s))


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
