"""Transparent parts of clips and animations, and what a GIF leaves empty: white, as on a page."""

import struct
from pathlib import Path

import av
import numpy as np
import pytest

from captioner.media.sample import sample
from captioner.media.thumbnail import make_thumbnail
from captioner.values import SamplePlan
from tests.conftest import SHARED_CASES, SHARED_MEDIA
from tests.support.media_doors import item_of, thumbnail_pixels

PLAN = SamplePlan(max_frames=8)
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def make_transparent(path: Path, codec: str, pixels: str, hidden: int = 0) -> Path:
    """A clip of 96x64 with a red left half, a half red middle part and a transparent right part of gray `hidden`."""
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, pixels
        for number in range(4):
            drawn = np.full((64, 96, 4), hidden, np.uint8)
            drawn[:, :48] = (*RED, 255)
            drawn[:, 48:72] = (*RED, 128)
            drawn[:, 72:, 3] = 0
            frame = av.VideoFrame.from_ndarray(drawn, format="rgba")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def assert_over_white(pixels: np.ndarray, tolerance: int) -> None:
    for columns, color in ((np.s_[4:44], RED), (np.s_[54:66], (255, 127, 127)), (np.s_[78:92], WHITE)):
        assert np.abs(pixels[:, columns].astype(int) - color).max() <= tolerance
    assert pixels[:, :, 0].min() >= 255 - tolerance  # neither black nor gray at the edges


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "tolerance"),
    [
        ("a.mov", "prores_ks", "yuva444p10le", 24),
        ("a.mov", "qtrle", "argb", 1),
        ("a.mov", "png", "rgba", 1),
        ("a.mov", "png", "rgba64be", 1),
        ("a.avi", "ffv1", "bgra", 1),
        ("a.mkv", "ffv1", "yuva420p", 40),
        ("a.avi", "utvideo", "gbrap", 1),
    ],
)
@pytest.mark.parametrize("hidden", [0, 255])
def test_transparent_clip_is_shown_over_white(tmp_path, name, codec, pixels, tolerance, hidden):
    path = make_transparent(tmp_path / name, codec, pixels, hidden)
    for shown in sample(path, PLAN).pixels:
        assert_over_white(shown, tolerance)
    assert_over_white(thumbnail_pixels(make_thumbnail(item_of(path))), max(tolerance, 30))  # a JPEG


def test_scaling_mixes_no_hidden_color_in(tmp_path):
    path = make_transparent(tmp_path / "a.mov", "png", "rgba")
    shown = sample(path, SamplePlan(frame_size=32)).pixels[0]
    assert shown.shape == (32, 32, 3)
    assert shown[..., 0].min() >= 250


def gif(frames: list[tuple[tuple[int, int, int, int], int, int]], background: int = 1) -> bytes:
    """A 32x32 GIF without a transparent color, from (left, top, width, height), color and disposal of each frame.

    The colors: 0 red, 1 green, 2 blue, 3 white.
    """
    data = b"GIF89a" + struct.pack("<HHBBB", 32, 32, 0x91, background, 0) + bytes([*RED, *GREEN, *BLUE, *WHITE])
    for (left, top, width, height), color, disposal in frames:
        data += b"!\xf9\x04" + bytes([disposal << 2]) + struct.pack("<HBB", 10, 0, 0)
        data += b"," + struct.pack("<HHHHB", left, top, width, height, 0)
        codes = [4, *[code for _ in range(width * height) for code in (color, 4)], 5]  # a clear code after each pixel
        bits = sum(code << 3 * number for number, code in enumerate(codes))
        packed = bits.to_bytes((3 * len(codes) + 7) // 8, "little")
        blocks = [packed[start : start + 255] for start in range(0, len(packed), 255)]
        data += b"\x02" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"
    return data + b";"


ALL, LEFT, RIGHT = (0, 0, 32, 32), (0, 0, 16, 32), (16, 0, 16, 32)

# By name: the frames, and the colors of the left and right half that Chromium shows for each.
GIFS = {
    "emptied": ([(LEFT, 2, 2), (RIGHT, 0, 1)], [(BLUE, WHITE), (WHITE, RED)]),
    "emptied twice": (
        [(ALL, 0, 1), (LEFT, 2, 2), (RIGHT, 2, 2), (RIGHT, 1, 1)],
        [(RED, RED), (BLUE, RED), (WHITE, BLUE), (WHITE, GREEN)],
    ),
    "emptied first": ([(ALL, 0, 2), (RIGHT, 2, 1)], [(RED, RED), (WHITE, BLUE)]),
    "small first frame": ([(LEFT, 2, 1), (LEFT, 0, 1)], [(BLUE, WHITE), (RED, WHITE)]),
    "unspecified after emptied": (
        [(ALL, 0, 2), (LEFT, 2, 0), (RIGHT, 1, 0)],
        [(RED, RED), (BLUE, WHITE), (BLUE, GREEN)],
    ),
    "restored": ([(ALL, 0, 1), (LEFT, 2, 3), (RIGHT, 1, 1)], [(RED, RED), (BLUE, RED), (RED, GREEN)]),
    "restored to nothing": ([(ALL, 0, 3), (LEFT, 2, 1)], [(RED, RED), (BLUE, WHITE)]),
}


@pytest.mark.parametrize("background", [0, 1])
@pytest.mark.parametrize("name", GIFS)
def test_gif_is_drawn_as_in_a_browser(tmp_path, name, background):
    drawn, expected = GIFS[name]
    (tmp_path / "a.gif").write_bytes(gif(drawn, background))
    frames = sample(tmp_path / "a.gif", PLAN)
    for index, pixels in zip(frames.indices, frames.pixels, strict=True):
        halves = [tuple(pixels[:, columns].reshape(-1, 3).mean(axis=0)) for columns in (np.s_[2:14], np.s_[18:30])]
        assert halves == [pytest.approx(color, abs=12) for color in expected[index]]


def test_small_first_frame_in_a_thumbnail(tmp_path):
    (tmp_path / "a.gif").write_bytes(gif([(LEFT, 2, 1)]))
    pixels = thumbnail_pixels(make_thumbnail(item_of(tmp_path / "a.gif")))
    assert pixels[:, 20:].min() > 250
    assert np.abs(pixels[:, 2:12].mean(axis=(0, 1)) - BLUE).max() < 12


needs_cases = pytest.mark.skipif(not SHARED_CASES.is_dir(), reason="the shared cases are not here")


@needs_cases
def test_shared_gif_loses_its_blue_square():
    frames = sample(SHARED_CASES / "gif-dispose-background-no-transparency.gif", PLAN)
    is_blue = (frames.pixels[..., 2] > 200) & (frames.pixels[..., 0] < 60)
    by_frame = dict(zip(frames.indices.tolist(), is_blue.any(axis=(1, 2)).tolist(), strict=True))
    assert by_frame == {0: False, 1: True, 2: False, 3: False}


@needs_cases
def test_shared_prores_is_over_white():
    frames = sample(SHARED_CASES / "alpha-prores4444.mov", PLAN)
    expected = sample(SHARED_CASES / "alpha.expected-over-white.apng.png", PLAN, "image")
    np.testing.assert_array_equal(frames.indices, expected.indices)
    assert np.abs(frames.pixels.astype(int) - expected.pixels).mean() < 2


@pytest.mark.skipif(not SHARED_MEDIA.is_dir(), reason="the shared media folder is not here")
def test_vp9_with_alpha_is_over_white():
    frames = sample(SHARED_MEDIA / "red-ball-alpha-vp9.webm", PLAN)
    np.testing.assert_array_equal(frames.indices, [149 * step // 7 for step in range(8)])
    corners = frames.pixels[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.min() > 250
    pixels = thumbnail_pixels(make_thumbnail(item_of(SHARED_MEDIA / "red-ball-alpha-vp9.webm")))
    assert pixels[[0, 0, -1, -1], [0, -1, 0, -1]].min() > 240
