"""Times that jump, as in joined recordings, become one continuous time line, as FFmpeg's discontinuity correction."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from captioner.media.probe import probe
from captioner.media.sample import sample
from captioner.media.thumbnail import make_thumbnail
from captioner.media.video import VideoFile
from captioner.values import SamplePlan
from tests.conftest import SHARED_CASES
from tests.support.full_decode import as_shown, decode_all
from tests.support.media_doors import item_of
from tests.support.media_maker import make_video

SECOND = 25  # frames
FORMATS = {".ts": "mpegts", ".mpg": "mpeg", ".m2ts": "mpegts"}


def make_part(folder: Path, number: int, start_s: float, suffix: str = ".ts", **options) -> Path:
    first = round(start_s * SECOND)
    given = {"times": range(first, first + 3 * SECOND), "max_b_frames": 2, "container_format": FORMATS[suffix]}
    if suffix == ".mpg":
        given["codec"] = "mpeg2video"
    if suffix == ".m2ts":
        given["container_options"] = {"mpegts_m2ts_mode": "1"}
    return make_video(folder / f"part{number}", **given | options)


def join(folder: Path, parts: Sequence[Path], suffix: str = ".ts") -> Path:
    path = folder / f"joined{suffix}"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def assert_is_continuous(path: Path, parts: Sequence[Path], most: int = 16) -> None:
    """The clip has all frames of its parts, 1/25 s apart, and samples are those frames, pixel for pixel."""
    ordered = [frame for part in parts for _, frame in decode_all(part)]
    with VideoFile(path) as video:
        assert len(video.times) == len(ordered)
        steps = np.diff(video.times) * float(video.time_base)
        assert steps == pytest.approx(1 / 25, abs=0.002)
        assert video.duration_s == pytest.approx(len(ordered) / 25, abs=0.01)
        assert [tick for tick, _ in video.frames()] == video.times
    frames = sample(path, SamplePlan(max_frames=most, min_frames=most))
    np.testing.assert_array_equal(frames.indices, [step * (len(ordered) - 1) // (most - 1) for step in range(most)])
    np.testing.assert_allclose(frames.times_s, frames.indices / 25, atol=0.003)
    assert frames.warning == ""
    for index, pixels in zip(frames.indices, frames.pixels, strict=True):
        np.testing.assert_array_equal(pixels, as_shown(ordered[index], pixels))
    assert make_thumbnail(item_of(path)).duration_s == pytest.approx(len(ordered) / 25, abs=0.1)


# Starts of the parts in seconds.
JUMPS = {
    "anew": (0, 0),
    "overlapping": (0, 2),
    "an hour on": (0, 3603),
    "12 s on": (0, 15),
    "back": (5000, 100),
    "three parts": (0, 7200, 50),
    "three times the same": (0, 0, 0),
    "not at all": (10, 13),
}


@pytest.mark.parametrize("starts", JUMPS.values(), ids=JUMPS)
@pytest.mark.parametrize("suffix", [".ts", ".mpg"])
def test_joined_parts_are_one_time_line(tmp_path, suffix, starts):
    parts = [make_part(tmp_path, number, start_s, suffix) for number, start_s in enumerate(starts)]
    assert_is_continuous(join(tmp_path, parts, suffix), parts)


def test_same_part_twice(tmp_path):
    parts = [make_part(tmp_path, 0, 0)] * 2
    assert_is_continuous(join(tmp_path, parts), parts)


@pytest.mark.parametrize("delays", [(0, 2), (2, 0)], ids=str)
def test_parts_of_different_delay(tmp_path, delays):
    parts = [make_part(tmp_path, number, 0, max_b_frames=delay) for number, delay in enumerate(delays)]
    path = join(tmp_path, parts)
    assert probe(path).num_frames == 6 * SECOND
    assert probe(path).duration_s == pytest.approx(6, abs=0.1)
    frames = sample(path, SamplePlan(max_frames=16, min_frames=16))
    ordered = [frame for part in parts for _, frame in decode_all(part)]
    for index, pixels in zip(frames.indices, frames.pixels, strict=True):
        np.testing.assert_array_equal(pixels, as_shown(ordered[index], pixels))


def test_parts_of_different_rate(tmp_path):
    slow = make_part(tmp_path, 1, 0, times=range(0, 3 * SECOND, 2), time_base=Fraction(1, 25), fps=Fraction(25, 2))
    path = join(tmp_path, [make_part(tmp_path, 0, 0), slow])
    info = probe(path)
    assert (info.num_frames, info.duration_s) == (75 + 38, pytest.approx(6.04, abs=0.05))


def test_parts_of_different_size(tmp_path):
    parts = [make_part(tmp_path, 0, 0), make_part(tmp_path, 1, 0, size=(64, 96))]
    info = probe(join(tmp_path, parts))
    assert (info.num_frames, info.duration_s, info.width, info.height) == (150, pytest.approx(6, abs=0.05), 96, 64)
    frames = sample(tmp_path / "joined.ts", SamplePlan())
    assert frames.times_s[-1] == pytest.approx(5.96, abs=0.05)


def test_clock_of_a_stream_that_wraps_is_no_jump(tmp_path):
    part = make_part(tmp_path, 0, 2**33 / 90_000 - 2.8)
    assert_is_continuous(join(tmp_path, [part]), [part])


def test_blu_ray_packets(tmp_path):
    parts = [make_part(tmp_path, number, start_s, ".m2ts") for number, start_s in enumerate((0, 3600))]
    assert_is_continuous(join(tmp_path, parts), parts)


def test_gap_of_a_recording_stays(tmp_path):
    parts = [make_part(tmp_path, number, start_s) for number, start_s in enumerate((10, 16))]
    info = probe(join(tmp_path, parts))
    assert (info.num_frames, info.duration_s) == (150, pytest.approx(9, abs=0.05))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_gap_of_other_containers_stays(tmp_path, name):
    times = [*range(75), *range(3600 * SECOND, 3600 * SECOND + 75)]
    info = probe(make_video(tmp_path / name, times=times, max_b_frames=2))
    assert (info.num_frames, info.duration_s) == (150, pytest.approx(3603, abs=0.1))


def test_joined_recording_is_not_decoded_whole(tmp_path, monkeypatch):
    parts = [make_part(tmp_path, number, 0, times=range(500), keyframe_every=25) for number in range(2)]
    path = join(tmp_path, parts)
    decoded = []
    decode = VideoFile.decode

    def counting(self, packet, skip_unreferenced=False):
        frames = decode(self, packet, skip_unreferenced)
        decoded.extend(frames)
        return frames

    monkeypatch.setattr(VideoFile, "decode", counting)
    frames = sample(path, SamplePlan(max_frames=8, min_frames=8))
    assert len(decoded) < 300
    monkeypatch.undo()
    ordered = [frame for part in parts for _, frame in decode_all(part)]
    for index, pixels in zip(frames.indices, frames.pixels, strict=True):
        np.testing.assert_array_equal(pixels, as_shown(ordered[index], pixels))


@pytest.mark.skipif(not SHARED_CASES.is_dir(), reason="the shared cases are not here")
@pytest.mark.parametrize("name", ["ts-joined-overlapping-times.ts", "ts-joined-jump-1h-forward.ts"])
def test_shared_recordings(name):
    info = probe(SHARED_CASES / name)
    assert (info.num_frames, info.duration_s, info.fps) == (300, pytest.approx(12), pytest.approx(25))
    frames = sample(SHARED_CASES / name, SamplePlan())
    assert (frames.times_s[0], frames.times_s[-1]) == (0, pytest.approx(11.96))
    assert (frames.times_s >= 6).sum() * 2 == len(frames.times_s)
