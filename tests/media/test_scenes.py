"""Windows of clips: of a length, and scenes with the times of the frames."""

import builtins
import itertools
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.errors import MediaError, SettingsError
from captioner.media.sample import sample
from captioner.media.scenes import check_installed, find_scenes
from captioner.media.spans import windows
from captioner.values import SamplePlan

COLORS = [(222, 38, 38), (40, 175, 70), (50, 105, 240), (245, 245, 245)]


def write_clip(path, scenes, first_s=0.0, codec="libx264"):
    """Write a clip of (color, times of its frames in seconds)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width = stream.height = 96
        stream.pix_fmt, stream.time_base = "yuv420p", Fraction(1, 1000)
        stream.codec_context.time_base = Fraction(1, 1000)
        for color, times_s in scenes:
            for time_s in times_s:
                frame = av.VideoFrame.from_ndarray(np.full((96, 96, 3), color, np.uint8), "rgb24")
                frame.pts, frame.time_base = round(1000 * (first_s + time_s)), Fraction(1, 1000)
                container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@settings(deadline=None)
@given(st.floats(0.04, 1000), st.floats(1, 3600))
def test_windows_follow_each_other_to_the_end(duration_s, length_s):
    found = windows(duration_s, length_s)
    assert (found[0][0], found[-1][1]) == (0.0, duration_s)
    assert all(end == start for (_, end), (start, _) in itertools.pairwise(found))
    assert all(end - start == pytest.approx(length_s) for start, end in found[:-1])
    assert 0 < found[-1][1] - found[-1][0] <= length_s + 0.5 + 1e-6


def test_windows_of_a_clip():
    assert windows(25, 10) == ((0, 10), (10, 20), (20, 25))
    assert windows(20.04, 10) == ((0, 10), (10, 20.04))
    assert windows(3, 10) == ((0, 3),)


CUTS = {  # seen by eye
    "bunny-vfr.mp4": [1.83, 5.7],
    "nasa-two-streams.mp4": [5.08, 8.08],
    "hills-10bit-vp9.webm": [1.75],
    "corridor-139s.mp4": [],  # its keyframes differ from the frames before by up to 13 of 255
    "chaplin-one-keyframe.mp4": [],
    "phone-upside-down-vfr.mp4": [],  # shaken, at up to 44 of 255
}


@pytest.mark.parametrize("name", CUTS)
def test_cuts_of_real_clips(shared_media, name):
    pytest.importorskip("scenedetect")
    assert [start for start, _ in find_scenes(shared_media / name)][1:] == pytest.approx(CUTS[name], abs=0.01)


@pytest.mark.parametrize(("name", "first_s"), [("even.mp4", 0.0), ("late.mkv", 7.0)])
def test_scenes_of_a_clip_whose_frame_rate_varies_have_the_times_of_its_frames(tmp_path, name, first_s):
    pytest.importorskip("scenedetect")
    rates = [25, 5, 12, 30]  # frames a second
    starts = [0, 3, 8, 9]
    scenes = [
        (color, [start + number / rate for number in range(rate * (end - start))])
        for color, rate, (start, end) in zip(COLORS, rates, itertools.pairwise([*starts, 12]), strict=True)
    ]
    path = write_clip(tmp_path / name, scenes, first_s)
    found = find_scenes(path)
    assert [start for start, _ in found] == pytest.approx(starts, abs=0.25)
    assert found[-1][1] == pytest.approx(12, abs=0.25)
    frames = sample(path, SamplePlan(windows="scenes", max_frames=4, frame_size=64))
    assert frames.facts.windows_s == found
    assert frames.facts.span_s == found[0]
    assert (abs(frames.pixels[:, 32, 32].astype(int) - COLORS[0]) < 12).all()


def test_cuts_are_measured_once_and_count_from_the_part_that_is_sampled(tmp_path, monkeypatch):
    pytest.importorskip("scenedetect")
    scenes = [(COLORS[i], [start + number / 25 for number in range(50)]) for i, start in enumerate((0, 2, 4))]
    path = write_clip(tmp_path / "a.mp4", scenes)
    assert sample(path, SamplePlan()).facts.cuts_s is None
    assert sample(path, SamplePlan(find_cuts=True)).facts.cuts_s == pytest.approx((2, 4))
    decoded = find_scenes(path)
    monkeypatch.setattr("captioner.media.scenes.FrameScaler", None)  # decoding it again would fail
    windowed = SamplePlan(find_cuts=True, windows="scenes")
    assert sample(path, windowed).facts.windows_s == decoded
    for window_s, cuts_s in {(1.0, 5.0): (1, 3), (2.5, 3.5): (), (0.0, 3.0): (2,)}.items():
        plan = SamplePlan(find_cuts=True, window_s=window_s)
        assert sample(path, plan).facts.cuts_s == pytest.approx(cuts_s, abs=0.04)
    write_clip(path, scenes[:2])
    with pytest.raises(TypeError):  # another file of the name is measured anew
        find_scenes(path)


def test_clip_of_one_scene_or_shorter_than_a_window_is_one_window(tmp_path):
    path = write_clip(tmp_path / "one.mp4", [(COLORS[0], [number / 10 for number in range(20)])])
    pytest.importorskip("scenedetect")
    for plan in ("scenes", "5"):
        facts = sample(path, SamplePlan(windows=plan)).facts
        assert facts.windows_s == ((0.0, pytest.approx(2.0)),)
        assert facts.span_s is None
    assert sample(path, SamplePlan()).facts.windows_s == ()


def test_clip_of_one_frame_has_one_window(tmp_path):
    path = write_clip(tmp_path / "frame.mp4", [(COLORS[0], [0.0])])
    assert len(sample(path, SamplePlan(windows="1")).facts.windows_s) == 1


def test_missing_package_is_one_line_with_what_to_install(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == "scenedetect":
            raise ImportError("libGL.so.1: cannot open shared object file")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SettingsError, match="pip install scenedetect-headless, or give seconds such as --windows 10"):
        check_installed()
    path = write_clip(tmp_path / "a.mp4", [(COLORS[0], [number / 10 for number in range(20)])])
    with pytest.raises(MediaError, match="pip install scenedetect-headless"):
        find_scenes(path)
    assert sample(path, SamplePlan(find_cuts=True)).facts.cuts_s is None
