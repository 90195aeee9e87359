"""The folders that captions are written to: whether they can be, before a model is loaded."""

import errno
import functools
import os
import secrets
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from captioner.captions.files import CaptionFiles, caption_root_of
from captioner.captions.ownership import Ownership
from captioner.captions.store import CaptionStore
from captioner.errors import CaptionError, JobError
from captioner.system.database import path_text, text_path
from captioner.system.pinning import Within, pinned_folder
from captioner.system.roots import Roots
from captioner.values import MediaItem

NO_ENTRY = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)


def unwritable_folders(items: Iterable[MediaItem], within: Within = None) -> dict[Path, str]:
    """Return the folders in which no caption can be created, with the reason in one line.

    One folder of each device is tried by creating an empty file: root may write where a read-only mount does not allow
    it, and network drives do not say. within: the folders that captions may be in.
    """
    found: dict[Path, str] = {}
    devices: dict[int, str] = {}
    for folder in {item.caption_folder: None for item in items}:
        existing = folder
        while not existing.is_dir() and existing != existing.parent:
            existing = existing.parent
        device = existing.stat().st_dev
        if device not in devices:
            devices[device] = _try(existing, within)
        no_access = "" if os.access(existing, os.W_OK | os.X_OK) else os.strerror(errno.EACCES)
        if problem := devices[device] or no_access:
            advice = "make the folder writable, or write the captions to another one with --captions-to DIR"
            found[folder] = f"cannot write captions to {folder}: {problem}; {advice}"
    return found


def check_writable(items: Iterable[MediaItem], unwritable: dict[Path, str]) -> None:
    """Raise CaptionError if none of the captions can be written. unwritable: see `unwritable_folders`."""
    reasons = [obstacle(item, unwritable) for item in items] if unwritable else []
    if reasons and all(reasons):
        raise CaptionError(reasons[0])


def obstacle(item: MediaItem, unwritable: dict[Path, str]) -> str:
    """Return why the caption of an item cannot be written, or "". A file may be writable in a folder that is not."""
    reason = unwritable.get(item.caption_folder, "")
    return "" if reason and os.access(item.caption_path, os.W_OK) else reason


def prepare_places(store: CaptionStore, items: Sequence[MediaItem], captions_to: bool, keeps: bool) -> None:
    """Make the folder for captions if they have one of their own, and check that captions can be written.

    keeps: files with captions are left alone. Raise JobError if other media use the folder, CaptionError if it is
    read-only.
    """
    if captions_to and items:
        store.files.make_folder(caption_root_of(items[0]))
        if foreign := foreign_captions(store.ownership, items):
            name, other = next(iter(foreign.items()))
            advice = "choose another folder with --captions-to"
            raise JobError(f"the caption of {name} would be that of {other}, too; {advice}")
    needed = [item for item in items if not (keeps and item.has_caption)]
    check_writable(needed, unwritable_folders(needed, store.files.within))


def foreign_captions(ownership: Ownership, items: Sequence[MediaItem]) -> dict[str, Path]:
    """Return item name -> another media file, which still exists, whose caption is the same file."""
    if not items or items[0].caption_folder == items[0].folder:
        return {}
    media, found = ownership.media_in(caption_root_of(items[0])), {}
    for item in items if media else ():
        other = media.get(path_text(item.caption_path))
        if other and other != path_text(item.path) and text_path(other).exists():
            found[item.name] = text_path(other)
    return found


def obstacle_finder(roots: Roots, files: CaptionFiles) -> Callable[[MediaItem], str]:
    """Return a function that says why an item may not be captioned, or "". It checks each folder once."""
    folder_escapes = functools.cache(roots.escapes)

    def find(item: MediaItem) -> str:
        if item.caption_folder != item.folder:  # the user chose it for the job
            files.allow(caption_root_of(item))
        outside = folder_escapes(item.folder) or roots.escapes(item.path) or files.escapes(item.caption_path)
        return "it is outside the allowed folders" if outside else ""

    return find


def _try(folder: Path, within: Within) -> str:
    """Return why no file can be created in a folder, or ""."""
    try:
        with pinned_folder(folder, within) as held:
            path = held / f"captioner-{secrets.token_hex(6)}.tmp"
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
            path.unlink()
    except OSError as error:
        return str(error.strerror) if error.errno in NO_ENTRY else ""
    return ""
