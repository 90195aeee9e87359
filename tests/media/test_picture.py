"""Stills and animated pictures as frames."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captioner.errors import MediaError
from captioner.media import animation
from captioner.media.sample import sample
from captioner.values import Frames, SamplePlan
from tests.support.media_maker import make_animation, make_picture, numbered_picture


def mean_error(frames: Frames, expected: np.ndarray) -> float:
    assert frames.pixels.shape[1:] == expected.shape
    return float(np.abs(frames.pixels[0].astype(int) - expected).mean())


@pytest.mark.parametrize("filename", ["a.png", "a.bmp", "a.tif", "a.jpg", "a.webp", "a.gif", "a.avif"])
def test_still_is_one_frame_at_time_zero(tmp_path, filename):
    frames = sample(make_picture(tmp_path / filename), SamplePlan())
    assert mean_error(frames, numbered_picture(5)) < 12
    assert (frames.times_s.tolist(), frames.indices.tolist(), frames.fps, frames.warning) == ([0], [0], 0, "")


@pytest.mark.parametrize("filename", ["a.jpg", "a.png", "a.webp", "a.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, filename, orientation):
    upright = numbered_picture(5)
    turned = upright if orientation < 5 else upright.transpose(1, 0, 2)
    stored = {
        2: np.s_[:, ::-1],
        3: np.s_[::-1, ::-1],
        4: np.s_[::-1],
        5: np.s_[:],
        6: np.s_[::-1],
        7: np.s_[::-1, ::-1],
    }
    stored[8] = np.s_[:, ::-1]
    pixels = turned[stored.get(orientation, np.s_[:])]
    image = Image.fromarray(np.ascontiguousarray(pixels))
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / filename, exif=exif, quality=95)
    assert mean_error(sample(tmp_path / filename, SamplePlan()), upright) < 12


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_invalid_orientation_is_ignored(tmp_path, orientation):
    path = make_picture(tmp_path / "a.jpg", orientation=orientation)
    assert sample(path, SamplePlan()).pixels.shape == (1, 64, 96, 3)


def test_sixteen_bit_gray_keeps_its_shades(tmp_path):
    gray = np.linspace(0, 65535, 96 * 64).reshape(64, 96).astype(np.uint16)
    Image.fromarray(gray).save(tmp_path / "a.png")
    expected = np.repeat((gray >> 8)[..., None], 3, axis=2)
    assert mean_error(sample(tmp_path / "a.png", SamplePlan()), expected) < 2


def test_float_picture_is_spread_over_all_shades(tmp_path):
    values = np.linspace(-3, 12, 96 * 64).reshape(64, 96).astype(np.float32)
    Image.fromarray(values).save(tmp_path / "a.tif")
    pixels = sample(tmp_path / "a.tif", SamplePlan()).pixels
    assert pixels.min() < 3
    assert pixels.max() > 252


@pytest.mark.parametrize(("mode", "filename"), [("CMYK", "a.jpg"), ("CMYK", "a.tif"), ("P", "a.png"), ("1", "a.png")])
def test_other_color_modes_become_rgb(tmp_path, mode, filename):
    image = Image.fromarray(numbered_picture(5)).convert(mode)
    image.save(tmp_path / filename)
    assert mean_error(sample(tmp_path / filename, SamplePlan()), np.asarray(image.convert("RGB"))) < 12


@pytest.mark.parametrize("filename", ["a.png", "a.webp", "a.gif"])
def test_transparency_is_shown_over_white(tmp_path, filename):
    pixels = np.dstack([numbered_picture(5), np.full((64, 96), 255, np.uint8)])
    pixels[:, 48:] = (9, 9, 9, 0)
    Image.fromarray(pixels).save(tmp_path / filename)
    shown = sample(tmp_path / filename, SamplePlan()).pixels[0]
    assert (shown[:, 56:] > 250).all()
    assert shown[:, :40].mean() < 200


def test_large_jpeg_is_decoded_small(tmp_path):
    path = make_picture(tmp_path / "a.jpg", size=(3000, 2000), orientation=6)
    frames = sample(path, SamplePlan())
    assert frames.pixels.shape == (1, 320, 224, 3)
    whole = Image.open(path).resize((320, 224), Image.Resampling.BICUBIC)
    assert mean_error(frames, np.rot90(np.asarray(whole), -1)) < 3


@pytest.mark.parametrize("extension", ["gif", "webp", "png"])
def test_animation_is_a_clip_with_its_own_times(tmp_path, extension):
    durations = [40, 40, 40, 400, 40, 40, 40, 40, 100, 60, 40, 40]
    frames = sample(make_animation(tmp_path / f"a.{extension}", durations), SamplePlan(max_frames=6))
    starts = np.concatenate([[0], np.cumsum(durations)[:-1]]) / 1000
    assert len(frames.indices) == 6
    assert frames.indices[-1] == 11
    np.testing.assert_allclose(frames.times_s, starts[frames.indices])
    assert frames.fps == pytest.approx(11 / starts[-1])
    for index, pixels in zip(frames.indices, frames.pixels, strict=True):
        assert np.abs(pixels.astype(int) - numbered_picture(int(index))).mean() < 12


def test_frames_without_a_duration_last_a_tenth_of_a_second(tmp_path):
    frames = sample(make_animation(tmp_path / "a.gif", [0, 10, 50, 60]), SamplePlan())
    np.testing.assert_allclose(frames.times_s, [0, 0.1, 0.2, 0.25])


def test_pages_of_a_tiff_are_not_an_animation(tmp_path):
    make_animation(tmp_path / "a.tif", [40, 40, 40])
    assert len(sample(tmp_path / "a.tif", SamplePlan()).times_s) == 1


def test_cut_off_animation_gives_its_first_frames(tmp_path):
    whole = make_animation(tmp_path / "a.webp", [50] * 20).read_bytes()
    whole_gif = make_animation(tmp_path / "a.gif", [50] * 20).read_bytes()
    (tmp_path / "b.gif").write_bytes(whole_gif[: len(whole_gif) // 2])
    frames = sample(tmp_path / "b.gif", SamplePlan())
    assert len(frames.times_s) >= 4
    assert frames.warning.startswith("damaged or cut off after ")
    (tmp_path / "c.gif").write_bytes(whole_gif[: len(whole_gif) * 7 // 100])
    frames = sample(tmp_path / "c.gif", SamplePlan())
    assert (len(frames.times_s), frames.warning) == (1, "damaged or cut off after its first frame")
    (tmp_path / "b.webp").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MediaError, match="damaged or cut off"):
        sample(tmp_path / "b.webp", SamplePlan())


def test_endless_animation_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(animation, "MAX_ANIMATION_PIXELS", 96 * 64 * 19)
    path = make_animation(tmp_path / "a.gif", [50] * 20)
    with pytest.raises(MediaError, match=r"^more than 19 frames of 96x64 are too many; convert it to a video$"):
        sample(path, SamplePlan())


def test_nothing_is_printed_about_odd_pictures(tmp_path):
    """Pillow's warnings would appear in the user's terminal."""
    path = make_picture(tmp_path / "a.jpg", orientation=6)
    data = path.read_bytes().replace(b"Exif\0\0MM\0*\0\0\0\x08\0\x01", b"Exif\0\0MM\0*\0\0\0\x08\0\xff")
    path.write_bytes(data)
    code = (
        "import sys; from pathlib import Path;"
        "from captioner.media.sample import sample; from captioner.values import SamplePlan;"
        "print(sample(Path(sys.argv[1]), SamplePlan()).pixels.shape[0])"
    )
    root = Path(__file__).parents[2]
    ran = subprocess.run([sys.executable, "-c", code, path], cwd=root, capture_output=True, text=True, check=True)
    assert (ran.stdout.strip(), ran.stderr) == ("1", "")
