"""Who wrote what stands in a caption file, and which are approved: the tables caption_state and caption_approvals."""

import hashlib
import os
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from captioner.system.database import Database, path_text

Origin = Literal["job", "hand", "delete", "restore", "bulk", "undo"]  # what changed a caption

# What we last knew to stand in a file: what we wrote, else what was approved.
_DIGEST = """
    SELECT digest FROM caption_state WHERE caption_path = ?1
    UNION ALL SELECT digest FROM caption_approvals WHERE caption_path = ?1
"""


@dataclass(frozen=True)
class Stamp:
    """What we last wrote into a file, and who wrote it. A file that holds something else was changed outside."""

    origin: Origin
    digest: bytes


class Ownership:
    """Queries; paths are keyed by `path_text`, digests are SHA-256. Any thread may call. Raises StateError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def is_approved(self, caption_path: Path) -> bool:
        sql = "SELECT 1 FROM caption_approvals WHERE caption_path = ?"
        return bool(self._database.rows(sql, (path_text(caption_path),)))

    def digest_of(self, caption_path: Path) -> bytes | None:
        """Of what we last wrote into the file, or was approved; None if we never did."""
        rows = self._database.rows(_DIGEST, (path_text(caption_path),))
        return rows[0]["digest"] if rows else None

    def approved_in(self, folder: Path) -> set[str]:
        """Approved caption files at any depth under a folder."""
        return {row["caption_path"] for row in self._under("caption_approvals", folder)}

    def edited_in(self, folder: Path) -> set[str]:
        """Caption files under a folder whose present text was written by hand, as far as we wrote it."""
        return {row["caption_path"] for row in self._under("caption_state", folder) if row["origin"] != "job"}

    def digests_in(self, folder: Path) -> dict[str, bytes]:
        """`digest_of` every caption file under a folder that has one."""
        rows = [*self._under("caption_approvals", folder), *self._under("caption_state", folder)]
        return {row["caption_path"]: row["digest"] for row in rows}

    def approve(self, contents: dict[Path, bytes]) -> None:
        """Approve these files as they stand, which makes a text that was changed outside ours."""
        with self._database.transaction() as connection:
            for path, data in contents.items():
                key, found = path_text(path), digest(data)
                connection.execute(
                    "INSERT OR REPLACE INTO caption_approvals (caption_path, digest, approved_at_s) VALUES (?, ?, ?)",
                    (key, found, time.time()),
                )
                stamp = stamp_of(connection, key)
                if stamp and stamp.digest != found:
                    put_stamp(connection, key, Stamp("hand", found))

    def unapprove(self, paths: list[Path]) -> int:
        """Returns how many were approved."""
        with self._database.transaction() as connection:
            sql = "DELETE FROM caption_approvals WHERE caption_path = ?"
            return sum(connection.execute(sql, (path_text(path),)).rowcount for path in paths)

    def _under(self, table: str, folder: Path) -> list[sqlite3.Row]:
        start = path_text(folder).rstrip(os.sep) + os.sep
        return self._database.rows(
            f"SELECT * FROM {table} WHERE caption_path >= ? AND caption_path < ?",
            (start, start[:-1] + chr(ord(os.sep) + 1)),
        )


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def stamp_of(connection: sqlite3.Connection, key: str) -> Stamp | None:
    """None for a file that we never wrote."""
    row = connection.execute("SELECT * FROM caption_state WHERE caption_path = ?", (key,)).fetchone()
    return Stamp(row["origin"], row["digest"]) if row else None


def put_stamp(connection: sqlite3.Connection, key: str, stamp: Stamp | None) -> None:
    """Within the caller's transaction."""
    if stamp is None:
        connection.execute("DELETE FROM caption_state WHERE caption_path = ?", (key,))
        return
    connection.execute(
        "INSERT OR REPLACE INTO caption_state (caption_path, origin, digest, changed_at_s) VALUES (?, ?, ?, ?)",
        (key, stamp.origin, stamp.digest, time.time()),
    )


def follow_approval(connection: sqlite3.Connection, key: str, data: bytes | None) -> None:
    """An approved caption that a person edits stays approved; one that is deleted or emptied does not.

    data: what stands there now; None also for a model's text, which nobody has seen.
    """
    if data:
        sql = "UPDATE caption_approvals SET digest = ? WHERE caption_path = ?"
        connection.execute(sql, (digest(data), key))
    else:
        connection.execute("DELETE FROM caption_approvals WHERE caption_path = ?", (key,))
