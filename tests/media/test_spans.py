"""Every frame that is sampled lies inside the part of the clip that the trainer takes."""

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.media.sample import sample
from captioner.media.spans import ROUNDING_S, frames_in, spans
from captioner.values import SamplePlan

MODES = ("target", "head", "middle", "whole", "chunks", "none")
WAN = {"span_frames": 81, "span_fps": 16.0}


def write_clip(path, fps, seconds, gray_of, *, side=64):
    """Write a clip whose frames are gray: `gray_of` turns a time in seconds into 0..255."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "qp": "0"})
        stream.width = stream.height = side
        stream.pix_fmt = "yuv444p"
        for number in range(round(fps * seconds)):
            pixels = np.full((side, side, 3), gray_of(number / fps), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode())
    return path


def test_spans_of_a_clip_of_fifteen_seconds():
    assert spans(15.0, 81, 16, "head") == spans(15.0, 81, 16, "target") == [(0.0, 5.0)]
    assert spans(15.0, 81, 16, "middle") == [(5.0, 10.0)]
    assert spans(15.0, 81, 16, "whole") == spans(15.0, 81, 16, "none") == [(0.0, 15.0)]
    assert spans(15.0, 80, 16, "chunks") == [(0.0, 5.0), (5.0, 10.0), (10.0, 15.0)]
    assert spans(14.9, 80, 16, "chunks") == [(0.0, 5.0), (5.0, 10.0)]


@pytest.mark.parametrize("mode", MODES)
def test_span_longer_than_the_clip_is_the_whole_clip(mode):
    assert spans(3.0, 81, 16, mode) == [(0.0, 3.0)]
    assert spans(5.0, 81, 16, mode) == [(0.0, 5.0)]
    assert spans(3.0, 0, 0, mode) == [(0.0, 3.0)]


DURATIONS, COUNTS = st.floats(0.04, 600), st.integers(1, 400)


@given(DURATIONS, COUNTS, st.sampled_from([8.0, 16.0, 24.0, 25.0, 30.0]), st.sampled_from(MODES))
def test_spans_lie_in_the_clip_in_order(duration_s, count, fps, mode):
    found = spans(duration_s, count, fps, mode)
    assert found
    edges = [time_s for span in found for time_s in span]
    assert edges == sorted(edges)
    assert edges[0] >= 0
    assert edges[-1] <= duration_s
    if len(found) == 1 and mode in ("head", "middle", "target"):
        assert found[0][1] - found[0][0] <= max(1, count - 1) / fps + 1e-9 or found == [(0.0, duration_s)]


@given(st.lists(st.floats(0, 60), min_size=1, max_size=50, unique=True), st.floats(0, 60), st.floats(0, 60))
def test_frames_of_a_part_are_its_own_or_the_one_that_is_shown(times_s, start_s, length_s):
    times_s = sorted(time_s - min(times_s) for time_s in times_s)
    inside = [i for i, time_s in enumerate(times_s) if start_s - ROUNDING_S <= time_s < start_s + length_s - ROUNDING_S]
    found = list(frames_in(times_s, (start_s, start_s + length_s)))
    if inside:
        assert found == inside
    else:
        [only] = found
        assert only == max([0, *(i for i, time_s in enumerate(times_s) if time_s < start_s - ROUNDING_S)])


@pytest.fixture(scope="module")
def ramp(tmp_path_factory):
    """A clip of 12 s at 25 frames a second that gets lighter all the time."""
    return write_clip(tmp_path_factory.mktemp("ramp") / "ramp.mp4", 25, 12, lambda time_s: round(20 * time_s))


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(MODES),
    st.integers(2, 400),
    st.sampled_from([8.0, 16.0, 24.0]),
    st.integers(2, 16),
    st.sampled_from([None, (0.0, 0.5), (3.3, 7.7), (11.9, 30.0), (2.0, 2.01), (20.0, 30.0)]),
)
def test_every_sampled_frame_lies_inside_the_span(ramp, mode, count, fps, max_frames, window_s):
    plan = SamplePlan(max_frames, 2.0, 2, 64, mode, count, fps, window_s)
    frames = sample(ramp, plan)
    start_s, end_s = frames.facts.span_s or (0.0, 12.0)
    if window_s and window_s[0] < 12:
        assert (start_s, end_s) == (window_s[0], min(12.0, window_s[1]))
    elif not window_s:
        parts = spans(12.0, count, fps, mode)
        assert (start_s, end_s) == (parts[0][0], parts[-1][1])
    times_s = frames.clip_times_s
    shown_s = frames.pixels[:, 32, 32, 0] / 20  # the frame itself tells its time
    assert np.abs(shown_s - times_s).max() < 0.1
    slack_s = 0.04 if end_s - start_s < 0.04 else 0.0  # between two frames, the one before is shown
    assert times_s.min() >= start_s - slack_s - ROUNDING_S
    assert times_s.max() < end_s
    assert frames.times_s[0] == 0


def test_times_and_numbers_of_frames_begin_with_the_span(ramp):
    frames = sample(ramp, SamplePlan(4, 2.0, 4, 64, "middle", **WAN))
    assert frames.facts.span_s == (3.5, 8.5)
    assert frames.start_s == pytest.approx(3.52)
    assert frames.indices[0] == 0
    assert frames.clock == (pytest.approx(25.0), frames.indices.tolist())
    assert np.allclose(frames.times_s, frames.indices / 25)


def test_animated_images_have_spans_and_stills_have_none(tmp_path):
    from PIL import Image

    pictures = [Image.new("RGB", (64, 64), (number * 12,) * 3) for number in range(20)]
    path = tmp_path / "x.gif"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=500)
    frames = sample(path, SamplePlan(8, 2.0, 2, 64, "middle", **WAN))
    assert frames.facts.span_s == (2.5, 7.5)
    assert (frames.clip_times_s >= 2.5).all()
    assert (frames.clip_times_s < 7.5).all()
    assert np.abs(frames.pixels[:, 0, 0, 0] / 12 - frames.clip_times_s * 2).max() < 0.6
    pictures[0].save(tmp_path / "x.png")
    assert sample(tmp_path / "x.png", SamplePlan(span="head", **WAN)).facts.span_s is None
