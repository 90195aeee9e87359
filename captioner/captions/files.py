"""The caption files on the disk: read, replaced and deleted inside the allowed folders alone."""

import contextlib
import errno
import os
import re
import stat
from pathlib import Path

from captioner.errors import CaptionError
from captioner.system.pinning import Within, escapes, make_folders, open_inside, pinned_folder
from captioner.system.replacing import Refused, flush_folder, write_atomic
from captioner.system.roots import Roots
from captioner.values import MediaItem

MAX_CAPTION_BYTES = 1_000_000  # hundreds of pages: a longer file is not a caption

# Opening a FIFO would block until someone writes; Windows would read a text file.
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_TEMPORARY = re.compile(r"\..*\.\d+-\d+\.tmp")  # the names that `write_atomic` gives


class NotWritten(CaptionError):
    """The disk did not take a change. It may have failed halfway: the file has to be read to know what it holds."""


class CaptionFiles:
    """The caption files in the allowed folders, whatever links others make meanwhile. Any thread may call."""

    def __init__(self, roots: Roots, scratch: Path) -> None:
        """scratch: a folder for temporary files, see `write_atomic`."""
        self._roots, self._scratch = roots, scratch
        self._more: tuple[Path, ...] = ()
        scratch.mkdir(parents=True, exist_ok=True)

    @property
    def within(self) -> Within:
        """The folders that captions may be in, for `pinned`."""
        return None if self._roots.within is None else (*self._roots.within, *self._more)

    def allow(self, folder: Path) -> None:
        """Also allow captions below a resolved folder, since the user chose it for them."""
        if folder not in self._more:
            self._more = (*self._more, folder)

    def escapes(self, path: Path) -> bool:
        """Return True if a file is outside of the folders once its links are followed; False if it does not exist."""
        return escapes(path, self.within)

    def read(self, path: Path) -> bytes | None:
        """Return the content of a file, None for no file. Raise CaptionError if it is too long or not regular."""
        try:
            descriptor = open_inside(path, self.within, _READ)
            try:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    what = os.strerror(errno.EISDIR) if stat.S_ISDIR(status.st_mode) else "not a regular file"
                    raise CaptionError(f"cannot read the caption {path}: {what}")
                if status.st_size > MAX_CAPTION_BYTES:
                    raise CaptionError(f"cannot read the caption {path}: {_too_long(status.st_size)}")
                with open(descriptor, "rb", buffering=0, closefd=False) as file:
                    return file.readall()
            finally:
                os.close(descriptor)
        except FileNotFoundError:  # the usual case, in which `open` with an opener takes twice as long
            return None
        except OSError as error:
            raise NotWritten(f"cannot read the caption {path}: {error.strerror}") from None

    def read_in_folder(self, path: Path) -> bytes | None:
        """Like `read`, but raise CaptionError if the folder is missing, for example on an unplugged drive."""
        if not path.parent.is_dir():
            raise CaptionError(f"cannot read the caption {path}: its folder is missing")
        return self.read(path)

    def replace(self, path: Path, data: bytes | None) -> tuple[Refused, ...]:
        """Replace a file, or delete it if there is no data. Return what `write_atomic` does. Raise OSError too."""
        if data is not None and len(data) > MAX_CAPTION_BYTES:
            raise CaptionError(f"cannot write the caption {path}: {_too_long(len(data))}")
        with pinned_folder(path.parent, self.within) as folder:
            if data is not None:
                return write_atomic(folder / path.name, data, self._scratch)
            (folder / path.name).unlink(missing_ok=True)
            return ()

    def make_subfolder(self, item: MediaItem) -> None:
        """Make the folder of an item's caption if captions are written apart from the media. Raise OSError.

        The folder chosen by the user is never made here: it may be on a drive that was unplugged.
        """
        if item.caption_folder != item.folder and not item.caption_folder.is_dir():
            caption_root_of(item).stat()
            make_folders(item.caption_folder, self.within)

    def make_folder(self, folder: Path) -> None:
        """Make a folder for captions, also if it is the one chosen by the user. Raise CaptionError."""
        try:
            for chosen in self._more:
                if folder.is_relative_to(chosen):
                    chosen.mkdir(parents=True, exist_ok=True)
            make_folders(folder, self.within)
        except OSError as error:
            raise CaptionError(f"cannot make the folder {folder} for captions: {error.strerror}") from None

    def flush(self, folder: Path) -> None:
        """See `flush_folder`."""
        with contextlib.suppress(OSError), pinned_folder(folder, self.within) as held:
            flush_folder(held)

    def remove_temporaries(self, folder: Path, starts: tuple[str, ...]) -> None:
        """Delete the temporary files in a folder whose names begin with one of `starts`."""
        with contextlib.suppress(OSError), pinned_folder(folder, self.within) as held:
            _remove_temporaries(held, starts)

    def clear_scratch(self) -> None:
        """Delete the temporary files in the scratch folder."""
        with contextlib.suppress(OSError):
            _remove_temporaries(self._scratch, (".",))


def caption_root_of(item: MediaItem) -> Path:
    """Return the folder of the captions of all media that were scanned with an item."""
    return item.caption_path.parents[item.name.count("/")]


def _remove_temporaries(folder: Path, starts: tuple[str, ...]) -> None:
    for path in folder.iterdir():
        if path.name.startswith(starts) and _TEMPORARY.fullmatch(path.name):
            path.unlink()


def _too_long(num_bytes: int) -> str:
    return f"{num_bytes:,} bytes is longer than any caption"
