"""One decoded video frame: its size and rotation as a player shows it, and its pixels as upright RGB."""

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream


def rotation(frame: VideoFrame) -> int:
    """Return the degrees clockwise by which a player turns the frame: 0, 90, 180 or 270."""
    counterclockwise = frame.rotation
    is_sane = abs(counterclockwise) <= 360 and counterclockwise % 90 == 0  # a broken matrix gives -2**31
    return -counterclockwise % 360 if is_sane else 0


def display_size(frame: VideoFrame, pixel_aspect: float) -> tuple[int, int]:
    """Return (width, height) as displayed: pixels made square, then turned."""
    width = max(1, round(frame.width * pixel_aspect))
    return (frame.height, width) if rotation(frame) in (90, 270) else (width, frame.height)


def pixel_aspect(stream: VideoStream) -> float:
    """Return the width of a pixel divided by its height: 1.0 if the stream states none, or an absurd one."""
    aspect = float(stream.sample_aspect_ratio or 1)
    return aspect if 0.1 < aspect < 10 else 1.0


class FrameScaler:
    """Converts decoded frames of one clip to uint8 arrays (height, width, 3), upright RGB."""

    def __init__(self, width: int, height: int, turn: int, interpolation: Interpolation) -> None:
        """width, height: of the arrays, in pixels. turn: degrees clockwise that set the frames upright."""
        self._width, self._height = (height, width) if turn in (90, 270) else (width, height)
        self._num_turns, self._interpolation = turn // 90, interpolation
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> np.ndarray:
        """Return the pixels of one frame. Raises av.error.FFmpegError or ValueError if FFmpeg cannot convert it."""
        small = self._reformatter.reformat(
            frame, self._width, self._height, "rgb24", interpolation=self._interpolation, threads=1
        )
        return np.rot90(small.to_ndarray(), -self._num_turns)
