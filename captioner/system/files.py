"""Files on disk: the state folder, and replacing a file atomically."""

import contextlib
import errno
import os
import shutil
import threading
from pathlib import Path

import platformdirs
from filelock import BaseFileLock, FileLock, Timeout

from captioner.errors import StateError

PACKAGE_FOLDER = Path(__file__).resolve().parents[1]


def default_state_folder(package: Path = PACKAGE_FOLDER) -> Path:
    """Return `.gradio` in a checkout, and the user's data folder for an installed package."""
    checkout = package.parent
    if (checkout / "app.py").is_file() and (checkout / "pyproject.toml").is_file():
        return checkout / ".gradio"
    return platformdirs.user_data_path("video-caption-suite", appauthor=False)


def state_folder(given: Path | None = None) -> Path:
    """Make and return the app's folder: as given, else CAPTIONER_STATE, else the default. Raises StateError."""
    folder = Path(given or os.environ.get("CAPTIONER_STATE") or default_state_folder()).expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f"cannot create the state folder {folder}: {error.strerror}"
        raise StateError(f"{problem}; choose one with --state") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StateError(f"cannot write to the state folder {folder}; choose another with --state")
    return folder


def claim_folder(folder: Path) -> BaseFileLock:
    """Lock a state folder until `release()` or the end of this process. Raises StateError if another one holds it."""
    lock = FileLock(folder / "in-use.lock", timeout=0, thread_local=False)
    try:
        return lock.acquire().lock
    except Timeout:
        advice = "close it, or choose another folder with --state"
        raise StateError(f"another instance is using the state folder {folder}; {advice}") from None
    except (OSError, NotImplementedError) as error:
        raise StateError(f"cannot lock the state folder {folder}: {error}; choose another with --state") from None


def write_atomic(path: Path, data: bytes, scratch: Path | None = None, is_durable: bool = True) -> None:
    """Replace the content of `path`, so that a crash leaves the old or the new one; keep permissions. Raises OSError.

    scratch: folder to write the data to first, if it is on the same filesystem. is_durable: also survive a power cut.
    """
    if scratch is not None and scratch.stat().st_dev == path.parent.stat().st_dev:
        try:
            return _write_via(scratch, path, data, is_durable)
        except OSError as error:
            if error.errno != errno.EXDEV:  # two mounts of one filesystem have the same st_dev
                raise
    _write_via(path.parent, path, data, is_durable)


def _write_via(folder: Path, path: Path, data: bytes, is_durable: bool) -> None:
    temporary = folder / f".{path.name[:80]}.{os.getpid()}-{threading.get_ident()}.tmp"
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            if is_durable:
                file.flush()
                os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def flush_folder(folder: Path) -> None:
    """Write the names in a folder to the disk, so that they survive a power cut, where the system can do so."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
