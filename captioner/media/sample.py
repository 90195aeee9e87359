"""Sampling: the frames of a media file that the model is shown, small and upright, with their times."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Interpolation

from captioner.media.animation import read_timeline
from captioner.media.content import checked_file
from captioner.media.geometry import FrameScaler
from captioner.media.picture import display_size, open_picture, read_rgb
from captioner.media.profile import profile_warning
from captioner.media.scenes import find_cuts, find_scenes
from captioner.media.seek import read_frames
from captioner.media.spans import Span, frames_in, part_of, windows
from captioner.media.video import VideoFile
from captioner.system.pinning import Within
from captioner.values import Frames, MediaFacts, MediaKind, SamplePlan

SIZE_STEP = 32  # both sides of a frame are multiples of this, so that a processor has nothing left to resize
MAX_ROUNDING_S = 0.002  # the longest tick by which the times of a constant frame rate may be off

# As sharp as scaling the full RGB picture with Pillow (44 dB), in a tenth of the time.
SCALING = (
    Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP | Interpolation.ACCURATE_RND
)


def sample(path: Path, plan: SamplePlan, kind: MediaKind | None = None, within: Within = None) -> Frames:
    """Read frames of a file; `kind` defaults to that of its extension. Raises MediaError that does not name the file.

    within: the folders that the file has to be in once links are followed; None: any. Safe in several threads at once;
    each uses one core, without the GIL most of the time.
    """
    with checked_file(path, kind, within) as (held, kind):
        return _sample_video(held, plan) if kind == "video" else _sample_picture(held, path.suffix, plan)


def frame_count(num_frames: int, duration_s: float, plan: SamplePlan) -> int:
    """Return how many frames of a clip the plan takes: 1, or an even number because models merge frames in pairs.

    It is num_frames + 1 for a short clip with an odd number of frames: all of them are shown, the last one twice.
    """
    wanted = min(max(round(duration_s * plan.fps), plan.min_frames), plan.max_frames)
    even = num_frames + num_frames % 2
    if 1 < num_frames <= wanted and even <= plan.max_frames:
        return even
    count = max(1, min(wanted, num_frames))
    return count if count == 1 else count - count % 2


def choose_frames(times: Sequence[int], count: int, rounding: int = 1) -> np.ndarray:
    """Return the indices (count,) of the frames shown at `count` times spread evenly from the first frame to the last.

    times: of all frames, ascending, in ticks. rounding: ticks by which times of a constant rate may be off. Where gaps
    would choose a frame twice, the choice is spread evenly over the list of frames instead. If there are fewer than
    `count`, all are chosen, and the last one again.
    """
    ticks = np.asarray(times, dtype=np.int64)
    steps = np.arange(count, dtype=np.int64)
    if count > len(ticks):
        return np.minimum(steps, len(ticks) - 1)
    last, parts = len(ticks) - 1, max(1, count - 1)
    by_number = steps * last // parts
    span = int(ticks[-1] - ticks[0])
    off_by = np.abs((ticks - ticks[0]) * last - np.arange(last + 1) * span).max()  # in ticks / last
    if off_by <= rounding * last:
        return by_number
    by_time = np.searchsorted(ticks, ticks[0] + steps * span // parts, side="right") - 1
    return by_time if (np.diff(by_time) > 0).all() else by_number


def fit_size(width: int, height: int, frame_size: int) -> tuple[int, int]:
    """Return (width, height) for the model: multiples of SIZE_STEP, at most frame_size, grown only by rounding."""
    longest = max(width, height)
    new_longest = max(1, min(round(longest / SIZE_STEP), frame_size // SIZE_STEP)) * SIZE_STEP

    def scaled(side: int) -> int:
        return max(1, round(side * new_longest / longest / SIZE_STEP)) * SIZE_STEP

    return scaled(width), scaled(height)


def _sample_video(path: Path, plan: SamplePlan) -> Frames:
    with VideoFile(path) as video:
        rounding = 1 if video.time_base <= MAX_ROUNDING_S else 0  # a coarse tick may be as long as a frame
        windows_s = _windows(path, video.duration_s, plan)
        if len(windows_s) > 1:
            plan = replace(plan, window_s=windows_s[0])
        part = _Part(video.times, float(video.time_base), video.duration_s, plan)
        indices = choose_frames(part.ticks, frame_count(len(part.ticks), part.duration_s, plan), rounding)
        wanted = [part.ticks[index] for index in indices]
        width, height = fit_size(*video.size, plan.frame_size)
        try:
            scaler = FrameScaler(video.geometry, width, height, SCALING, video.stated_tags)
            shown = read_frames(video, sorted(set(wanted)), scaler)
        except (av.error.FFmpegError, ValueError) as error:
            raise video.conversion_error(error) from None
        times_s = np.array([float((tick - part.ticks[0]) * video.time_base) for tick in wanted])
        cuts_s = _cuts(path, part) if plan.find_cuts else None
        info = None if part.span_s else video.info
        facts = MediaFacts(part.duration_s, cuts_s, video.has_sound, span_s=part.span_s, windows_s=windows_s, info=info)
        pixels = np.stack([shown[tick] for tick in wanted])
        return Frames(pixels, times_s, indices, video.fps, video.warning, facts, part.start_s)


def _windows(path: Path, duration_s: float, plan: SamplePlan) -> tuple[Span, ...]:
    """Return the windows of a clip; none if the plan does not ask for them."""
    if plan.windows == "none":
        return ()
    return find_scenes(path) if plan.windows == "scenes" else windows(duration_s, float(plan.windows))


def _cuts(path: Path, part: "_Part") -> tuple[float, ...] | None:
    """Return the cuts in a part of a clip, in seconds from its first frame; None if they cannot be measured."""
    cuts_s = find_cuts(path)
    if cuts_s is None:
        return None
    return tuple(cut_s - part.start_s for cut_s in cuts_s if 0 < cut_s - part.start_s < part.duration_s)


def _sample_picture(path: Path, extension: str, plan: SamplePlan) -> Frames:
    with open_picture(path, extension) as image:
        width, height = fit_size(*display_size(image), plan.frame_size)
        timeline = read_timeline(image)
        part = _Part(timeline.starts_ms, 0.001, timeline.duration_ms / 1000, plan)
        indices = choose_frames(part.ticks, frame_count(len(part.ticks), part.duration_s, plan))
        first = timeline.first + part.first
        shown = [read_rgb(image, first + int(index), width, height) for index in indices]
        warning = "; ".join(filter(None, [timeline.warning, profile_warning(image)]))
    times_s = (np.array(part.ticks)[indices] - part.ticks[0]) / 1000
    is_still = len(timeline.starts_ms) == 1
    facts = MediaFacts(part.duration_s, has_sound=False, is_still=is_still, span_s=part.span_s)
    return Frames(np.stack(shown), times_s, indices, timeline.fps, warning, facts, part.start_s)


class _Part:
    """The frames of a clip that the plan may take, all of them unless it has a span or a window."""

    def __init__(self, ticks: Sequence[int], tick_s: float, duration_s: float, plan: SamplePlan) -> None:
        """ticks: the times of all frames, each `tick_s` long."""
        self.ticks, self.first, self.start_s, self.duration_s = ticks, 0, 0.0, duration_s
        self.span_s: Span | None = None
        if (plan.span == "none" and not plan.window_s) or len(ticks) < 2:
            return
        self.span_s = part_of(duration_s, plan)
        chosen = frames_in([(tick - ticks[0]) * tick_s for tick in ticks], self.span_s)
        self.ticks, self.first = ticks[chosen.start : chosen.stop], chosen.start
        self.start_s, self.duration_s = (self.ticks[0] - ticks[0]) * tick_s, self.span_s[1] - self.span_s[0]
