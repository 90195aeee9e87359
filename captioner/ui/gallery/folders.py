"""The folder bar: opens a folder by typing, choosing or from the recent ones."""

import itertools
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args
from urllib.parse import quote, unquote

import gradio as gr

from captioner.errors import CaptionerError, FolderError
from captioner.formatting import plural, sendable, sentence
from captioner.library.counts import Counts
from captioner.library.recent import RecentFolders
from captioner.services import Services
from captioner.system.paths import expand_user
from captioner.system.pinning import pinned_folder
from captioner.system.roots import Roots, shown_path
from captioner.ui import scripts
from captioner.ui.format import escape
from captioner.ui.gallery.panel import Panel
from captioner.ui.model_status import chosen_model
from captioner.ui.wiring import errors_as_toasts
from captioner.values import KindFilter

MAX_NAMES = 2000
Samples = Callable[[Path], object]
TOP = "top"  # the key of the list of allowed folders; the key of a path starts differently


class FolderBar:
    """The handlers of the bar. Any thread may call."""

    def __init__(self, services: Services, panel: Panel, samples: Samples | None = None) -> None:
        """samples: writes sample clips into a new folder."""
        self._services, self._panel, self._samples = services, panel, samples
        self._numbers = itertools.count(1)
        self._entering = threading.Lock()
        self.recent = RecentFolders(services.folder / "recent.json")
        if services.library.folder:
            self.recent.add(services.library.folder)

    def open(self, event: gr.EventData) -> tuple[dict[str, Any], dict[str, Any]]:
        """Open the typed or chosen folder after saving an edit, if possible.

        Return properties of the panel, and of the bar: why the folder was not opened.
        """
        answer, problem = self._panel.save_edit_if_possible(event.edit), ""
        kinds = event._data.get("kinds")
        try:
            folder = self._services.roots.resolve(_chosen(event) or "")
            self.enter(folder, bool(event.recursive), kinds if kinds in get_args(KindFilter) else None)
        except CaptionerError as error:
            problem = sendable(sentence(str(error)))
        return answer, gr.update(problem={"number": next(self._numbers), "text": problem})

    @errors_as_toasts
    def open_samples(self) -> None:
        """Open sample clips. They are for the demo model, unless the files of the chosen one are here."""
        assert self._samples
        folder, chosen = self._services.folder / "samples", chosen_model(self._services)
        if not folder.is_dir():
            self._samples(folder)
        self._services.roots.add(folder)
        if chosen.problem or not chosen.is_here:
            self._services.change_settings({"model": "demo"})
        self.enter(folder, False)

    def enter(self, folder: Path, recursive: bool, kinds: KindFilter | None = None) -> None:
        """Open a folder and remember it for the next start. kinds: None for the setting. Raise FolderError."""
        with self._entering:  # a folder that is slow to scan must not replace one that was opened after it
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

    def view(self) -> dict[str, Any]:
        """Return the property `shown` of the bar."""
        scan, settings = self._services.library.scan, self._services.settings
        allowed = self._services.roots.allows
        recent = [path for path in self.recent.paths() if path != scan.folder and allowed(path)]
        return {
            "folder": sendable(str(scan.folder or "")),
            "key": encode_path(scan.folder) if scan.folder else "",
            "recursive": scan.recursive if scan.folder else settings.recursive,
            "kinds": scan.kinds if scan.folder else settings.kinds,
            "recent": [{"place": sendable(str(path)), "key": encode_path(path)} for path in recent],
        }


def counts_line(counts: Counts, warnings: Sequence[str]) -> str:
    """Return HTML with the number of files in each state, and the warnings of the scan in a popover."""
    parts = [plural(counts.total, "file"), f"{counts.done:,} done", f"{counts.pending:,} pending"]
    parts += [f"{counts.failed:,} failed"] if counts.failed else []
    whole = " · ".join(parts)  # the tooltip: a narrow page leaves the first parts out
    *others, last = parts
    tag = '<i class="bad">' if counts.failed else "<i>"
    marked = "".join(f"<i>{part} · </i>" for part in others) + f"{tag}{last}</i>"
    notes = ""
    if warnings:
        rows = "".join(f"<li>{escape(warning)}</li>" for warning in warnings)
        notes = (
            '<button type="button" class="folder-notes" popovertarget="warnings">'
            f"{plural(len(warnings), 'note')}</button>"
            f'<div popover id="warnings" class="folder-warnings"><h4>Notes on this folder</h4><ul>{rows}</ul></div>'
        )
    return f'<span title="{whole}">{marked}</span>{notes}'


def folder_bar() -> gr.HTML:
    """Return the component.

    Properties: `shown` (`FolderBar.view`), `listing` (of the folder that the user browses) and `problem` (why a folder
    was not opened).
    Events: `open` and `browse`, with `typed` by the user or a `key` from Python, and the `number` of the request.
    """
    shown = {"folder": "", "key": "", "recursive": False, "kinds": "all", "recent": []}
    listing = {"number": 0, "place": "", "key": "", "parent": "", "folders": [], "problem": ""}
    empty = {"shown": shown, "listing": listing, "problem": {"number": 0, "text": ""}}
    return scripts.component("gallery/folders", "folder-bar", ("open", "browse"), empty)


def _chosen(event: gr.EventData) -> Path | None:
    if event.key:
        return decode_path(str(event.key))
    text = str(event.typed).strip()
    return Path(text) if text else None


@dataclass(frozen=True)
class Folders:
    """A folder and its subfolders, or the allowed folders."""

    path: Path | None  # None: this is the list of allowed folders
    parent: Path | None  # None: the parent is not allowed
    folders: tuple[Path, ...]  # without hidden ones, sorted by name


def browse(path: Path, roots: Roots) -> Folders:
    """Return the subfolders of a folder. Raise FolderError if it is outside the allowed folders or unreadable."""
    path = roots.resolve(path)
    try:
        with pinned_folder(path, roots.within) as held, os.scandir(held) as entries:
            names = [entry.name for entry in entries if entry.name[0] != "." and _is_folder(entry)]
    except NotADirectoryError:
        raise FolderError(f"not a folder: {shown_path(path)}") from None
    except OSError as error:
        raise FolderError(f"cannot read the folder {shown_path(path)}: {error.strerror}") from None
    parent = path.parent if path.parent != path and roots.allows(path.parent) else None
    return Folders(path, parent, tuple(path / name for name in sorted(names, key=str.casefold)[:MAX_NAMES]))


def top(roots: Roots) -> Folders:
    """Return the allowed folders, or the home folder if all are allowed."""
    return Folders(None, None, roots.folders if roots.confined else (Path(expand_user("~")),))


def nearest(path: Path, roots: Roots) -> Path:
    """Return the path or its nearest parent that exists. Raise FolderError if that is outside the allowed folders."""
    first = None
    for part in (path, *path.parents):
        try:
            found = roots.resolve(part)
            if os.path.isdir(found):  # noqa: PTH112 - Path.is_dir raises without permission
                return found
        except FolderError as error:
            first = first or error
    raise first or FolderError(f"no such folder: {shown_path(path)}")


def encode_path(path: Path) -> str:
    """Return the path as ASCII text, even with bytes that are not UTF-8; `decode_path` reverses it."""
    return quote(str(path), errors="surrogateescape")


def decode_path(text: str) -> Path:
    """Return the path of a text from `encode_path`."""
    return Path(unquote(text, errors="surrogateescape"))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
