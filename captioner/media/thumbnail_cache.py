"""Thumbnails kept on disk, so that a folder of 50,000 files can be scrolled through."""

import contextlib
import hashlib
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from captioner.errors import MediaError
from captioner.media.thumbnail import Thumbnail
from captioner.values import MediaItem

log = logging.getLogger(__name__)

VERSION = 1  # of how thumbnails look and are stored: another one makes all of them anew
THUMBNAIL_WORKERS = 3  # that make thumbnails at once

MAX_BYTES = 1_000_000_000  # on disk: some 80,000 thumbnails
WRITES_TO_PRUNE = 200  # after so many new ones the disk is looked at; 80,000 files take 0.3 s
KEPT_SHARE = 0.9  # of MAX_BYTES is left by pruning
USED_S = 86400.0  # a use is noted once a day
MAX_IN_MEMORY = 2000  # broken files remembered; thumbnails of some 12 KB, where the disk takes none
FAILURE_S = 300.0  # then a broken file is tried again: its permissions may have been put right

END_OF_JPEG = b"\xff\xd9"


class ThumbnailCache:
    """Thumbnails by file, size and time of change, kept in a folder. Any thread may call.

    `make` makes one, such as make_thumbnail, or Sandbox.thumbnail in another process. It is called by the thread that
    asks, THUMBNAIL_WORKERS times at once at most; further threads wait. One is made once, however many ask. The folder
    takes up to `max_bytes` and WRITES_TO_PRUNE thumbnails more; those not used for longest go first. It may be deleted
    at any time, and shared with other processes. Where it cannot be written, MAX_IN_MEMORY thumbnails stay in memory.
    Broken files are remembered in memory, for FAILURE_S.
    """

    def __init__(self, folder: Path, make: Callable[[MediaItem], Thumbnail], max_bytes: int = MAX_BYTES) -> None:
        self._folder, self._make, self._max_bytes = folder, make, max_bytes
        self._workers = threading.Semaphore(THUMBNAIL_WORKERS)
        self._lock = threading.Lock()
        self._being_made: dict[str, Future[Thumbnail]] = {}
        self._unwritten: OrderedDict[str, Thumbnail] = OrderedDict()
        self._failures: OrderedDict[str, tuple[float, str]] = OrderedDict()  # key -> until when, why
        self._num_written = 0
        self._warned = False

    def find(self, item: MediaItem) -> Thumbnail | None:
        """The thumbnail if it was made before; reads one small file. Raises MediaError if known to be broken."""
        key = _key(item)
        with self._lock:
            until_s, reason = self._failures.get(key, (0.0, ""))
            thumbnail = self._unwritten.get(key)
        if until_s > time.monotonic():
            raise MediaError(reason)
        return thumbnail or self._read(key)

    def get(self, item: MediaItem) -> Thumbnail:
        """The thumbnail, made now if need be. Raises MediaError with one line that does not repeat the path."""
        key = _key(item)
        with self._lock:
            is_ours = key not in self._being_made
            making = self._being_made.setdefault(key, Future())
        if is_ours:
            try:
                making.set_result(self.find(item) or self._make_and_keep(key, item))
            except BaseException as error:  # whatever it is, who waits for this thumbnail must hear of it
                making.set_exception(error)
            finally:
                with self._lock:
                    del self._being_made[key]
        return making.result()

    def prune(self) -> None:
        """Delete those not used for longest if the folder is over its size."""
        kept = sorted(_files_in(self._folder))
        num_bytes = sum(size_bytes for _, size_bytes, _ in kept)
        if num_bytes <= self._max_bytes:
            return
        for _, size_bytes, path in kept:
            if num_bytes <= KEPT_SHARE * self._max_bytes:
                break
            num_bytes -= size_bytes
            with contextlib.suppress(OSError):  # another process was first
                Path(path).unlink()

    def _make_and_keep(self, key: str, item: MediaItem) -> Thumbnail:
        try:
            with self._workers:
                thumbnail = self._make(item)
        except MediaError as error:
            if item.path.exists():  # else its disk may come back
                with self._lock:
                    _keep(self._failures, key, (time.monotonic() + FAILURE_S, str(error)))
            raise
        self._write(key, thumbnail)
        return thumbnail

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.jpg"

    def _read(self, key: str) -> Thumbnail | None:
        """None when there is none, or not the whole of it."""
        path = self._path(key)
        try:
            stored = path.read_bytes()
        except OSError:
            return None
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > USED_S:
                os.utime(path)
        return _unpack(stored)

    def _write(self, key: str, thumbnail: Thumbnail) -> None:
        try:
            _write_file(self._path(key), thumbnail.data + b"%.3f\n" % thumbnail.duration_s)
        except OSError as error:
            with self._lock:
                _keep(self._unwritten, key, thumbnail)
                warned, self._warned = self._warned, True
            if not warned:
                log.warning("thumbnails are kept in memory alone: cannot write %s: %s", self._folder, error.strerror)
            return
        with self._lock:
            self._num_written += 1
            is_time = self._num_written % WRITES_TO_PRUNE == 1  # the first of a run, too, however short that is
        if is_time:
            self.prune()


def _key(item: MediaItem) -> str:
    identity = b"%b\0%d\0%r\0%d" % (os.fsencode(item.path), item.size_bytes, item.modified_s, VERSION)
    return hashlib.blake2b(identity, digest_size=16).hexdigest()


def _unpack(stored: bytes) -> Thumbnail | None:
    """Of a file: the JPEG, which ends where it says so, then the duration."""
    data, end, duration = stored.rpartition(END_OF_JPEG)
    if not data or not duration.endswith(b"\n"):
        return None
    try:
        return Thumbnail(data + end, float(duration))
    except ValueError:
        return None


def _write_file(path: Path, data: bytes) -> None:
    """Whole or not at all for every reader. Not synced to the disk: what a power cut spoils is made anew."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _files_in(folder: Path) -> list[tuple[float, int, str]]:
    """(time of last use, size in bytes, path) of all files, in no order. What cannot be looked at is left out."""
    found: list[tuple[float, int, str]] = []
    with contextlib.suppress(OSError), os.scandir(folder) as subfolders:
        for subfolder in subfolders:
            with contextlib.suppress(OSError), os.scandir(subfolder) as entries:
                for entry in entries:
                    status = entry.stat()
                    found.append((status.st_mtime, status.st_size, entry.path))
    return found


def _keep(kept: OrderedDict[str, Any], key: str, value: Any) -> None:
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > MAX_IN_MEMORY:
        kept.popitem(last=False)
