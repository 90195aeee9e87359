"""A media file -> a small JPEG of it."""

import io
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from PIL import Image

from captioner.errors import MediaError
from captioner.media.container import MAX_DURATION_S, identity, may_seek, open_container
from captioner.media.discover import check_file
from captioner.media.picture import display_size, open_picture, read_rgb
from captioner.media.probe import probe
from captioner.media.video import VideoFile
from captioner.values import MediaItem

SIZE = 320  # pixels of the longest side
QUALITY = 82
DULL = 20.0  # a picture whose grey levels deviate by less: black, a fade, a plain title


@dataclass(frozen=True)
class Thumbnail:
    data: bytes  # JPEG
    duration_s: float  # as the container states it, if it does; 0 for pictures, even animated ones


def make_thumbnail(item: MediaItem) -> Thumbnail:
    """Read the file: a picture at the size needed, a video at one keyframe or a few. Raises MediaError."""
    if check_file(item.path, item.kind) == "image":
        return Thumbnail(_encode(_picture(item.path)), 0.0)
    pixels, duration_s = _video(item.path)
    return Thumbnail(_encode(pixels), duration_s)


def _picture(path: Path) -> np.ndarray:
    with open_picture(path) as image:
        return read_rgb(image, 0, *_fit(*display_size(image)))


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
