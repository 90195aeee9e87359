"""The caption files beside the media, and in the database all they ever held and how they were made."""

import contextlib
import errno
import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from sqlite3 import Row
from typing import Literal

from captioner.cleanup import Decoration, clean, decorate, is_blank, one_line
from captioner.database import Database
from captioner.errors import CaptionError, StateError
from captioner.files import write_atomic
from captioner.values import Caption, ExistingPolicy, GenerationOptions, MediaItem

log = logging.getLogger(__name__)

Outcome = Literal["written", "kept"]


@dataclass(frozen=True)
class Written:
    """What `write` did: `text` stands in the file now; "kept" means it is what somebody else put there meanwhile."""

    text: str
    outcome: Outcome


@dataclass(frozen=True)
class HistoryEntry:
    """A text that once stood in a caption file."""

    id: int
    text: str
    data: bytes  # the same, byte for byte
    replaced_at_s: float  # POSIX time
    origin: str  # what replaced it: "job", "hand", "delete", "restore", or as given to `save`


@dataclass(frozen=True)
class Provenance:
    """One caption that a model made. `caption.text` is the cleaned and decorated text, without what a policy put
    beside it."""

    caption: Caption
    media_path: Path
    caption_path: Path
    outcome: Outcome
    created_at_s: float  # POSIX time
    job: str


class CaptionStore:
    """Reads and writes caption files, one line of UTF-8 without BOM or line end: most trainers use the file as it is.

    Every non-blank content that is replaced or deleted is first committed to the database, so nothing that anyone
    wrote is lost. Files are replaced whole, by way of `scratch` where that is on the same filesystem; a symbolic link
    is replaced by a file and what it pointed to stays. Any thread may call; changes are made one at a time.
    Methods raise CaptionError with one line when a caption file cannot be used and StateError when the database cannot.
    """

    def __init__(self, database: Database, scratch: Path) -> None:
        self._database = database
        self._scratch = scratch
        self._lock = threading.Lock()
        try:
            scratch.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StateError(f"cannot create the folder {scratch}: {error.strerror}") from None

    def read(self, caption_path: Path) -> str:
        """The text of the file without outer spaces; "" when there is no file or nothing to see in it.

        Never fails on odd bytes: a BOM is understood, other undecodable bytes become U+FFFD.
        """
        return _decode(self._read_bytes(caption_path))

    def needs_caption(self, item: MediaItem, policy: ExistingPolicy) -> bool:
        """Whether a model should caption the item; under "skip" only if it has no or a blank caption file now."""
        return policy != "skip" or not self.read(item.caption_path)

    def write(
        self,
        item: MediaItem,
        caption: Caption,
        policy: ExistingPolicy,
        job: str = "",
        decoration: Decoration = Decoration(),
    ) -> Written:
        """Put a model's caption, cleaned and decorated, into the item's file by the policy, which is checked again now.

        Under "skip" a text that appeared meanwhile is kept. "prefix" and "append" put the new text before and after
        the old one. An empty output raises CaptionError and leaves the file alone.
        """
        text = clean(caption.text)
        if not text:
            raise CaptionError(f"{item.name}: the model returned an empty caption")
        text = decorate(text, decoration)
        path = item.caption_path
        with self._lock:
            old = self._read_bytes(path)
            existing = one_line(_decode(old))
            if existing and policy == "skip":
                written = Written(existing, "kept")
            else:
                written = Written(_join(text, existing, policy), "written")
                self._replace(path, old, written.text.encode(), "job")
        self._record(item, caption, text, written.outcome, job)
        return written

    def save(self, caption_path: Path, text: str, origin: str = "hand") -> str:
        """Put a text written by hand into the file, as one line and otherwise unchanged; return it.

        A blank text leaves an empty file, which counts as missing.
        """
        text = "" if is_blank(text) else one_line(text)
        with self._lock:
            self._replace(caption_path, self._read_bytes(caption_path), text.encode(), origin)
        return text

    def delete(self, caption_path: Path) -> bool:
        """Delete the file, keeping its text in the history. False if there was none."""
        with self._lock:
            old = self._read_bytes(caption_path)
            if old is None:
                return False
            with self._remembering(caption_path, old, "delete"):
                caption_path.unlink(missing_ok=True)
        return True

    def restore(self, caption_path: Path, entry_id: int) -> str:
        """Put a text of this file's history back, byte for byte; what stands there goes into the history."""
        entry = next((entry for entry in self.history(caption_path) if entry.id == entry_id), None)
        if entry is None:
            raise CaptionError(f"{caption_path} has no earlier text number {entry_id}")
        with self._lock:
            self._replace(caption_path, self._read_bytes(caption_path), entry.data, "restore")
        return entry.text

    def history(self, caption_path: Path) -> list[HistoryEntry]:
        """All earlier texts of the file, the latest first."""
        rows = self._database.rows(
            "SELECT id, data, replaced_at_s, origin FROM caption_history WHERE caption_path = ? ORDER BY id DESC",
            (caption_key(caption_path),),
        )
        return [
            HistoryEntry(row["id"], _decode(row["data"]), row["data"], row["replaced_at_s"], row["origin"])
            for row in rows
        ]

    def edited_in(self, folder: Path) -> set[str]:
        """Paths of the caption files under a folder whose present text was written by hand, as far as we wrote it."""
        start = caption_key(folder).rstrip(os.sep) + os.sep
        rows = self._database.rows(
            "SELECT caption_path FROM caption_state WHERE caption_path >= ? AND caption_path < ? AND origin != 'job'",
            (start, start[:-1] + chr(ord(os.sep) + 1)),
        )
        return {row["caption_path"] for row in rows}

    def provenance(self, caption_path: Path) -> list[Provenance]:
        """Every model caption made for the file, kept ones included, the latest first."""
        sql = "SELECT * FROM captions_made WHERE caption_path = ? ORDER BY id DESC"
        return [_provenance(row) for row in self._database.rows(sql, (caption_key(caption_path),))]

    def _read_bytes(self, path: Path) -> bytes | None:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CaptionError(f"cannot read the caption {path}: {error.strerror}") from None

    def _replace(self, path: Path, old: bytes | None, new: bytes, origin: str) -> None:
        if old == new:
            return
        with self._remembering(path, old, origin):
            write_atomic(path, new, self._scratch)
        self._note_state(path, new, origin)

    def _note_state(self, path: Path, data: bytes, origin: str) -> None:
        """Who wrote what stands in the file now. The caption itself is safe already, so a failure is only logged."""
        try:
            self._database.execute(
                "INSERT INTO caption_state (caption_path, origin, digest, changed_at_s) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (caption_path) DO UPDATE SET origin = excluded.origin, digest = excluded.digest, "
                "changed_at_s = excluded.changed_at_s",
                (caption_key(path), origin, hashlib.sha256(data).digest(), time.time()),
            )
        except StateError as error:
            log.warning("who wrote %s is not recorded: %s", path, error)

    @contextlib.contextmanager
    def _remembering(self, path: Path, old: bytes | None, origin: str) -> Iterator[None]:
        """Commit the old content to the history, then run the block; if that raises, the file still holds it."""
        entry_id = 0
        if old is not None and not is_blank(_decode(old)):
            entry_id = self._database.execute(
                "INSERT INTO caption_history (caption_path, data, replaced_at_s, origin) VALUES (?, ?, ?, ?)",
                (caption_key(path), old, time.time(), origin),
            )
        try:
            yield
        except OSError as error:
            if entry_id:
                self._database.execute("DELETE FROM caption_history WHERE id = ?", (entry_id,))
            raise CaptionError(f"cannot write the caption {path}: {error.strerror}{_advice(error)}") from None

    def _record(self, item: MediaItem, caption: Caption, text: str, outcome: Outcome, job: str) -> None:
        options = asdict(caption.options)
        values = {
            "media_path": caption_key(item.path),
            "caption_path": caption_key(item.caption_path),
            "text": text,
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
            "job": job,
        }
        marks = ", ".join("?" * len(values))
        try:
            self._database.execute(
                f"INSERT INTO captions_made ({', '.join(values)}) VALUES ({marks})", tuple(values.values())
            )
        except StateError as error:
            # The caption is in its file: to fail the item now would have it made again.
            log.warning("how %s was captioned is not recorded: %s", item.name, error)


def caption_key(path: Path) -> str:
    """In the database. Names that are no text keep their bytes as \\x escapes, which SQLite can hold."""
    return str(path.absolute()).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _decode(data: bytes | None) -> str:
    data = data or b""
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    text = data.decode(encoding, errors="replace").strip()
    return "" if is_blank(text) else text


def _join(text: str, existing: str, policy: ExistingPolicy) -> str:
    if not existing or policy not in ("prefix", "append"):
        return text
    return f"{text} {existing}" if policy == "prefix" else f"{existing} {text}"


def _advice(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "; make the folder writable or copy it to where you may write"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "; free some space"
    return ""


def _provenance(row: Row) -> Provenance:
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
    path = Path(row["caption_path"])
    return Provenance(caption, Path(row["media_path"]), path, row["outcome"], row["created_at_s"], row["job"])
