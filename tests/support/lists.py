"""Folders with captions of awkward names and texts, and the parsers that trainers use."""

import csv
import json
from pathlib import Path

import pytest

from captioner.dataset.exports.entries import read_entries
from captioner.dataset.exports.export import export as run
from captioner.dataset.exports.request import Exported, Request
from captioner.dataset.targets import target
from captioner.services import Services

CAPTIONS = {
    "plain.mp4": "A red ball rolls.",
    "two words.jpg": "A cat, a dog, and a hen",
    'O\'Brien "the" cat.mp4': "He says \"go\", she says 'stop'.",
    "日本語 é ü.png": "赤いボール\u2028a red ball 🎾",
    "-dash.mp4": "- first\n- second\n\n-third",
    "comma, and; semicolon.jpg": "integrated_multimodal_description: [Shot 1] x\n\noverall_soundscape: N/A",
    "a.b.c.d.mp4": "=1+1\ttab \\n no break \\",
    "[x] #1 100% & {y}.png": "<d>[English] Hi.</d> {a|b} __c__",
    "NA.mp4": "not available",
    "$(x) `y` ~z.jpg": "null",
    "%41 +.mp4": "# not a comment",
}


def make_folder(folder: Path, captions: dict[str, str] = CAPTIONS) -> Path:
    """Write media files, which no export opens as media, and their captions."""
    for name, caption in captions.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"media {name}".encode())
        path.with_suffix(".txt").write_text(caption, encoding="utf-8")
    return folder


def export(services: Services, folder: Path, file_format: str, to: Path, **options: object) -> Exported:
    """Export a folder with its subfolders."""
    library = services.open_folder(folder, recursive=True)
    entries = read_entries(services.captions, library.items)
    options["target"] = target(options.get("target", "none"))
    options["caption_extension"] = services.settings.caption_extension
    return run(Request(file_format, to, **options), library.items, entries)


def parse(path: Path) -> list[tuple[str, ...]]:
    """Read a list with the parser of its format -> the values of each row, without empty cells."""
    match path.suffix:
        case ".jsonl":
            rows = [json.loads(line) for line in path.read_bytes().splitlines()]
        case ".json":
            rows = json.loads(path.read_text(encoding="utf-8"))
        case ".csv":
            with open(path, encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
        case ".parquet":
            rows = pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()
    return [tuple(value for value in row.values() if value) for row in rows]
