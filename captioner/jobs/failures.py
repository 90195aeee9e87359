"""The files that jobs could not caption, as the journal has recorded them."""

import os
from pathlib import Path
from typing import NamedTuple

from captioner.system.database import Database, texts_under


class Failure(NamedTuple):
    """The last failure of a file in a job."""

    reason: str
    time_s: float  # POSIX time


def recorded_failures(database: Database, folder: Path) -> dict[str, Failure]:
    """Return the failures of files at any depth under a folder, by `path_text`. Raise StateError."""
    start, _ = texts_under(folder)
    sql = (
        "SELECT o.folder, i.name, i.reason, i.ended_at_s FROM job_items i JOIN operations o ON o.id = i.operation "
        "WHERE i.state = 'failed' AND i.ended_at_s IS NOT NULL ORDER BY i.operation"
    )
    found = {}
    for parent, name, reason, time_s in database.rows(sql):
        path = parent.rstrip(os.sep) + os.sep + name.replace("/", os.sep)
        if path.startswith(start):
            found[path] = Failure(reason, time_s)
    return found
