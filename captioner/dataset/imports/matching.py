"""Finds the media file that each row of a list means."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from captioner.dataset.exports.entries import LeftOut
from captioner.dataset.imports.rows import ReadRow
from captioner.system.paths import real_path
from captioner.values import MediaItem


class MediaFinder:
    """The files of an open folder by their paths and names."""

    def __init__(self, folder: Path, items: Sequence[MediaItem]) -> None:
        self._folder = real_path(folder)
        folders = {item.folder: real_path(item.folder) for item in items}
        self._by_path = {os.path.normcase(folders[item.folder] / item.filename): item for item in items}
        self._by_filename: dict[str, list[MediaItem]] = {}
        for item in items:
            self._by_filename.setdefault(item.filename, []).append(item)

    def find(self, name: str, start: Path) -> MediaItem | str:
        """Return the file that a list in the folder `start` names, or the reason why none is found.

        The name is a path from the list, from the open folder, or else the name of a file in one of its folders.
        """
        names = [name, name.replace("\\", "/")] if "\\" in name else [name]
        for each in names:
            for folder in (real_path(start), self._folder):
                path = os.path.normcase(os.path.normpath(folder / each))
                if item := self._by_path.get(path):
                    return item
        found = self._by_filename.get(names[-1].rpartition("/")[2], [])
        if len(found) == 1:
            return found[0]
        return f"{len(found)} files have this name" if found else "no such file in the folder"


def match_rows(
    rows: Iterable[tuple[Path, ReadRow]], finder: MediaFinder
) -> tuple[dict[str, tuple[MediaItem, str]], list[LeftOut]]:
    """Return item name -> (item, caption), and the rows that cannot be used with the reasons."""
    found: dict[str, tuple[MediaItem, str]] = {}
    refused: list[LeftOut] = []
    for start, row in rows:
        item = row.problem or finder.find(row.media, start)
        if isinstance(item, str):
            refused.append(LeftOut(f"{row.where}: {row.media}" if row.media else row.where, item))
        elif item.name in found and found[item.name][1] != row.caption:
            refused.append(LeftOut(f"{row.where}: {row.media}", "an earlier row has another caption for this file"))
        else:
            found[item.name] = item, row.caption
    return found, refused
