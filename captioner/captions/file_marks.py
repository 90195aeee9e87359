"""The marks that a person gives to media files, "star" or "reject": the table file_marks."""

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from captioner.system.database import Database, path_text

Mark = Literal["star", "reject"]
MARKS: tuple[Mark, ...] = ("star", "reject")


class FileMarks:
    """Any thread may call; methods raise StateError. A file has one mark or none."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def set(self, paths: Iterable[Path], mark: Mark | None) -> None:
        """Mark these media files, or remove their marks."""
        delete, insert = "DELETE FROM file_marks WHERE media_path = ?", "INSERT INTO file_marks VALUES (?, ?, ?)"
        with self._database.transaction() as connection:
            for key in map(path_text, paths):
                connection.execute(delete, (key,))
                if mark:
                    connection.execute(insert, (key, mark, time.time()))

    def under(self, folder: Path) -> dict[str, Mark]:
        """Return the marks of the files at any depth under a folder, by their `path_text`."""
        start = path_text(folder).rstrip(os.sep) + os.sep
        sql = "SELECT media_path, mark FROM file_marks WHERE media_path >= ? AND media_path < ?"
        rows = self._database.rows(sql, (start, start[:-1] + chr(ord(os.sep) + 1)))
        return {row["media_path"]: row["mark"] for row in rows}
