"""A media file -> a small JPEG of it, kept on disk, so that a folder of 50,000 files can be scrolled through."""

import contextlib
import hashlib
import io
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from PIL import Image

from captioner.errors import MediaError
from captioner.media import picture as pictures
from captioner.media.container import MAX_DURATION_S, identity, may_seek, open_container
from captioner.media.discover import check_file, probe
from captioner.media.video import VideoFile
from captioner.values import MediaItem

log = logging.getLogger(__name__)

VERSION = 1  # of how thumbnails look and are stored: another one makes all of them anew
SIZE = 320  # pixels of the longest side
QUALITY = 82
WORKERS = 3  # that make thumbnails at once

MAX_BYTES = 1_000_000_000  # on disk: some 80,000 thumbnails
WRITES_TO_PRUNE = 200  # after so many new ones the disk is looked at; 80,000 files take 0.3 s
KEPT_SHARE = 0.9  # of MAX_BYTES is left by pruning
USED_S = 86400.0  # a use is noted once a day
MAX_IN_MEMORY = 2000  # broken files remembered; thumbnails of some 12 KB, where the disk takes none
FAILURE_S = 300.0  # then a broken file is tried again: its permissions may have been put right

DULL = 20.0  # a picture whose grey levels deviate by less: black, a fade, a plain title
END_OF_JPEG = b"\xff\xd9"


@dataclass(frozen=True)
class Thumbnail:
    data: bytes  # JPEG
    duration_s: float  # as the container states it, if it does; 0 for pictures, even animated ones


class Thumbnails:
    """Thumbnails by file, size and time of change, kept in a folder. Any thread may call.

    `make` makes one, such as make_thumbnail, or Sandbox.thumbnail in another process. It is called by the thread that
    asks, WORKERS times at once at most; further threads wait. One is made once, however many ask. The folder takes up
    to `max_bytes` and WRITES_TO_PRUNE thumbnails more; those not used for longest go first. It may be deleted at any
    time, and be shared with other processes. Where it cannot be written, the last MAX_IN_MEMORY thumbnails are kept in
    memory. Broken files are remembered in memory, for FAILURE_S.
    """

    def __init__(self, folder: Path, make: Callable[[MediaItem], Thumbnail], max_bytes: int = MAX_BYTES) -> None:
        self._folder, self._make, self._max_bytes = folder, make, max_bytes
        self._workers = threading.Semaphore(WORKERS)
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


def make_thumbnail(item: MediaItem) -> Thumbnail:
    """Read the file: a picture at the size needed, a video at one keyframe or a few. Raises MediaError."""
    if check_file(item.path, item.kind) == "image":
        return Thumbnail(_encode(_picture(item.path)), 0.0)
    pixels, duration_s = _video(item.path)
    return Thumbnail(_encode(pixels), duration_s)


def _picture(path: Path) -> np.ndarray:
    with pictures.open_picture(path) as image:
        return pictures.read_rgb(image, 0, *_fit(*pictures.display_size(image)))


def _video(path: Path) -> tuple[np.ndarray, float]:
    """(pixels, duration in seconds). Where seeking shows nothing, the first frame that can be decoded."""
    container, stream = open_container(path)
    try:
        aspect = _aspect(stream)
        duration_s = _stated_duration(container, stream) or probe(path, "video").duration_s
        pixels = _best_keyframe(container, stream, duration_s, aspect) if may_seek(stream) else None
    except (av.error.FFmpegError, ValueError, OverflowError):  # the last of a senseless duration
        pixels = None
    finally:
        container.close()
    if pixels is not None:
        return pixels, duration_s
    with VideoFile(path) as video:
        try:
            return _shrink(video.first_frame, aspect), video.duration_s
        except (av.error.FFmpegError, ValueError) as error:
            cause = getattr(error, "strerror", None) or error
            raise MediaError(f"its {video.first_frame.format.name} frames cannot be converted: {cause}") from None


def _stated_duration(container: InputContainer, stream: VideoStream) -> float:
    """In seconds; 0 if none is stated, or a senseless one. What `probe` gives is surer, but it reads the whole file."""
    stated = stream.duration * stream.time_base if stream.duration else (container.duration or 0) / av.time_base
    return float(stated) if 0 < stated <= MAX_DURATION_S else 0.0


def _best_keyframe(
    container: InputContainer, stream: VideoStream, duration_s: float, aspect: float
) -> np.ndarray | None:
    """The keyframe near the start, or one further on where that is dull. None where a seek leads to no whole picture.

    Decodes one frame for each: the flush after its packet gives the frame without those behind it.
    Raises av.error.FFmpegError.
    """
    best, best_contrast = None, -1.0
    seen: set[tuple] = set()
    for time_s in (min(1.0, 0.1 * duration_s), duration_s / 3, duration_s * 2 / 3):
        tick = (stream.start_time or 0) + round(time_s / stream.time_base)
        container.seek(tick, stream=stream, backward=True)
        packet = next(container.demux(stream))
        if not packet.is_keyframe or identity(packet) in seen:
            continue
        seen.add(identity(packet))
        frames = [*stream.codec_context.decode(packet), *stream.codec_context.decode(None)]
        stream.codec_context.flush_buffers()
        if not frames or frames[0].is_corrupt:
            continue
        pixels = _shrink(frames[0], aspect)
        contrast = float(pixels.mean(axis=2).std())
        if contrast > best_contrast:
            best, best_contrast = pixels, contrast
        if contrast >= DULL:
            break
    return best


def _aspect(stream: VideoStream) -> float:
    """Width of a pixel in heights; a senseless one counts as square, as in VideoFile."""
    aspect = float(stream.sample_aspect_ratio or 1)
    return aspect if 0.1 < aspect < 10 else 1.0


def _shrink(frame: VideoFrame, aspect: float) -> np.ndarray:
    """uint8 (height, width, 3) RGB, upright."""
    width, height = _fit(max(1, round(frame.width * aspect)), frame.height)
    small = VideoReformatter().reformat(
        frame, width=width, height=height, format="rgb24", interpolation=Interpolation.AREA, threads=1
    )
    turned = frame.rotation  # counterclockwise; of a broken matrix -2**31
    return np.rot90(small.to_ndarray(), turned // 90 if abs(turned) <= 360 and turned % 90 == 0 else 0)


def _fit(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, SIZE / max(width, height))  # never enlarged
    return max(1, round(width * scale)), max(1, round(height * scale))


def _encode(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


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
