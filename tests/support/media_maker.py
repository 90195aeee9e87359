"""Makes small media files for tests. Every frame shows its own number, so that no two are alike."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image


def numbered_picture(number: int, width: int = 96, height: int = 64) -> np.ndarray:
    """uint8 (height, width, 3): a gradient, a block that moves, and the number as a row of light and dark fields."""
    rows, columns = np.mgrid[0:height, 0:width]
    red = columns * 255 // width
    green = rows * 255 // height
    blue = (rows + columns + 3 * number) % 256
    picture = np.stack([red, green, blue], axis=2).astype(np.uint8)
    left = number * 5 % max(1, width - width // 6)
    picture[height // 2 : height * 3 // 4, left : left + width // 6] = (255, 240, 20)
    field = max(1, width // 10)
    for bit in range(10):
        picture[: height // 4, bit * field : (bit + 1) * field] = 235 if number >> bit & 1 else 20
    return picture


@contextlib.contextmanager
def _same_priority() -> Iterator[None]:
    """As root, the AV1 encoder gives the thread that calls it real-time priority and leaves it at that.

    Whatever that thread starts from then on, a browser say, can keep everything else from running.
    """
    if not hasattr(os, "sched_setscheduler"):
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def make_video(
    path: Path,
    num_frames: int = 60,
    fps: Fraction | int = 25,
    size: tuple[int, int] = (96, 64),
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    times: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    options: Mapping[str, str] | None = None,
    container_options: Mapping[str, str] | None = None,
    container_format: str | None = None,
    sample_aspect: Fraction | None = None,
    rotation_ccw: int = 0,
    matrix: Sequence[int] | None = None,
    max_b_frames: int | None = None,
    keyframe_every: int = 12,
) -> Path:
    """Encode numbered pictures.

    times: of the frames, in ticks of `time_base`; one frame after the other if None. matrix: of the display.
    """
    with (
        _same_priority(),
        av.open(path, "w", format=container_format, options=dict(container_options or {})) as container,
    ):
        stream = container.add_stream(codec, rate=Fraction(fps), options=dict(options or {}))
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        stream.gop_size = keyframe_every
        context = stream.codec_context
        context.time_base = time_base or 1 / Fraction(fps)
        if max_b_frames is not None:
            context.max_b_frames = max_b_frames
        if sample_aspect is not None:
            context.sample_aspect_ratio = sample_aspect
        if rotation_ccw:
            stream.set_display_rotation(rotation_ccw)
        if matrix:
            stream.set_display_matrix(list(matrix))
        for number, tick in enumerate(range(num_frames) if times is None else times):
            frame = av.VideoFrame.from_ndarray(numbered_picture(number, *size), format="rgb24")
            frame.pts, frame.time_base = tick, context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def make_audio(path: Path) -> Path:
    """A tenth of a second of silence."""
    with av.open(path, "w") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        for number in range(4):
            frame.pts = number * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def make_animation(path: Path, durations_ms: Sequence[int], size: tuple[int, int] = (96, 64)) -> Path:
    """An animated GIF, WebP or PNG, by its extension, with a numbered picture for each duration."""
    first, *others = (Image.fromarray(numbered_picture(number, *size)) for number in range(len(durations_ms)))
    lossless = {"lossless": True} if path.suffix == ".webp" else {}
    first.save(path, save_all=True, append_images=others, duration=list(durations_ms), loop=0, **lossless)
    return path


def make_picture(path: Path, size: tuple[int, int] = (96, 64), orientation: int = 0) -> Path:
    """A numbered picture in the format of its extension, with that EXIF orientation if not 0."""
    image = Image.fromarray(numbered_picture(5, *size))
    exif = image.getexif()
    if orientation:
        exif[0x0112] = orientation
    image.save(path, exif=exif)
    return path
