"""Sampling, compared with a separate implementation that decodes every frame in order."""

import json
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captioner.media import video
from captioner.media.sample import choose_frames, fit_size, frame_count, sample
from captioner.values import SamplePlan
from tests.conftest import SHARED_MEDIA
from tests.support.color_reference import is_converted, matrix_of
from tests.support.full_decode import EIGHT, THIRTY_TWO, as_shown, assert_frames_are_those_shown, decode_all
from tests.support.media_maker import make_animation, make_video, numbered_picture

TRUTH = json.loads((SHARED_MEDIA / "truth.json").read_text()) if SHARED_MEDIA.is_dir() else {}
SHARED_CLIPS = sorted(name for name, facts in TRUTH.items() if facts["kind"] == "video" and facts.get("frames"))
SHARED_CLIPS = [name for name in SHARED_CLIPS if "alpha" not in name]  # see test_transparency.py
needs_media = pytest.mark.skipif(not TRUTH, reason="the shared media folder is not here")

VFR = [0, 33, 67, 100, 133, 400, 410, 420, 900, 1000, 1033, 1067, 1100, 1500, 1540, 1580, 1620, 1660, 1700, 2600]

CLIPS = {
    "constant rate": ("a.mp4", {"max_b_frames": 0}),
    "B-frames": ("a.mp4", {"num_frames": 90, "max_b_frames": 3, "keyframe_every": 30}),
    "open groups of pictures": ("a.mp4", {"num_frames": 90, "options": {"x264-params": "open-gop=1:bframes=3"}}),
    "intra refresh": ("a.mp4", {"num_frames": 90, "options": {"x264-params": "intra-refresh=1:bframes=0"}}),
    "one keyframe": ("a.mp4", {"num_frames": 90, "keyframe_every": 999}),
    "long groups": ("a.mp4", {"num_frames": 200, "keyframe_every": 50}),
    "variable rate": ("a.mkv", {"times": VFR, "time_base": Fraction(1, 1000)}),
    "late start": ("a.mkv", {"times": range(2000, 5000, 40), "time_base": Fraction(1, 1000)}),
    "late start in MP4": ("a.mp4", {"times": range(50, 125)}),
    "NTSC rate in milliseconds": ("a.mkv", {"num_frames": 90, "fps": Fraction(30000, 1001)}),
    "interlaced": ("a.mp4", {"options": {"flags": "+ilme+ildct"}, "size": (96, 64)}),
    "turned clockwise": ("a.mp4", {"rotation_ccw": -90}),
    "upside down": ("a.mp4", {"rotation_ccw": 180}),
    "wide pixels": ("a.mp4", {"sample_aspect": Fraction(2, 1)}),
    "one frame": ("a.mp4", {"num_frames": 1}),
    "two frames": ("a.mp4", {"num_frames": 2}),
    "odd size": ("a.webm", {"codec": "libvpx-vp9", "size": (97, 65), "options": {"cpu-used": "8"}}),
    "VP9 with hidden frames": ("a.webm", {"codec": "libvpx-vp9", "options": {"cpu-used": "8", "auto-alt-ref": "1"}}),
    "VP8 with hidden frames": ("a.webm", {"codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "16"}}),
    "no duration": ("a.webm", {"codec": "libvpx", "container_options": {"live": "1"}}),
    "fragmented": ("a.mp4", {"container_options": {"movflags": "frag_keyframe+empty_moov"}}),
    "HEVC with 10 bits": (
        "a.mp4",
        {"codec": "libx265", "pixels": "yuv420p10le", "options": {"x265-params": "log-level=0"}},
    ),
    "AV1": ("a.mp4", {"codec": "libsvtav1", "num_frames": 40, "options": {"preset": "12"}}),
    "transport stream": ("a.ts", {"max_b_frames": 2, "num_frames": 90}),
    "program stream": ("a.mpg", {"codec": "mpeg2video", "max_b_frames": 2, "num_frames": 90}),
    "AVI with B-frames": ("a.avi", {"codec": "mpeg4", "max_b_frames": 2}),
    "Flash": ("a.flv", {"codec": "flv1"}),
    "Windows Media": ("a.wmv", {"codec": "wmv2"}),
    "QuickTime": ("a.mov", {"codec": "mjpeg", "pixels": "yuvj444p"}),
    "alpha": ("a.mov", {"codec": "qtrle", "pixels": "argb"}),
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> dict[str, Path]:
    """Make a file for each of CLIPS."""
    folder = tmp_path_factory.mktemp("clips")
    made = {}
    for number, (name, (filename, options)) in enumerate(CLIPS.items()):
        made[name] = make_video(folder / f"{number}{filename}", **options)
    return made


@pytest.mark.parametrize("plan", [EIGHT, THIRTY_TWO], ids=["8", "32"])
@pytest.mark.parametrize("name", CLIPS)
def test_each_frame_is_the_one_a_full_decode_shows_at_that_time(clips, name, plan):
    frames = sample(clips[name], plan)
    num_frames = CLIPS[name][1].get("num_frames", len(CLIPS[name][1].get("times", range(60))))
    assert len(frames.times_s) == min(plan.max_frames, num_frames)
    assert frames.warning == ""
    assert_frames_are_those_shown(clips[name], frames)


@needs_media
@pytest.mark.parametrize("name", SHARED_CLIPS)
def test_real_clips_give_the_frames_of_a_full_decode(name):
    samples = [sample(SHARED_MEDIA / name, plan) for plan in (EIGHT, THIRTY_TWO)]
    assert_frames_are_those_shown(SHARED_MEDIA / name, *samples)
    facts = TRUTH[name]
    ticks = np.array(facts["pts"])
    known_s = (ticks - ticks[0]) * float(Fraction(facts["time_base"]))
    turns = -facts["rotation_ccw"] // 90 if facts["rotation_ccw"] % 90 == 0 else 0
    with video.VideoFile(SHARED_MEDIA / name) as opened:
        frame = opened.first_frame
    weights = (0.2126, 0.7152, 0.0722) if matrix_of(frame) else (0.299, 0.587, 0.114)
    for frames in samples:
        shown = np.searchsorted(known_s, frames.times_s + 0.0005, side="right") - 1
        if not facts["decode_errors"]:
            np.testing.assert_allclose(frames.times_s, known_s[shown], atol=0.001)
            np.testing.assert_array_equal(frames.indices, shown)
        for pixels, number in zip(frames.pixels, shown, strict=True) if not is_converted(frame) else ():
            gray = Image.fromarray(np.rint(np.rot90(pixels, turns) @ weights).astype(np.uint8))
            small = gray.resize((16, 16), Image.Resampling.BOX)
            known = np.frombuffer(bytes.fromhex(facts["luma16x16"][number]), np.uint8)
            assert np.abs(np.asarray(small, dtype=int).ravel() - known).mean() < 6  # not quite the gray of colors


def test_the_clips_use_every_way_of_reading(clips):
    """The clips prove little if all of them are read in the same way."""
    with video.VideoFile(clips["long groups"]) as seeking, video.VideoFile(clips["AVI with B-frames"]) as plain:
        assert (seeking.exact, len(seeking.keyframes), len(seeking.times)) == (True, 4, 200)
        assert (plain.exact, len(plain.times)) == (False, 60)
    with video.VideoFile(clips["intra refresh"]) as refreshed:
        assert refreshed.exact
    with video.VideoFile(clips["VP8 with hidden frames"]) as hidden:
        assert len(hidden.times) == 60


def test_seeking_decodes_far_fewer_frames(clips, monkeypatch):
    decoded = []
    decode = video.VideoFile.decode

    def counting(self, packet, skip_unreferenced=False):
        frames = decode(self, packet, skip_unreferenced)
        decoded.extend(frames)
        return frames

    monkeypatch.setattr(video.VideoFile, "decode", counting)
    sample(clips["long groups"], SamplePlan(max_frames=4, min_frames=4))
    assert 4 <= len(decoded) < 120


def test_stream_without_times_is_counted(tmp_path):
    path = tmp_path / "bare.mpeg"
    make_video(path, num_frames=60, codec="mpeg1video", max_b_frames=2, container_format="mpeg1video")
    frames = sample(path, EIGHT)
    np.testing.assert_array_equal(frames.indices, [0, 8, 16, 25, 33, 42, 50, 59])
    np.testing.assert_allclose(frames.times_s, frames.indices / 25)
    ordered = [frame for _, frame in decode_all(path)]
    for index, pixels in zip(frames.indices, frames.pixels, strict=True):
        np.testing.assert_array_equal(pixels, as_shown(ordered[index], pixels))


def test_sample_has_the_frame_rate_and_times_of_the_source(clips):
    frames = sample(clips["late start"], SamplePlan(fps=2))
    assert frames.fps == pytest.approx(25)
    assert frames.times_s[0] == 0
    assert frames.times_s[-1] == pytest.approx(2.96)
    np.testing.assert_array_equal(frames.indices, [0, 10, 21, 31, 42, 52, 63, 74])
    assert frames.pixels.dtype == np.uint8
    assert frames.clock == (pytest.approx(25), [0, 10, 21, 31, 42, 52, 63, 74])


def test_frames_of_a_turned_clip_are_upright(clips):
    plain = sample(clips["constant rate"], EIGHT).pixels
    turned = sample(clips["turned clockwise"], EIGHT).pixels
    assert plain.shape[1:3] == (64, 96)
    assert turned.shape[1:3] == (96, 64)
    assert np.abs(np.rot90(turned[0]).astype(int) - plain[0]).mean() < 8


def test_several_threads_give_the_same_frames(clips):
    names = ["B-frames", "long groups", "HEVC with 10 bits", "AVI with B-frames"] * 2
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda name: sample(clips[name], EIGHT).pixels, names))
    for name, pixels in zip(names, together, strict=True):
        np.testing.assert_array_equal(pixels, sample(clips[name], EIGHT).pixels)


# The plan


@pytest.mark.parametrize(
    ("num_frames", "duration_s", "plan", "count"),
    [
        (250, 10.0, SamplePlan(), 20),
        (2500, 100.0, SamplePlan(), 32),
        (50, 2.0, SamplePlan(), 8),
        (5, 0.2, SamplePlan(), 6),
        (3, 0.1, SamplePlan(), 4),
        (9, 4.5, SamplePlan(), 10),
        (3, 0.1, SamplePlan(max_frames=3), 2),
        (2, 0.1, SamplePlan(), 2),
        (1, 0.0, SamplePlan(), 1),
        (250, 10.0, SamplePlan(max_frames=1), 1),
        (250, 10.0, SamplePlan(max_frames=3), 2),
        (250, 10.0, SamplePlan(max_frames=4, min_frames=8), 4),
        (250, 4.5, SamplePlan(), 8),
        (250, 5.5, SamplePlan(), 10),
        (250, 10.0, SamplePlan(min_frames=1, fps=0.3), 2),
        (250, 10.0, SamplePlan(min_frames=1, fps=0.01), 1),
    ],
)
def test_count_is_clamped_and_even(num_frames, duration_s, plan, count):
    assert frame_count(num_frames, duration_s, plan) == count


@pytest.mark.parametrize("count", [1, 2, 8, 30, 32, 128])
@pytest.mark.parametrize("num_frames", [128, 129, 250, 1440, 14_401])
def test_constant_rate_is_sampled_evenly_by_number(num_frames, count):
    even = [step * (num_frames - 1) // max(1, count - 1) for step in range(count)]
    exact = [700 + 512 * number for number in range(num_frames)]
    rounded = [round(number * 1001 / 30) for number in range(num_frames)]
    cut = [number * 1001 // 30 for number in range(num_frames)]
    for times in (exact, rounded, cut):
        np.testing.assert_array_equal(choose_frames(times, count), even)


def test_variable_rate_is_sampled_evenly_in_time():
    times = [*range(0, 1000, 10), *range(1000, 2001, 100)]
    np.testing.assert_array_equal(choose_frames(times, 5), [0, 50, 100, 105, 110])


def test_coarse_ticks_do_not_hide_a_variable_rate():
    times = [0, 1, 2, 3, 5, 6, 7, 8, 10, 11]
    np.testing.assert_array_equal(choose_frames(times, 6, rounding=1), [0, 1, 3, 5, 7, 9])
    np.testing.assert_array_equal(choose_frames(times, 6, rounding=0), [0, 2, 3, 5, 7, 9])


def test_gaps_do_not_cost_frames():
    chosen = choose_frames([0, 10, 20, 30, 40, 50, 60, 5000], 4)
    np.testing.assert_array_equal(chosen, [0, 2, 4, 7])


@pytest.mark.parametrize(
    ("size", "fitted"),
    [
        ((1920, 1080), (320, 192)),
        ((1080, 1920), (192, 320)),
        ((128, 128), (128, 128)),
        ((100, 100), (96, 96)),
        ((640, 480), (320, 256)),
        ((4000, 20), (320, 32)),
        ((1, 1), (32, 32)),
        ((340, 336), (320, 320)),
    ],
)
def test_size_is_near_and_in_steps(size, fitted):
    assert fit_size(*size, 336) == fitted


def test_frame_size_below_one_step_is_one_step():
    assert fit_size(500, 300, 20) == (32, 32)


@pytest.mark.parametrize("count", [3, 5, 7])
@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.gif"])
def test_all_frames_of_a_short_clip_with_an_odd_number_are_seen(tmp_path, name, count):
    path = tmp_path / name
    if name == "a.gif":
        make_animation(path, [40] * count)
    else:
        make_video(path, num_frames=count, codec="mpeg4" if name == "a.avi" else "libx264")
    frames = sample(path, SamplePlan())
    assert frames.indices.tolist() == [*range(count), count - 1]
    np.testing.assert_allclose(frames.times_s, frames.indices / 25, atol=0.001)
    assert frames.clock[1] == frames.indices.tolist()
    np.testing.assert_array_equal(frames.pixels[-1], frames.pixels[-2])
    for number, pixels in enumerate(frames.pixels[:-1]):
        assert np.abs(pixels.astype(int) - numbered_picture(number)).mean() < 12
