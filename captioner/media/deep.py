"""Pictures with more than 8 bits per color: which of their levels are white, and reading those that Pillow cannot."""

import contextlib
import os
import struct
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.codec.context import CodecContext
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from PIL import Image, ImageFile

from captioner.errors import MediaError
from captioner.media.color_tags import ColorScaler, ColorTags, stated_tags
from captioner.media.container import open_container

NOT_A_PICTURE = "not a readable picture (damaged, cut off, or another kind of file)"
UNREAD_FLOAT = "a TIFF of floating point numbers of a kind that cannot be read; save it with 8 or 16 bits"
SAMPLE_FORMAT, FLOAT = 339, 3  # a tag of TIFF, and its value for floating point numbers
DECODERS = {b"II*\0": "tiff", b"MM\0*": "tiff", b"\x89PNG": "png"}  # of FFmpeg, by the first bytes of a file
DEEP_FORMATS = ("gray16", "grayf32", "rgb48", "rgba64", "rgbf32", "rgbaf32")  # of FFmpeg: those with packed colors

# More than the 100-megapixel cameras need. A larger size comes from a damaged header or fills the memory of a small
# machine: Pillow takes 600 MB for a picture of this size, and twice that to convert it.
MAX_PIXELS = 150_000_000
MAX_BYTES = 12 * MAX_PIXELS

# More pixels than these few outliers decide what is white: a sensor has hot and dead pixels.
MAX_OUTLIERS, SAMPLES = 0.002, 1_000_000
DARK_DEPTHS = (8, 10, 12)  # bits that devices put into 16; with all 16, such a picture would be black


def read_unidentified(path: Path) -> Image.Image:
    """Read a picture that Pillow does not know as one. Raises MediaError, whose words say what the file is."""
    with path.open("rb") as file:
        data = file.read(MAX_BYTES)
    if data[:2] == b"\xff\xd8" and (bits := _jpeg_bits(data)) not in (0, 8):
        raise MediaError(f"a JPEG with {bits} bits per color, which cannot be read; save it with 8 bits")
    if DECODERS.get(data[:4]) != "tiff":
        raise MediaError(NOT_A_PICTURE)
    is_float = _sample_format(data) == FLOAT
    with contextlib.suppress(MediaError):
        return read_deep(data, is_float)
    raise MediaError(UNREAD_FLOAT if is_float else NOT_A_PICTURE)


def read_deep(data: bytes, is_float: bool = False) -> Image.Image:
    """Read the data of a TIFF or PNG file with FFmpeg, as 8-bit L, RGB or RGBA. Raises MediaError."""
    try:
        frame = _decode(data)
        is_deep = frame.format.name.startswith(DEEP_FORMATS)
        values = frame.to_ndarray() if is_deep else frame.to_ndarray(format="rgba")
    except (av.error.FFmpegError, ValueError, LookupError):
        raise MediaError(NOT_A_PICTURE) from None
    if is_float != (values.dtype.kind == "f"):  # FFmpeg takes numbers of 16 bits for integers
        raise MediaError(NOT_A_PICTURE)
    if is_float:
        is_fraction = bool(values.min() >= 0 and values.max() <= 1)
        return Image.fromarray(stretch(values, (0.0, 1.0) if is_fraction else None))
    return Image.fromarray(shift_to_eight_bits(values) if is_deep else values)


def read_hdr(image: ImageFile.ImageFile, width: int, height: int) -> np.ndarray | None:
    """Return an HDR still in sRGB, uint8 (height, width, 3), not turned; None if FFmpeg cannot read it.

    Pillow gives 8 of its bits, which PQ spreads over too many nits.
    """
    path = Path(os.fsdecode(image.filename))
    try:
        if image.format == "PNG":
            frame, stated = _decode(path.read_bytes()), ColorTags()
        else:
            container, stream = open_container(path)
            with container:
                frame, stated = next(container.decode(stream)), stated_tags(stream)
        if (frame.width, frame.height) == image.size:  # a grid is one frame for each tile
            return ColorScaler(width, height, Interpolation.BICUBIC, stated, is_still=True)(frame)
    except (MediaError, av.error.FFmpegError, ValueError, LookupError, StopIteration):
        pass
    return None


def _decode(data: bytes) -> VideoFrame:
    """Decode the data of a TIFF or PNG file. Raises FFmpegError or LookupError."""
    context = cast(VideoCodecContext, CodecContext.create(DECODERS[data[:4]], "r"))
    context.options = {"max_pixels": str(MAX_PIXELS)}
    context.thread_count = 1
    return (context.decode(Packet(data)) + context.decode(None))[0]


def stretch(values: np.ndarray, limits: tuple[float, float] | None = None) -> np.ndarray:
    """Return uint8 levels of values without a fixed range, the `limits` or their own: a few outliers do not count."""
    values = np.array(values, dtype=np.float32)
    np.nan_to_num(values, copy=False)
    np.clip(values, -1e30, 1e30, out=values)
    low, high = limits or _range(values)
    np.clip(values, low, high, out=values)
    values -= low
    values *= 255 / max(high - low, 1e-9)
    return values.astype(np.uint8)


def _range(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    inner_low, inner_high = (float(value) for value in _without_outliers(values))
    has_outliers = inner_high > inner_low and high - low > 2 * (inner_high - inner_low)
    return (inner_low, inner_high) if has_outliers else (low, high)


def _without_outliers(values: np.ndarray) -> tuple[np.number, np.number]:
    """Return the lowest and the highest value without outliers, from up to SAMPLES of the values."""
    some = np.sort(values.ravel()[:: values.size // SAMPLES + 1])
    few = min(max(2, int(some.size * MAX_OUTLIERS)), (some.size - 1) // 4)
    return some[few], some[-1 - few]


def shift_to_eight_bits(values: np.ndarray, bits: int | None = None) -> np.ndarray:
    """Return uint8 levels of uint16 values with that many bits: 16, or as few as they have if all are very dark."""
    if bits is None:
        brightest = int(_without_outliers(values)[1])
        bits = next((depth for depth in DARK_DEPTHS if brightest < 1 << depth), 16)
    return np.minimum(values >> (bits - 8), 255).astype(np.uint8)


def _jpeg_bits(data: bytes) -> int:
    """Return the bits per color that the frame header of a JPEG states; 0 if there is none (ISO/IEC 10918-1, B.2.2)."""
    start = 2
    while start + 5 <= len(data) and data[start] == 0xFF:
        marker, size = data[start + 1], int.from_bytes(data[start + 2 : start + 4])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return data[start + 4]
        start += 2 + size
    return 0


def _sample_format(data: bytes) -> int:
    """Return the SampleFormat of a TIFF's first page; 0 if it is not stated, or damaged."""
    order = "<" if data[:2] == b"II" else ">"
    try:
        (start,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, start)
        for place in range(start + 2, start + 2 + 12 * count, 12):
            tag, _, length, value = struct.unpack_from(order + "HHIH", data, place)
            if tag == SAMPLE_FORMAT and length > 2:  # the values are elsewhere
                (value,) = struct.unpack_from(order + "H", data, struct.unpack_from(order + "I", data, place + 8)[0])
            if tag == SAMPLE_FORMAT:
                return value
    except struct.error:
        pass
    return 0
