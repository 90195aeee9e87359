"""Deleted media files: moved with their captions to a folder of the state folder, and moved back by an undo."""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from captioner.errors import MediaError
from captioner.media.kinds import KINDS
from captioner.system.files import write_private
from captioner.system.moving import place
from captioner.system.roots import Roots
from captioner.values import MediaItem

MANIFEST = "files.json"  # the original path of each file in a folder of the trash, in the order of their numbers


@dataclass(frozen=True)
class Moved:
    """The number of media files that were moved, and why others were not: (name, reason)."""

    count: int
    kept: tuple[tuple[str, str], ...]


class Trash:
    """The trash of one state folder, with a folder for each deletion. Call it from one thread at a time."""

    def __init__(self, folder: Path, roots: Roots) -> None:
        self._folder, self._roots = folder, roots

    def delete(self, items: Sequence[MediaItem]) -> Moved:
        """Move files with their captions here. Raise MediaError if the trash cannot be used."""
        try:
            folder = self._new_folder()
            pairs = [
                (item, [path for path in (item.path, item.caption_path) if os.path.lexists(path)]) for item in items
            ]
            paths = [path for _, each in pairs for path in each]
            write_private(folder / MANIFEST, json.dumps([os.fsencode(path).hex() for path in paths]).encode())
        except OSError as error:
            raise MediaError(f"cannot use the trash in {self._folder}: {error.strerror}") from None
        numbers, count, kept = {path: number for number, path in enumerate(paths)}, 0, []
        for item, each in pairs:
            try:
                self._check(item.path)
                for path in each:  # the media first: a caption without it would be lost to the page
                    place(path, folder / str(numbers[path]))
                count += 1
            except OSError as error:
                kept.append((item.name, error.strerror or str(error)))
            except MediaError as error:
                kept.append((item.name, str(error)))
        if not count:
            shutil.rmtree(folder, ignore_errors=True)
        return Moved(count, tuple(kept))

    def restore(self) -> Moved:
        """Move the files of the latest deletion back, but not over others. Raise MediaError if there is none."""
        folders = self._folders()
        if not folders:
            raise MediaError("the trash is empty")
        count, kept = 0, []
        for stored, original in _contents(folders[-1]):
            try:
                self._check(original.parent)
                original.parent.mkdir(parents=True, exist_ok=True)
                place(stored, original)
                count += _is_media(original)
            except OSError as error:
                kept.append((original.name, error.strerror or str(error)))
            except MediaError as error:
                kept.append((original.name, str(error)))
        if not kept:
            shutil.rmtree(folders[-1], ignore_errors=True)
        return Moved(count, tuple(kept))

    def latest(self) -> int:
        """Return how many media files `restore` would move back."""
        folders = self._folders()
        return sum(_is_media(original) for _, original in _contents(folders[-1])) if folders else 0

    def _check(self, path: Path) -> None:
        if self._roots.escapes(path):
            raise MediaError("it is outside the allowed folders")

    def _folders(self) -> list[Path]:
        with contextlib.suppress(OSError):
            return sorted(path for path in self._folder.iterdir() if (path / MANIFEST).is_file())
        return []

    def _new_folder(self) -> Path:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        folder = self._folder / f"{time.time_ns():020}"
        folder.mkdir(mode=0o700)
        return folder


def _is_media(path: Path) -> bool:
    return path.suffix[1:].lower() in KINDS


def _contents(folder: Path) -> list[tuple[Path, Path]]:
    """Return (file in the trash, original path) of the files that are still there."""
    try:
        originals = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return []
    pairs = [(folder / str(number), Path(os.fsdecode(bytes.fromhex(path)))) for number, path in enumerate(originals)]
    return [(stored, original) for stored, original in pairs if os.path.lexists(stored)]
