"""Files that claim, or unpack to, far too much: pixels, frames, streams, text."""

import io
import struct
import time
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from captioner.errors import MediaError
from captioner.media import container, picture
from captioner.media.probe import probe
from captioner.media.sample import sample
from tests.support.media_doors import NOT_A_PICTURE, PLAN, through_all_doors
from tests.support.media_maker import make_picture, make_video, numbered_picture


def png(*chunks: tuple[bytes, bytes], size: tuple[int, int] = (8, 8)) -> bytes:
    rows = zlib.compress(b"\0" * (size[0] * 3 + 1) * size[1])
    header = struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), *chunks, (b"IDAT", rows), (b"IEND", b""))
    packed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


BOMB = zlib.compress(bytes(100_000_000), 9)


@pytest.mark.parametrize(
    "chunk",
    [(b"zTXt", b"a\0\0" + BOMB), (b"iTXt", b"a\0\x01\0\0\0" + BOMB), (b"iCCP", b"a\0\0" + BOMB)],
    ids=["zTXt", "iTXt", "iCCP"],
)
def test_text_that_unpacks_to_a_hundred_megabytes_is_not_unpacked(tmp_path, chunk):
    (tmp_path / "a.png").write_bytes(png(chunk))
    started_s = time.process_time()
    (reason,) = through_all_doors(tmp_path / "a.png")
    assert reason == "" or reason.startswith("damaged or cut off (Decompressed data too large")
    assert time.process_time() - started_s < 2


@pytest.mark.parametrize("limit", [64 * 96 - 1, 64 * 96])
@pytest.mark.parametrize("filename", ["a.png", "a.jpg", "a.gif", "a.webp", "a.bmp", "a.tif", "a.avif"])
def test_pixels_are_limited_in_every_format(tmp_path, monkeypatch, filename, limit):
    monkeypatch.setattr(picture, "MAX_PIXELS", limit)
    path = make_picture(tmp_path / filename)
    expected = "" if limit == 64 * 96 else "its size of 96x64 is over the limit of 0 megapixels; make it smaller first"
    assert through_all_doors(path) == {expected}


def test_pillow_refuses_the_same_size(tmp_path):
    assert 2 * Image.MAX_IMAGE_PIXELS == picture.MAX_PIXELS
    (tmp_path / "a.png").write_bytes(
        png(size=(1, 1)).replace(*(struct.pack(">II", *size) for size in ((1, 1), (12_500, 12_001))))
    )
    assert through_all_doors(tmp_path / "a.png") <= {
        "its size is over the limit of 150 megapixels; make it smaller first",
        NOT_A_PICTURE,
    }


def gif_of_many_frames(count: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("P", (1, 1)).save(buffer, "GIF")
    data = buffer.getvalue()
    start = data.rindex(b"\x2c")
    return data[:start] + data[start:-1] * count + b";"


def test_endless_animation_is_refused_before_it_is_decoded(tmp_path):
    (tmp_path / "a.gif").write_bytes(gif_of_many_frames(1_000_000))
    started_s = time.process_time()
    reason = "more than 20,000 frames of 1x1 are too many; convert it to a video"
    assert through_all_doors(tmp_path / "a.gif") == {reason, ""}  # the thumbnail shows its first
    assert time.process_time() - started_s < 1
    (tmp_path / "b.gif").write_bytes(gif_of_many_frames(300))
    assert probe(tmp_path / "b.gif").num_frames == 300


def test_png_that_claims_billions_of_frames_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(png((b"acTL", struct.pack(">II", 2**31 - 1, 0))))
    with pytest.raises(MediaError, match=r"frames of 8x8 are too many|damaged or cut off"):
        probe(tmp_path / "a.png")


def test_streams_are_limited(tmp_path):
    for count, expected in ((60, ""), (130, "has more than 100 streams, or needs too much memory; convert it first")):
        path = tmp_path / f"{count}.mp4"
        with av.open(path, "w") as opened:
            pictures_of_it = opened.add_stream("libx264", rate=25)
            pictures_of_it.width, pictures_of_it.height, pictures_of_it.pix_fmt = 96, 64, "yuv420p"
            for sound in [opened.add_stream("aac", rate=44100, layout="mono") for _ in range(count)]:
                frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
                frame.sample_rate, frame.pts = 44100, 0
                opened.mux([*sound.encode(frame), *sound.encode(None)])
            for number in range(10):
                opened.mux(pictures_of_it.encode(av.VideoFrame.from_ndarray(numbered_picture(number), format="rgb24")))
            opened.mux(pictures_of_it.encode(None))
        assert through_all_doors(path) == {expected}


def test_later_frames_that_are_too_large_are_not_decoded(tmp_path, monkeypatch):
    path = make_video(tmp_path / "a.mp4")
    monkeypatch.setattr(container, "check_pixels", lambda *_: None)  # as if the header said less
    monkeypatch.setattr(container, "MAX_PIXELS", 96 * 64 - 1)
    assert through_all_doors(path) == {"no frame could be decoded (60 decoder errors)"}


def claim_samples(path: Path, count: int) -> Path:
    """Make an MP4 of 24 frames that claims `count` of one byte each; its edit list drops all but 24 of them."""
    data = bytearray(path.read_bytes())
    for kind, offset, numbers in ((b"stsz", 8, (1, count)), (b"stsc", 16, (count,)), (b"stts", 12, (count,))):
        struct.pack_into(f">{len(numbers)}I", data, data.index(kind) + offset, *numbers)
    path.write_bytes(data)
    return path


def test_frames_are_limited_before_they_are_read(tmp_path, monkeypatch):
    path = make_video(tmp_path / "a.mp4", 24)
    monkeypatch.setattr(container, "MAX_FRAMES", 23)
    assert through_all_doors(path) == {container.TOO_MANY_FRAMES}
    monkeypatch.setattr(container, "MAX_FRAMES", 24)
    assert through_all_doors(path) == {""}
    live = make_video(tmp_path / "b.ts", 25)  # states no number
    with pytest.raises(MediaError, match="more than 2,000,000 frames"):
        probe(live)


def test_a_million_dropped_frames_do_not_take_minutes(tmp_path):
    """FFmpeg's seek would take 8 minutes here, and only the end of the process would stop it."""
    path = claim_samples(make_video(tmp_path / "a.mp4", 24), 1_000_000)
    started_s = time.process_time()
    (reason,) = through_all_doors(path)
    assert reason.startswith("no frame could be decoded (")
    assert time.process_time() - started_s < 20


@pytest.mark.parametrize("aspect", [Fraction(60_000, 1), Fraction(1, 60_000), Fraction(9, 1)])
def test_pixel_aspect_does_not_make_a_frame_too_large(tmp_path, aspect):
    path = make_video(tmp_path / "a.mp4", sample_aspect=aspect)
    assert sample(path, PLAN).pixels.shape[1:3] == ((32, 320) if aspect == 9 else (64, 96))
    assert through_all_doors(path) == {""}


@pytest.mark.parametrize("size", [(16_000, 2), (2, 16_000)])
def test_line_of_pixels_takes_little_memory_or_is_refused(tmp_path, size):
    path = make_video(tmp_path / "a.avi", 4, size=size, codec="ffvhuff")
    assert through_all_doors(path) <= {"", "its yuv420p frames cannot be converted: Invalid argument"}


def test_name_that_no_file_can_have_gives_one_line(tmp_path):
    with pytest.raises(MediaError, match=r"^cannot be opened: no file can have this name$"):
        sample(tmp_path / "a\0.mp4", PLAN)


def test_large_float_picture_takes_at_most_twice_its_size(tmp_path):
    values = np.linspace(-3, 12, 1000 * 1000, dtype=np.float32).reshape(1000, 1000)
    values[:10, 0], values[:10, 1], values[:10, 2] = np.nan, np.inf, 3.4e38
    Image.fromarray(values).save(tmp_path / "a.tif")
    with np.errstate(all="raise"):
        assert through_all_doors(tmp_path / "a.tif") == {""}
