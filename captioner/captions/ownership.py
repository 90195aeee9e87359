"""Records who wrote each caption, and which are approved: the tables caption_state and caption_approvals.

Functions with the argument `connection` run in the caller's transaction.
"""

import hashlib
import time
from collections.abc import Iterable
from pathlib import Path
from sqlite3 import Connection, Row
from typing import Literal, NamedTuple

from captioner.system.database import Database, path_text, texts_under

Origin = Literal["job", "hand", "delete", "restore", "bulk", "undo"]  # what changed a caption

# What this program last wrote into the file, else what was approved.
_DIGEST = """
    SELECT digest FROM caption_state WHERE caption_path = ?1
    UNION ALL SELECT digest FROM caption_approvals WHERE caption_path = ?1
"""


class Stamp(NamedTuple):
    """The last text this program wrote into a file, and why. A file that holds another text was changed outside."""

    origin: Origin
    digest: bytes
    flaw: str = ""  # of a model's caption; see captions/flaws


class Ownership:
    """Answers who wrote a caption, and approves captions.

    Files are named by `path_text`, digests are SHA-256. Any thread may call; methods raise StateError.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def is_approved(self, caption_path: Path) -> bool:
        sql = "SELECT 1 FROM caption_approvals WHERE caption_path = ?"
        return bool(self._database.rows(sql, (path_text(caption_path),)))

    def digest_of(self, caption_path: Path) -> bytes | None:
        """Return the digest of what was last written here or approved; None for neither."""
        rows = self._database.rows(_DIGEST, (path_text(caption_path),))
        return rows[0]["digest"] if rows else None

    def approved_in(self, folder: Path) -> set[str]:
        """Return the approved caption files at any depth under a folder."""
        return {row["caption_path"] for row in self._under("caption_approvals", folder)}

    def edited_in(self, folder: Path) -> set[str]:
        """Return the caption files under a folder whose text this program wrote last, and not for a job."""
        return {row["caption_path"] for row in self._under("caption_state", folder) if row["origin"] != "job"}

    def flaws_in(self, folder: Path) -> dict[str, str]:
        """Return what is wrong with the captions under a folder, for those that a model wrote with a flaw."""
        return {row["caption_path"]: row["flaw"] for row in self._under("caption_state", folder) if row["flaw"]}

    def media_in(self, folder: Path) -> dict[str, str]:
        """Return the media file that each caption under a folder was made for last, by a model."""
        return {row["caption_path"]: row["media_path"] for row in self._under("captions_made", folder)}

    def digests_in(self, folder: Path) -> dict[str, bytes]:
        """Return `digest_of` every caption file under a folder that has one."""
        rows = [*self._under("caption_approvals", folder), *self._under("caption_state", folder)]
        return {row["caption_path"]: row["digest"] for row in rows}

    def approve(self, contents: dict[Path, bytes]) -> None:
        """Approve these files as they are; a text that was changed outside then counts as written by hand."""
        sql = "INSERT OR REPLACE INTO caption_approvals (caption_path, digest, approved_at_s) VALUES (?, ?, ?)"
        with self._database.transaction() as connection:
            for path, data in contents.items():
                key, found = path_text(path), digest(data)
                connection.execute(sql, (key, found, time.time()))
                stamp = stamp_of(connection, key)
                if stamp and stamp.digest != found:
                    put_stamp(connection, key, Stamp("hand", found))

    def unapprove(self, paths: Iterable[Path]) -> int:
        """Remove the approval of these files, and return how many were approved."""
        with self._database.transaction() as connection:
            sql = "DELETE FROM caption_approvals WHERE caption_path = ?"
            return sum(connection.execute(sql, (path_text(path),)).rowcount for path in paths)

    def _under(self, table: str, folder: Path) -> list[Row]:
        sql = f"SELECT * FROM {table} WHERE caption_path >= ? AND caption_path < ?"
        return self._database.rows(sql, texts_under(folder))


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def stamp_of(connection: Connection, key: str) -> Stamp | None:
    """Return what was last written into a file; None if this program never wrote it."""
    row = connection.execute("SELECT origin, digest, flaw FROM caption_state WHERE caption_path = ?", (key,)).fetchone()
    return Stamp(*row) if row else None


def put_stamp(connection: Connection, key: str, stamp: Stamp | None) -> None:
    """Set or remove the stamp of a file."""
    if stamp is None:
        connection.execute("DELETE FROM caption_state WHERE caption_path = ?", (key,))
    else:
        columns = "caption_path, origin, digest, flaw, changed_at_s"
        sql = f"INSERT OR REPLACE INTO caption_state ({columns}) VALUES (?, ?, ?, ?, ?)"
        connection.execute(sql, (key, *stamp, time.time()))


def follow_approval(connection: Connection, key: str, data: bytes | None) -> None:
    """Let an approval follow the new content `data`, or remove it: None if deleted, or if nobody has read it yet."""
    if data:
        connection.execute("UPDATE caption_approvals SET digest = ? WHERE caption_path = ?", (digest(data), key))
    else:
        connection.execute("DELETE FROM caption_approvals WHERE caption_path = ?", (key,))
