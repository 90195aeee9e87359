"""The folder bar: opens a folder by typing, choosing or from the recent ones, and shows how many files it has."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import gradio as gr

from captioner.errors import CaptionerError
from captioner.formatting import plural, sendable
from captioner.library.file_states import Counts
from captioner.library.recent import RecentFolders
from captioner.services import Services
from captioner.ui import scripts
from captioner.ui.format import escape, file_text
from captioner.ui.gallery.folders import TOP, browse, decode_path, encode_path, nearest, top
from captioner.ui.gallery.panel import Panel
from captioner.ui.wiring import errors_as_toasts
from captioner.values import KindFilter


class FolderBar:
    """The handlers of the bar. Any thread may call."""

    def __init__(self, services: Services, panel: Panel) -> None:
        self._services, self._panel = services, panel
        self._entering = threading.Lock()
        self.recent = RecentFolders(services.folder / "recent.json")
        if services.library.folder:
            self.recent.add(services.library.folder)

    @errors_as_toasts
    def open(self, event: gr.EventData) -> dict[str, Any]:
        """Open the typed or chosen folder after saving an edit, if possible. Return properties of the panel."""
        answer = self._panel.save_edit_if_possible(event.edit)
        kinds = event._data.get("kinds")
        folder = self._services.roots.resolve(_chosen(event) or "")
        self.enter(folder, bool(event.recursive), kinds if kinds in get_args(KindFilter) else None)
        return answer

    def enter(self, folder: Path, recursive: bool, kinds: KindFilter | None = None) -> None:
        """Open a folder and remember it for the next start. kinds: None for the setting. Raise FolderError.

        One call at a time: a folder that is slow to scan must not replace one that was opened after it.
        """
        with self._entering:
            library = self._services.open_folder(folder, recursive, kinds)
            self._services.change_settings({"folder": str(folder), "recursive": recursive, "kinds": library.scan.kinds})
            self.recent.add(folder)

    @errors_as_toasts
    def browse(self, event: gr.EventData) -> dict[str, Any]:
        """List the subfolders of a folder without opening it. Return properties of the bar."""
        roots, problem = self._services.roots, ""
        path = _chosen(event) or self._services.library.folder
        try:
            found = top(roots) if event.key == TOP or not path else browse(nearest(path, roots), roots)
        except CaptionerError as error:
            found, problem = top(roots), sendable(str(error))
        above = TOP if found.path and len(roots.folders) > 1 else ""
        listing = {
            "number": event._data.get("number", 0),
            "place": sendable(str(found.path)) if found.path else "Allowed folders",
            "key": encode_path(found.path) if found.path else "",
            "parent": encode_path(found.parent) if found.parent else above,
            "folders": [
                {"name": sendable(folder.name if found.path else str(folder)), "key": encode_path(folder)}
                for folder in found.folders
            ],
            "problem": problem,
        }
        return gr.update(listing=listing)

    def view(self, counts: Counts) -> dict[str, Any]:
        """Return the property `shown` of the bar."""
        scan, settings = self._services.library.scan, self._services.settings
        allowed = self._services.roots.allows
        recent = [path for path in self.recent.paths() if path != scan.folder and allowed(path)]
        return {
            "folder": sendable(str(scan.folder or "")),
            "key": encode_path(scan.folder) if scan.folder else "",
            "recursive": scan.recursive if scan.folder else settings.recursive,
            "kinds": scan.kinds if scan.folder else settings.kinds,
            "counts": counts_line(counts, scan.warnings) if scan.folder else "",
            "recent": [{"place": sendable(str(path)), "key": encode_path(path)} for path in recent],
        }


def counts_line(counts: Counts, warnings: Sequence[str]) -> str:
    """Return HTML with the number of files in each state, and the warnings of the scan in a popover."""
    parts = [plural(counts.total, "file"), f"{counts.done:,} done", f"{counts.pending:,} pending"]
    failed = [f"{counts.failed:,} failed"] * bool(counts.failed)
    bold = [f'<b class="bad">{part}</b>' for part in failed]
    notes = ""
    if warnings:
        rows = "".join(f"<li>{escape(warning)}</li>" for warning in warnings)
        label = plural(len(warnings), "note")
        notes = (
            f'<button type="button" class="folder-notes" popovertarget="warnings">{label}</button>'
            f'<div popover id="warnings" class="folder-warnings"><h4>Notes on this folder</h4><ul>{rows}</ul></div>'
        )
    whole = " · ".join(parts + failed)  # the tooltip, as a narrow page cuts the text
    return f'<span title="{whole}">{" · ".join(parts + bold)}</span>{notes}'


def folder_bar() -> gr.HTML:
    """Return the component.

    Properties: `shown` (`FolderBar.view`) and `listing` (of the folder that the user browses).
    Events: `open` and `browse`, with `typed` by the user or a `key` from Python, and the `number` of the request.
    """
    nothing = {"number": 0, "place": "", "key": "", "parent": "", "folders": [], "problem": ""}
    return gr.HTML(
        "",
        html_template=file_text("gallery/folders.html"),
        js_on_load=scripts.on_load("gallery/folders.js", events=("open", "browse")),
        apply_default_css=False,
        elem_id="folder-bar",
        shown={"folder": "", "key": "", "recursive": False, "kinds": "all", "counts": "", "recent": []},
        listing=nothing,
    )


def _chosen(event: gr.EventData) -> Path | None:
    """Return the folder of an event: chosen from a list by its key, or typed by the user."""
    if event.key:
        return decode_path(str(event.key))
    text = str(event.typed).strip()
    return Path(text) if text else None
