"""Uploads: their folder and limits, and the zone on the page, for browsers on other machines.

Files go into one folder for each run of the app, which all its browsers share.
"""

import contextlib
import itertools
import os
import re
import shutil
import threading
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.events import Dependency
from gradio.utils import get_upload_folder

from captioner.errors import CaptionerError, MediaError
from captioner.formatting import plural, sendable, sentence, size
from captioner.media.content import check_file
from captioner.media.kinds import KINDS
from captioner.media.probe import probe
from captioner.services import Services
from captioner.system.moving import place
from captioner.ui import scripts
from captioner.ui.wiring import errors_as_toasts, on_action
from captioner.values import MediaInfo

MAX_CAPTION_BYTES = 1_000_000
MAX_NAME_BYTES = 180  # file systems allow 255; the rest is for ".txt" or a number

_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # devices on Windows
_TO_UNDERSCORE = str.maketrans(dict.fromkeys('<>:"|?*', "_"))


@dataclass(frozen=True)
class Limits:
    """The limits of one run of the app."""

    max_files: int = 200
    max_file_bytes: int = 500_000_000
    max_total_bytes: int = 10_000_000_000

    def __str__(self) -> str:
        each, total = round_size(self.max_file_bytes), round_size(self.max_total_bytes)
        return f"up to {plural(self.max_files, 'file')} of {each} each, {total} in all"


@dataclass(frozen=True)
class Received:
    """The outcome of one upload."""

    kept: tuple[str, ...]  # the new names
    refused: tuple[tuple[str, str], ...]  # (original name, reason)
    renamed: tuple[tuple[str, str], ...] = ()  # (original name, new name), because its name was taken


class Uploads:
    """The folder of this run; any thread may call it."""

    def __init__(self, parent: Path, limits: Limits = Limits(), examine: Callable[[Path], MediaInfo] = probe) -> None:
        """Create this run's folder in `parent` for the first file. examine: raises MediaError for unreadable files."""
        self.limits, self._examine = limits, examine
        self.folder: Path | None = None
        self._parent = parent
        self._lock = threading.Lock()

    def add(self, files: Sequence[Path], caption_extension: str = ".txt", names: Sequence[str] = ()) -> Received:
        """Move files here under clean names, captions to their media. Delete what is neither or exceeds a limit.

        names: what the sender calls the files, with the folder of each, in which its caption lies, too.
        """
        kept, refused, renamed, here = [], [], [], self._caption_bases()
        bases: dict[tuple[str, str], str] = {}  # as `here`, of these files, by folder
        sent = list(zip(files, names or [file.name for file in files], strict=True))
        for file, shown in sorted(sent, key=lambda each: each[0].suffix.lower() == caption_extension):  # captions last
            name, folder = clean_name(file.name), shown.rpartition("/")[0]
            stem = Path(name).stem.casefold()
            try:
                if file.suffix.lower() == caption_extension:
                    kept.append(self._add_caption(file, bases.get((folder, stem)) or here.get(stem, "")))
                    continue
                kept.append(new := self._add(file))
                bases |= {(folder, stem): Path(new).stem, (folder, name.casefold()): new}
                if new != name:
                    renamed.append((shown, new))
            except CaptionerError as error:
                refused.append((shown, str(error)))
        return Received(tuple(kept), tuple(refused), tuple(renamed))

    def _caption_bases(self) -> dict[str, str]:
        """Return what the caption of each file here begins with, by the stem that an uploaded caption may have."""
        names = os.listdir(self.folder) if self.folder and self.folder.is_dir() else []
        media = [name for name in names if Path(name).suffix[1:].lower() in KINDS]
        stems = {Path(name).stem.casefold(): Path(name).stem for name in media}
        return stems | {name.casefold(): name for name in media}  # a.jpg.txt, where a.txt is that of a.mp4

    def room_bytes(self, incoming: Path) -> int:
        """Return how many bytes may still be sent. Files in `incoming` count as well, even if they are never added."""
        found = sizes_below(incoming)
        renew(found)
        waiting = list(found.values())
        if len(waiting) >= self.limits.max_files:
            return 0
        return max(0, self.limits.max_total_bytes - sum(waiting) - sum(self._sizes()))

    def _add(self, file: Path) -> str:
        try:
            with self._lock:
                self._check(file)
                target = self._move(file)
        except OSError as error:
            raise MediaError(f"cannot store the file: {error.strerror}") from None
        finally:
            with contextlib.suppress(OSError):
                file.unlink()
        try:
            self._examine(target)
        except MediaError:
            target.unlink(missing_ok=True)
            raise
        return target.name

    def _add_caption(self, file: Path, base: str) -> str:
        try:
            if not base or self.folder is None:
                raise MediaError("no video or image of this name was uploaded with it or before")
            if file.is_symlink() or file.stat().st_size > MAX_CAPTION_BYTES:
                raise MediaError("too large for a caption")
            target = self.folder / f"{base}{file.suffix.lower()}"
            if os.path.lexists(target):
                raise MediaError("there is already a caption of this name")
            place(file, target)
            return target.name
        except OSError as error:
            raise MediaError(f"cannot store the file: {error.strerror}") from None
        finally:
            with contextlib.suppress(OSError):
                file.unlink()

    def _check(self, file: Path) -> None:
        if file.is_symlink():
            raise MediaError("not a regular file")
        check_file(file)
        limits, num_bytes = self.limits, file.stat().st_size
        if num_bytes > limits.max_file_bytes:
            raise MediaError(f"too large: {size(num_bytes)}; the limit is {round_size(limits.max_file_bytes)}")
        sizes = self._sizes()
        if len(sizes) >= limits.max_files:
            raise MediaError(f"the limit of {plural(limits.max_files, 'file')} is reached")
        if sum(sizes) + num_bytes > limits.max_total_bytes:
            raise MediaError(f"the limit of {round_size(limits.max_total_bytes)} for all uploads is reached")

    def _sizes(self) -> list[int]:
        sizes = sizes_below(self.folder) if self.folder else {}
        return [num_bytes for path, num_bytes in sizes.items() if path.suffix[1:].lower() in KINDS]

    def _move(self, file: Path) -> Path:
        if self.folder is None or not self.folder.is_dir():
            self.folder = make_folder(self._parent)
        present = {name.casefold() for name in os.listdir(self.folder)}
        name = next(name for name in numbered(clean_name(file.name)) if name.casefold() not in present)
        place(file, self.folder / name)
        return self.folder / name


def round_size(num_bytes: int) -> str:
    """Return a size without ".0": "500 MB"."""
    return size(num_bytes).replace(".0 ", " ")


def sizes_below(folder: Path) -> dict[Path, int]:
    """Return the sizes in bytes of all files in a folder and its subfolders."""
    sizes = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            with contextlib.suppress(OSError):  # deleted meanwhile
                sizes[path] = path.stat().st_size
    return sizes


def renew(files: Iterable[Path]) -> None:
    """Let the files of a clock that was set back since count as new: Gradio deletes old ones by their ctime."""
    latest_s = time.time() + 60
    for file in files:
        with contextlib.suppress(OSError):
            if file.stat().st_ctime > latest_s:
                os.utime(file)


def make_folder(parent: Path) -> Path:
    """Return a new folder named after the time. Raise OSError."""
    parent.mkdir(parents=True, exist_ok=True)
    names = numbered(time.strftime("%Y-%m-%d %H-%M-%S"))
    folder = next(parent / name for name in names if not os.path.lexists(parent / name))
    folder.mkdir()
    return folder


def clean_name(name: str) -> str:
    """Return a plain file name that any system accepts: no path, nothing invisible, not hidden, not too long."""
    name = unicodedata.normalize("NFC", sendable(name))
    name = re.split(r"[/\\]", name)[-1]
    name = "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp", "Zs") else c for c in name)
    name = "".join(c for c in name if not unicodedata.category(c).startswith("C"))  # such as direction marks
    stem, _, extension = name.translate(_TO_UNDERSCORE).rpartition(".")
    stem, extension = " ".join(stem.split()).strip(". "), "".join(extension.split())
    stem = stem.encode()[: MAX_NAME_BYTES - len(extension.encode()) - 1].decode(errors="ignore").strip(". ")
    if _RESERVED.fullmatch(stem):
        stem = f"_{stem}"
    return f"{stem or 'upload'}.{extension}"


def numbered(name: str) -> Iterator[str]:
    """Return the name and alternatives to it: a.mp4, a (2).mp4, a (3).mp4, ..."""
    path = Path(name)
    return itertools.chain([name], (f"{path.stem} ({number}){path.suffix}" for number in itertools.count(2)))


class UploadHandlers:
    """The handlers of the uploads."""

    def __init__(self, services: Services, uploads: Uploads) -> None:
        self._services, self.uploads = services, uploads
        self._numbers = itertools.count(1)

    @errors_as_toasts
    def receive(self, event: gr.EventData) -> dict[str, Any]:
        """Add the files that the browser has sent, and open the folder of uploads. Return what became of them."""
        pairs = [each for each in event.files if isinstance(each, list | tuple) and len(each) == 2]
        sent = [(path, str(name)) for file, name in pairs if (path := arrived_file(str(file)))]
        files, names = one_each([path for path, _ in sent]), [name for _, name in sent]
        received = self.uploads.add(files, self._services.settings.caption_extension, names)
        if received.kept and self.uploads.folder:
            self._services.open_folder(self.uploads.folder, False)
        reports = {"refused": received.refused, "renamed": received.renamed}
        rows = {what: [(sendable(name), sendable(text)) for name, text in found] for what, found in reports.items()}
        return gr.update(result={"number": next(self._numbers), "kept": len(received.kept), **rows})


def one_each(files: Sequence[Path]) -> list[Path]:
    """Return the files, a repeated one as a copy: Gradio stores files of the same name and content once."""
    found: list[Path] = []
    for number, file in enumerate(files):
        if file in found:
            copies = file.parent / str(number)
            copies.mkdir(exist_ok=True)
            found.append(Path(shutil.copy(file, copies)))
        else:
            found.append(file)
    return found


def arrived_file(path: str) -> Path | None:
    """Return the path if it is one of a file that Gradio has just received, whatever the browser says."""
    folder, file = Path(os.path.realpath(get_upload_folder())), Path(os.path.realpath(path))
    return file if file.is_relative_to(folder) and file.is_file() else None


def upload_controls(handlers: UploadHandlers, services: Services) -> list[Dependency]:
    """Draw the zone for files and wire it. Return the events after which the page is to be refreshed.

    Properties: `types` (extensions that are taken), `max_bytes`, `limits` (in words) and `result` (of `receive`).
    """
    limits = handlers.uploads.limits
    about = {
        "types": [*(f".{extension}" for extension in KINDS), services.settings.caption_extension],
        "max_bytes": limits.max_file_bytes,
        "limits": sentence(str(limits)),
        "result": {"number": 0, "kept": 0, "refused": [], "renamed": []},
    }
    zone = scripts.component("server/uploads", "uploads", ("receive",), about)
    return [on_action(zone.receive, handlers.receive, None, zone)]
