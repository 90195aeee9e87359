"""Colors of video, compared with formulas in float64 and with values that FFmpeg's zscale gave."""

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from captioner.media.color import LEVELS, tagged_conversion
from captioner.media.sample import sample
from captioner.media.thumbnail import make_thumbnail
from captioner.values import MediaItem, SamplePlan
from tests.conftest import SHARED_CASES
from tests.support.color_reference import shown

# 12-bit codes and what zscale=tin=...:pin=...:min=gbr:rin=pc:t=...:p=bt709:m=gbr:r=pc:npl=203 makes of them.
CODES = [[410] * 3, [1024] * 3, [1638] * 3, [2375] * 3, [2048, 819, 819], [819, 2048, 819], [819, 819, 2048]]
CODES += [[1843, 1638, 1228], [410, 1228, 2048], [2252, 410, 2048]]
ZSCALE = {
    (9, 16): [17, 55, 119, 254, (226, 0, 25), (0, 193, 0), (0, 35, 192), (166, 115, 62), (0, 74, 192), (255, 0, 190)],
    (9, 18): [29, 72, 114, 169, (173, 3, 54), (0, 150, 29), (40, 56, 149), (138, 113, 81), (0, 89, 148), (193, 0, 149)],
    (12, 16): [17, 55, 119, 254, (199, 0, 23), (0, 187, 0), (40, 40, 191), (154, 117, 64), (0, 74, 190), (245, 0, 189)],
    (9, 14): [26, 64, 102, 148, (155, 3, 48), (0, 134, 26), (35, 50, 133), (123, 100, 72), (0, 79, 132), (170, 0, 132)],
    (12, 13): [26, 64, 102, 148, (138, 44, 48), (0, 130, 37), (51, 51, 132), (117, 101, 73), (0, 78, 132)],
    (11, 1): [26, 64, 102, 148, (135, 43, 48), (0, 130, 34), (51, 50, 132), (117, 102, 73), (0, 77, 131)],
}  # fmt: skip
PATCHES = np.array([[20, 20, 20], [120, 120, 120], [200, 60, 60], [60, 180, 60], [50, 70, 200], [220, 200, 90]])


@pytest.mark.parametrize(("primaries", "transfer"), ZSCALE)
def test_conversions_agree_with_zscale(primaries, transfer):
    convert = tagged_conversion(primaries, transfer, LEVELS - 1)
    expected = np.array([(value,) * 3 if isinstance(value, int) else value for value in ZSCALE[primaries, transfer]])
    result = convert(np.array([CODES[: len(expected)]], np.uint16))[0]
    np.testing.assert_allclose(result.astype(int), expected, atol=2)


@pytest.mark.parametrize(("primaries", "transfer"), [(9, 16), (9, 18), (12, 16), (9, 14)])
def test_conversions_agree_with_the_formulas_for_bright_pictures_too(primaries, transfer):
    values = np.random.default_rng(5).integers(0, LEVELS, (40, 50, 3), dtype=np.uint16)
    result = tagged_conversion(primaries, transfer, LEVELS - 1)(values).astype(float)
    off = np.abs(result - shown(values / (LEVELS - 1), primaries, transfer))
    assert off.max() < 4
    assert off.mean() < 0.6


@pytest.mark.parametrize("tags", [(1, 1), (1, 13), (2, 2), (5, 6), (6, 1), (7, 7), (1, 4), (5, 5), (1, 11)])
def test_ordinary_sdr_is_not_converted(tags):
    assert tagged_conversion(*tags, LEVELS - 1) is None


def patches(path: Path, codes: np.ndarray, pixels: str, options: dict, size=(384, 64), tags=(2, 2, 2, 1)) -> Path:
    """Write a lossless clip of columns with these YUV codes; tags: matrix, primaries, transfer, range of the stream."""
    columns = np.repeat(codes, -(-size[0] // len(codes)), axis=0)[: size[0]]
    with av.open(path, "w", options={"movflags": "write_colr"} if path.suffix == ".mp4" else {}) as container:
        stream = container.add_stream(options.pop("codec"), rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = tags
        context.time_base = Fraction(1, 10)
        for number in range(2):
            frame = av.VideoFrame(*size, pixels)
            for plane, values in zip(frame.planes, columns.T, strict=True):
                kind = np.uint16 if "10" in pixels else np.uint8
                row = np.zeros(plane.line_size // np.dtype(kind).itemsize, kind)
                row[: plane.width] = values[:: size[0] // plane.width]
                plane.update(np.tile(row, plane.height).tobytes())
            frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range = tags
            frame.pts, frame.time_base = number, context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def rgb_to_yuv(rgb: np.ndarray, kr: float, kb: float, bits: int, is_full: bool = False) -> np.ndarray:
    """Return integer codes (n, 3) for RGB from 0 to 1."""
    luma = rgb @ [kr, 1 - kr - kb, kb]
    chroma = (rgb[:, 2] - luma) / (2 - 2 * kb), (rgb[:, 0] - luma) / (2 - 2 * kr)
    unit = 1 << bits - 8
    if is_full:
        most = (1 << bits) - 1
        return np.rint(np.stack([luma * most, *(part * most + 128 * unit for part in chroma)], 1)).astype(int)
    return np.rint(np.stack([16 + 219 * luma, *(128 + 224 * part for part in chroma)], 1) * unit).astype(int)


def middles(path: Path) -> np.ndarray:
    """Return (n, 3): the color in the middle of each patch, the same in the sample and the thumbnail."""
    pixels = sample(path, SamplePlan(frame_size=384)).pixels[0]
    centers = (np.arange(len(PATCHES)) * 2 + 1) * pixels.shape[1] // (2 * len(PATCHES))
    return pixels[pixels.shape[0] // 2, centers].astype(int)


def item_of(path: Path) -> MediaItem:
    return MediaItem(path.parent, path.name, path.name, "video", path.stat().st_size, 0.0, "a.txt", False)


KR_KB = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 9: (0.2627, 0.0593)}
X265 = {"codec": "libx265", "x265-params": "lossless=1:bframes=0:log-level=0"}
UNTAGGED = ":colorprim=unknown:transfer=unknown:colormatrix=unknown"
X264 = {"codec": "libx264", "qp": "0"}


@pytest.mark.parametrize("transfer", [16, 18, 14])
@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize("pixels", ["yuv444p10le", "yuv420p"])
def test_clips_with_bt2020_colors_are_shown_as_computed(tmp_path, transfer, is_full, pixels):
    coded = PATCHES / 255 * (0.55 if transfer == 16 else 0.7)
    codes = rgb_to_yuv(coded, *KR_KB[9], 10 if "10" in pixels else 8, is_full)
    full = {"x265-params": X265["x265-params"] + f":range={'full' if is_full else 'limited'}"}
    colr = f":colorprim=9:transfer={transfer}:colormatrix=9"
    options = {"codec": "libx265", "x265-params": full["x265-params"] + colr}
    path = patches(tmp_path / "a.mkv", codes, pixels, options, tags=(9, 9, transfer, 2 if is_full else 1))
    tolerance = 3 if "10" in pixels else 12  # 8 bits have few levels for the dark
    np.testing.assert_allclose(middles(path), shown(coded, 9, transfer), atol=tolerance)


@pytest.mark.parametrize(
    ("size", "matrix"),
    [((1280, 720), 1), ((1280, 544), 1), ((720, 1280), 1), ((576, 720), 1), ((1024, 576), 5), ((384, 64), 5)],
)
def test_untagged_video_is_shown_as_players_do(tmp_path, size, matrix):
    path = patches(tmp_path / "a.mp4", rgb_to_yuv(PATCHES / 255, *KR_KB[matrix], 8), "yuv420p", dict(X264), size)
    np.testing.assert_allclose(middles(path), PATCHES, atol=4)


@pytest.mark.parametrize(
    ("tags", "matrix"),
    [((2, 1, 2, 1), 1), ((2, 5, 2, 1), 5), ((2, 2, 1, 1), 5), ((2, 2, 6, 1), 5), ((1, 2, 2, 1), 1), ((2, 6, 6, 1), 5)],
)
def test_a_missing_matrix_is_that_of_the_primaries(tmp_path, tags, matrix):
    path = patches(tmp_path / "a.mp4", rgb_to_yuv(PATCHES / 255, *KR_KB[matrix], 8), "yuv420p", dict(X264), tags=tags)
    np.testing.assert_allclose(middles(path), PATCHES, atol=4)


def test_colors_that_only_the_container_states_count(tmp_path):
    coded = PATCHES / 255 * 0.55
    options = {"codec": "libx265", "x265-params": X265["x265-params"] + UNTAGGED}
    path = patches(tmp_path / "a.mp4", rgb_to_yuv(coded, *KR_KB[9], 10), "yuv420p10le", options, tags=(9, 9, 16, 1))
    with av.open(path) as container:
        frame = next(container.decode(video=0))
        assert (frame.colorspace, frame.color_trc) == (2, 2)
    np.testing.assert_allclose(middles(path), shown(coded, 9, 16), atol=3)
    small = np.asarray(Image.open(io.BytesIO(make_thumbnail(item_of(path)).data)), dtype=int)
    centers = (np.arange(len(PATCHES)) * 2 + 1) * small.shape[1] // (2 * len(PATCHES))
    np.testing.assert_allclose(small[small.shape[0] // 2, centers], shown(coded, 9, 16), atol=12)  # a JPEG


@pytest.mark.parametrize(("matrix", "name"), [(8, "YCgCo"), (14, "ICtCp")])
def test_unsupported_matrices_are_shown_with_a_warning(tmp_path, matrix, name):
    codes = rgb_to_yuv(PATCHES / 255, *KR_KB[9], 10)
    path = patches(tmp_path / "a.mkv", codes, "yuv444p10le", dict(X265), tags=(matrix, 9, 16, 1))
    assert name in sample(path, SamplePlan()).warning


def test_dolby_vision_without_a_base_layer_is_told(tmp_path):
    path = patches(tmp_path / "a.mp4", rgb_to_yuv(PATCHES / 255, *KR_KB[9], 10), "yuv420p10le", dict(X265))
    data = path.read_bytes()
    assert data.count(b"hev1") == 1
    path.write_bytes(data.replace(b"hev1", b"dvhe"))
    assert "Dolby Vision" in sample(path, SamplePlan()).warning


@pytest.mark.skipif(not SHARED_CASES.is_dir(), reason="the shared cases are not here")
def test_the_cases_have_their_right_colors():
    bars = sample(SHARED_CASES / "hdr-pq-bars.mp4", SamplePlan(frame_size=640)).pixels
    with Image.open(SHARED_CASES / "hdr-bars.expected-sdr.png") as picture:
        expected = np.asarray(picture.convert("RGB").resize(bars.shape[2:0:-1], Image.Resampling.BICUBIC), dtype=int)
    edges = sum(np.abs(np.gradient(expected.astype(float), axis=axis)).max(axis=2) for axis in (0, 1)) > 2
    for axis in (0, 1):
        edges = np.maximum.reduce([np.roll(edges, shift, axis) for shift in range(-8, 9)])
    assert np.abs(bars - expected)[:, ~edges].max() <= 12
