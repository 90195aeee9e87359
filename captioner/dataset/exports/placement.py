"""Where an export may be written, and how its files are put there whole."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from captioner.errors import CaptionerError
from captioner.media.kinds import KINDS
from captioner.system.paths import real_path
from captioner.system.replacing import write_atomic
from captioner.values import MediaItem

# diffusion-pipe takes every other file beside the media for media (its utils/dataset.py, line 650).
SAFE_BESIDE_MEDIA = (".txt", ".npz", ".json", ".parquet", ".bak", ".db")


def media_folders(items: Sequence[MediaItem]) -> set[Path]:
    """Return the folders of these files, and those below the scanned folder that hold other media, without links."""
    if not items:
        return set()
    folders = {item.folder for item in items}
    root = items[0].path.parents[items[0].name.count("/")]
    for folder, _, names in os.walk(root):
        if Path(folder) not in folders and any(name.rpartition(".")[2].lower() in KINDS for name in names):
            folders.add(Path(folder))
    return {real_path(folder) for folder in folders}


def check_target(path: Path, media_folders: Collection[Path], overwrite: bool) -> None:
    """Raise CaptionerError if a file may not be written there: one exists, or a trainer would take it for media."""
    if path.suffix not in SAFE_BESIDE_MEDIA and real_path(path.parent) in media_folders:
        advice = f"choose a path outside {path.parent}, or --format json"
        raise CaptionerError(f"diffusion-pipe would take {path.name} among the media for a clip; {advice}")
    if path.is_dir():
        raise CaptionerError(f"{path} is a folder; give the name of a file")
    if os.path.lexists(path) and not overwrite:
        raise CaptionerError(f"{path} exists; add --overwrite to replace it")


def write_file(path: Path, data: bytes) -> None:
    """Write a file whole, and the folders around it. Raise CaptionerError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, data)
    except OSError as error:
        raise cannot_write(path, error) from None


@contextlib.contextmanager
def new_folder(path: Path, media_folders: Collection[Path]) -> Iterator[Path]:
    """Yield a folder to write into, which becomes `path` at the end; nothing is left there after an error.

    Raises CaptionerError if `path` is not empty, or if it is a folder of the media.
    """
    if real_path(path) in media_folders:
        raise CaptionerError(f"{path} holds the media; choose another folder")
    if os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):
        raise CaptionerError(f"{path} exists; choose a new or an empty folder")
    building = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{path.name[:40]}.", suffix=".tmp", dir=path.parent))
        building.chmod(0o777 & ~_umask())
        yield building
        if path.is_dir():
            path.rmdir()
        building.rename(path)
    except OSError as error:
        raise cannot_write(path, error) from None
    finally:
        if building and building.exists():
            shutil.rmtree(building, ignore_errors=True)


def relative_name(folder: Path, filename: str, start: Path) -> str:
    """Return a file's path relative to `start`, with "/"; both folders are free of links. On another drive of Windows
    it is the whole path.
    """
    try:
        parent = os.path.relpath(folder, start)
    except ValueError:
        return (folder / filename).as_posix()
    return filename if parent == "." else f"{Path(parent).as_posix()}/{filename}"


def unreadable(path: Path) -> str:
    """Return why a file cannot be read, or ""."""
    try:
        with open(path, "rb"):
            return ""
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def cannot_write(path: Path, error: OSError) -> CaptionerError:
    """Return the error to raise when writing failed."""
    return CaptionerError(f"cannot write {path}: {error.strerror or error}")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
