"""How captions were made: the table captions_made."""

import json
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path
from sqlite3 import Connection, Row
from typing import Literal

from captioner.captions.flaws import BREAKS_FORM, NO_TEXT, flaw_of
from captioner.captions.forms.base import Form
from captioner.captions.forms.known import PARAGRAPH, form_of
from captioner.captions.text import Decoration
from captioner.errors import CaptionError
from captioner.system.database import Database, path_text, text_path
from captioner.values import Caption, GenerationOptions, MediaFacts, MediaItem

Outcome = Literal["written", "kept", "tried"]  # tried: a repair has made it, and a better one may have been written


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
    media: tuple[int | None, float | None] = (None, None)  # size in bytes and modification time of the media file then

    def is_of(self, item: MediaItem) -> bool:
        """Return whether the file is still the one that was captioned."""
        return self.media == (item.size_bytes, item.modified_s)


@dataclass(frozen=True)
class Made:
    """A caption to be recorded; its text is cleaned and decorated."""

    item: MediaItem
    caption: Caption
    operation: int | None
    flaw: str = ""  # see captions/flaws
    form: Form = PARAGRAPH  # in which it is joined with an older text
    replaces: str | None = None  # the only text that it may replace; None: any

    def joined(self, old: str, is_first: bool) -> str:
        """Return the caption before or after an older text, field by field if one of them has fields."""
        texts = (self.caption.text, old) if is_first else (old, self.caption.text)
        return (form_of(old) or self.form).merge(*texts)


def finish(
    item: MediaItem, caption: Caption, operation: int | None, decoration: Decoration, form: Form = PARAGRAPH
) -> Made:
    """Return a model's caption, cleaned, in its form and decorated. Raise CaptionError for an empty output."""
    text = form.clean(caption.text, caption.facts)
    if not text:
        raise CaptionError(f"{item.name}: {NO_TEXT}")
    flaw = flaw_of(caption) or form_flaw(form, text, caption.facts)
    text = form.decorate(text, decoration)
    return Made(item, caption if text == caption.text else replace(caption, text=text), operation, flaw, form)


def form_flaw(form: Form, text: str, facts: MediaFacts) -> str:
    """Return "breaks its form: it has no overall_soundscape" for a caption that the model is asked to write in a form
    and that is not, else "".
    """
    problems = form.problems(text, facts) if form.reminder else []
    return f"{BREAKS_FORM}: it {problems[0].message}" if problems else ""


def insert_made(connection: Connection, made: Made, outcome: Outcome | Literal["pending", "unwritten"]) -> int:
    """Record a caption in the caller's transaction and return its row id.

    It is "pending" until the file is written and `decide_made` called; see captions/unwritten for "unwritten".
    """
    values = {**vars(made.caption)}  # every other field is a column of the same name
    options, frame_times_s = {**vars(values.pop("options"))}, values.pop("frame_times_s")
    span_s = values.pop("facts").span_s
    values |= {
        "flaw": made.flaw,
        "media_path": path_text(made.item.path),
        "caption_path": path_text(made.item.caption_path),
        "captioned_bytes": made.item.size_bytes,
        "captioned_modified_s": made.item.modified_s,
        "outcome": outcome,
        "seed": options.pop("seed"),
        "options_json": json.dumps(options),
        "span_json": json.dumps(span_s),
        "frame_times_json": json.dumps([round(float(time_s), 4) for time_s in frame_times_s]),
        "created_at_s": time.time(),
        "job": "" if made.operation is None else str(made.operation),
    }
    marks = ", ".join("?" * len(values))
    sql = f"INSERT INTO captions_made ({', '.join(values)}) VALUES ({marks})"
    return connection.execute(sql, tuple(values.values())).lastrowid or 0


def decide_made(connection: Connection, caption_key: str, was_made: bool) -> str:
    """Mark the pending caption of a file as written, or remove it, in the caller's transaction; return its flaw."""
    sql = "SELECT flaw FROM captions_made WHERE caption_path = ? AND outcome = 'pending'"
    row = connection.execute(sql, (caption_key,)).fetchone()
    action = "UPDATE captions_made SET outcome = 'written'" if was_made else "DELETE FROM captions_made"
    if was_made and row:  # it may have been tried before; the history lists it once
        connection.execute(
            "DELETE FROM captions_made WHERE caption_path = ?1 AND outcome = 'tried' AND (job, seed, text) IN "
            "(SELECT job, seed, text FROM captions_made WHERE caption_path = ?1 AND outcome = 'pending')",
            (caption_key,),
        )
    connection.execute(f"{action} WHERE caption_path = ? AND outcome = 'pending'", (caption_key,))
    return row["flaw"] if row else ""


def captions_made(database: Database, caption_path: Path) -> list[Provenance]:
    """Return every caption that a model made for the file, the latest first; those only tried come last."""
    sql = (
        "SELECT * FROM captions_made WHERE caption_path = ? AND outcome NOT IN ('pending', 'unwritten') "
        "ORDER BY outcome = 'tried', id DESC"
    )
    return [provenance(row) for row in database.rows(sql, (path_text(caption_path),))]


def provenance(row: Row) -> Provenance:
    """Build a Provenance from a row of captions_made."""
    columns = dict(row)
    values = {field.name: columns[field.name] for field in fields(Caption) if field.name in columns}
    values["options"] = GenerationOptions(**json.loads(row["options_json"]), seed=row["seed"])
    values["frame_times_s"] = tuple(json.loads(row["frame_times_json"]))
    span_s = json.loads(row["span_json"])
    values["facts"] = MediaFacts(span_s=span_s and tuple(span_s))
    media_path, caption_path = text_path(row["media_path"]), text_path(row["caption_path"])
    about = {name: row[name] for name in ("outcome", "created_at_s", "job", "flaw")}
    about["media"] = row["captioned_bytes"], row["captioned_modified_s"]
    return Provenance(Caption(**values), media_path, caption_path, **about)
