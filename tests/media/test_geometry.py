"""Display matrices and crops: what a player shows of a decoded frame."""

import io
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import ExifTags, Image

from captioner.media import crop
from captioner.media.crop import Crop
from captioner.media.probe import probe
from captioner.media.sample import sample
from captioner.media.thumbnail import make_thumbnail
from captioner.values import SamplePlan
from tests.conftest import SHARED_CASES
from tests.support.media_doors import item_of, thumbnail_pixels
from tests.support.media_maker import make_video, numbered_picture

ONE = 1 << 16
PLAN = SamplePlan(max_frames=4, min_frames=4)

# By (a, b, c, d) of the display matrix: what FFmpeg's autorotation shows, and the rotation that a probe reports.
MATRICES = {
    (1, 0, 0, 1): (lambda x: x, 0),
    (-1, 0, 0, 1): (lambda x: x[:, ::-1], 0),  # hflip
    (1, 0, 0, -1): (lambda x: x[::-1], 180),  # vflip
    (-1, 0, 0, -1): (lambda x: x[::-1, ::-1], 180),
    (0, 1, -1, 0): (lambda x: np.rot90(x, -1), 90),
    (0, -1, 1, 0): (lambda x: np.rot90(x), 270),
    (0, 1, 1, 0): (lambda x: x.swapaxes(0, 1), 270),  # transpose
    (0, -1, -1, 0): (lambda x: np.rot90(x, 2).swapaxes(0, 1), 90),  # transverse
}


def fixed_point(a: float, b: float, c: float, d: float) -> list[int]:
    return [round(a * ONE), round(b * ONE), 0, round(c * ONE), round(d * ONE), 0, 0, 0, 1 << 30]


def assert_shows(path: Path, expected: np.ndarray) -> None:
    """Every door gives the picture (height, width, 3) for the first frame, up to lossy compression."""
    height, width = expected.shape[:2]
    info = probe(path)
    assert (info.width, info.height) == (width, height)
    for pixels in (sample(path, PLAN).pixels[0], thumbnail_pixels(make_thumbnail(item_of(path)))):
        assert pixels.shape == expected.shape
        assert np.abs(pixels.astype(int) - expected).mean() < 12


@pytest.mark.parametrize("matrix", MATRICES, ids=str)
@pytest.mark.parametrize("extension", ["mp4", "mov"])
def test_each_display_matrix_is_applied(tmp_path, extension, matrix):
    turn, rotation = MATRICES[matrix]
    path = make_video(tmp_path / f"a.{extension}", num_frames=4, matrix=fixed_point(*matrix))
    assert_shows(path, turn(numbered_picture(0)))
    assert probe(path).rotation == rotation


@pytest.mark.parametrize(
    "matrix", [(0, 0, 0, 0), (1, 0, 0, 0), (0.7, 0.7, -0.7, 0.7), (1, 0.2, -0.2, 1), (1, 1, 1, 1)], ids=str
)
def test_matrix_that_is_no_quarter_turn_is_ignored(tmp_path, matrix):
    path = make_video(tmp_path / "a.mp4", num_frames=4, matrix=fixed_point(*matrix))
    assert np.abs(sample(path, PLAN).pixels[0].astype(int) - numbered_picture(0)).mean() < 12
    assert probe(path).rotation == 0


def test_matrix_that_is_nearly_a_mirror_is_applied(tmp_path):
    path = make_video(tmp_path / "a.mp4", num_frames=4, matrix=fixed_point(-1, 0.01, 0.01, 1))
    assert_shows(path, numbered_picture(0)[:, ::-1])


def clean_aperture(*numbers: tuple[int, int]) -> bytes:
    flat = [number for pair in numbers for number in pair]
    return struct.pack(">I4sIIIIiIiI", 40, b"clap", *flat)


def add_clap(path: Path, box: bytes) -> Path:
    """Add a box to the sample entry of an MP4 whose moov box comes last."""
    data = bytearray(path.read_bytes())
    names = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1")
    at = 0
    for name in names:
        at = data.index(name, at)
        data[at - 4 : at] = struct.pack(">I", struct.unpack_from(">I", data, at - 4)[0] + len(box))
    data[at - 4 + 86 : at - 4 + 86] = box
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("aperture", "kept"),
    [
        ([(64, 1), (32, 1), (0, 1), (0, 1)], np.s_[16:48, 16:80]),
        ([(64, 1), (32, 1), (16, 1), (-16, 1)], np.s_[0:32, 32:96]),
        ([(128, 2), (64, 1), (-32, 2), (0, 1)], np.s_[:, 0:64]),
        ([(96, 1), (64, 1), (0, 1), (0, 1)], np.s_[:]),
        ([(97, 1), (64, 1), (0, 1), (0, 1)], np.s_[:]),  # invalid from here on
        ([(64, 1), (32, 1), (99, 1), (0, 1)], np.s_[:]),
        ([(64, 0), (32, 1), (0, 1), (0, 1)], np.s_[:]),
        ([(0, 1), (32, 1), (0, 1), (0, 1)], np.s_[:]),
    ],
    ids=str,
)
def test_clean_aperture_crops(tmp_path, aperture, kept):
    path = add_clap(make_video(tmp_path / "a.mp4", num_frames=4), clean_aperture(*aperture))
    assert_shows(path, numbered_picture(0)[kept])


def test_crop_precedes_pixel_aspect_and_rotation(tmp_path):
    matrix = fixed_point(*(0, 1, -1, 0))
    path = make_video(tmp_path / "a.mp4", num_frames=4, matrix=matrix, sample_aspect=Fraction(2, 1))
    add_clap(path, clean_aperture((32, 1), (64, 1), (32, 1), (0, 1)))
    assert (probe(path).width, probe(path).height) == (64, 64)
    shown = numbered_picture(0)[:, 64:].repeat(2, axis=1)
    assert_shows(path, np.rot90(shown, -1))


def test_crop_of_an_odd_number_of_columns_is_exact(tmp_path):
    path = make_video(tmp_path / "a.mp4", num_frames=4, pixels="yuv444p", options={"qp": "0"})
    add_clap(path, clean_aperture((65, 1), (33, 1), (-1, 2), (-1, 2)))
    assert (probe(path).width, probe(path).height) == (65, 33)
    with av.open(path) as opened:
        frame = next(opened.decode(video=0))
    expected = frame.to_ndarray(format="rgb24")[15:48, 15:80]
    assert np.abs(sample(path, PLAN).pixels[0][1:-1, 1:-1].mean() - expected.mean()) < 3


def element(name: int, contents: bytes) -> bytes:
    return name.to_bytes((name.bit_length() + 7) // 8) + (1 << 56 | len(contents)).to_bytes(8) + contents


def add_pixel_crop(path: Path, *sides: int) -> Path:
    """Add PixelCrop elements (top, bottom, left, right) to a live Matroska file, which states no positions."""
    data = path.read_bytes()

    def rebuilt(start: int, end: int, names: tuple[int, ...]) -> bytes:
        if not names:
            crops = (element(n, side.to_bytes(1)) for n, side in zip(crop.PIXEL_CROP, sides, strict=True))
            return data[start:end] + b"".join(crops)
        with path.open("rb") as file:
            at, after = next(crop._elements(file, start, end, names[0]))
            identifier = names[0].to_bytes((names[0].bit_length() + 7) // 8)
        header = data.rindex(identifier, start, at)
        return data[start:header] + element(names[0], rebuilt(at, after, names[1:])) + data[after:end]

    with path.open("rb") as file:
        segment = next(crop._elements(file, 0, len(data), crop.SEGMENT))
    names = (crop.TRACKS, crop.TRACK, crop.VIDEO)
    path.write_bytes(data[: segment[0]] + rebuilt(*segment, names))
    return path


@pytest.mark.parametrize("name", ["a.mkv", "a.webm"])
def test_pixel_crop_of_matroska_is_applied(tmp_path, name):
    codec = {"codec": "libvpx"} if name == "a.webm" else {}
    path = make_video(tmp_path / name, num_frames=4, container_options={"live": "1"}, **codec)
    add_pixel_crop(path, 16, 16, 32, 0)
    assert_shows(path, numbered_picture(0)[16:48, 32:96])


def test_crop_of_everything_is_ignored():
    assert Crop(16, 16, 32, 0).rectangle(96, 64) == (32, 16, 64, 32)
    assert Crop(40, 40, 0, 0).rectangle(96, 64) == Crop(-1, 0, 0, 0).rectangle(96, 64) == (0, 0, 96, 64)


def test_damage_in_the_headers_gives_no_crop(tmp_path):
    path = add_clap(make_video(tmp_path / "a.mp4", num_frames=2), clean_aperture(*[(32, 1)] * 4))
    whole = path.read_bytes()
    with av.open(path) as opened:
        for cut in range(0, whole.index(b"clap"), 17):
            path.write_bytes(whole[:cut])
            assert crop.read_crop(opened, opened.streams.video[0]) == Crop()


@pytest.mark.skipif(not SHARED_CASES.is_dir(), reason="the shared cases are not here")
def test_shared_cases():
    sizes = {"clap-480-of-640.mp4": (480, 360), "mirror-transpose.mp4": (360, 640)}
    for name, size in sizes.items():
        assert (probe(SHARED_CASES / name).width, probe(SHARED_CASES / name).height) == size
    pixels = sample(SHARED_CASES / "mirror-hflip.mp4", PLAN).pixels[0].astype(int)
    edges = [pixels[:, :8], pixels[:, -8:]]
    redness = [float((edge[..., 0] - edge[..., 1]).mean()) for edge in edges]
    assert redness[1] > 100 > redness[0]  # the red bar is at the right


@pytest.mark.parametrize(("exif", "is_turned"), [(1, False), (6, True), (8, True), (3, False)])
def test_clip_whose_frames_carry_exif_data_is_read(tmp_path, exif, is_turned):
    """PyAV does not know the kind of side data that FFmpeg makes of it."""
    buffer = io.BytesIO()
    image = Image.new("RGB", (96, 64), "red")
    tags = image.getexif()
    tags[ExifTags.Base.Orientation], tags[ExifTags.Base.Make] = exif, "camera"
    image.save(buffer, "JPEG", exif=tags)
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("mjpeg", 10, width=96, height=64, pix_fmt="yuvj420p")
        for number in range(4):
            packet = av.Packet(buffer.getvalue())
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, number, number, Fraction(1, 10)
            packet.is_keyframe = True
            container.mux(packet)
    frames = sample(tmp_path / "a.mkv", SamplePlan(4, frame_size=96))
    assert frames.pixels.shape == ((4, 96, 64, 3) if is_turned else (4, 64, 96, 3))
    assert abs(frames.pixels.astype(int) - (254, 0, 0)).max() < 6
    assert make_thumbnail(item_of(tmp_path / "a.mkv")).data
