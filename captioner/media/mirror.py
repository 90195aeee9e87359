"""Captions in a folder of their own, in the same subfolders as the media."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from captioner.errors import FolderError
from captioner.system.paths import real_path
from captioner.values import MediaItem


def caption_root(folder: Path, captions_to: Path | None) -> Path | None:
    """Return the folder for the captions of a media folder, or None if they stand beside the media.

    Raise FolderError for a folder around the media folder: other media may have their captions there.
    """
    if captions_to is None:
        return None
    root, media = real_path(captions_to), real_path(folder)
    if root != media and media.is_relative_to(root):
        raise FolderError(f"captions_to: {root} holds the media folder {media}; choose a folder apart from it")
    return None if root == media else root


def mirrored(
    items: Iterable[MediaItem], root: Path, warnings: list[str], escapes: Callable[[Path], bool]
) -> list[MediaItem]:
    """Return the items with their captions below `root`. One whose caption links outside the allowed folders is left
    out with a warning.
    """
    listed: dict[str, tuple[set[str], set[str]]] = {}
    found = []
    for item in items:
        parent = item.name.rpartition("/")[0]
        if parent not in listed:
            listed[parent] = _list(root / parent)
        names, links = listed[parent]
        caption = root / parent / item.caption_name
        if item.caption_name in links and escapes(caption):
            warnings.append(f"{item.name}: {caption} links outside the allowed folders; skipped")
            continue
        has_caption = os.path.normcase(item.caption_name) in names
        found.append(item._replace(caption_name=str(caption), has_caption=has_caption))
    return found


def _list(folder: Path) -> tuple[set[str], set[str]]:
    """Return the names of the files in a folder, and of its links; none if there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            files = [(entry.name, entry.is_symlink()) for entry in entries if entry.is_file()]
    except OSError:
        return set(), set()
    return {os.path.normcase(name) for name, _ in files}, {name for name, is_link in files if is_link}
