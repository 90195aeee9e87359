"""Measurements in sampled frames, without a model: the camera, cuts, freezes, black, light and black bars."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from captioner.media.alignment import sums_of_parts
from captioner.media.camera import MIN_MOVE, STATIC, camera_moves
from captioner.media.motion import Steps, brightness, measure_steps
from captioner.media.shots import find_cuts, find_shots
from captioner.values import Frames, Measured, MediaFacts, Span

log = logging.getLogger(__name__)

MAX_STEP_S = 1.05  # between two frames; where they are farther apart, a pan looks like a cut
VERSION = 2  # of the measurements; one more where a file would be measured differently
WHITE = 235.0  # levels that each cell of a white frame reaches: a flash, or a fade through white
BLACK = 20.0  # levels that no cell of a black frame exceeds
FROZEN = 0.35  # levels by which parts of a frozen picture may change on average, as encoders do
MOVING = 3.0  # levels by which some part of a clip has to change, else nothing moves in it that could freeze
PARTS = 8  # such parts in a row and in a column
MIN_FREEZE_S = 0.45
SLOW_STEP = 0.015  # of the width: the border has to move so far between two frames to tell a slow move
LIGHT = 12.0  # levels by which the light of a static shot has to change
MIN_BAR, MAX_BAR = 0.02, 0.4  # of the height or the width


def measure(frames: Frames) -> Measured:
    """Return what the frames show. Times are those in the clip, as exact as the frames are dense."""
    gray = brightness(frames.pixels)
    is_black = gray.reshape(len(gray), -1).max(1) <= BLACK
    height, width = gray.shape[1:]
    top, left = find_bars(gray[~is_black])
    gray = gray[:, top : height - top, left : width - left]
    times_s = frames.clip_times_s.tolist()
    ends_s = [*times_s[1:], frames.start_s + (frames.facts.duration_s or 0.0)]
    black, bars = _spans(is_black, times_s, ends_s), (round(top / height, 3), round(left / width, 3))
    if len(gray) < 2:
        return Measured(black_s=black, bars=bars, has_sound=frames.facts.has_sound)
    step_s = round(max(np.diff(times_s).tolist()), 3)
    steps = measure_steps(gray)
    is_blank = is_black | (gray.reshape(len(gray), -1).min(1) >= WHITE)
    cuts = find_cuts(steps, gray, frames.pixels, is_blank)
    frozen = _find_frozen(gray, cuts) & ~is_blank[1:]
    moves: list[str] = []
    light: list[str] = []
    for first, last in find_shots(cuts, is_blank):
        shown = first + np.flatnonzero(~frozen[first:last])
        within = Steps(*(each[shown] for each in steps))
        named = camera_moves(within, np.diff(times_s)[shown])
        if named in ((), (STATIC,)) and len(shown) == last - first:
            named = _slow_moves(within, gray[first : last + 1], np.array(times_s[first : last + 1])) or named
        moves += named
        light += _change_of_light(gray[first : last + 1]) if named in ((), (STATIC,)) else []
    freezes = _spans(frozen, times_s[:-1], times_s[1:])
    return Measured(
        camera=_summary(moves),
        cuts_s=tuple(round((times_s[cut] + times_s[cut + 1]) / 2, 3) for cut in cuts),
        freezes_s=tuple(span for span in freezes if span[1] - span[0] >= MIN_FREEZE_S),
        black_s=black,
        light="".join(light) if len(light) == 1 else "",
        bars=bars,
        has_sound=frames.facts.has_sound,
        step_s=step_s,
    )


def measured_facts(frames: Frames, known: Measured | None = None) -> MediaFacts:
    """Return the facts of the frames, with what is measured in them if they are dense enough.

    known: what was measured in the whole clip before; it is taken instead if the frames are that of all of it, and no
    denser. Raises nothing: frames in which nothing can be measured are captioned all the same.
    """
    steps_s = np.diff(frames.times_s)
    if not len(steps_s):
        return frames.facts
    if known and frames.facts.info and 0 < known.step_s <= round(float(steps_s.max()), 3):
        measured = known
    elif steps_s.max() > MAX_STEP_S:
        return frames.facts
    else:
        try:
            measured = measure(frames)
        except (ArithmeticError, LookupError, ValueError):
            log.exception("nothing could be measured in frames of shape %s", frames.pixels.shape)
            return frames.facts
    info = frames.facts.info and replace(frames.facts.info, measured=measured)
    return replace(frames.facts, measured=measured, info=info)


def find_bars(gray: np.ndarray) -> tuple[int, int]:
    """Return the cells of black bars: the height of each at the top and the bottom, the width of each at the sides.

    Bars are black in most frames (a subtitle may be in one), equal on both sides, and end in an edge.
    """
    found = []
    for axis in (2, 1):
        ends = np.take(gray, (0, -1), axis=3 - axis)
        if len(gray) and _median(ends.max(axis)).min() > BLACK:
            found.append(0)
            continue
        levels = _median(gray.max(axis)) if len(gray) else np.zeros(1)
        lit = np.flatnonzero(levels > BLACK)
        if not len(lit):
            return 0, 0
        sides = int(lit[0]), len(levels) - 1 - int(lit[-1])
        bar, edge = max(sides), min(levels[lit[0] : lit[0] + 3].max(), levels[lit[-1] - 2 : lit[-1] + 1].max())
        is_bar = bar - min(sides) <= 1 and MIN_BAR <= min(sides) / len(levels) <= MAX_BAR and edge >= 2 * BLACK
        found.append(bar if is_bar else 0)
    return found[0], found[1]


def _slow_moves(steps: Steps, gray: np.ndarray, times_s: np.ndarray) -> tuple[str, ...]:
    """Return the moves between frames farther apart, of a shot that stands from frame to frame but moves in all.

    steps: of all neighbors in the shot.
    """
    way = max(abs(float(each.sum())) for each in (steps.right, steps.down, steps.growth / 2))
    if way < MIN_MOVE:
        return ()
    chosen = np.linspace(0, len(gray) - 1, min(len(gray), 1 + max(1, int(way / SLOW_STEP)))).round().astype(int)
    named = camera_moves(measure_steps(gray[chosen]), np.diff(times_s[chosen])) if len(chosen) < len(gray) else ()
    return named if named != (STATIC,) else ()


def _summary(moves: Iterable[str]) -> tuple[str, ...]:
    """Return each move once; a camera that moves in one shot is not called static."""
    names = tuple(dict.fromkeys(moves))
    return tuple(name for name in names if name != STATIC) or names


def _spans(flags: np.ndarray, starts_s: Sequence[float], ends_s: Sequence[float]) -> tuple[Span, ...]:
    """Return (start, end) of the runs of true flags."""
    found: list[Span] = []
    for number in np.flatnonzero(flags).tolist():
        goes_on = bool(found) and bool(flags[number - 1])
        start_s = found.pop()[0] if goes_on else round(starts_s[number], 3)
        found.append((start_s, round(ends_s[number], 3)))
    return tuple(found)


def _find_frozen(gray: np.ndarray, cuts: Sequence[int]) -> np.ndarray:
    """Return bool (T - 1,): no part of the picture changes from a frame to the next, and elsewhere in the clip it does.

    All are true for a picture that never changes.
    """
    change = np.abs(np.diff(gray, axis=0))
    sizes = sums_of_parts(np.ones_like(change[0]), (PARTS, PARTS))  # some are 0 in a narrow picture
    most = (sums_of_parts(change, (PARTS, PARTS)) / np.maximum(1, sizes)).max((1, 2))
    frozen = most <= FROZEN
    if not frozen.any():
        return frozen
    others = np.delete(most, [*cuts, *np.flatnonzero(frozen)])
    return frozen if not len(others) or others.max() >= MOVING else np.zeros_like(frozen)


def _change_of_light(gray: np.ndarray) -> list[str]:
    """Return how the light of a static shot changes, if it does."""
    third = max(1, len(gray) // 3)
    change = float(_median((gray[-third:].mean(0) - gray[:third].mean(0)).ravel()))
    return ["gets brighter" if change > 0 else "gets darker"] if abs(change) >= LIGHT else []


def _median(values: np.ndarray) -> np.ndarray:
    """Return the median of an array along its first axis, like `np.median`, which takes three times as long."""
    count = len(values)
    ordered = np.sort(values, axis=0)
    return (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
