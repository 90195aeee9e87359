"""What a sample must be: the frames of a decode of everything in order, written apart from the product."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from captioner.values import Frames, SamplePlan
from tests.support.color_reference import code_values, is_converted, matrix_of, shown

EIGHT = SamplePlan(max_frames=8, min_frames=8)
THIRTY_TWO = SamplePlan(max_frames=32, min_frames=32)
SHARP = ["BICUBIC", "FULL_CHR_H_INT", "FULL_CHR_H_INP", "ACCURATE_RND"]


def decode_all(path: Path) -> Iterator[tuple[float, av.VideoFrame]]:
    """(seconds, frame) of every frame in display order, with one thread and nothing skipped."""
    with av.open(path, metadata_errors="replace") as opened:
        stream = max(opened.streams.video, key=lambda each: bool(each.disposition & av.stream.Disposition.default))
        stream.codec_context.thread_count = 1
        last = None
        for packet in opened.demux(stream):
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                continue
            for frame in frames:
                tick = frame.dts if path.suffix == ".avi" else frame.pts
                if last is not None and (tick is None or tick <= last):
                    tick = last + 1
                last = tick or 0
                yield last * float(stream.time_base), frame


def as_shown(frame: av.VideoFrame, like: np.ndarray) -> np.ndarray:
    """The frame upright, in the size of `like`, through a scaler of its own."""
    turns = frame.rotation // 90 if frame.rotation % 90 == 0 and abs(frame.rotation) <= 360 else 0
    height, width = like.shape[:2] if turns % 2 == 0 else like.shape[1::-1]
    flags = sum(av.video.reformatter.Interpolation[name] for name in SHARP)
    if is_converted(frame):
        pixels = np.rint(shown(code_values(frame, width, height, flags), 9, frame.color_trc))
        return np.rot90(pixels, turns)
    fitted = frame.reformat(width, height, "rgb24", src_colorspace=matrix_of(frame), interpolation=flags, threads=1)
    return np.rot90(fitted.to_ndarray(), turns)


def assert_same(pixels: np.ndarray, expected: np.ndarray) -> None:
    """Pixels that are not converted are the same bit for bit; computed colors may be rounded."""
    if expected.dtype == np.uint8:
        np.testing.assert_array_equal(pixels, expected)
    else:
        np.testing.assert_allclose(pixels, expected, atol=10)  # rounding of 12 bits counts near black


def assert_frames_are_those_shown(path: Path, *samples: Frames) -> None:
    """The frame at each time is, pixel for pixel, the last one that a full decode has by then."""
    start = None
    sampled = [list(zip(frames.times_s, frames.pixels, strict=True)) for frames in samples]
    latest = None
    for seconds, frame in decode_all(path):
        start = seconds if start is None else start
        for ahead in sampled:
            while ahead and ahead[0][0] + 0.0005 < seconds - start:
                assert_same(ahead[0][1], as_shown(latest, ahead[0][1]))
                ahead.pop(0)
        latest = frame
    for _, pixels in itertools.chain(*sampled):
        assert_same(pixels, as_shown(latest, pixels))
