"""The crop that an MP4, MOV or Matroska file states for its video. PyAV does not tell it."""

import itertools
import os
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import IO, NamedTuple

from av.container import InputContainer
from av.video.stream import VideoStream

MAX_ELEMENTS = 10_000  # of one level; a damaged file may claim to hold millions

TRACK_BOXES = (b"mdia", b"minf", b"stbl", b"stsd")
SAMPLE_ENTRY_BYTES = 86  # header and fixed fields of a video's sample entry (ISO/IEC 14496-12, 12.1.3)

SEGMENT, TRACKS, TRACK, VIDEO, CLUSTER = 0x18538067, 0x1654AE6B, 0xAE, 0xE0, 0x1F43B675
PIXEL_CROP = (0x54BB, 0x54AA, 0x54CC, 0x54DD)  # top, bottom, left, right (RFC 9559, 5.1.4.1.28)


class Crop(NamedTuple):
    """Rows and columns to remove at each side of a decoded frame."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    def rectangle(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Return (left, top, width, height) of what remains; all if nothing would."""
        kept_width, kept_height = width - self.left - self.right, height - self.top - self.bottom
        is_sane = min(self) >= 0 and kept_width > 0 and kept_height > 0
        return (self.left, self.top, kept_width, kept_height) if is_sane else (0, 0, width, height)


def read_crop(container: InputContainer, stream: VideoStream) -> Crop:
    """Return the crop that the file states for this stream, no crop if none, or if the file is damaged there."""
    name = container.format.name
    if not name.startswith(("mov", "matroska")):
        return Crop()
    try:
        with Path(container.name).open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            if name.startswith("mov"):
                return _clean_aperture(file, end, stream.id)
            return _pixel_crop(file, end, container.streams.video.index(stream))
    except (OSError, ValueError, struct.error, ZeroDivisionError, StopIteration):
        return Crop()


def _clean_aperture(file: IO[bytes], end: int, track_id: int) -> Crop:
    """Read the `clap` box of a track (ISO/IEC 14496-12, 12.1.4)."""
    movie = next(_boxes(file, 0, end, b"moov"))
    for track in _boxes(file, *movie, b"trak"):
        header = next(_boxes(file, *track, b"tkhd"))
        is_long = _number(file, header[0], 1)  # version 1 has times of 8 bytes before the number
        if _number(file, header[0] + (20 if is_long else 12), 4) != track_id:
            continue
        place = track
        for name in TRACK_BOXES:
            place = next(_boxes(file, *place, name))
        entry, size = place[0] + 8, _number(file, place[0] + 8, 4)
        aperture = next(_boxes(file, entry + SAMPLE_ENTRY_BYTES, min(entry + size, place[1]), b"clap"))
        width, height = _number(file, entry + 32, 2), _number(file, entry + 34, 2)
        file.seek(aperture[0])
        numbers = struct.unpack(">IIIIiIiI", file.read(32))
        kept_x, kept_y, offset_x, offset_y = map(Fraction, numbers[::2], numbers[1::2])
        left, top = round((width - kept_x) / 2 + offset_x), round((height - kept_y) / 2 + offset_y)
        return Crop(top, height - top - round(kept_y), left, width - left - round(kept_x))
    return Crop()


def _boxes(file: IO[bytes], start: int, end: int, name: bytes) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of the contents of each box of that name."""
    for _ in range(MAX_ELEMENTS):
        file.seek(start)
        size, found = struct.unpack(">I4s", file.read(8))
        header = 8
        if size == 1:
            size, header = _number(file, start + 8, 8), 16
        after = start + size if size else end
        if found == name:
            yield start + header, min(after, end)
        if size < header or after + 8 > end:
            return
        start = after


def _number(file: IO[bytes], start: int, size: int) -> int:
    file.seek(start)
    return int.from_bytes(file.read(size))


def _pixel_crop(file: IO[bytes], end: int, number: int) -> Crop:
    """Read the PixelCrop elements of the video track with this number, counted from 0."""
    segment = next(_elements(file, 0, end, SEGMENT))
    tracks = next(_elements(file, *segment, TRACKS))
    videos = (video for track in _elements(file, *tracks, TRACK) for video in _elements(file, *track, VIDEO))
    video = next(itertools.islice(videos, number, None))
    places = [next(_elements(file, *video, name), (0, 0)) for name in PIXEL_CROP]
    return Crop(*(_number(file, start, after - start) for start, after in places))


def _elements(file: IO[bytes], start: int, end: int, name: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of the contents of each EBML element of that name (RFC 8794), up to the first cluster."""
    for _ in range(MAX_ELEMENTS):
        if start >= end:
            return
        found, middle = _variable_number(file, start)
        marked, contents = _variable_number(file, middle)
        most = (1 << 7 * (contents - middle)) - 1
        size = marked & most
        after = end if size == most else min(contents + size, end)  # the largest size means unknown
        if found == CLUSTER:
            return
        if found == name:
            yield contents, after
        start = after


def _variable_number(file: IO[bytes], start: int) -> tuple[int, int]:
    """Return (number with the marker of its length, position after it)."""
    size = 9 - _number(file, start, 1).bit_length()
    if size > 8:
        raise ValueError("not an EBML number")
    return _number(file, start, size), start + size
