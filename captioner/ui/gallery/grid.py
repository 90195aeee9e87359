"""The grid of all files: a virtual scroller in the browser, which fetches the list by the media routes.

Its value is the selection; Python sends changes of the list as properties. See grid.js.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

import gradio as gr

from captioner.errors import JobError
from captioner.formatting import sendable
from captioner.library.library import Library
from captioner.library.lookup import Entry
from captioner.ui import scripts
from captioner.values import MediaItem

_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{0,9}))?")


def media_grid() -> gr.HTML:
    """Return the component.

    Value: the selection as JSON text {"scan": "...", "selected": "0-4,7", "total": 6}.
    Properties: those of `grid_changes`, `busy` and `existing`, which decide what Caption would do, and `said`, the
    result of `approve`.
    Events: `open` with the `id`, folder and name of a file, `change` of the selection, `approve` with `files` (a
    selection like the value) and `on`, and `mark` with `files` and `mark`.

    This is not a subclass of gr.HTML, because Gradio writes a .pyi file beside every module with one.
    """
    empty: dict[str, Any] = {
        "scan": "",
        "revision": 0,
        "base": -1,
        "changes": [],
        "running": {},
        "busy": False,
        "existing": "skip",
    }
    empty["said"] = {"number": 0, "text": ""}
    return scripts.component("gallery/grid", "grid", ("open", "approve", "mark"), empty)


def grid_changes(library: Library, seen: str) -> tuple[dict[str, Any], str]:
    """Return the properties of the grid, and the new value of `seen`: what this browser knows, at first ""."""
    scan, _, revision = seen.partition(" ")
    base = int(revision) if revision.isdecimal() else -1
    changes = library.since(scan, base)
    rows = changes.rows if base >= 0 else None
    properties = {
        "scan": changes.scan,
        "revision": changes.revision,
        "base": -1 if rows is None else base,
        "changes": [_sendable(row) for row in rows or ()],
        "running": {str(index): tokens for index, tokens in changes.running.items()},
    }
    return properties, f"{changes.scan} {changes.revision}"


def selected_names(library: Library, value: str) -> list[str]:
    """Return the names in the grid's value, [] for no selection. Raise JobError if its folder is no longer open."""
    selection = json.loads(value or "{}")
    if not selection.get("total"):
        return []
    scan = library.scan
    if selection.get("scan") != scan.id:
        raise JobError("the folder was refreshed; select the files again")
    positions = parse_ranges(str(selection.get("selected", "")), len(scan.items))
    return [scan.items[position].name for position in positions]


def entry_id(library: Library, item: MediaItem) -> str:
    """Return the id by which the browser names a file: "<scan>-<position>"; "" if its folder is no longer open."""
    scan = library.scan
    position = scan.position(item)
    return "" if position is None else f"{scan.id}-{position}"


def find_entry(library: Library, id_text: str) -> Entry | None:
    """Return the file of an `entry_id`, or None if the folder was scanned again or replaced since."""
    scan = library.scan
    scan_id, _, position = id_text.partition("-")
    positions = parse_ranges(position, len(scan.items)) if scan_id == scan.id and position.isdecimal() else []
    return library.lookup.entry(scan.items[positions[0]]) if positions else None


def parse_ranges(text: str, limit: int, most: int | None = None) -> list[int]:
    """Return the numbers in a text such as "0-4,7" that are below `limit`, each once, at most `most` of them."""
    found: dict[int, None] = {}
    num_given, most = 0, limit if most is None else most
    for part in text.split(","):
        if match := _RANGE.fullmatch(part):
            first, last = match.groups()
            numbers = range(int(first), min(int(last or first) + 1, limit))
            found |= dict.fromkeys(numbers)
            num_given += len(numbers)
        if num_given >= most:  # else a short text could ask for billions
            break
    return list(found)[:most]


def to_ranges(numbers: Sequence[int]) -> str:
    """Return ascending numbers as text: [0, 1, 2, 3, 4, 7] -> "0-4,7"."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def _sendable(row: dict[str, Any]) -> dict[str, Any]:
    return {key: sendable(value) if isinstance(value, str) else value for key, value in row.items()}
