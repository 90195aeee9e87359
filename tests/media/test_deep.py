"""Rare kinds of pictures: many bits, floating point, hot pixels, a single pixel, several pages."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captioner.errors import MediaError
from captioner.media.probe import probe
from captioner.media.sample import sample
from captioner.media.thumbnail import make_thumbnail
from captioner.values import SamplePlan
from tests.conftest import SHARED_CASES
from tests.support.media_doors import item_of, through_all_doors, thumbnail_pixels
from tests.support.media_maker import make_animation, make_picture, make_video, numbered_picture

PLAN = SamplePlan()
needs_cases = pytest.mark.skipif(not SHARED_CASES.is_dir(), reason="the shared cases are not here")


def make_png(path: Path, values: np.ndarray) -> Path:
    """A PNG of uint16 values (height, width) or (height, width, 3 or 4)."""
    height, width = values.shape[:2]
    kind = {1: 0, 3: 2, 4: 6}[values.size // (height * width)]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)), (b"IDAT", zlib.compress(rows))]
    data = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in [*chunks, (b"IEND", b"")]
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    return path


def make_tiff(path: Path, values: np.ndarray, bits: int = 0, **tags: int) -> Path:
    """An uncompressed TIFF of numbers (height, width) or (height, width, 3), `bits` of each stated."""
    height, width, channels = (*values.shape, 1)[:3]
    data, bits = values.astype(values.dtype.newbyteorder("<")).tobytes(), bits or values.dtype.itemsize * 8
    sample_format = 3 if values.dtype.kind == "f" else 1
    places = 8 + len(data)  # of the tags that have a value for each channel
    each = struct.pack(f"<{channels}H", *[bits] * channels) + struct.pack(f"<{channels}H", *[sample_format] * channels)
    known = {256: width, 257: height, 259: 1, 262: 2 if channels == 3 else 1, 273: 8, 277: channels, 278: height}
    entries = [(tag, 4, 1, value) for tag, value in (known | {279: len(data)}).items()]
    if channels == 1:
        entries += [(258, 3, 1, bits), (339, 3, 1, sample_format)]
    else:
        entries += [(258, 3, channels, places), (339, 3, channels, places + 2 * channels)]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    header = b"II*\0" + struct.pack("<I", places + len(each))
    path.write_bytes(header + data + each + directory + b"\0\0\0\0")
    return path


def assert_shows(path: Path, expected: np.ndarray, tolerance: float = 3) -> None:
    for pixels in (sample(path, PLAN).pixels[0], thumbnail_pixels(make_thumbnail(item_of(path)))):
        assert np.abs(pixels.astype(int) - expected).mean() < tolerance


@pytest.mark.parametrize("make", [make_png, make_tiff])
@pytest.mark.parametrize("bits", [10, 12, 16])
@pytest.mark.parametrize("is_gray", [True, False], ids=["gray", "color"])
def test_fewer_bits_in_sixteen_are_not_black(tmp_path, make, bits, is_gray):
    picture = numbered_picture(5)[..., :1].repeat(3, axis=2) if is_gray else numbered_picture(5)
    deep = picture.astype(np.uint16) << bits - 8
    path = make(tmp_path / f"a{'.png' if make is make_png else '.tif'}", deep[..., 0] if is_gray else deep)
    assert_shows(path, picture)


@pytest.mark.parametrize("hot", [65535, 0])
def test_one_hot_pixel_does_not_darken_the_rest(tmp_path, hot):
    gray = numbered_picture(5)[..., 0]
    expected = gray[..., None].repeat(3, axis=2)
    deep = gray.astype(np.uint16) << 4
    deep[20, 30] = hot
    assert_shows(make_png(tmp_path / "a.png", deep), expected)
    for values in (gray.astype(np.float32) / 9, gray.astype(np.int32) * 1000):
        outlier = values.copy()
        outlier[20, 30] = 1e9 if hot else -1e9
        Image.fromarray(values).save(tmp_path / "plain.tif")
        Image.fromarray(outlier).save(tmp_path / "hot.tif")
        plain, shown = (sample(tmp_path / name, PLAN).pixels[0].astype(int) for name in ("plain.tif", "hot.tif"))
        assert np.abs(plain - shown).mean() < 2


def test_hot_pixel_of_infinity_and_none_at_all(tmp_path):
    values = numbered_picture(5)[..., 0].astype(np.float32)
    plain = values.copy()
    values[3, 3], values[4, 4] = np.inf, np.nan
    Image.fromarray(values).save(tmp_path / "a.tif")
    Image.fromarray(plain).save(tmp_path / "b.tif")
    shown, known = (sample(tmp_path / name, PLAN).pixels[0].astype(int) for name in ("a.tif", "b.tif"))
    assert np.abs(shown - known).mean() < 2


def test_few_bright_pixels_of_a_black_picture_stay(tmp_path):
    values = np.zeros((64, 96), np.float32)
    values[10, 10] = 5
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert sample(tmp_path / "a.tif", PLAN).pixels.max() > 200


def test_really_dark_picture_of_eight_bits_stays_dark(tmp_path):
    Image.fromarray(np.full((64, 96, 3), 9, np.uint8)).save(tmp_path / "a.png")
    assert (sample(tmp_path / "a.png", PLAN).pixels == 9).all()


@pytest.mark.parametrize("scale", [1 / 255, 3.0])
def test_floating_point_colors(tmp_path, scale):
    picture = numbered_picture(5)
    path = make_tiff(tmp_path / "a.tif", picture.astype(np.float32) * scale)
    assert_shows(path, picture, 5)
    assert (probe(path).width, probe(path).height) == (96, 64)


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_floating_point_colors_of_other_sizes_are_read_or_named(tmp_path, kind):
    path = make_tiff(tmp_path / "a.tif", numbered_picture(5).astype(kind) / 255)
    reasons = through_all_doors(path)
    assert reasons == {"a TIFF of floating point numbers of a kind that cannot be read; save it with 8 or 16 bits"}


@pytest.mark.parametrize("bits", [12, 16])
def test_jpeg_with_more_bits_is_named(tmp_path, bits):
    data = bytearray(make_picture(tmp_path / "a.jpg").read_bytes())
    data[data.index(b"\xff\xc0") + 4] = bits
    (tmp_path / "a.jpg").write_bytes(data)
    reason = f"a JPEG with {bits} bits per color, which cannot be read; save it with 8 bits"
    assert through_all_doors(tmp_path / "a.jpg") == {reason}


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (1, 3000), (3000, 1)], ids=str)
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gif", "a.webp", "a.bmp", "a.tif"])
def test_thin_pictures_are_read(tmp_path, name, size):
    Image.new("RGB", size, (200, 30, 60)).save(tmp_path / name)
    assert through_all_doors(tmp_path / name) == {""}
    assert np.abs(sample(tmp_path / name, PLAN).pixels.astype(int) - (200, 30, 60)).max() < 12
    assert (probe(tmp_path / name).width, probe(tmp_path / name).height) == size


@pytest.mark.parametrize("size", [(1, 1), (2, 600), (600, 1)], ids=str)
def test_thin_clips_are_read(tmp_path, size):
    path = make_video(tmp_path / "a.mkv", 3, size=size, codec="ffv1", pixels="bgr0")
    assert through_all_doors(path) == {""}
    assert (probe(path).width, probe(path).height) == size


def test_further_pages_are_told(tmp_path):
    make_animation(tmp_path / "a.tif", [40, 40, 40])
    frames = sample(tmp_path / "a.tif", PLAN)
    assert frames.warning == "has 3 pages; only the first is read"
    assert np.abs(frames.pixels[0].astype(int) - numbered_picture(0)).mean() < 3


@pytest.mark.parametrize("name", ["a.tif", "a.png"])
def test_one_page_is_not_told(tmp_path, name):
    assert sample(make_picture(tmp_path / name), PLAN).warning == ""


@needs_cases
def test_shared_cases(tmp_path):
    with pytest.raises(MediaError, match=r"^a JPEG with 12 bits per color"):
        sample(SHARED_CASES / "jpeg-12bit.jpg", PLAN)
    shown = sample(SHARED_CASES / "tiff-rgb-float32.tif", PLAN).pixels[0]
    assert np.abs(shown[4, 2].astype(int) - (2, 128, 253)).max() < 8
    assert np.abs(shown[-4, -3].astype(int) - (253, 128, 2)).max() < 8
    frames = sample(SHARED_CASES / "three-frames.mp4", PLAN)
    assert frames.indices.tolist() == [0, 1, 2, 2]
