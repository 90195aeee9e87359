"""A folder -> its subfolders, for choosing one in the browser; and paths as text that travels there and back."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from captioner.errors import FolderError

MAX_NAMES = 2000


@dataclass(frozen=True)
class Folders:
    path: Path
    parent: Path | None  # None: this is as far up as one may go
    names: tuple[str, ...]  # of the subfolders, hidden ones left out, in order of the alphabet


def browse(path: Path, allowed: Callable[[Path], bool]) -> Folders:
    """`allowed` is asked about resolved paths, so no link leads out. Raises FolderError."""
    path = check_allowed(path, allowed)
    try:
        with os.scandir(path) as entries:
            names = [entry.name for entry in entries if entry.name[0] != "." and _is_folder(entry)]
    except FileNotFoundError:
        raise FolderError(f"no such folder: {path}") from None
    except NotADirectoryError:
        raise FolderError(f"not a folder: {path}") from None
    except OSError as error:
        raise FolderError(f"cannot read the folder {path}: {error.strerror}") from None
    parent = path.parent if path.parent != path and allowed(path.parent) else None
    return Folders(path, parent, tuple(sorted(names, key=str.casefold)[:MAX_NAMES]))


def check_allowed(path: Path, allowed: Callable[[Path], bool]) -> Path:
    """The path, absolute and without links. Raises FolderError when it may not be used."""
    try:
        resolved = path.expanduser().resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links, an unknown ~user, a zero byte
        raise FolderError(f"no such folder: {path}") from None
    if not allowed(resolved):
        raise FolderError(f"outside of the folders that may be opened: {path}")
    return resolved


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
