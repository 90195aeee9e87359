"""Paths that keep meaning the file that was checked, whatever others do to links meanwhile."""

import contextlib
import errno
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

Within = tuple[Path, ...] | None  # resolved folders; None: everywhere

OUTSIDE = "a link leads outside the allowed folders"
DESCRIPTORS = "/proc/self/fd"
FLAGS = getattr(os, "O_PATH", 0)  # opens nothing: no pipe waits, no device notices
FOLDER_FLAGS = FLAGS | getattr(os, "O_DIRECTORY", 0)  # also mounts what is mounted at its first use
CAN_PIN = bool(FLAGS) and os.path.isdir(DESCRIPTORS)  # noqa: PTH112


@contextlib.contextmanager
def held(path: str | Path, flags: int = FLAGS) -> Iterator[Path]:
    """Yield a path to the file or folder that is at `path` now, also if a link takes its place. Raise OSError.

    Only on Linux; elsewhere it is the resolved path.
    """
    if not CAN_PIN:
        yield Path(os.path.realpath(path, strict=True))
        return
    descriptor = os.open(path, flags)
    try:
        yield Path(f"{DESCRIPTORS}/{descriptor}")
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def pinned(path: Path, within: Within, flags: int = FLAGS) -> Iterator[Path]:
    """Yield a path to the file or folder that is at `path` now. Raise OSError, also if it is outside of `within`.

    On Linux the kernel says where the file is once it is held, so that no link can take its place after the check.
    Elsewhere the path is resolved and checked, and a link could still appear before it is used.
    """
    if within is None:
        yield path
        return
    with held(path, flags) as found:
        _check(_place(found), within)
        yield found


def open_inside(path: str | Path, within: Within, flags: int) -> int:
    """Return a descriptor of a file that exists, opened as if `pinned`, but faster. Raise OSError."""
    if within is None:
        return os.open(path, flags)
    if not CAN_PIN:
        with pinned(Path(path), within) as found:
            return os.open(found, flags)
    descriptor = os.open(path, FLAGS)
    try:
        name = f"{DESCRIPTORS}/{descriptor}"
        _check(os.readlink(name), within)  # noqa: PTH115
        return os.open(name, flags)
    finally:
        os.close(descriptor)


def pinned_folder(path: Path, within: Within) -> contextlib.AbstractContextManager[Path]:
    """Like `pinned`, for a folder: what is created, replaced or deleted by names in it is in this very folder."""
    return pinned(path, within, FOLDER_FLAGS)


def make_folders(path: Path, within: Within) -> None:
    """Make a folder and the missing ones above it, none of them outside of `within`. Raise OSError."""
    if not path.is_dir():
        make_folders(path.parent, within)
        with pinned_folder(path.parent, within) as parent:
            (parent / path.name).mkdir(exist_ok=True)


def location(path: str | Path) -> str:
    """Return where a file or folder is once all links are followed. Raise OSError, and ValueError for a NUL."""
    with held(path) as found:
        return _place(found)


def is_inside(place: str, within: Within) -> bool:
    """Return whether a `location` is inside of the folders."""
    if within is None or any(_starts(place, str(folder)) for folder in within):
        return True
    # A file system that ignores case may spell the name of a folder as another program has written it.
    with contextlib.suppress(OSError):
        for folder in within:
            spelled = location(folder)
            if _folded(spelled) == _folded(str(folder)) and _starts(place, spelled):
                return True
    return False


def escapes(path: str | Path, within: Within) -> bool:
    """Return True if a file is outside of the folders once its links are followed; False if it does not exist."""
    if within is None:
        return False
    try:
        return not is_inside(location(path), within)
    except FileNotFoundError:
        return False
    except (OSError, ValueError, RecursionError):
        return True


def _check(place: str, within: Within) -> None:
    if not is_inside(place, within):
        raise OSError(errno.ELOOP, OUTSIDE)


def _place(found: Path) -> str:
    return os.readlink(found) if CAN_PIN else str(found)  # noqa: PTH115


def _starts(place: str, folder: str) -> bool:
    return place == folder or place.startswith(folder.rstrip(os.sep) + os.sep)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()
