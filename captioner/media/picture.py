"""Stills and frames of animated pictures, read with Pillow: upright RGB at a given size."""

import contextlib
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from captioner.errors import MediaError
from captioner.media.animation import DAMAGE, seek_frame

# More than the 100-megapixel cameras need. A larger size comes from a damaged header or fills the memory of a small
# machine: Pillow takes 600 MB for a picture of this size, and twice that to convert it. Pillow itself refuses twice its
# own limit, also where a picture turns out larger than its header says.
MAX_PIXELS = 150_000_000
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2
OVER_LIMIT = "over the limit of {} megapixels; make it smaller first"

# The formats of the supported extensions; a file with any of those extensions may have any of them. Pillow's other
# formats run programs such as Ghostscript, or are rarely tested with damaged files.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")

# By EXIF orientation: what sets the picture upright.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow warns of large pictures and odd EXIF data, which are handled here. The filter is set for the whole process
# because warnings.catch_warnings() is not thread-safe.
warnings.filterwarnings("ignore", module=r"PIL\.")


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Raise MediaError if a picture or video of this size has more pixels than allowed."""
    if width * height > max_pixels:
        raise MediaError(f"its size of {width}x{height} is {OVER_LIMIT.format(max_pixels // 1_000_000)}")


@contextlib.contextmanager
def open_picture(path: Path) -> Iterator[ImageFile.ImageFile]:
    """Open a picture file without decoding it. Raises MediaError, also for damage found later inside the `with`."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            if not image.width * image.height:
                raise MediaError("the picture has no pixels")
            check_pixels(image.width, image.height, MAX_PIXELS)
            yield image
    except Image.DecompressionBombError:
        raise MediaError(f"its size is {OVER_LIMIT.format(MAX_PIXELS // 1_000_000)}") from None
    except UnidentifiedImageError:
        raise MediaError("not a readable picture (damaged, cut off, or another kind of file)") from None
    except MemoryError:
        raise MediaError("needs more memory than is available; make it smaller first") from None
    except DAMAGE as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)  # without the path
        reason = (text.splitlines() or ["no reason given"])[0][:200]
        raise MediaError(f"damaged or cut off ({reason})") from None


def display_size(image: Image.Image) -> tuple[int, int]:
    """Return (width, height) in pixels as displayed."""
    return (image.height, image.width) if _orientation(image) >= 5 else image.size


def read_rgb(image: Image.Image, number: int, width: int, height: int) -> np.ndarray:
    """Return frame `number` as uint8 RGB (height, width, 3), upright, over white where it is transparent."""
    orientation = _orientation(image)
    stored = (height, width) if orientation >= 5 else (width, height)
    seek_frame(image, number)
    image.draft("RGB", (stored[0] * 2, stored[1] * 2))  # decodes a JPEG at a fraction of its size
    small = _plain(image).resize(stored, Image.Resampling.BICUBIC, reducing_gap=2.0)
    if small.mode == "RGBA":
        small = Image.alpha_composite(Image.new("RGBA", small.size, "white"), small)
    small = small.convert("RGB")
    return np.asarray(small.transpose(TURNS[orientation]) if orientation in TURNS else small)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 if it is missing or invalid. Pillow itself applies that of TIFF."""
    if image.format == "TIFF":
        return 1
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except (SyntaxError, ValueError, TypeError, struct.error):  # damaged EXIF data does not affect the pixels
        return 1
    return orientation if orientation in TURNS else 1


def _plain(image: Image.Image) -> Image.Image:
    """Return the image as L, RGB or RGBA. convert() alone would clip 16 bits, and show colors under transparency."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):  # no fixed range: stretch the values, in place to save memory
        values = np.array(image, dtype=np.float32)
        np.nan_to_num(values, copy=False)
        np.clip(values, -1e30, 1e30, out=values)
        low, high = float(values.min()), float(values.max())
        values -= low
        values *= 255 / max(high - low, 1e-9)
        return Image.fromarray(values.astype(np.uint8))
    if image.mode == "RGBA":
        return image
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image if image.mode in ("L", "RGB") else image.convert("RGB")
