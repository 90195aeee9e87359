"""The state folder of the app."""

import os
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
