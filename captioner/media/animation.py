"""Animated pictures: the times of their frames, and going from one frame to the next as browsers do."""

import os
import struct
import zlib
from dataclasses import dataclass
from typing import IO

from PIL import GifImagePlugin, Image, ImageFile, TiffImagePlugin

from captioner.errors import MediaError

# Formats whose frames form an animation; those of TIFF and MPO are pages and views.
ANIMATED_FORMATS = ("GIF", "WEBP", "PNG", "AVIF")

# Browsers show a frame for the default time if it states none, or less than the minimum.
DEFAULT_FRAME_MS, MIN_FRAME_MS = 100, 11

# 2,000 frames of 1080p, which take half a minute. More is a small file that claims to be huge, or should be a video.
MAX_ANIMATION_PIXELS, MAX_ANIMATION_FRAMES = 4_000_000_000, 20_000

MAX_PAGES = 1000  # to count
NEW_SUBFILE_TYPE = 254  # tag of TIFF; bit 0 marks a smaller version of another page

# What Pillow raises for damaged files.
DAMAGE = (
    OSError, ValueError, SyntaxError, EOFError, LookupError, ArithmeticError, RuntimeError, TypeError, AttributeError,
    AssertionError, struct.error, zlib.error,
)  # fmt: skip

# Frames of a GIF are drawn on one picture; in a palette's colors it could not be white where nothing was drawn yet.
GifImagePlugin.LOADING_STRATEGY = GifImagePlugin.LoadingStrategy.RGB_ALWAYS


@dataclass(frozen=True)
class Timeline:
    """The times at which the frames of a picture are shown; a still has one frame."""

    starts_ms: list[int]  # ascending, the first is 0
    duration_ms: int  # of the whole animation; 0 for a still
    first: int  # index of the first frame: 1 where a placeholder for old programs precedes the animation, else 0
    warning: str = ""

    @property
    def fps(self) -> float:
        """The mean frame rate from the first to the last frame; 0 for a still."""
        return 1000 * (len(self.starts_ms) - 1) / self.starts_ms[-1] if self.starts_ms[-1] else 0.0


def read_timeline(image: Image.Image) -> Timeline:
    """Return when the frames are shown; decode an animation once for it. Raises MediaError for too many."""
    if not isinstance(image, ImageFile.ImageFile) or image.format not in ANIMATED_FORMATS:
        return Timeline([0], 0, 0, _pages_left_out(image))
    most = min(MAX_ANIMATION_FRAMES, MAX_ANIMATION_PIXELS // (image.width * image.height))
    num_frames: int = getattr(image, "n_frames", 1) if image.format != "GIF" else _count_gif_frames(image.fp, most)
    if num_frames > max(1, most):
        count = f"more than {most:,}" if image.format == "GIF" else f"{num_frames:,}"
        raise MediaError(f"{count} frames of {image.width}x{image.height} are too many; convert it to a video")
    first = 1 if num_frames > 2 and image.info.get("default_image") else 0
    return _read_times(image, first, num_frames) if num_frames - first > 1 else Timeline([0], 0, 0)


def _pages_left_out(image: Image.Image) -> str:
    """Return a note if a TIFF has more pages than its first, "" if it has none but small versions of that one."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return ""
    num_pages = 1
    for number in range(1, min(image.n_frames, MAX_PAGES)):
        image.seek(number)
        num_pages += not image.tag_v2.get(NEW_SUBFILE_TYPE, 0) & 1
    image.seek(0)
    return f"has {num_pages} pages; only the first is read" if num_pages > 1 else ""


def _count_gif_frames(file: IO[bytes] | None, most: int) -> int:
    """Return the number of frames up to the first damage, at most `most` + 1; Pillow's n_frames has no limit."""
    assert file, "Pillow closes a GIF only with the image"
    before = file.tell()
    file.seek(10)
    _skip_palette(file, file.read(3)[0])
    num_frames = 0
    while num_frames <= most and (mark := file.read(1)) not in (b"", b";"):
        if mark == b",":
            num_frames += 1
            _skip_palette(file, (file.read(9) or b"\0")[-1])
        elif mark != b"!":
            continue  # every reader skips bytes between blocks
        file.read(1)  # the label of an extension, or the code size of a frame
        while (size := file.read(1)) not in (b"", b"\0"):
            file.seek(size[0], os.SEEK_CUR)
    file.seek(before)
    return num_frames


def _skip_palette(file: IO[bytes], flags: int) -> None:
    if flags & 0x80:
        file.seek(3 << (flags & 7) + 1, os.SEEK_CUR)


def _read_times(image: Image.Image, first: int, num_frames: int) -> Timeline:
    starts_ms: list[int] = []
    end_ms = 0
    for number in range(first, num_frames):
        try:
            image.seek(number)
            image.load()
        except DAMAGE:
            if not starts_ms:
                raise
            frames = "its first frame" if len(starts_ms) == 1 else f"{len(starts_ms)} frames"
            return Timeline(starts_ms, end_ms, first, f"damaged or cut off after {frames}")
        starts_ms.append(end_ms)
        duration_ms = round(image.info.get("duration") or 0)
        end_ms += duration_ms if duration_ms >= MIN_FRAME_MS else DEFAULT_FRAME_MS
    return Timeline(starts_ms, end_ms, first)


def seek_frame(image: Image.Image, number: int) -> None:
    """Go to a frame. What a GIF leaves empty is white as in browsers; Pillow would show its background color."""
    if not isinstance(image, GifImagePlugin.GifImageFile):
        if image.format in ANIMATED_FORMATS and image.tell() != number:  # HEIC opens at its main picture
            image.seek(number)
        return
    if number <= image.tell():
        image.seek(0)
        _clear_gif(image)
    while image.tell() < number:
        image.disposal_method = 0  # Pillow would keep that of the frame before
        image.seek(image.tell() + 1)
        _clear_gif(image)


def _clear_gif(image: GifImagePlugin.GifImageFile) -> None:
    """Empty what is around the first frame, and what the frame just reached leaves empty for the next one."""
    image.load()
    if image.dispose_extent is None:
        return
    left, top, right, bottom = image.dispose_extent
    is_first = image.tell() == 0
    if is_first and (right - left, bottom - top) != image.size:
        drawn = image.crop(image.dispose_extent)
        image.paste("white", (0, 0, *image.size))
        image.paste(drawn, image.dispose_extent)
    if image.disposal_method == 2 or (image.disposal_method == 3 and is_first):  # to empty, or as before it
        image.dispose = Image.new(image.mode, (right - left, bottom - top), "white").im
