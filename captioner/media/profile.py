"""The colors of picture files, converted to sRGB: ICC profiles, and the color tags of AVIF and PNG."""

import functools
import io
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageCms, ImageFile

from captioner.media.color import (
    BT709,
    LEVELS,
    PRIMARIES,
    SRGB_CURVES,
    Chromaticities,
    Conversion,
    conversion,
    tagged_conversion,
)
from captioner.media.deep import read_hdr

WHITE = 255 * LEVELS // 256  # of 8 bits, in the levels of a Conversion
MAX_HEADER_BYTES = 1_000_000  # of the boxes or chunks that describe a picture
IGNORED = "its color profile is damaged or does not fit, and was ignored"

# The mode of Pillow for the color space of a profile. Gray pixels may have a profile of RGB.
PROFILE_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}
DEVICE_CLASSES = ("mntr", "scnr", "prtr", "spac")  # not links and effects
LAB = ImageCms.createProfile("LAB")
SRGB = ImageCms.createProfile("sRGB")


def to_srgb(image: ImageFile.ImageFile, small: Image.Image) -> Image.Image:
    """Return `small`, a scaled copy of the image in the mode L, RGB, RGBA, CMYK or LAB, as L, RGB or RGBA in sRGB."""
    if small.mode == "RGBA":
        shown = to_srgb(image, small.convert("L" if image.mode == "LA" else "RGB")).convert("RGB")
        shown.putalpha(small.getchannel("A"))
        return shown
    tagged = _tagged_conversion(image)
    if tagged and small.mode != "CMYK":
        deep = read_hdr(image, *small.size) if tagged.is_hdr and image.tell() == 0 else None
        if deep is not None:
            return Image.fromarray(deep)
        return Image.fromarray(tagged(np.asarray(small.convert("RGB")).astype(np.uint16) << 4))
    profile = image.info.get("icc_profile", b"")
    if profile or small.mode == "LAB":
        mode, transform = _icc_transform(profile, small.mode)
        if transform:
            source = small if small.mode == mode else small.convert(mode)
            return ImageCms.applyTransform(source, transform) or source
    return small if small.mode in ("L", "RGB") else small.convert("RGB")


def profile_warning(image: Image.Image) -> str:
    """Return one line if the image has an ICC profile that cannot be used, else ""."""
    profile, mode = image.info.get("icc_profile"), image.mode
    base = mode if mode in ("CMYK", "LAB") else "L" if mode.startswith(("L", "I", "F")) and mode != "LAB" else "RGB"
    return IGNORED if profile and not _icc_transform(profile, base)[0] else ""


@functools.lru_cache(maxsize=32)
def _icc_transform(profile: bytes, mode: str) -> tuple[str, ImageCms.ImageCmsTransform | None]:
    """Return (mode to apply it to, transform to sRGB); ("", None) if there is none, (mode, None) if it changes nothing.

    Without a profile, LAB means the color space itself. The intent is relative colorimetric.
    """
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile)) if profile else ImageCms.ImageCmsProfile(LAB)
        wanted = PROFILE_MODES.get(opened.profile.xcolor_space.strip(), "")
        fits = wanted == mode or (wanted, mode) == ("RGB", "L")
        if not fits or (profile and opened.profile.device_class not in DEVICE_CLASSES):
            return _icc_transform(b"", mode) if mode == "LAB" and profile else ("", None)
        transform = ImageCms.buildTransform(opened, SRGB, wanted, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC)
        return wanted, None if _is_identity(transform, wanted) else transform
    except (OSError, ValueError, TypeError, ImageCms.PyCMSError):
        return _icc_transform(b"", mode) if mode == "LAB" and profile else ("", None)


def _is_identity(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Return True if the transform changes no color by more than a level, as that of a profile of sRGB."""
    if mode not in ("L", "RGB"):
        return False
    steps = np.linspace(0, 255, 9).astype(np.uint8)
    colors = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    source = Image.fromarray(colors if mode == "RGB" else np.arange(256, dtype=np.uint8)[None])
    shown = np.asarray(ImageCms.applyTransform(source, transform), dtype=int)
    return bool(np.abs(shown - np.asarray(source.convert("RGB"))).max() <= 1)


def _tagged_conversion(image: ImageFile.ImageFile) -> Conversion | None:
    """Return the conversion by the tags of a HEIF, AVIF or PNG file; None if none is needed, or there is a profile."""
    info, is_png = image.info, image.format == "PNG"  # in which cICP goes before a profile
    if not (is_png or (image.format in ("AVIF", "HEIF") and "icc_profile" not in info)) or not image.filename:
        return None
    try:
        with Path(os.fsdecode(image.filename)).open("rb") as file:
            tags = _read_cicp(file) if is_png else _read_nclx(file)
    except (OSError, ValueError, struct.error, LookupError, StopIteration):
        tags = None
    if tags:
        return tagged_conversion(*tags, WHITE, is_still=True)
    if not is_png or "icc_profile" in info or "srgb" in info:
        return None
    return _png_conversion(info.get("gamma", 0), tuple(info.get("chromaticity", ())))


@functools.lru_cache(maxsize=32)
def _png_conversion(gamma: float, chromaticity: tuple[float, ...]) -> Conversion | None:
    """Return the conversion by the chunks gAMA and cHRM, as browsers apply it; None if they are those of sRGB."""
    gamut: Chromaticities = PRIMARIES[BT709]
    if len(chromaticity) == 8:
        white, *colors = zip(chromaticity[::2], chromaticity[1::2], strict=True)
        gamut = gamut if np.allclose((*colors, white), gamut, atol=0.01) else (*colors, white)
    is_srgb_curve = not 0.1 < gamma < 10 or abs(gamma * 2.2 - 1) < 0.05  # libpng's threshold of what can be seen
    if is_srgb_curve and gamut == PRIMARIES[BT709]:
        return None
    to_linear = SRGB_CURVES[0] if is_srgb_curve else lambda value: value ** (1 / gamma)
    try:
        return conversion(gamut, to_linear, SRGB_CURVES[1], WHITE)
    except (ZeroDivisionError, np.linalg.LinAlgError):  # absurd chromaticities
        return None


def _read_cicp(file: IO[bytes]) -> tuple[int, int] | None:
    """Return (primaries, transfer) of the chunk cICP of a PNG (PNG specification, third edition, 11.3.2.6)."""
    file.seek(8)
    while file.tell() < MAX_HEADER_BYTES:
        size, name = struct.unpack(">I4s", file.read(8))
        if name == b"cICP":
            primaries, transfer = file.read(2)
            return primaries, transfer
        if name == b"IDAT":
            return None
        file.seek(size + 4, os.SEEK_CUR)
    return None


def _read_nclx(file: IO[bytes]) -> tuple[int, int] | None:
    """Return (primaries, transfer) of the main picture of a HEIF or AVIF file (ISO/IEC 23008-12, 6.5.5)."""
    header = file.read(MAX_HEADER_BYTES)
    meta = dict(_boxes(next(content for name, content in _boxes(header) if name == b"meta")[4:]))
    main, properties = meta[b"pitm"], dict(_boxes(meta[b"iprp"]))
    boxes = list(_boxes(properties[b"ipco"]))
    for index in _properties_of(int.from_bytes(main[4:]), properties[b"ipma"]):
        name, content = boxes[index - 1]
        if name == b"colr" and content[:4] == b"nclx":
            primaries, transfer = struct.unpack(">HH", content[4:8])
            return primaries, transfer
    return None


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (name, content) of the boxes."""
    while len(data) >= 8:
        size, name = struct.unpack(">I4s", data[:8])
        start = 8
        if size == 1:
            size, start = int.from_bytes(data[8:16]), 16
        if 0 < size < start:
            raise ValueError("not a box")
        yield name, data[start : size or len(data)]
        data = data[size:] if size else b""


def _properties_of(item: int, associations: bytes) -> list[int]:
    """Return the numbers of an item's properties, from 1, out of the box ipma."""
    id_bytes, index_bytes = (4 if associations[0] else 2), (2 if associations[3] & 1 else 1)
    place = 8
    for _ in range(int.from_bytes(associations[4:8])):
        found = int.from_bytes(associations[place : place + id_bytes])
        place += id_bytes + 1
        end = place + associations[place - 1] * index_bytes
        if found == item:
            mask = (1 << 8 * index_bytes - 1) - 1
            return [int.from_bytes(associations[at : at + index_bytes]) & mask for at in range(place, end, index_bytes)]
        place = end
    return []
