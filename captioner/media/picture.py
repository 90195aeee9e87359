"""Stills and frames of animated pictures, read with Pillow: upright RGB at a given size."""

import contextlib
import os
import struct
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from captioner.errors import MediaError
from captioner.media import content
from captioner.media.animation import DAMAGE, seek_frame
from captioner.media.content import content_type
from captioner.media.deep import MAX_OUTLIERS, MAX_PIXELS, read_deep, read_unidentified, shift_to_eight_bits, stretch
from captioner.media.kinds import JXL_DECODER, KINDS
from captioner.media.limits import OVER_LIMIT, check_pixels
from captioner.media.profile import to_srgb

# Pillow itself refuses twice its own limit, also where a picture turns out larger than its header says.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2

# The formats of the supported extensions; a file with any of those extensions may have any of them. Pillow's other
# formats run programs such as Ghostscript, or are rarely tested with damaged files.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")

SIXTEEN_BITS = "sixteen_bits"  # in the info of a picture whose file has 16 bits per color

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


@contextlib.contextmanager
def open_picture(path: Path, extension: str = "") -> Iterator[Image.Image]:
    """Open a picture file without decoding it. Raises MediaError, also for damage found later inside the `with`.

    extension: that of the file if `path` has another name, see `pinned`.
    """
    try:
        with _identify(path, extension or path.suffix) as image:
            if not image.width * image.height:
                raise MediaError("the picture has no pixels")
            check_pixels(image.width, image.height, MAX_PIXELS)
            yield image
    except Image.DecompressionBombError:
        raise MediaError(f"its size is {OVER_LIMIT.format(MAX_PIXELS // 1_000_000)}") from None
    except MemoryError:
        raise MediaError("needs more memory than is available; make it smaller first") from None
    except DAMAGE as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)  # without the path
        reason = (text.splitlines() or ["no reason given"])[0][:200]
        raise MediaError(f"damaged or cut off ({reason})") from None


def _identify(path: Path, extension: str) -> Image.Image:
    try:
        image = Image.open(path, formats=[*FORMATS, *_more_formats(path, extension)])
    except UnidentifiedImageError:
        return read_unidentified(path)
    if any(";16" in str(tile.args) for tile in image.tile):
        image.info[SIXTEEN_BITS] = True
    return image


def _more_formats(path: Path, extension: str) -> list[str]:
    """Return formats that are read only where they are needed: two take a library, and TGA has no mark of its own."""
    match content_type(path):
        case content.HEIF:
            import_module("pi_heif").register_heif_opener(thumbnails=False, decode_threads=1)
            return ["HEIF"]
        case content.JXL if "jxl" in KINDS:
            import_module(JXL_DECODER)
            return ["JXL"]
    return ["TGA"] if extension.lower() == ".tga" else []


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
    if isinstance(image, ImageFile.ImageFile):  # not read by FFmpeg, without a profile
        small = to_srgb(image, small)
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
    """Return the image as L, RGB, RGBA, CMYK or LAB. convert() alone would clip 16 bits and lose transparency."""
    if image.mode.startswith("I;16"):
        return Image.fromarray(shift_to_eight_bits(np.asarray(image), _stated_bits(image)))
    if image.mode in ("I", "F"):
        return Image.fromarray(stretch(np.asarray(image)))
    if isinstance(image, ImageFile.ImageFile) and SIXTEEN_BITS in image.info:
        image = _brighten(image)
    if image.mode == "RGBA":
        return image
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image if image.mode in ("L", "RGB", "CMYK", "LAB") else image.convert("RGB")


def _stated_bits(image: Image.Image) -> int | None:
    """Return the bits per color that a TIFF states, if they are fewer than 16."""
    bits = image.tag_v2.get(258, (16,))[0] if isinstance(image, TiffImagePlugin.TiffImageFile) else 16
    return bits if bits < 16 else None


def _brighten(image: ImageFile.ImageFile) -> Image.Image:
    """Return a color picture of 16 bits, of which Pillow keeps 8; read it again if none of its pixels uses those."""
    image.load()
    counts = image.convert("RGB").histogram()
    num_bright = sum(sum(counts[start + 16 : start + 256]) for start in (0, 256, 512))
    if num_bright > MAX_OUTLIERS * image.width * image.height or image.tell():
        return image
    with contextlib.suppress(MediaError):
        deep = read_deep(Path(os.fsdecode(image.filename)).read_bytes())
        deep.info = image.info
        return deep if deep.size == image.size else image
    return image
