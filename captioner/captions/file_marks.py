"""The marks that a person gives to media files, "star" or "reject": the table file_marks."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from captioner.system.database import Database, path_text, texts_under

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
        sql = "SELECT media_path, mark FROM file_marks WHERE media_path >= ? AND media_path < ?"
        rows = self._database.rows(sql, texts_under(folder))
        return {row["media_path"]: row["mark"] for row in rows}
