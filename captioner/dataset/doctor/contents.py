"""The contents of a folder as a trainer finds it: every file, the texts of captions and lists, and media facts."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from captioner.captions.files import CaptionFiles
from captioner.dataset.trainers import Trainer
from captioner.errors import CaptionError
from captioner.media.facts import Facts, FactsCache, Progress
from captioner.media.kinds import KINDS
from captioner.system.pinning import Within, open_inside
from captioner.system.roots import folder_error

LIST_EXTENSIONS = (".json", ".jsonl", ".csv")
MAX_LIST_BYTES = 200_000_000
SHOWN_EVERY = 500  # files between two calls of `progress`


class FolderFile(NamedTuple):
    """A file of the folder. name: relative to the folder, with "/" between parts."""

    name: str
    size_bytes: int
    modified_s: float


@dataclass(frozen=True)
class Contents:
    """A folder, read once; the checks do not read the disk."""

    folder: Path
    recursive: bool
    files: tuple[FolderFile, ...]  # in natural order of the listing
    texts: Mapping[str, bytes] = field(default_factory=dict)  # of captions and lists, by name
    unreadable: Mapping[str, str] = field(default_factory=dict)  # captions and lists, with the reason
    facts: Mapping[str, Facts] = field(default_factory=dict)  # by name
    caches: Mapping[str, float] = field(default_factory=dict)  # what the trainer made before: name -> POSIX time


def read_contents(
    folder: Path,
    trainer: Trainer,
    recursive: bool,
    extension: str,
    captions: CaptionFiles,
    media: FactsCache,
    progress: Progress = lambda what, done, total: None,
) -> Contents:
    """Read a folder, with its subfolders if wanted or if the trainer reads them. Raise FolderError and StateError."""
    recursive = recursive or trainer.recursive == "yes"
    try:
        found = tuple(list_files(folder, recursive, captions.escapes))
    except OSError as error:
        raise folder_error(folder, error) from None
    texts, unreadable = _read_texts(folder, found, extension, captions, progress)
    stills_and_clips = [file for file in found if _extension(file.name) in KINDS and not is_hidden(file.name)]
    facts = media.read(folder, stills_and_clips, progress)
    caches = dict(_times(folder / trainer.cache_folder)) if trainer.cache_folder else {}
    return Contents(folder, recursive, found, texts, unreadable, facts, caches)


def is_hidden(name: str) -> bool:
    """Return True if the name of the file begins with a dot."""
    return name.startswith(".", name.rfind("/") + 1)


def _extension(name: str) -> str:
    return name.rpartition(".")[2].lower()


def _read_texts(
    folder: Path, files: Sequence[FolderFile], extension: str, captions: CaptionFiles, progress: Progress
) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return the content of the captions and lists, and of those that cannot be read the reasons, by name."""
    texts: dict[str, bytes] = {}
    unreadable: dict[str, str] = {}
    wanted = [file.name for file in files if file.name.endswith((extension, *LIST_EXTENSIONS))]
    for number, name in enumerate(wanted):
        if number % SHOWN_EVERY == 0:
            progress("captions", number, len(wanted))
        try:
            texts[name] = _read(folder / name, captions)
        except CaptionError as error:
            unreadable[name] = str(error)
    return texts, unreadable


def _read(path: Path, captions: CaptionFiles) -> bytes:
    if not path.name.endswith(LIST_EXTENSIONS):
        return captions.read(path) or b""
    return _read_list(path, captions.within)


def _read_list(path: Path, within: Within) -> bytes:
    try:
        with open(path, "rb", opener=lambda name, flags: open_inside(name, within, flags)) as file:
            data = file.read(MAX_LIST_BYTES + 1)
    except OSError as error:
        raise CaptionError(f"cannot read {path}: {error.strerror}") from None
    if len(data) > MAX_LIST_BYTES:
        raise CaptionError(f"cannot read {path}: over {MAX_LIST_BYTES // 1_000_000} MB")
    return data


def list_files(folder: Path, recursive: bool, escapes: Callable[[Path], bool]) -> Iterator[FolderFile]:
    """Yield the regular files, hidden ones too, but those of hidden folders; links that escape are left out."""
    pending = [(folder, "")]
    while pending:
        current, prefix = pending.pop()
        with contextlib.ExitStack() as stack:
            try:
                entries = sorted(stack.enter_context(os.scandir(current)), key=lambda entry: entry.name)
            except OSError:
                if not prefix:
                    raise
                continue
        subfolders = []
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    if recursive and not entry.name.startswith("."):
                        subfolders.append((Path(entry.path), f"{prefix}{entry.name}/"))
                elif entry.is_file() and not (entry.is_symlink() and escapes(Path(entry.path))):
                    status = entry.stat()
                    yield FolderFile(prefix + entry.name, status.st_size, status.st_mtime)
        pending += reversed(subfolders)


def _times(folder: Path) -> Sequence[tuple[str, float]]:
    """Return (name without extension, time of change) of the files of a folder of caches."""
    try:
        found = list(list_files(folder, recursive=True, escapes=lambda path: True))
    except OSError:
        return []
    return [(file.name.rpartition(".")[0], file.modified_s) for file in found]
