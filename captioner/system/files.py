"""The state folder of the app."""

import contextlib
import os
import tempfile
from pathlib import Path

import platformdirs
from filelock import BaseFileLock, FileLock, Timeout

from captioner.errors import StateError
from captioner.system.paths import absolute_path, lacks_home, plain_path
from captioner.system.replacing import write_atomic

DATABASE = "captioner.sqlite"
FILES = (
    "settings.json",
    "prompts.json",
    "in-use.lock",
    "errors.log",
    DATABASE,
    *(f"{DATABASE}-{x}" for x in ("wal", "shm")),
)
FOLDERS = ("incoming", "uploads", "thumbnails", "demo", "tmp", "comparisons")
OTHERS = (".gitignore",)
PACKAGE_FOLDER = Path(__file__).resolve().parents[1]


def default_state_folder(package: Path = PACKAGE_FOLDER) -> Path:
    """Return `.gradio` in a checkout, and the user's data folder for an installed package."""
    checkout = package.parent
    if (checkout / "app.py").is_file() and (checkout / "pyproject.toml").is_file():
        return checkout / ".gradio"
    return platformdirs.user_data_path("video-caption-suite", appauthor=False)


def state_folder(given: Path | None = None) -> Path:
    """Make and return the app's folder: as given, else CAPTIONER_STATE, else the default. Raises StateError."""
    text = str(given or os.environ.get("CAPTIONER_STATE") or default_state_folder())
    if lacks_home(plain_path(text)):  # platformdirs needs a home folder, too
        raise StateError(f"there is no home folder for the state folder {text}; choose one with --state")
    folder = absolute_path(plain_path(text))
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_usable = os.access(folder, os.W_OK | os.X_OK)
    except (OSError, ValueError) as error:
        problem = f"cannot create the state folder {folder}: {getattr(error, 'strerror', None) or error}"
        raise StateError(f"{problem}; choose one with --state") from None
    if not is_usable:
        raise StateError(f"cannot write to the state folder {folder}; choose another with --state")
    make_private(folder)
    _provide_temporary_folder(folder)
    return folder


def _provide_temporary_folder(state: Path) -> None:
    """Keep temporary files in the state folder if no other folder can hold them, as in read-only containers."""
    try:
        tempfile.gettempdir()
    except OSError:
        folder = state / "tmp"
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, exist_ok=True)
        os.environ["TMPDIR"] = str(folder)  # for the workers, too


def make_private(folder: Path) -> None:
    """Keep other users of the machine out of a state folder and its files, where the system can do so.

    A folder that also holds files of others, such as a home folder, stays as it is; only the app's files change.
    """
    if os.name == "nt" or not hasattr(os, "geteuid"):
        return
    with contextlib.suppress(OSError):
        entries = list(os.scandir(folder))
        if folder.stat().st_uid == os.geteuid() and all(entry.name in (*FILES, *FOLDERS, *OTHERS) for entry in entries):
            folder.chmod(0o700)
        for entry in entries:
            mode = 0o600 if entry.name in FILES else 0o700 if entry.name in FOLDERS else None
            if mode and not entry.is_symlink() and entry.stat().st_uid == os.geteuid():
                Path(entry.path).chmod(mode)


def claim_folder(folder: Path) -> BaseFileLock:
    """Lock a state folder until `release()` or the end of this process. Raises StateError if another one holds it."""
    lock = FileLock(folder / "in-use.lock", timeout=0, mode=0o600, thread_local=False)
    try:
        return lock.acquire().lock
    except Timeout:
        advice = "close it, or choose another folder with --state"
        raise StateError(f"another instance is using the state folder {folder}; {advice}") from None
    except (OSError, NotImplementedError) as error:
        raise StateError(f"cannot lock the state folder {folder}: {error}; choose another with --state") from None


def write_private(path: Path, data: bytes) -> None:
    """Replace a file of the state folder, which only its user can read. Raise OSError."""
    write_atomic(path, data)
    if os.name != "nt":
        with contextlib.suppress(OSError):  # not every file system has modes
            path.chmod(0o600)
