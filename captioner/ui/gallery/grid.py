"""The grid of all files: a virtual scroller in the browser, whose list travels by the routes and not by Gradio.

Python sees the selection as its value, sends what changed as properties, and hears which file is opened. See grid.js.
"""

import json
from collections.abc import Sequence
from typing import Any

import gradio as gr

from captioner.library.library import Library, parse_ranges
from captioner.ui.format import file_text

START_JS = "() => document.querySelector('#grid [data-vg]').vg.button()"


def media_grid() -> gr.HTML:
    """A component with

    value: JSON text {"scan": "...", "selected": "0-4,7", "total": 6}, the user's selection;
    scan, revision, base, changes, running: as `grid_changes` gives them; busy, existing: what the start button goes by;
    events: `open` with EventData.id, `change` of the selection, `relabel` when the start button should be set anew,
    `approve` with `files`, a selection like the value, and `on`.

    A function, as Gradio writes a .pyi file beside every module with a subclass.
    """
    return gr.HTML(
        "",
        html_template=file_text("gallery/grid.html"),
        js_on_load=file_text("gallery/grid_list.js", "gallery/grid.js", "gallery/grid_input.js"),
        apply_default_css=False,
        elem_id="grid",
        scan="",
        revision=0,
        base=-1,
        changes=[],
        running={},
        busy=False,
        existing="skip",
    )


def grid_changes(library: Library, seen: str) -> tuple[dict[str, Any], str]:
    """(properties of the grid, what this browser has seen after it). `seen` is the second of the call before, or ""."""
    scan, _, revision = seen.partition(" ")
    base = int(revision) if revision.isdecimal() else -1
    changes = library.since(scan, base)
    known = changes.rows is not None and base >= 0
    properties = {
        "scan": changes.scan,
        "revision": changes.revision,
        "base": base if known else -1,
        "changes": [_sendable(row) for row in changes.rows] if known else [],
        "running": {str(index): tokens for index, tokens in changes.running.items()},
    }
    return properties, f"{changes.scan} {changes.revision}"


def selected_names(library: Library, value: str) -> list[str] | None:
    """The names behind the grid's value; [] for no selection, None when it is of a folder that is no longer open."""
    indices = selected_indices(library, value)
    return None if indices is None else library.names(indices)


def selected_indices(library: Library, value: str) -> Sequence[int] | None:
    """As `selected_names`, by their place in the list."""
    selection = json.loads(value or "{}")
    if not selection.get("total"):
        return []
    if selection.get("scan") != library.scan:
        return None
    return parse_ranges(str(selection.get("selected", "")), len(library.items))


def _sendable(row: dict[str, Any]) -> dict[str, Any]:
    """Without halves of characters, which JSON cannot carry."""
    return {
        key: value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
        for key, value in row.items()
    }
