"""A media file and a plan -> the frames to show the model, small, upright and with their times."""

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from captioner.errors import MediaError
from captioner.media.discover import check_file
from captioner.media.picture import display_size, open_picture, read_rgb, read_timeline
from captioner.media.seek import read_frames
from captioner.media.video import VideoFile
from captioner.values import Frames, MediaKind, SamplePlan

# Both sides of a frame are multiples of this, so that a processor has nothing left to resize.
SIZE_STEP = 32

# A rate is constant if its times are off by no more than one tick, and that tick no longer than this.
MAX_ROUNDING_S = 0.002

# As sharp as scaling the full RGB picture with Pillow (44 dB), at a tenth of its time.
SCALING = (
    Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP | Interpolation.ACCURATE_RND
)


def sample(path: Path, plan: SamplePlan, kind: MediaKind | None = None) -> Frames:
    """Read the frames of a video, an animated picture or a still. kind: by the file's extension if None.

    Safe in several threads at once; each uses one core, without the GIL most of the time.
    Raises MediaError with one line that does not repeat the path.
    """
    kind = check_file(path, kind)
    return _sample_video(path, plan) if kind == "video" else _sample_picture(path, plan)


def frame_count(num_frames: int, duration_s: float, plan: SamplePlan) -> int:
    """How many frames the plan takes of a clip: even, since a model merges them by two, or 1."""
    wanted = min(max(round(duration_s * plan.fps), plan.min_frames), plan.max_frames)
    count = max(1, min(wanted, num_frames))
    return count if count == 1 else count - count % 2


def choose_frames(times: Sequence[int], count: int, rounding: int = 1) -> np.ndarray:
    """Indices (count,) of the frames shown at `count` times spread evenly from the first frame to the last.

    times: of all frames, ascending, in ticks; at least `count` of them. rounding: by how many ticks they may be off
    a constant rate and still count as one. No frame is chosen twice: where gaps in a variable frame rate would do so,
    the choice is even over the list of frames instead.
    """
    ticks = np.asarray(times, dtype=np.int64)
    steps = np.arange(count, dtype=np.int64)
    last, parts = len(ticks) - 1, max(1, count - 1)
    by_number = steps * last // parts
    span = int(ticks[-1] - ticks[0])
    off_by = np.abs((ticks - ticks[0]) * last - np.arange(last + 1) * span).max()  # in ticks / last
    if off_by <= rounding * last:
        return by_number
    by_time = np.searchsorted(ticks, ticks[0] + steps * span // parts, side="right") - 1
    return by_time if (np.diff(by_time) > 0).all() else by_number


def fit_size(width: int, height: int, frame_size: int) -> tuple[int, int]:
    """(width, height) for the model: at most frame_size, about the same shape, both sides multiples of SIZE_STEP.

    Never enlarged, but by rounding.
    """
    longest = max(width, height)
    new_longest = max(1, min(round(longest / SIZE_STEP), frame_size // SIZE_STEP)) * SIZE_STEP

    def scaled(side: int) -> int:
        return max(1, round(side * new_longest / longest / SIZE_STEP)) * SIZE_STEP

    return scaled(width), scaled(height)


def _sample_video(path: Path, plan: SamplePlan) -> Frames:
    with VideoFile(path) as video:
        rounding = 1 if video.time_base <= MAX_ROUNDING_S else 0  # a coarse tick may be as long as a frame
        indices = choose_frames(video.times, frame_count(len(video.times), video.duration_s, plan), rounding)
        wanted = [video.times[index] for index in indices]
        width, height = fit_size(*video.size, plan.frame_size)
        try:
            shown = read_frames(video, wanted, _Scaler(width, height, video.rotation))
        except (av.error.FFmpegError, ValueError) as error:
            cause = getattr(error, "strerror", None) or error
            raise MediaError(f"its {video.first_frame.format.name} frames cannot be converted: {cause}") from None
        times_s = np.array([float((tick - video.times[0]) * video.time_base) for tick in wanted])
        return Frames(np.stack([shown[tick] for tick in wanted]), times_s, indices, video.fps, video.warning)


class _Scaler:
    """Turns decoded frames of one clip into uint8 arrays (height, width, 3), upright RGB."""

    def __init__(self, width: int, height: int, rotation: int) -> None:
        """width, height: as displayed, after the turn by `rotation` degrees clockwise."""
        self._width, self._height = (height, width) if rotation in (90, 270) else (width, height)
        self._num_turns = rotation // 90
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> np.ndarray:
        small = self._reformatter.reformat(
            frame, width=self._width, height=self._height, format="rgb24", interpolation=SCALING, threads=1
        )
        return np.rot90(small.to_ndarray(), -self._num_turns)


def _sample_picture(path: Path, plan: SamplePlan) -> Frames:
    with open_picture(path) as image:
        width, height = fit_size(*display_size(image), plan.frame_size)
        timeline = read_timeline(image)
        starts_ms = timeline.starts_ms
        indices = choose_frames(starts_ms, frame_count(len(starts_ms), timeline.duration_ms / 1000, plan))
        shown = [read_rgb(image, timeline.first + int(index), width, height) for index in indices]
    times_s = np.array(starts_ms)[indices] / 1000
    return Frames(np.stack(shown), times_s, indices, timeline.fps, timeline.warning)
