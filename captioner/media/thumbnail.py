"""Thumbnails: a small JPEG of a media file."""

import io
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream
from PIL import Image

from captioner.media import picture
from captioner.media.color_tags import ColorTags, stated_tags
from captioner.media.container import (
    MAX_DURATION_S,
    MAY_JUMP,
    can_seek,
    decoder_of,
    identity,
    open_container,
    read_index,
    time_base_of,
)
from captioner.media.content import checked_file
from captioner.media.geometry import FrameScaler, Geometry
from captioner.media.probe import probe
from captioner.media.video import VideoFile
from captioner.system.pinning import Within
from captioner.values import MediaItem

SIZE = 320  # pixels of the longest side
QUALITY = 82
MIN_CONTRAST = 20.0  # standard deviation of gray levels; less is black, a fade or a plain title
MAX_INDEX_BYTES = 100_000_000  # of a file whose packets are read for its duration, in 0.3 s


@dataclass(frozen=True)
class Thumbnail:
    """A small picture of a file, with the duration that the page shows on it."""

    data: bytes  # JPEG
    duration_s: float  # as the container states it, else as probed; 0 for pictures, even animated ones


def make_thumbnail(item: MediaItem, within: Within = None) -> Thumbnail:
    """Make the thumbnail of a picture, or of a video from at most three keyframes. Raises MediaError.

    within: the folders that the file has to be in once links are followed; None: any.
    """
    with checked_file(item.path, item.kind, within) as (path, kind):
        if kind == "video":
            pixels, duration_s = _read_video(path)
            return Thumbnail(_encode(pixels), duration_s)
        with picture.open_picture(path, item.path.suffix) as image:
            pixels = picture.read_rgb(image, 0, *_fit(*picture.display_size(image)))
    return Thumbnail(_encode(pixels), 0.0)


def _read_video(path: Path) -> tuple[np.ndarray, float]:
    """Return (pixels, duration in seconds): of the best keyframe, or of the first frame if seeking finds none."""
    container, stream = open_container(path)
    stated = stated_tags(stream)
    try:
        duration_s = _stated_duration_s(container, stream) or probe(path, "video").duration_s
        pixels = _best_keyframe(container, stream, duration_s, stated) if can_seek(stream) else None
    except (av.error.FFmpegError, ValueError, OverflowError):  # OverflowError: an absurd duration
        pixels = None
    finally:
        container.close()
    if pixels is not None:
        return pixels, duration_s
    with VideoFile(path) as video:
        try:
            return _shrink(video.first_frame, video.geometry, video.stated_tags), video.duration_s
        except (av.error.FFmpegError, ValueError) as error:
            raise video.conversion_error(error) from None


def _stated_duration_s(container: InputContainer, stream: VideoStream) -> float:
    if container.format.flags & MAY_JUMP and container.size <= MAX_INDEX_BYTES:  # stated from the last time in the file
        index = read_index(container, stream)
        return float((index.times[-1] - index.times[0] + index.first_duration) * time_base_of(stream))
    stated = stream.duration * time_base_of(stream) if stream.duration else (container.duration or 0) / av.time_base
    return float(stated) if 0 < stated <= MAX_DURATION_S else 0.0


def _best_keyframe(
    container: InputContainer, stream: VideoStream, duration_s: float, stated: ColorTags
) -> np.ndarray | None:
    """Return a keyframe near the start, or a later one if that has little contrast; None if no seek finds one."""
    decoder = decoder_of(stream)
    best, best_contrast = None, -1.0
    seen: set[tuple] = set()
    for time_s in (min(1.0, 0.1 * duration_s), duration_s / 3, duration_s * 2 / 3):
        tick = (stream.start_time or 0) + round(time_s / time_base_of(stream))
        container.seek(tick, stream=stream, backward=True)
        packet = next(container.demux(stream))
        if not packet.is_keyframe or identity(packet) in seen:
            continue
        seen.add(identity(packet))
        # Flushing the decoder after one packet returns its frame without decoding those that follow.
        frames = [*decoder.decode(packet), *decoder.decode(None)]
        decoder.flush_buffers()
        if not frames or frames[0].is_corrupt:
            continue
        pixels = _shrink(frames[0], Geometry.of(container, stream, frames[0]), stated)
        contrast = float(pixels.mean(axis=2).std())
        if contrast > best_contrast:
            best, best_contrast = pixels, contrast
        if contrast >= MIN_CONTRAST:
            break
    return best


def _shrink(frame: VideoFrame, geometry: Geometry, stated: ColorTags) -> np.ndarray:
    return FrameScaler(geometry, *_fit(*geometry.size(frame)), Interpolation.AREA, stated)(frame)


def _fit(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, SIZE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _encode(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
