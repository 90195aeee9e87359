"""Whole media of every supported type, and rules by which to damage them."""

import contextlib
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from captioner.media.kinds import KINDS
from tests.conftest import SHARED_CASES, SHARED_MEDIA
from tests.support.media_maker import make_animation, make_video, numbered_picture

MAX_SEED_BYTES = 400_000
NUMBERS = (0, 1, 65_537, 200_000, 1_000_000, 20_000_000)  # to claim, beside the largest and smallest there are

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

VIDEOS = {
    "h264.mp4": {}, "b.mp4": {"max_b_frames": 3}, "turned.m4v": {"rotation_ccw": 90},
    "fragments.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=0"}},
    "av1.mp4": {"codec": "libsvtav1", "options": {"preset": "12"}},
    "jpeg.mov": {"codec": "mjpeg", "pixels": "yuvj444p"}, "rle.mov": {"codec": "qtrle", "pixels": "argb"},
    "prores.mov": {"codec": "prores_ks", "pixels": "yuv422p10le"},
    "h264.mkv": {}, "mpeg4.mkv": {"codec": "mpeg4"}, "ffv1.mkv": {"codec": "ffv1"},
    "vp8.webm": {"codec": "libvpx"}, "vp9.webm": {"codec": "libvpx-vp9", "options": {"cpu-used": "8"}},
    "live.webm": {"codec": "libvpx", "container_options": {"live": "1"}},
    "mpeg4.avi": {"codec": "mpeg4", "max_b_frames": 2}, "jpeg.avi": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "flv1.flv": {"codec": "flv1"}, "h264.flv": {}, "wmv2.wmv": {"codec": "wmv2"},
    "mpeg2.mpg": {"codec": "mpeg2video"}, "mpeg1.mpeg": {"codec": "mpeg1video", "container_format": "mpeg1video"},
    "h264.ts": {}, "mpeg2.ts": {"codec": "mpeg2video"}, "h264.MTS": {"container_format": "mpegts"},
    "h264.3gp": {}, "mpeg2.vob": {"codec": "mpeg2video"},
    "mpeg2.mxf": {"codec": "mpeg2video"}, "raw.y4m": {"codec": "wrapped_avframe"},
    "vp8.ogv": {"codec": "libvpx"}, "pq.mkv": {"codec": "ffv1", "pixels": "yuv420p10le"},
    "alpha.mov": {"codec": "prores_ks", "pixels": "yuva444p10le"}, "misnamed.gif": {"container_format": "mp4"},
    "misnamed.mp4": {"container_format": "matroska"},
}  # fmt: skip
PICTURES = {
    "plain.jpg": ("RGB", {}), "progressive.jpeg": ("RGB", {"progressive": True}), "cmyk.jpg": ("CMYK", {}),
    "grey.jpg": ("L", {}), "rgb.png": ("RGB", {}), "palette.png": ("P", {}), "one.png": ("1", {}),
    "alpha.png": ("RGBA", {}), "plain.bmp": ("RGB", {}), "palette.bmp": ("P", {}), "still.gif": ("P", {}),
    "lossy.webp": ("RGB", {}), "lossless.webp": ("RGBA", {"lossless": True}), "plain.avif": ("RGB", {}),
    "raw.tif": ("RGB", {}), "lzw.tiff": ("RGB", {"compression": "tiff_lzw"}), "float.tif": ("F", {}),
    "deflate.tif": ("RGBA", {"compression": "tiff_adobe_deflate"}), "jpeg.tif": ("RGB", {"compression": "jpeg"}),
    "profile.jpg": ("RGB", {"icc_profile": SRGB}), "profile.png": ("RGBA", {"icc_profile": SRGB}),
    "gamma.jp2": ("RGB", {}), "plain.jfif": ("RGB", {"format": "JPEG"}), "misnamed.mov": ("RGB", {"format": "PNG"}),
    "plain.tga": ("RGB", {}), "plain.ppm": ("RGB", {}),
    "fax.tif": ("1", {"compression": "group4"}), "packbits.tif": ("CMYK", {"compression": "packbits"}),
}  # fmt: skip
ANIMATIONS = ("a.gif", "a.webp", "a.png", "a.avif")


# Whole files


def make_seeds(folder: Path) -> list[Path]:
    """One small file for each codec and kind of picture; what this PyAV or Pillow cannot encode is left out."""
    makers: list[tuple[str, Callable[[Path], object]]] = [
        *((name, lambda path, options=options: make_video(path, 24, **options)) for name, options in VIDEOS.items()),
        *((name, lambda path, given=given: _save_picture(path, *given)) for name, given in PICTURES.items()),
        *((name, lambda path: make_animation(path, [40, 50, 100, 200, 40])) for name in ANIMATIONS),
    ]
    made = []
    for name, make in makers:
        with contextlib.suppress(OSError, ValueError, KeyError):
            make(folder / name)
            made.append(folder / name)
    with contextlib.suppress(OSError):
        (folder / "joined.ts").write_bytes((folder / "h264.ts").read_bytes() * 2)
        made.append(folder / "joined.ts")
    folders = (SHARED_MEDIA, SHARED_CASES)
    shared = [path for folder in folders for path in folder.glob("*.*") if path.suffix[1:].lower() in {*KINDS, "jxl"}]
    return made + sorted(path for path in shared if 0 < path.stat().st_size <= MAX_SEED_BYTES)


def _save_picture(path: Path, mode: str, options: dict) -> None:
    image = Image.fromarray(numbered_picture(3))
    exif = image.getexif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    if path.suffix in (".jpg", ".png", ".webp"):
        options = {**options, "exif": exif}
    if mode == "F":
        image = Image.fromarray(np.asarray(image.convert("L"), dtype=np.float32))
    image.convert(mode).save(path, **options)


# Damage


def damage(data: bytes, other: bytes, lots: random.Random) -> bytes:
    """Once to three times; `other` is another whole file to take parts from."""
    for _ in range(lots.choice((1, 1, 2, 3))):
        data = lots.choice(RULES)(bytearray(data), other, lots)
    return bytes(data)


def _near_start(size: int, lots: random.Random) -> int:
    """A place, half of the time among the first 512 bytes, where the headers are."""
    return lots.randrange(min(size, 512) if lots.random() < 0.5 else size) if size else 0


def flip_bits(data: bytearray, other: bytes, lots: random.Random) -> bytearray:
    for _ in range(lots.choice((1, 3, 10, 100)) if data else 0):
        data[_near_start(len(data), lots)] ^= 1 << lots.randrange(8)
    return data


def cut_off(data: bytearray, other: bytes, lots: random.Random) -> bytearray:
    return data[: _near_start(len(data), lots)]


def grow_a_tail(data: bytearray, other: bytes, lots: random.Random) -> bytearray:
    kept = data[lots.randrange(2) * len(data) // 2 :] if lots.random() < 0.2 else data[: _near_start(len(data), lots)]
    return kept + lots.choice((lots.randbytes(lots.randrange(20_000)), other, bytes(5000)))


def overwrite(data: bytearray, other: bytes, lots: random.Random) -> bytearray:
    at, size = _near_start(len(data), lots), lots.choice((1, 4, 16, 200, 3000))
    data[at : at + size] = lots.choice((lots.randbytes(size), bytes(size), b"\xff" * size))
    return data


def splice_header(data: bytearray, other: bytes, lots: random.Random) -> bytearray:
    size = lots.choice((12, 32, 100, 1000))
    return bytearray(other[:size]) + data[size if lots.random() < 0.5 else 0 :]


def claim_huge_size(data: bytearray, other: bytes, lots: random.Random) -> bytearray:
    for _ in range(lots.choice((1, 1, 4))):
        size = lots.choice((1, 2, 4, 4, 8))
        most = 256**size
        number = lots.choice((*NUMBERS, most - 1, most // 2, most // 2 - 1)) % most
        at = _near_start(len(data), lots)
        data[at : at + size] = number.to_bytes(size, lots.choice(("big", "little")))
    return data


def repeat_or_drop(data: bytearray, other: bytes, lots: random.Random) -> bytearray:
    start = _near_start(len(data), lots)
    end = min(len(data), start + lots.choice((1, 8, 100, 2000)))
    return data[:end] + data[start:end] * lots.choice((1, 2, 50)) + data[end:] if lots.random() < 0.6 else (
        data[:start] + data[end:]
    )  # fmt: skip


def shuffle_chunks(data: bytearray, other: bytes, lots: random.Random) -> bytearray:
    """Boxes of MP4, chunks of PNG and RIFF: two change places, or one goes, comes twice, or has its numbers changed.

    Checksums are put right, or a decoder would not look any further.
    """
    kind = "png" if data[:4] == b"\x89PNG" else "riff" if data[:4] == b"RIFF" else "boxes"
    start = {"png": 8, "riff": 12, "boxes": 0}[kind]
    chunks = list(_chunks(bytes(data), start, kind))
    if kind == "boxes" and lots.random() < 0.8:  # go down into moov, trak and so on
        inner = [number for number, chunk in enumerate(chunks) if _holds_boxes(chunk)]
        if inner:
            number = lots.choice(inner)
            header, body = chunks[number][:8], bytearray(chunks[number][8:])
            body = shuffle_chunks(body, other, lots)
            chunks[number] = struct.pack(">I", (8 + len(body)) & 0xFFFFFFFF) + header[4:] + bytes(body)
            return bytearray(data[:start] + b"".join(chunks))
    if len(chunks) < 2:
        return claim_huge_size(data, other, lots)
    one, two = lots.randrange(len(chunks)), lots.randrange(len(chunks))
    what = lots.choice(("swap", "drop", "twice", "numbers", "numbers", "numbers"))
    if what == "swap":
        chunks[one], chunks[two] = chunks[two], chunks[one]
    elif what == "drop":
        del chunks[one]
    elif what == "twice":
        chunks.insert(two, chunks[one])
    elif len(chunks[one]) > 16:
        tail = 4 if kind == "png" else 0
        body = chunks[one][8 : len(chunks[one]) - tail]
        body = bytes(claim_huge_size(bytearray(body), other, lots)[: len(body)].ljust(len(body), b"\0"))
        checksum = struct.pack(">I", zlib.crc32(chunks[one][4:8] + body)) if kind == "png" else b""
        chunks[one] = chunks[one][:8] + body + checksum
    return bytearray(data[:start] + b"".join(chunks))


def _chunks(data: bytes, start: int, kind: str) -> Iterator[bytes]:
    """All of the file from `start` on, cut where its chunks say that they end."""
    while start < len(data):
        header = data[start : start + 8]
        if len(header) < 8:
            size = len(data)
        elif kind == "png":
            size = 12 + struct.unpack(">I", header[:4])[0]
        elif kind == "riff":
            size = 8 + (struct.unpack("<I", header[4:])[0] + 1 & ~1)
        else:
            size = struct.unpack(">I", header[:4])[0]
        size = size if size >= 8 else len(data)
        yield data[start : start + size]
        start += size


def _holds_boxes(box: bytes) -> bool:
    return box[4:8] in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"dinf", b"edts", b"moof", b"traf", b"mvex")


RULES = (
    flip_bits, cut_off, grow_a_tail, overwrite, splice_header, claim_huge_size, repeat_or_drop, shuffle_chunks,
    shuffle_chunks, shuffle_chunks,
)  # fmt: skip
