"""Media into the app, for pages that are not on the user's own machine.

What is uploaded goes into one folder of this run of the app, which all its browsers share.
"""

import contextlib
import errno
import itertools
import os
import re
import shutil
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from captioner.errors import CaptionerError, MediaError
from captioner.formatting import plural, size
from captioner.media.discover import IMAGE_EXTENSIONS, KINDS, VIDEO_EXTENSIONS, check_file, probe
from captioner.services import Services
from captioner.ui.format import escape
from captioner.ui.wiring import errors_as_toasts, on_action
from captioner.values import MediaInfo

MAX_FILE_BYTES = 500_000_000  # also for launch(max_file_size=...), where uploads are offered
MAX_NAME_BYTES = 180  # of the 255 that a name may have, so that ".txt" or a number fits behind it

_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # devices on Windows
_TO_UNDERSCORE = str.maketrans(dict.fromkeys('<>:"|?*', "_"))
_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP)


@dataclass(frozen=True)
class Limits:
    """Of what may be uploaded in one run of the app."""

    max_files: int = 200
    max_file_bytes: int = MAX_FILE_BYTES
    max_total_bytes: int = 10_000_000_000

    def __str__(self) -> str:
        each, total = limit(self.max_file_bytes), limit(self.max_total_bytes)
        return f"up to {plural(self.max_files, 'file')} of {each} each, {total} in all"


@dataclass(frozen=True)
class Received:
    kept: tuple[str, ...]  # their names now
    refused: tuple[tuple[str, str], ...]  # (name as given, reason)


class Uploads:
    """The folder of this run. Any thread may call."""

    def __init__(self, parent: Path, limits: Limits = Limits(), examine: Callable[[Path], MediaInfo] = probe) -> None:
        """`parent` holds the folders of all runs; this run's is made when the first file comes.

        examine: raises MediaError for what is no media.
        """
        self.limits, self._examine = limits, examine
        self.folder: Path | None = None
        self._parent = parent
        self._lock = threading.Lock()

    def add(self, files: Sequence[Path]) -> Received:
        """Move files here under clean names. What is no media, or over a limit, is deleted."""
        kept, refused = [], []
        for file in files:
            try:
                kept.append(self._add(file))
            except CaptionerError as error:
                refused.append((file.name, str(error)))
        return Received(tuple(kept), tuple(refused))

    def room_bytes(self, incoming: Path) -> int:
        """What may still be sent; 0 for nothing. What came in counts as well, even if it is never added."""
        waiting = list(sizes_below(incoming).values())
        if len(waiting) >= self.limits.max_files:
            return 0
        return max(0, self.limits.max_total_bytes - sum(waiting) - sum(self._sizes()))

    def _add(self, file: Path) -> str:
        """Returns its new name. Raises MediaError with the reason why it was not taken."""
        try:
            with self._lock:
                self._check(file)
                target = self._move(file)
        except OSError as error:
            raise MediaError(f"cannot be stored: {error.strerror}") from None
        finally:
            with contextlib.suppress(OSError):
                file.unlink()
        try:
            self._examine(target)
        except MediaError:
            target.unlink(missing_ok=True)
            raise
        return target.name

    def _check(self, file: Path) -> None:
        """Raises MediaError; OSError as well."""
        if file.is_symlink():
            raise MediaError("not a regular file")
        check_file(file)
        limits, num_bytes = self.limits, file.stat().st_size
        if num_bytes > limits.max_file_bytes:
            raise MediaError(f"{size(num_bytes)} is more than the {limit(limits.max_file_bytes)} allowed")
        sizes = self._sizes()
        if len(sizes) >= limits.max_files:
            raise MediaError(f"{plural(limits.max_files, 'file')} were uploaded already, as many as are allowed")
        if sum(sizes) + num_bytes > limits.max_total_bytes:
            raise MediaError(f"with it all uploads would be more than the {limit(limits.max_total_bytes)} allowed")

    def _sizes(self) -> list[int]:
        """Of the media that are here."""
        sizes = sizes_below(self.folder) if self.folder else {}
        return [num_bytes for path, num_bytes in sizes.items() if path.suffix[1:].lower() in KINDS]

    def _move(self, file: Path) -> Path:
        """Raises OSError."""
        if self.folder is None or not self.folder.is_dir():
            self.folder = make_folder(self._parent)
        present = {name.casefold() for name in os.listdir(self.folder)}
        name = next(name for name in numbered(clean_name(file.name)) if name.casefold() not in present)
        place(file, self.folder / name)
        return self.folder / name


def limit(num_bytes: int) -> str:
    """500 MB"""
    return size(num_bytes).replace(".0 ", " ")


def sizes_below(folder: Path) -> dict[Path, int]:
    """In bytes, of all files; what is deleted meanwhile is left out."""
    sizes = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            with contextlib.suppress(OSError):
                sizes[path] = path.stat().st_size
    return sizes


def make_folder(parent: Path) -> Path:
    """A new folder named after the time. Raises OSError."""
    parent.mkdir(parents=True, exist_ok=True)
    for name in numbered(time.strftime("%Y-%m-%d %H-%M-%S")):
        with contextlib.suppress(FileExistsError):
            (parent / name).mkdir()
            return parent / name
    raise AssertionError("numbers do not end")


def place(file: Path, target: Path) -> None:
    """Move a file to a name that must be free; it is copied only to another filesystem. Raises OSError."""
    try:
        os.link(file, target)  # unlike a rename it replaces nothing
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with open(file, "rb") as source, open(target, "xb") as copy:
            shutil.copyfileobj(source, copy)
    file.unlink()


def clean_name(name: str) -> str:
    """A plain file name that any system takes: no path, nothing invisible, not hidden, not too long."""
    name = unicodedata.normalize("NFC", name.encode("utf-8", "replace").decode())
    name = re.split(r"[/\\]", name)[-1]
    name = "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp", "Zs") else c for c in name)
    name = "".join(c for c in name if not unicodedata.category(c).startswith("C"))  # as marks that turn the text around
    stem, _, extension = name.translate(_TO_UNDERSCORE).rpartition(".")
    extension = "".join(extension.split())
    stem = " ".join(stem.split()).strip(". ")
    stem = stem.encode()[: MAX_NAME_BYTES - len(extension.encode()) - 1].decode(errors="ignore").strip(". ")
    if _RESERVED.fullmatch(stem):
        stem = f"_{stem}"
    return f"{stem or 'upload'}.{extension}"


def numbered(name: str) -> Iterator[str]:
    """a.mp4, a (2).mp4, a (3).mp4, ..."""
    path = Path(name)
    return itertools.chain([name], (f"{path.stem} ({number}){path.suffix}" for number in itertools.count(2)))


def upload_hint(limits: Limits) -> str:
    kinds = ", ".join((*VIDEO_EXTENSIONS, *IMAGE_EXTENSIONS))
    text = escape(str(limits))
    return f'<p class="transfer-hint" title="{escape(kinds)}">Videos and images, {text}.</p>'


def upload_report(received: Received) -> str:
    """What was not taken, and why."""
    if not received.refused:
        return ""
    rows = "".join(f"<li><b>{escape(name)}</b><span>{escape(reason)}</span></li>" for name, reason in received.refused)
    return f'<div class="transfer-report"><h4>Not uploaded</h4><ul>{rows}</ul></div>'


class Transfer:
    """The handlers. Any thread may call."""

    def __init__(self, services: Services, uploads: Uploads) -> None:
        self._services, self._uploads = services, uploads

    @errors_as_toasts
    def receive(self, files: list[str] | None) -> str:
        """Take what the browser has sent and open the folder of uploads; returns the report."""
        received = self._uploads.add([Path(file) for file in files or ()])
        if received.kept:
            self._services.open_folder(self._uploads.folder, False)
            gr.Info(f"{plural(len(received.kept), 'file')} uploaded.", duration=3)
        if received.refused:
            gr.Warning(f"{plural(len(received.refused), 'file')} could not be taken.")
        return upload_report(received)


@dataclass(frozen=True)
class UploadControls:
    button: gr.UploadButton
    report: gr.HTML
    refreshing: list[Any]  # events after which everything is rendered anew


def upload_controls(transfer: Transfer, limits: Limits) -> UploadControls:
    """Draw the button with its hint and report, and wire it."""
    extensions = [f".{extension}" for extension in KINDS]
    button = gr.UploadButton(
        "Upload files", file_count="multiple", file_types=extensions, size="sm", scale=0, elem_id="upload"
    )
    gr.HTML(upload_hint(limits), apply_default_css=False, elem_id="upload-hint")
    report = gr.HTML(apply_default_css=False, elem_id="upload-report")
    return UploadControls(button, report, [on_action(button.upload, transfer.receive, button, report)])
