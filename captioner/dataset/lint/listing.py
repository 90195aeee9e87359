"""The captions of a folder: those of its media, or else all caption files of a folder without media."""

from collections.abc import Callable
from pathlib import Path

from captioner.dataset.doctor.contents import list_files
from captioner.errors import FolderError
from captioner.media.discover import ListingOptions, discover
from captioner.values import MediaItem


def captioned_files(
    folder: Path, options: ListingOptions, escapes: Callable[[Path], bool]
) -> tuple[list[MediaItem], tuple[str, ...]]:
    """Return the files of a folder that have captions, and notes about it. Raise FolderError.

    Without media, as where captions came from elsewhere, each caption file stands for itself, under its own name.
    """
    found = discover(folder, options, escapes)
    if found.items:
        return [item for item in found.items if item.has_caption], found.warnings
    try:
        listed = list_files(folder, options.recursive, escapes)
        names = [file for file in listed if file.name.endswith(options.caption_extension)]
    except OSError as error:
        raise FolderError(f"cannot read {folder}: {error.strerror}") from None
    items = []
    for file in names:
        path = folder / file.name
        about = ("video", file.size_bytes, file.modified_s, path.name, True)
        items.append(MediaItem(path.parent, path.name, file.name, *about))  # type: ignore[arg-type]
    return items, found.warnings
