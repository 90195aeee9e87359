"""The rows of a list of captions: JSONL, JSON, CSV, Parquet, WebDataset shards, or a folder as on the Hub."""

import csv
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from captioner.dataset.exports.manifests import load_arrow
from captioner.errors import CaptionerError

MEDIA_COLUMNS = (
    "file_name", "image_path", "video_path", "media_path", "filename", "file", "path", "video", "image", "audio_path",
)  # fmt: skip
CAPTION_COLUMNS = ("text", "caption", "prompt", "captions", "description")
MAX_FIELD = 1_000_000  # characters of a CSV field, as many as a caption file may have bytes
HUB_LISTS = ("metadata.jsonl", "metadata.csv", "metadata.parquet")


class ReadRow(NamedTuple):
    """One row. `where` says where it stands, for messages; `problem` why it cannot be used, or ""."""

    where: str
    media: str
    caption: str
    problem: str = ""


def read_rows(path: Path) -> Iterator[tuple[Path, ReadRow]]:
    """Yield each row with the folder where its path starts. Raise CaptionerError if the file cannot be read."""
    if path.is_dir():
        for part in _parts(path):
            yield from read_rows(part)
        return
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise CaptionerError(f"{path.name}: give a file ending in {', '.join(READERS)}, or a folder of such files")
    try:
        for where, row in reader(path):
            yield path.parent, _row(f"{path.name}, {where}", row)
    except OSError as error:
        raise CaptionerError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError, csv.Error, tarfile.TarError) as error:  # also bad UTF-8
        raise CaptionerError(f"cannot read {path}: {str(error).splitlines()[0]}") from None


def _parts(folder: Path) -> list[Path]:
    """Return the lists in a folder: shards, or the lists that `datasets` reads. Raise CaptionerError for none."""
    shards = sorted(folder.glob("*.tar"))
    found = shards or sorted(path for name in HUB_LISTS for path in folder.rglob(name))
    if not found:
        raise CaptionerError(f"{folder}: no {', '.join(HUB_LISTS)} and no .tar file in this folder")
    return found


def _row(where: str, row: Any) -> ReadRow:
    """Return the media and the caption that a row holds, whatever its columns are called."""
    if not isinstance(row, dict):
        return ReadRow(where, "", "", "not an object with a file and a caption")
    media = next((row[name] for name in MEDIA_COLUMNS if row.get(name)), "")
    column = next((name for name in CAPTION_COLUMNS if name in row), "")
    caption = row.get(column)
    if isinstance(caption, list) and len(caption) == 1:
        caption = caption[0]
    if not isinstance(media, str) or not media:
        return ReadRow(where, "", "", f"no file is named; the columns may be {', '.join(MEDIA_COLUMNS)}")
    if not column:
        return ReadRow(where, media, "", f"no caption; the columns may be {', '.join(CAPTION_COLUMNS)}")
    if isinstance(caption, list):
        return ReadRow(where, media, "", f"{len(caption)} captions; a file can have one")
    if caption is None or not str(caption).strip():
        return ReadRow(where, media, "", "the caption is empty")
    return ReadRow(where, media, caption, "" if isinstance(caption, str) else "the caption is not a text")


def _jsonl(path: Path) -> Iterator[tuple[str, Any]]:
    with open(path, encoding="utf-8-sig", newline="\n") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield f"line {number}", json.loads(line)
            except ValueError as error:
                raise ValueError(f"line {number} is not JSON: {error}") from None


def _json(path: Path) -> Iterator[tuple[str, Any]]:
    """Read a list of objects, {file: [caption]}, {file: caption} or {file: {"caption": caption}}."""
    content = json.loads(path.read_text(encoding="utf-8-sig"))
    if isinstance(content, list):
        yield from ((f"entry {number}", row) for number, row in enumerate(content, 1))
    elif isinstance(content, dict):
        for number, (name, value) in enumerate(content.items(), 1):
            row = value if isinstance(value, dict) else {"caption": value}
            yield f"entry {number}", {**row, "file_name": name}
    else:
        raise ValueError("neither a list nor an object")


def _csv(path: Path) -> Iterator[tuple[str, Any]]:
    before = csv.field_size_limit(MAX_FIELD)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            for row in rows:
                yield f"line {rows.line_num}", row
    finally:
        csv.field_size_limit(before)


def _parquet(path: Path) -> Iterator[tuple[str, Any]]:
    file = load_arrow("pyarrow.parquet").ParquetFile(path)
    columns = [name for name in file.schema_arrow.names if name in (*MEDIA_COLUMNS, *CAPTION_COLUMNS)]
    number = 0
    for batch in file.iter_batches(columns=columns):
        for row in batch.to_pylist():
            number += 1
            yield f"row {number}", row


def _tar(path: Path) -> Iterator[tuple[str, Any]]:
    """Read the .json of each sample, or without one its .txt; its media file then has the name of the sample."""
    samples: dict[str, dict[str, Any]] = {}
    with tarfile.open(path) as tar:
        for member in tar:
            key, _, ending = member.name.rpartition("/")[2].partition(".")
            sample = samples.setdefault(key, {})
            if member.isfile() and ending in ("json", "txt") and member.size <= MAX_FIELD:
                data = tar.extractfile(member)
                text = data.read().decode() if data else ""
                sample |= json.loads(text) if ending == "json" else {"text": sample.get("text", text)}
            elif member.isfile():
                sample.setdefault("file_name", member.name)
    yield from ((f"sample {key}", row) for key, row in samples.items())


READERS: dict[str, Callable[[Path], Iterator[tuple[str, Any]]]] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
    ".tar": _tar,
}
