"""How captions were made: the table captions_made."""

import json
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from sqlite3 import Connection, Row
from typing import Literal

from captioner.system.database import path_text, text_path
from captioner.values import Caption, GenerationOptions, MediaItem

Outcome = Literal["written", "kept"]


@dataclass(frozen=True)
class Provenance:
    """One caption that a model made. `caption.text` is cleaned and decorated, without the older text that the policies
    "prefix" and "append" keep beside it.
    """

    caption: Caption
    media_path: Path
    caption_path: Path
    outcome: Outcome
    created_at_s: float  # POSIX time
    job: str  # the id of the operation, or ""
    flaw: str = ""  # see captions/flaws


@dataclass(frozen=True)
class Made:
    """A caption to be recorded; its text is cleaned and decorated."""

    item: MediaItem
    caption: Caption
    operation: int | None
    flaw: str = ""  # see captions/flaws


def insert_made(connection: Connection, made: Made, outcome: Outcome | Literal["pending"]) -> None:
    """Record a caption in the caller's transaction; "pending" until the file is written and `decide_made` called."""
    values = asdict(made.caption)  # every other field is a column of the same name
    options, frame_times_s = values.pop("options"), values.pop("frame_times_s")
    values |= {
        "flaw": made.flaw,
        "media_path": path_text(made.item.path),
        "caption_path": path_text(made.item.caption_path),
        "outcome": outcome,
        "seed": options.pop("seed"),
        "options_json": json.dumps(options),
        "frame_times_json": json.dumps([round(float(time_s), 4) for time_s in frame_times_s]),
        "created_at_s": time.time(),
        "job": "" if made.operation is None else str(made.operation),
    }
    marks = ", ".join("?" * len(values))
    connection.execute(f"INSERT INTO captions_made ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))


def decide_made(connection: Connection, caption_key: str, was_made: bool) -> str:
    """Mark the pending captions of a file as written, or remove them, in the caller's transaction. Return their flaw."""
    sql = "SELECT flaw FROM captions_made WHERE caption_path = ? AND outcome = 'pending'"
    row = connection.execute(sql, (caption_key,)).fetchone()
    action = "UPDATE captions_made SET outcome = 'written'" if was_made else "DELETE FROM captions_made"
    connection.execute(f"{action} WHERE caption_path = ? AND outcome = 'pending'", (caption_key,))
    return row["flaw"] if row else ""


def provenance(row: Row) -> Provenance:
    """Build a Provenance from a row of captions_made."""
    columns = dict(row)
    values = {field.name: columns[field.name] for field in fields(Caption) if field.name in columns}
    values["options"] = GenerationOptions(**json.loads(row["options_json"]), seed=row["seed"])
    values["frame_times_s"] = tuple(json.loads(row["frame_times_json"]))
    media_path, caption_path = text_path(row["media_path"]), text_path(row["caption_path"])
    return Provenance(
        Caption(**values),
        media_path,
        caption_path,
        row["outcome"],
        *(row[name] for name in ("created_at_s", "job", "flaw")),
    )
