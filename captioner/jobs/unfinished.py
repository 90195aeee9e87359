"""Queries for the unfinished items of a job. Every function raises StateError.

The items of a job are one document in job_lists, since a job may begin with 50,000 files. Only items that something
happened to have a row in job_items; an item is unfinished if it has no row or one without an outcome.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from captioner.jobs.job import JobRequest
from captioner.jobs.outcomes import ItemState, upsert_item
from captioner.system.database import Database, escape_surrogates, path_text
from captioner.values import MediaItem

UNDECIDED = "cannot determine whether its caption was written"

Obstacle = Callable[[MediaItem], str]  # why an item may not be captioned now, or ""

_HAS_OUTCOME = "state NOT IN ('waiting', 'running')"


class _Outcome(NamedTuple):
    state: ItemState
    reason: str
    time_s: float  # POSIX time


def count_ended(database: Database, job: int) -> int:
    """Return how many items of a job have an outcome."""
    return database.rows(f"SELECT count(*) FROM job_items WHERE operation = ? AND {_HAS_OUTCOME}", (job,))[0][0]


def items_text(items: Iterable[MediaItem]) -> str:
    """Return the document for job_lists that `items_left` reads."""
    return json.dumps([item[2:] for item in items], separators=(",", ":"))


def items_left(database: Database, job: int, request: JobRequest) -> list[MediaItem]:
    """Return the unfinished items in the order of the job."""
    folders: dict[str, Path] = {}  # shared by the items, which saves memory
    rows = database.rows(f"SELECT name FROM job_items WHERE operation = ? AND {_HAS_OUTCOME}", (job,))
    ended = {row["name"] for row in rows}
    ((text,),) = database.rows("SELECT items_json FROM job_lists WHERE operation = ?", (job,))
    found = []
    for fields in json.loads(text):
        parent, _, filename = fields[0].rpartition("/")
        if parent not in folders:
            folders[parent] = Path(request["folder"], parent)
        if escape_surrogates(fields[0]) not in ended:
            found.append(MediaItem(folders[parent], filename, *fields))
    return found


def losses_of(database: Database, job: int, items: Iterable[MediaItem]) -> dict[str, int]:
    """Return item name -> number of replicas lost with it, for those of `items` with a loss."""
    rows = database.rows("SELECT name, losses FROM job_items WHERE operation = ? AND losses > 0", (job,))
    losses = {row["name"]: row["losses"] for row in rows}
    return {item.name: losses[key] for item in items if (key := escape_surrogates(item.name)) in losses}


def reconcile(database: Database, job: int, request: JobRequest) -> bool:
    """Give an outcome to the items whose captions were written since the job began, by this job or anything else.

    Return False if no caption at all was written since.
    """
    outcomes = _outcomes_since(database, job, request)
    if not outcomes:
        return False
    items = {item.name: path_text(item.caption_path) for item in items_left(database, job, request)}
    _end_items(database, job, {name: outcomes[key] for name, key in items.items() if key in outcomes})
    return True


def skip_obstructed(database: Database, job: int, items: Iterable[MediaItem], obstacle: Obstacle) -> dict[str, str]:
    """Skip the items with an obstacle or an undecided change; return their names with the reasons."""
    sql = "SELECT caption_path FROM caption_changes WHERE operation = ? AND made = 0"
    undecided = {row["caption_path"] for row in database.rows(sql, (job,))}
    skipped = {}
    for item in items:
        unknown = undecided and path_text(item.caption_path) in undecided
        if reason := UNDECIDED if unknown else obstacle(item):
            skipped[item.name] = reason
    now_s = time.time()
    _end_items(database, job, {name: _Outcome("skipped", reason, now_s) for name, reason in skipped.items()})
    return skipped


def current_ids(database: Database) -> tuple[int, int]:
    """Return the highest row ids (of caption changes, of made captions), so that later changes can be recognized."""
    sql = "SELECT coalesce(max(id), 0) FROM "
    return database.rows(sql + "caption_changes")[0][0], database.rows(sql + "captions_made")[0][0]


def _end_items(database: Database, job: int, outcomes: Mapping[str, _Outcome]) -> None:
    if not outcomes:
        return
    with database.transaction() as connection:
        for name, (state, reason, time_s) in outcomes.items():
            connection.execute(*upsert_item(job, name, state, reason=escape_surrogates(reason), ended_at_s=time_s))


def _outcomes_since(database: Database, job: int, request: JobRequest) -> dict[str, _Outcome]:
    """Return the outcome of the item of each caption file that was written since the job began, by the file's key."""
    made = database.rows(  # also where the new text equals the old one, so that no change was recorded
        "SELECT caption_path, job = ? AND outcome = 'written' AS own, created_at_s AS time_s FROM captions_made "
        "WHERE id > ? AND outcome IN ('written', 'kept') ORDER BY id DESC",
        (str(job), request["newest_made"]),
    )
    changes = database.rows(
        "SELECT caption_path, operation IS ? AS own, changed_at_s AS time_s FROM caption_changes "
        "WHERE id > ? AND made = 1 ORDER BY own, id DESC",
        (job, request["newest_change"]),
    )
    outcomes: dict[str, _Outcome] = {}
    for reason, rows in (("it was captioned since", made), ("its caption was changed since", changes)):
        for row in rows:  # a later row outweighs an earlier one
            time_s = row["time_s"]
            outcome = _Outcome("done", "", time_s) if row["own"] else _Outcome("skipped", reason, time_s)
            outcomes[row["caption_path"]] = outcome
    return outcomes
