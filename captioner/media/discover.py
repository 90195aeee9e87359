"""Discovery: the media files of a folder, found without opening any of them."""

import contextlib
import errno
import itertools
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from captioner.errors import MediaError, SettingsError
from captioner.formatting import plural
from captioner.media.content import check_file
from captioner.media.kinds import KINDS, UNREADABLE
from captioner.media.left_out import LeftOut
from captioner.media.mirror import caption_root, mirrored
from captioner.system.paths import absolute_path
from captioner.system.pinning import FOLDER_FLAGS, OUTSIDE, held
from captioner.system.roots import EVERYWHERE, folder_error
from captioner.values import MediaItem, MediaKind

CAPTION_EXTENSIONS = (".txt", ".caption")  # what trainers look for
_Roles = dict[str, Literal["video", "image", "text", "unused"]]  # by extension; "unused": another one of captions
_DIGITS = re.compile("([0-9]+)")
_DIGITS_TO_ZERO = str.maketrans("123456789", "000000000")
_new_tuple = tuple.__new__
_Found = tuple[str, str, MediaKind, os.stat_result]  # stem, filename, kind, status; tuples are fast


@dataclass(frozen=True)
class ListingOptions:
    """The choice of what a scan of a folder lists."""

    recursive: bool = False  # also the files of its subfolders
    exclude: tuple[str, ...] = ()  # patterns as in .gitignore of what to leave out
    caption_extension: str = ".txt"  # of the caption files, with its dot; raises SettingsError for that of media
    captions_to: Path | None = None  # the folder for all captions, see media/mirror; None: beside the media

    def __post_init__(self) -> None:
        if self.caption_extension[1:].lower() in KINDS:
            raise SettingsError(f"caption_extension: {self.caption_extension} is that of media; give one such as .txt")

    @property
    def roles(self) -> _Roles:
        """The kind of a file by its extension, or its role beside media."""
        unreadable: _Roles = dict.fromkeys(UNREADABLE, "unused")
        others: _Roles = {extension[1:]: "unused" for extension in CAPTION_EXTENSIONS}
        return {**KINDS, **unreadable, **others, self.caption_extension[1:]: "text"}


@dataclass(frozen=True)
class Discovery:
    """The result of scanning a folder."""

    items: tuple[MediaItem, ...]  # a folder's own files first, then its subfolders; each in natural order
    warnings: tuple[str, ...]  # one line each: captions renamed because of a clash, files that cannot be read


def find_item(path: Path, options: ListingOptions = ListingOptions()) -> MediaItem:
    """Return the item of one media file, named by its file name. Raises MediaError, whose message names the file."""
    path = absolute_path(path)
    try:
        kind, status = check_file(path), path.stat()
    except (MediaError, OSError) as error:
        raise MediaError(f"{path}: {error}") from None
    caption = path.with_suffix(options.caption_extension)
    about = (kind, status.st_size, status.st_mtime, caption.name, caption.is_file())
    return MediaItem(path.parent, path.name, path.name, *about)


def discover(
    folder: Path, options: ListingOptions = ListingOptions(), escapes: Callable[[Path], bool] = EVERYWHERE.escapes
) -> Discovery:
    """Find the media files of a folder, with size, time and caption state, opening no file. Raises FolderError.

    Hidden files and folders are skipped, and links to folders are not followed. The caption of a file is `<stem>.txt`
    or has another extension; of several files with the same stem, the first has that one, and the others have
    `<filename>.txt`. Captions with an extension of CAPTION_EXTENSIONS that was not chosen are told in a warning.
    escapes: returns True for a link that leads outside the allowed folders; such a file is skipped, as is one with such
    a caption.
    """
    folder = absolute_path(folder)
    root = caption_root(folder, options.captions_to)
    items: list[MediaItem] = []
    warnings: list[str] = []
    num_unused: Counter[str] = Counter()  # captions by extension
    left_out = LeftOut(options.exclude)
    pending = [(folder, "")]
    while pending:
        current, prefix = pending.pop()
        try:
            subfolders = _scan_folder(current, prefix, options, left_out, items, warnings, num_unused, escapes)
        except OSError as error:
            if not prefix:
                raise folder_error(folder, error) from None
            warnings.append(f"{prefix[:-1]}: this folder cannot be read ({error.strerror}); skipped")
            continue
        if options.recursive:
            pending += ((current / name, f"{prefix}{name}/") for name in reversed(subfolders))
    for extension, count in num_unused.items():
        have, advice = "has" if count == 1 else "have", f"to use them, set caption_extension to {extension}"
        warnings.append(f"{plural(count, 'file')} {have} a {extension} file beside them that is not read; {advice}")
    if root:
        items = mirrored(items, root, warnings, escapes)
    return Discovery(tuple(items), (*left_out.notes(), *warnings))


def _scan_folder(
    folder: Path,
    prefix: str,
    options: ListingOptions,
    left_out: LeftOut,
    items: list[MediaItem],
    warnings: list[str],
    num_unused: Counter[str],
    escapes: Callable[[Path], bool],
) -> list[str]:
    """Add the folder's media files to `items` and return the names of its subfolders in natural order."""
    with _open_listing(folder, escapes) as entries:
        found, texts, unused, subfolders, links = _sort_entries(entries, prefix, options.roles, warnings)
    outside = {name for name in links if escapes(folder / name)}
    found = _in_natural_order([each for each in found if not left_out.has_file(prefix, each[1])])
    left_out.count_unreadable(prefix, unused)
    captions = _caption_names(found, prefix, options.caption_extension, warnings)
    if unused:
        stems = {stem for stem, *_ in found}
        parts = (name.rpartition(".") for name in unused)
        num_unused.update(f".{end}" for stem, _, end in parts if stem in stems and end.lower() not in UNREADABLE)
    present = set(_folded(texts))
    for (_, filename, kind, status), caption, folded in zip(found, captions, _folded(captions), strict=True):
        if outside and (link := next((name for name in (filename, caption) if name in outside), "")):
            warnings.append(f"{prefix}{filename}: {link} links outside the allowed folders; skipped")
            continue
        has_caption = folded in present
        fields = (folder, filename, prefix + filename, kind, status.st_size, status.st_mtime, caption, has_caption)
        items.append(_new_tuple(MediaItem, fields))  # three times as fast as MediaItem(...)
    subfolders = [name for name in subfolders if options.recursive and not left_out.has_folder(prefix, name)]
    return [name for _, name in sorted(zip(_natural_keys(subfolders), subfolders, strict=True))]


def _sort_entries(
    entries: Iterator[os.DirEntry[str]], prefix: str, roles: _Roles, warnings: list[str]
) -> tuple[list[_Found], list[str], list[str], list[str], list[str]]:
    """Return (media files, names of captions, of unused captions, of subfolders, of links), each in no order."""
    found: list[_Found] = []
    texts: list[str] = []
    unused: list[str] = []
    subfolders: list[str] = []
    links: list[str] = []
    for entry in entries:
        filename = entry.name
        if filename[0] == ".":
            continue
        stem, _, extension = filename.rpartition(".")
        role = roles.get(extension) or roles.get(extension.lower())
        try:
            if role and entry.is_symlink():
                links.append(filename)
            if role is None or not entry.is_file():
                if entry.is_dir(follow_symlinks=False):
                    subfolders.append(filename)
                elif role in ("video", "image") and entry.is_symlink():
                    entry.stat()  # raises if the link is broken
            elif stem:
                if role == "text":
                    texts.append(filename)
                elif role == "unused":
                    unused.append(filename)
                else:
                    found.append((stem, filename, role, entry.stat()))
        except OSError as error:
            warnings.append(f"{prefix}{filename}: cannot be read ({error.strerror}); skipped")
    return found, texts, unused, subfolders, links


@contextlib.contextmanager
def _open_listing(folder: Path, escapes: Callable[[Path], bool]) -> Iterator[Iterator[os.DirEntry[str]]]:
    """List a folder, through a descriptor where possible: that makes stat() of each entry faster. Raises OSError, also
    if the folder was replaced by a link that escapes.
    """
    if os.scandir not in os.supports_fd:
        with os.scandir(folder) as entries:
            yield entries
        return
    with held(folder, FOLDER_FLAGS) as found:
        if escapes(found):
            raise OSError(errno.ELOOP, OUTSIDE)
        descriptor = os.open(found, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with os.scandir(descriptor) as entries:
            yield entries
    finally:
        os.close(descriptor)


def _in_natural_order(found: list[_Found]) -> list[_Found]:
    """Sort by stem, then videos before images, then by filename."""
    keys: list[Any] = _natural_keys([stem for stem, _, _, _ in found])
    if len(set(keys)) < len(keys):
        keys = [(key, kind == "image", filename) for key, (_, filename, kind, _) in zip(keys, found, strict=True)]
    return [found[number] for number in sorted(range(len(found)), key=keys.__getitem__)]


def _natural_keys(names: list[str]) -> list[str]:
    """Return keys that sort these names as people expect, clip2 before clip10, by padding runs of digits with zeros."""
    if not names:
        return []
    # One text is several times as fast as one name after another; names of the same pattern need no padding.
    text = "/".join(names).lower()  # a name cannot contain a slash
    if len(set(text.translate(_DIGITS_TO_ZERO).split("/"))) > 1:
        parts = _DIGITS.split(text)
        width = max(map(len, parts[1::2]), default=0)
        parts[1::2] = [run.zfill(width) for run in parts[1::2]]
        text = "".join(parts)
    return text.split("/")


def _caption_names(found: list[_Found], prefix: str, extension: str, warnings: list[str]) -> list[str]:
    """Return the filename of each file's caption, all different: the first file of a stem has the short one."""
    captions = [stem + extension for stem, _, _, _ in found]
    folded = _folded(captions)
    if len(set(folded)) == len(folded):
        return captions
    owners: dict[str, str] = {}
    for caption, (_, filename, *_) in zip(folded, found, strict=True):
        owners.setdefault(caption, filename)
    for number, (stem, filename, *_) in enumerate(found):
        owner = owners[folded[number]]
        if owner != filename:
            numbered = (f"{filename}.{count}{extension}" for count in itertools.count(2))
            long_names = itertools.chain([f"{filename}{extension}"], numbered)
            caption = next(name for name in long_names if os.path.normcase(name) not in owners)
            owners[os.path.normcase(caption)] = filename
            captions[number] = caption
            warnings.append(f"{prefix}{filename}: {stem}{extension} belongs to {owner}, so its caption is {caption}")
    return captions


def _folded(names: list[str]) -> list[str]:
    """Return the names with the case folded where the file system ignores case; unchanged where it does not."""
    return names if os.path.normcase("A") == "A" else [os.path.normcase(name) for name in names]
