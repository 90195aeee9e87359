"""The subfolders of a folder, for choosing one in the browser, and paths as text for the way there and back."""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from captioner.errors import FolderError
from captioner.system.roots import Roots, shown_path

MAX_NAMES = 2000
TOP = "top"  # the key of the list of allowed folders; the key of a path starts differently


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
        with os.scandir(path) as entries:
            names = [entry.name for entry in entries if entry.name[0] != "." and _is_folder(entry)]
    except FileNotFoundError:
        raise FolderError(f"no such folder: {shown_path(path)}") from None
    except NotADirectoryError:
        raise FolderError(f"not a folder: {shown_path(path)}") from None
    except OSError as error:
        raise FolderError(f"cannot read the folder {shown_path(path)}: {error.strerror}") from None
    parent = path.parent if path.parent != path and roots.allows(path.parent) else None
    return Folders(path, parent, tuple(path / name for name in sorted(names, key=str.casefold)[:MAX_NAMES]))


def top(roots: Roots) -> Folders:
    """Return the allowed folders, or the home folder if all are allowed."""
    return Folders(None, None, roots.folders if roots.confined else (Path.home(),))


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
