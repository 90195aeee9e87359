"""Sampling says what a caption is checked against: the duration, and whether there is anything to hear."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from captioner.media.sample import sample
from captioner.values import MediaFacts, SamplePlan
from tests.support.media_maker import make_animation, make_picture, make_video, numbered_picture


def make_talkie(path: Path) -> Path:
    """A clip of one second with a track of sound."""
    with av.open(path, "w") as container:
        stream, sound = container.add_stream("mpeg4", rate=25), container.add_stream("aac", rate=44100, layout="mono")
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(25):
            frame = av.VideoFrame.from_ndarray(numbered_picture(number), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        for number in range(40):
            heard = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            heard.sample_rate, heard.pts = 44100, number * 1024
            container.mux(sound.encode(heard))
        for each in (stream, sound):
            container.mux(each.encode(None))
    return path


@pytest.mark.parametrize(
    ("make", "name", "facts"),
    [
        (make_talkie, "a.mp4", MediaFacts(1.0, has_sound=True)),
        (lambda path: make_video(path, 50), "b.mp4", MediaFacts(2.0, has_sound=False)),
        (make_picture, "c.png", MediaFacts(0.0, has_sound=False, is_still=True)),
        (lambda path: make_animation(path, [500, 500]), "d.gif", MediaFacts(1.0, has_sound=False)),
    ],
)
def test_facts_of_a_file(tmp_path, make, name, facts):
    assert sample(make(tmp_path / name), SamplePlan()).facts == facts
