"""A folder -> its subfolders, for choosing one in the browser; and paths as text that travels there and back."""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from captioner.errors import FolderError
from captioner.system.roots import Roots, shown_path

MAX_NAMES = 2000
TOP = "top"  # the key of what is above all folders; a path's begins otherwise


@dataclass(frozen=True)
class Folders:
    path: Path | None  # None: above all folders that may be opened
    parent: Path | None  # None: this is as far up as one may go, but for the list of these folders
    folders: tuple[Path, ...]  # hidden ones left out, in order of the alphabet


def browse(path: Path, roots: Roots) -> Folders:
    """The folders in a folder; no link leads out. Raises FolderError."""
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
    """The folders that may be opened, to begin with."""
    return Folders(None, None, roots.folders if roots.confined else (Path.home(),))


def nearest(path: Path, roots: Roots) -> Path:
    """Of a path half typed the part that is there. Raises FolderError, when that is outside as well."""
    first = None
    for part in (path, *path.parents):
        try:
            found = roots.resolve(part)
            if os.path.isdir(found):  # noqa: PTH112 - also where one may not look
                return found
        except FolderError as error:
            first = first or error
    raise first or FolderError(f"no such folder: {shown_path(path)}")


def encode_path(path: Path) -> str:
    """ASCII, for names that hold bytes which are no characters."""
    return quote(str(path), errors="surrogateescape")


def decode_path(text: str) -> Path:
    return Path(unquote(text, errors="surrogateescape"))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
