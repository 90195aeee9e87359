"""Where one shot of a clip ends and the next begins, as far as sampled frames tell."""

import itertools
from collections.abc import Sequence

import numpy as np

from captioner.media.motion import Steps, measure_steps

LOST = 0.2  # at most this part of the blocks of a frame is found in the next one
BLENDED = 0.8  # the same while one shot dissolves into another
MAX_BLEND = 5  # steps
SAME_PLACE = 0.75  # common part of two color histograms, above which frames are of one shot all the same
SAME_COLORS = 0.5  # the same where many frames in a row are lost, as in a fast pan, or have no structure


def find_cuts(steps: Steps, gray: np.ndarray, pixels: np.ndarray, is_blank: np.ndarray) -> list[int]:
    """Return the numbers of the steps in which one shot ends and another begins.

    gray: `brightness` of the pixels. is_blank: which frames are black or white.
    """
    seen = ~is_blank[1:] & ~is_blank[:-1]
    lost = seen & (steps.explained <= LOST)
    cuts = []
    for number in np.flatnonzero(lost).tolist():
        is_flat = steps.num_blocks[number] == 0
        in_a_row = lost[max(0, number - 1) : number + 2].sum() > 1
        common = _common_colors(pixels[number], pixels[number + 1])
        if common <= (SAME_COLORS if is_flat or in_a_row else SAME_PLACE):
            cuts.append(number)
    cuts = [cut for cut in cuts if not _is_flash(cut, cuts, gray)]
    blended = seen & ~lost & (steps.explained < BLENDED) & ~steps.may_move
    return sorted({*cuts, *_dissolves(blended, lost, gray, pixels), *_through_blank(is_blank, gray, pixels)})


def find_shots(cuts: Sequence[int], is_blank: np.ndarray) -> list[tuple[int, int]]:
    """Return (first frame, last frame) of the shots with two frames or more; a blank frame ends a shot."""
    blank = np.flatnonzero(is_blank).tolist()
    shots, first = [], 0
    for end in sorted({*cuts, *blank, *(number - 1 for number in blank), len(is_blank) - 1}):
        if end > first:
            shots.append((first, end))
        first = end + 1
    return shots


def _common_colors(one: np.ndarray, other: np.ndarray) -> float:
    """Return the common part of the color histograms of two pictures, 0 to 1."""
    parts = []
    for picture in (one, other):
        colors = (picture[::4, ::4].reshape(-1, 3) >> 5) @ np.array([64, 8, 1])
        parts.append(np.bincount(colors, minlength=512) / len(colors))
    return float(np.minimum(*parts).sum())


def _is_flash(cut: int, cuts: Sequence[int], gray: np.ndarray) -> bool:
    """Return whether a single frame at this cut differs from those around it, which are alike."""
    for before in (cut - 1, cut):
        if {before, before + 1} <= set(cuts) and _explained_between(gray, before, before + 2) > 1 - LOST:
            return True
    return False


def _dissolves(blended: np.ndarray, lost: np.ndarray, gray: np.ndarray, pixels: np.ndarray) -> list[int]:
    """Return the middle of each run of blended steps between frames that have nothing in common."""
    found, first = [], None
    for number, is_blended in enumerate([*blended.tolist(), False]):
        if is_blended:
            first = number if first is None else first
            continue
        if first is not None and number - first <= MAX_BLEND:
            before, after = max(0, first - 1), min(len(gray) - 1, number + 1)
            differ = _common_colors(pixels[before], pixels[after]) <= SAME_COLORS and not lost[before:after].any()
            if differ and _explained_between(gray, before, after) <= LOST:
                found.append((before + after - 1) // 2)
        first = None
    return found


def _through_blank(is_blank: np.ndarray, gray: np.ndarray, pixels: np.ndarray) -> list[int]:
    """Return the middle of each run of blank frames between two shots; a picture that only goes dark is one shot."""
    seen = np.flatnonzero(~is_blank).tolist()
    found = []
    for before, after in itertools.pairwise(seen):
        is_other = after - before > 1 and _common_colors(pixels[before], pixels[after]) <= SAME_PLACE
        if is_other and _explained_between(gray, before, after) <= LOST:
            found.append((before + after - 1) // 2)
    return found


def _explained_between(gray: np.ndarray, one: int, other: int) -> float:
    return float(measure_steps(gray[[one, other]]).explained[0])
