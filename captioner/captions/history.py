"""The earlier contents of caption files: the table caption_changes, as a person goes back through it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from captioner.captions.encoding import Decoded
from captioner.captions.ownership import Origin
from captioner.system.database import Database, path_text


@dataclass(frozen=True)
class HistoryEntry:
    """An earlier text of a caption file."""

    id: int
    text: str
    data: bytes | None  # the file, byte for byte; None: there was none
    replaced_at_s: float  # POSIX time
    origin: Origin  # what replaced it


def earlier_texts(
    database: Database, caption_path: Path, decode: Callable[[bytes | None], Decoded]
) -> list[HistoryEntry]:
    """Return what each change of the file replaced, the latest first. The text is "" if there was none."""
    sql = (
        "SELECT id, before, changed_at_s, origin FROM caption_changes "
        "WHERE caption_path = ? AND made = 1 ORDER BY id DESC"
    )
    rows = database.rows(sql, (path_text(caption_path),))
    return [HistoryEntry(number, decode(data).body, data, *rest) for number, data, *rest in rows]


def different(entries: Iterable[HistoryEntry], now: str) -> list[HistoryEntry]:
    """Return the first entry of each text other than `now`."""
    seen, found = {now}, []
    for entry in entries:
        if entry.text not in seen:
            seen.add(entry.text)
            found.append(entry)
    return found
