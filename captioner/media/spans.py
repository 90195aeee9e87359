"""The part of a clip that a trainer takes, and the frames in it."""

import itertools
import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace

from captioner.values import SamplePlan, Span, SpanMode

ROUNDING_S = 1e-6  # by which a time may be off
SUMMARY_FRAMES = 8  # of a whole clip, beside the captions of its windows
SHORTEST_S = 0.5  # a shorter rest belongs to the window before


def spans(duration_s: float, num_frames: int, fps: float, mode: SpanMode) -> list[Span]:
    """Return the parts of a clip that a trainer takes which trains `num_frames` frames at `fps`.

    head and middle last from the first of these frames to the last one; chunks follow each other without a gap, and the
    rest is dropped. A clip that is not longer is taken whole, as with "none" and "whole".
    """
    length_s = max(1, num_frames - 1) / fps if num_frames and fps else 0.0
    if mode in ("none", "whole") or not 0 < length_s < duration_s:
        return [(0.0, duration_s)]
    if mode == "middle":
        start_s = (duration_s - length_s) / 2
        return [(start_s, start_s + length_s)]
    if mode == "chunks":
        chunk_s = num_frames / fps
        count = max(1, int(duration_s / chunk_s + 1e-9))
        return [(number * chunk_s, min(duration_s, (number + 1) * chunk_s)) for number in range(count)]
    return [(0.0, length_s)]


def windows(duration_s: float, length_s: float) -> tuple[Span, ...]:
    """Return the windows of a clip, each `length_s` long but for the last one, which has the rest."""
    count = max(1, math.ceil((duration_s - SHORTEST_S) / length_s))
    edges = [number * length_s for number in range(count)]
    return tuple(itertools.pairwise([*edges, duration_s]))


def plans_of(plan: SamplePlan, parts: Sequence[Span]) -> list[SamplePlan]:
    """Return the frames to take of each window of a clip, and last a few of all of it if there are several."""
    whole = replace(plan, windows="none")
    count = min(plan.max_frames, SUMMARY_FRAMES)
    summary = replace(whole, max_frames=count, min_frames=min(plan.min_frames, count))
    return [*(replace(whole, window_s=part) for part in parts), summary] if len(parts) > 1 else [whole]


def part_of(duration_s: float, plan: SamplePlan) -> Span:
    """Return the part of a clip that the plan samples: its window, or from the first span to the last."""
    if plan.window_s:
        start_s, end_s = plan.window_s
        return (start_s, min(end_s, duration_s)) if start_s < duration_s else (0.0, duration_s)
    found = spans(duration_s, plan.span_frames, plan.span_fps, plan.span)
    return found[0][0], found[-1][1]


def frames_in(times_s: Sequence[float], part: Span) -> range:
    """Return the indices of the frames in a part: all of its own, or else the one that is shown then.

    times_s: of all frames from the first one, ascending.
    """
    first, stop = (bisect_left(times_s, time_s - ROUNDING_S) for time_s in part)
    return range(first, stop) if first < stop else range(max(0, first - 1), max(1, first))
