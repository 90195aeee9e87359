"""Captions that could not be written, kept until their job is resumed: the table captions_unwritten.

Each is a row of captions_made with the outcome "unwritten", beside what the caption file and the media file were then.
"""

from dataclasses import dataclass
from sqlite3 import Connection, Row

from captioner.captions.files import CaptionFiles
from captioner.captions.ownership import digest
from captioner.captions.provenance import Made, insert_made, provenance
from captioner.errors import CaptionError
from captioner.system.database import Database, escape_surrogates
from captioner.values import Caption, MediaItem

FileStamp = tuple[int, int]  # (size in bytes, modification time in ns)


@dataclass(frozen=True)
class Unwritten:
    """A caption to write later, cleaned and decorated."""

    caption: Caption
    flaw: str
    before_digest: bytes | None  # of the caption file then; None: there was none, or it could not be read
    media: FileStamp

    def made_for(self, item: MediaItem, operation: int | None, files: CaptionFiles) -> Made:
        """Return the caption as one to be written now. Raise CaptionError if its file holds another text since."""
        before = files.read(item.caption_path)
        if before and digest(before) != self.before_digest:
            raise CaptionError(f"{item.caption_path} was changed since; its new caption is not written")
        return Made(item, self.caption, operation, self.flaw)


class UnwrittenCaptions:
    """Any thread may call; methods raise StateError. Functions with `connection` run in the caller's transaction."""

    def __init__(self, database: Database, files: CaptionFiles) -> None:
        self._database, self._files = database, files

    def keep(self, made: Made, media: FileStamp) -> None:
        """Keep the caption of an item of a job; a later one replaces it."""
        try:
            before = self._files.read(made.item.caption_path)
        except CaptionError:
            before = None
        name = escape_surrogates(made.item.name)
        with self._database.transaction() as connection:
            _forget(connection, made.operation, name)
            number = insert_made(connection, made, "unwritten")
            values = (made.operation, name, number, None if before is None else digest(before), *media)
            connection.execute("INSERT INTO captions_unwritten VALUES (?, ?, ?, ?, ?, ?)", values)

    def of(self, operation: int | None) -> dict[str, Unwritten]:
        """Return the captions that a job keeps, by the escaped names of their items."""
        rows = self._database.rows(
            "SELECT m.*, u.name, u.before_digest, u.media_size, u.media_time_ns "
            "FROM captions_unwritten u JOIN captions_made m ON m.id = u.made WHERE u.operation = ?",
            (operation,),
        )
        return {row["name"]: _unwritten(row) for row in rows}

    def forget(self, operation: int | None, item: MediaItem) -> None:
        """Keep the caption of an item no longer."""
        with self._database.transaction() as connection:
            _forget(connection, operation, escape_surrogates(item.name))


def hand_over(connection: Connection, old: int, new: int) -> None:
    """Let the job that resumes another one keep its captions."""
    connection.execute("UPDATE captions_unwritten SET operation = ? WHERE operation = ?", (new, old))


def _unwritten(row: Row) -> Unwritten:
    media = (row["media_size"], row["media_time_ns"])
    return Unwritten(provenance(row).caption, row["flaw"], row["before_digest"], media)


def _forget(connection: Connection, operation: int | None, name: str) -> None:
    key = (operation, name)
    found = connection.execute("SELECT made FROM captions_unwritten WHERE operation = ? AND name = ?", key).fetchall()
    connection.execute("DELETE FROM captions_unwritten WHERE operation = ? AND name = ?", key)
    for (made,) in found:
        connection.execute("DELETE FROM captions_made WHERE id = ?", (made,))
