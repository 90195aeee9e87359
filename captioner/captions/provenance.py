"""How captions were made: the table captions_made."""

import json
import sqlite3
import time
from dataclasses import asdict, dataclass
from pathlib import Path
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


@dataclass(frozen=True)
class Made:
    """A caption to be recorded. text: the cleaned and decorated caption."""

    item: MediaItem
    caption: Caption
    text: str
    operation: int | None


def insert_made(connection: sqlite3.Connection, made: Made, outcome: Outcome | Literal["pending"]) -> None:
    """Record a caption in the caller's transaction; "pending" until the file is written and `decide_made` called."""
    caption = made.caption
    options = asdict(caption.options)
    values = {
        "media_path": path_text(made.item.path),
        "caption_path": path_text(made.item.caption_path),
        "text": made.text,
        "outcome": outcome,
        "model": caption.model,
        "prompt": caption.prompt,
        "seed": options.pop("seed"),
        "options_json": json.dumps(options),
        "frame_times_json": json.dumps([round(float(time_s), 4) for time_s in caption.frame_times_s]),
        "seconds": caption.seconds,
        "num_prompt_tokens": caption.num_prompt_tokens,
        "num_tokens": caption.num_tokens,
        "device": caption.device,
        "finish_reason": caption.finish_reason,
        "warning": caption.warning,
        "created_at_s": time.time(),
        "job": "" if made.operation is None else str(made.operation),
    }
    marks = ", ".join("?" * len(values))
    connection.execute(f"INSERT INTO captions_made ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))


def decide_made(connection: sqlite3.Connection, caption_key: str, was_made: bool) -> None:
    """Mark the pending captions of a file as written, or remove them, in the caller's transaction."""
    action = "UPDATE captions_made SET outcome = 'written'" if was_made else "DELETE FROM captions_made"
    connection.execute(f"{action} WHERE caption_path = ? AND outcome = 'pending'", (caption_key,))


def provenance(row: sqlite3.Row) -> Provenance:
    """Build a Provenance from a row of captions_made."""
    caption = Caption(
        text=row["text"],
        model=row["model"],
        prompt=row["prompt"],
        options=GenerationOptions(**json.loads(row["options_json"]), seed=row["seed"]),
        frame_times_s=tuple(json.loads(row["frame_times_json"])),
        num_prompt_tokens=row["num_prompt_tokens"],
        num_tokens=row["num_tokens"],
        seconds=row["seconds"],
        device=row["device"],
        warning=row["warning"],
        finish_reason=row["finish_reason"],
    )
    media_path, caption_path = text_path(row["media_path"]), text_path(row["caption_path"])
    return Provenance(caption, media_path, caption_path, row["outcome"], row["created_at_s"], row["job"])
