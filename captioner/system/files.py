"""Files on disk: the state folder, and replacing a file so that it is whole before and after."""

import contextlib
import errno
import os
import shutil
import threading
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from captioner.errors import StateError

APP_FOLDER = Path(__file__).resolve().parents[2]


def state_folder(given: Path | None = None) -> Path:
    """The one folder for the app's own files: as given, else CAPTIONER_STATE, else `.gradio` beside app.py.

    Raises StateError when it cannot be made or written to.
    """
    folder = Path(given or os.environ.get("CAPTIONER_STATE") or APP_FOLDER / ".gradio").expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StateError(
            f"cannot create the state folder {folder}: {error.strerror}; choose one with --state"
        ) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StateError(f"cannot write to the state folder {folder}; choose another with --state")
    return folder


def claim_folder(folder: Path) -> BaseFileLock:
    """Make this process the one that runs jobs on a state folder, until `release()` or its end, however it ends.

    Raises StateError while another one is.
    """
    lock = FileLock(folder / "in-use.lock", timeout=0, thread_local=False)
    try:
        return lock.acquire().lock
    except Timeout:
        raise StateError(
            f"another Video Caption Suite is at work on the state folder {folder}; "
            "end that one first, or give this one a folder of its own with --state"
        ) from None
    except (OSError, NotImplementedError) as error:
        raise StateError(f"cannot lock the state folder {folder}: {error}; choose another with --state") from None


def write_atomic(path: Path, data: bytes, scratch: Path | None = None) -> None:
    """Replace `path` by `data`: after a crash at any moment it holds the whole old or the whole new content.

    The new content is first written to `scratch` (a folder) if that is on the same filesystem, else to a dot-file
    beside `path`. Keeps the permissions of a file that it replaces. Raises OSError.
    """
    if scratch is not None and scratch.stat().st_dev == path.parent.stat().st_dev:
        try:
            return _write_via(scratch, path, data)
        except OSError as error:
            if error.errno != errno.EXDEV:  # two mounts of one filesystem look alike until one renames across
                raise
    _write_via(path.parent, path, data)


def _write_via(folder: Path, path: Path, data: bytes) -> None:
    temporary = folder / f".{path.name[:80]}.{os.getpid()}-{threading.get_ident()}.tmp"
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def flush_folder(folder: Path) -> None:
    """Have names that were given or removed outlast a power cut. Not every system and filesystem can do this."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
