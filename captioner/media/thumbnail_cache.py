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
from typing import TypeVar

from captioner.errors import MediaError
from captioner.media.thumbnail import Thumbnail
from captioner.system.replacing import write_atomic
from captioner.values import MediaItem

log = logging.getLogger(__name__)

Value = TypeVar("Value")

VERSION = 1  # of the look and the file format of thumbnails; a new number makes all of them again
THUMBNAIL_WORKERS = 3  # thumbnails made at the same time

MAX_BYTES = 1_000_000_000  # on disk: about 80,000 thumbnails
WRITES_TO_PRUNE = 200  # new thumbnails between two checks of the disk; checking 80,000 files takes 0.3 s
KEPT_SHARE = 0.9  # of max_bytes, left by pruning
USED_S = 86400.0  # a use is recorded at most once in this time
MAX_IN_MEMORY = 2000  # broken files, and thumbnails (about 12 KB each) if the disk cannot be written
FAILURE_S = 300.0  # until a broken file is tried again: its permissions may have been changed

END_OF_JPEG = b"\xff\xd9"


class ThumbnailCache:
    """Thumbnails by file, size and modification time, kept in a folder. Any thread may call.

    `make` makes a thumbnail in the calling thread, in at most THUMBNAIL_WORKERS threads at once, and only once if
    several ask for the same file. The folder holds up to `max_bytes` and WRITES_TO_PRUNE thumbnails more. It may be
    deleted at any time and shared with other processes. If it cannot be written, the latest thumbnails stay in memory.
    """

    def __init__(self, folder: Path, make: Callable[[MediaItem], Thumbnail], max_bytes: int = MAX_BYTES) -> None:
        self._folder, self._make, self._max_bytes = folder, make, max_bytes
        self._workers, self._lock = threading.Semaphore(THUMBNAIL_WORKERS), threading.Lock()
        self._being_made: dict[str, Future[Thumbnail]] = {}
        self._unwritten: OrderedDict[str, Thumbnail] = OrderedDict()
        self._failures: OrderedDict[str, tuple[float, str]] = OrderedDict()  # key -> until when, why
        self._num_written, self._warned = 0, False

    def find(self, item: MediaItem) -> Thumbnail | None:
        """Return the thumbnail if it is in the cache. Raises MediaError for a file known to be broken."""
        key = _key(item)
        with self._lock:
            until_s, reason = self._failures.get(key, (0.0, ""))
            thumbnail = self._unwritten.get(key)
        if until_s > time.monotonic():
            raise MediaError(reason)
        return thumbnail or self._read(key)

    def get(self, item: MediaItem) -> Thumbnail:
        """Return the thumbnail, made now if needed. Raises MediaError with one line that does not repeat the path."""
        key = _key(item)
        with self._lock:
            is_first = key not in self._being_made
            making = self._being_made.setdefault(key, Future())
        if is_first:
            try:
                making.set_result(self.find(item) or self._make_and_keep(key, item))
            except BaseException as error:  # of any kind: other threads wait for this thumbnail
                making.set_exception(error)
            finally:
                with self._lock:
                    del self._being_made[key]
        return making.result()

    def prune(self) -> None:
        """Delete the least recently used thumbnails if the folder is too large."""
        latest_s = time.time() + USED_S  # a later use is of a clock that was set back since, so older than all others
        kept = sorted(_files_in(self._folder), key=lambda file: (file[0] <= latest_s, *file))
        num_bytes = sum(size_bytes for _, size_bytes, _ in kept)
        if num_bytes <= self._max_bytes:
            return
        for _, size_bytes, path in kept:
            if num_bytes <= KEPT_SHARE * self._max_bytes:
                break
            num_bytes -= size_bytes
            with contextlib.suppress(OSError):  # another process deleted it
                Path(path).unlink()

    def _make_and_keep(self, key: str, item: MediaItem) -> Thumbnail:
        try:
            with self._workers:
                thumbnail = self._make(item)
        except MediaError as error:
            if item.path.exists():  # else its disk may only be away for a while
                with self._lock:
                    _keep(self._failures, key, (time.monotonic() + FAILURE_S, str(error)))
            raise
        self._write(key, thumbnail)
        return thumbnail

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.jpg"

    def _read(self, key: str) -> Thumbnail | None:
        path = self._path(key)
        try:
            stored = path.read_bytes()
        except OSError:
            return None
        with contextlib.suppress(OSError):
            if abs(time.time() - path.stat().st_mtime) > USED_S:  # or the clock was set back
                os.utime(path)
        data, end, duration = stored.rpartition(END_OF_JPEG)  # the duration in seconds follows the JPEG, on one line
        try:
            return Thumbnail(data + end, float(duration)) if data and duration.endswith(b"\n") else None
        except ValueError:
            return None

    def _write(self, key: str, thumbnail: Thumbnail) -> None:
        try:
            path = self._path(key)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, thumbnail.data + b"%.3f\n" % thumbnail.duration_s, is_durable=False)
        except OSError as error:
            with self._lock:
                _keep(self._unwritten, key, thumbnail)
                warned, self._warned = self._warned, True
            if not warned:
                log.warning("thumbnails are kept in memory only: cannot write %s: %s", self._folder, error.strerror)
            return
        with self._lock:
            self._num_written += 1
            is_time_to_prune = self._num_written % WRITES_TO_PRUNE == 1  # also after the first, in case few follow
        if is_time_to_prune:
            self.prune()


def _key(item: MediaItem) -> str:
    identity = b"%b\0%d\0%r\0%d" % (os.fsencode(item.path), item.size_bytes, item.modified_s, VERSION)
    return hashlib.blake2b(identity, digest_size=16).hexdigest()


def _files_in(folder: Path) -> list[tuple[float, int, str]]:
    """Return (time of last use, size in bytes, path) of all readable files."""
    found: list[tuple[float, int, str]] = []
    with contextlib.suppress(OSError), os.scandir(folder) as subfolders:
        for subfolder in subfolders:
            with contextlib.suppress(OSError), os.scandir(subfolder) as entries:
                for entry in entries:
                    status = entry.stat()
                    found.append((status.st_mtime, status.st_size, entry.path))
    return found


def _keep(kept: OrderedDict[str, Value], key: str, value: Value) -> None:
    """Store the value as the latest one, and drop the oldest over MAX_IN_MEMORY."""
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > MAX_IN_MEMORY:
        kept.popitem(last=False)
