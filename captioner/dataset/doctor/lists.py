"""The lists of media and captions: what entries a trainer reads from a .json, .jsonl or .csv file of the folder."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from captioner.captions.encoding import decode
from captioner.dataset.trainers import Columns

BLANK, BROKEN, COLUMN, VALUE = "manifest-blank-line", "manifest-broken", "manifest-column", "manifest-value"


class Entry(NamedTuple):
    """One line of a list. caption: None where it is missing or empty. line: from 1, as a person counts."""

    media: str
    caption: str | None
    line: int


@dataclass(frozen=True)
class MediaList:
    """A list as the trainer would read it. problems: (code, detail) of what stops it."""

    name: str
    entries: tuple[Entry, ...]
    problems: tuple[tuple[str, str], ...] = ()


def read_list(name: str, data: bytes, columns: Columns) -> MediaList:
    """Return the entries of a list of objects with these columns, and what is wrong with it."""
    extension = name.rpartition(".")[2]
    problems: list[tuple[str, str]] = []
    rows = list(_READERS[extension](_text(data, extension, problems), problems))
    entries = []
    for line, row in rows:
        media = next((row[column] for column in columns.media if isinstance(row.get(column), str)), "")
        missing = columns.caption if columns.caption not in row else "" if media.strip() else " or ".join(columns.media)
        if missing:
            problems.append((COLUMN, f"entry {line} of {name} has no {missing}"))
        elif media:
            caption = row[columns.caption]
            text = caption if isinstance(caption, str) and caption.strip() else None
            entries.append(Entry(media.strip().replace("\\", "/"), text, line))
    return MediaList(name, tuple(entries), tuple(problems[:20]))


def has_columns(found: MediaList) -> bool:
    """Return whether a file seems to be a list of media at all."""
    return bool(found.entries) or any(code != COLUMN for code, _ in found.problems)


def read_captions_json(name: str, data: bytes) -> tuple[dict[str, list[str]], list[tuple[str, str]]]:
    """Return the captions by file name, and the problems, of diffusion-pipe's captions.json."""
    problems: list[tuple[str, str]] = []
    values = _loaded(_text(data, "json", problems), problems, "the file")
    if not isinstance(values, dict):
        return {}, problems or [(VALUE, f"{name} is not an object")]
    captions: dict[str, list[str]] = {}
    for media, value in values.items():
        if not isinstance(value, list):
            problems.append((VALUE, f"the value of {media} in {name} is not a list"))
        captions[media] = [str(each) for each in value] if isinstance(value, list) else [str(value)]
    return captions, problems[:20]


def _text(data: bytes, extension: str, problems: list[tuple[str, str]]) -> str:
    """Return the text; csv alone may begin with a byte order mark, which json.load refuses."""
    decoded = decode(data)
    if decoded.encoding != "utf-8":
        problems.append((BROKEN, "it is not UTF-8"))
    elif data.startswith(b"\xef\xbb\xbf") and extension != "csv":
        problems.append((BROKEN, "it begins with a byte order mark"))
    return decoded.text


def _loaded(text: str, problems: list[tuple[str, str]], what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        problems.append((BROKEN, f"{what} is not JSON ({error})"))
        return None


def _read_json(text: str, problems: list[tuple[str, str]]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    num_before = len(problems)
    values = _loaded(text, problems, "the file")
    if len(problems) > num_before:
        return
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        problems.append((VALUE, "it is not a list of objects"))
        return
    yield from enumerate(values, 1)


def _read_jsonl(text: str, problems: list[tuple[str, str]]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()  # the end of the last line
    for number, line in enumerate(lines, 1):
        if not line.strip():
            problems.append((BLANK, f"line {number} is blank"))
            continue
        num_before = len(problems)
        value = _loaded(line, problems, f"line {number}")
        if isinstance(value, dict):
            yield number, value
        elif len(problems) == num_before:
            problems.append((VALUE, f"line {number} is not an object"))


def _read_csv(text: str, problems: list[tuple[str, str]]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        yield from enumerate(csv.DictReader(io.StringIO(text, newline=""), strict=True), 1)
    except csv.Error as error:
        problems.append((BROKEN, f"the file is not CSV ({error})"))


_READERS = {"json": _read_json, "jsonl": _read_jsonl, "csv": _read_csv}
