"""Names what the camera does in a shot, from the motion of the picture.

A pan to the left turns the camera to the left: the picture moves to the right. A camera that is carried sideways (a
truck) or up (a pedestal) moves the picture alike and gets the same names.
"""

import itertools
from statistics import median  # which takes a tenth of the time of that of numpy for a few values

import numpy as np

from captioner.media.motion import Steps

STATIC, HANDHELD = "static", "handheld"
MIN_MOVE = 0.03  # of the width, by which the border of the picture has to move in one direction
MIN_ROLL = 0.12  # radians
MINOR = 0.35  # a direction with less than this part of the longest move is not named
MIN_SHAKE = 0.002  # of the width: change of speed from step to step
SHAKE_OF_MOVE = 0.15  # more than this part of a step of the longest move, across it
MAX_CHANGE = 0.5  # the same, in parts of the speed
FEW_STAND, MANY_STAND = 0.06, 0.2  # parts of the moving blocks at the border; between them is doubt
MIN_MOVING = 6  # blocks at the border, in all steps of a shot
TURNS = 0.34  # part of the steps with another direction than the step before, up to which a move counts by itself
STEADY = 0.6  # part of the way that leads somewhere, if there are more


def camera_moves(steps: Steps, lengths_s: np.ndarray) -> tuple[str, ...]:
    """Return the moves in a shot, such as ("pan left", "zoom in"), ("static",) or ("handheld",); () if unknown.

    lengths_s: time from the frame before each step to the one after it.
    """
    if not len(steps.right):  # the picture is frozen
        return (STATIC,)
    moved = steps.may_move
    moving, standing = int(steps.moving[moved].sum()), int(steps.standing[moved].sum())
    against = np.count_nonzero(~moved & (steps.standing > np.maximum(1, MANY_STAND * steps.moving)))
    if moving < MIN_MOVING or standing > MANY_STAND * moving or against >= np.count_nonzero(moved):
        return (STATIC,) if median(steps.explained.tolist()) > 0 else ()
    if standing > FEW_STAND * moving:
        return ()
    told = moved | steps.may_stand
    right, down, growth, turn = (np.where(moved, each, 0)[told] for each in steps[:4])
    return _named(right, down, growth, turn, lengths_s[told]) or (STATIC,)


def _named(
    right: np.ndarray, down: np.ndarray, growth: np.ndarray, turn: np.ndarray, lengths_s: np.ndarray
) -> tuple[str, ...]:
    """Return the names of the moves, in the order in which they begin, and of a shake."""
    ways = {
        ("pan left", "pan right"): right,
        ("tilt up", "tilt down"): down,
        ("zoom in", "zoom out"): growth / 2,  # by so much the border moves
    }
    found = []
    for names, values in ways.items():
        least = 2 * MIN_MOVE if _shakes(values, lengths_s, MIN_SHAKE) else MIN_MOVE
        found += [(start, abs(way), names[way < 0]) for start, way in _moves(values) if abs(way) >= least]
    longest = max((way for _, way, _ in found), default=0)
    zoom = max((way for _, way, name in found if name.startswith("zoom")), default=0)
    moves = [
        name for _, way, name in sorted(found) if way >= MINOR * longest and (name.startswith("zoom") or way >= zoom)
    ]
    if any(abs(way) >= MIN_ROLL / 2 for _, way in _moves(turn / 2)):
        moves.append("roll")
    words = " ".join(moves)
    across = [way for word, way in (("pan", right), ("tilt", down)) if word not in words]
    least = MIN_SHAKE + SHAKE_OF_MOVE * longest / max(1, len(right))
    if any(_shakes(way, lengths_s, least) for way in across):  # a change of speed along a move is no shake
        moves.append(HANDHELD)
    return tuple(dict.fromkeys(moves))


def _moves(values: np.ndarray) -> list[tuple[int, float]]:
    """Return (first step, signed length) of the moves in one direction. A shake to and fro is none."""
    steps = values.tolist()
    ways = [value > 0 for value in steps if abs(value) > MIN_MOVE / 20]
    turns = sum(one != other for one, other in itertools.pairwise(ways))
    if turns > TURNS * max(1, len(ways) - 1):
        total, way = sum(map(abs, steps)), sum(steps)
        return [(0, way)] if abs(way) >= max(2 * MIN_MOVE, STEADY * total) else []
    moves: list[tuple[int, float]] = []
    start, way = 0, 0.0
    for number, value in enumerate([*steps, None]):
        if value is not None and way * value >= 0:
            way += value
            continue
        if abs(way) >= MIN_MOVE:
            moves.append((start, way))
        start, way = number, value or 0.0
    return moves


def _shakes(way: np.ndarray, lengths_s: np.ndarray, least: float) -> bool:
    """Return whether the speed of a typical step differs from the mean of its neighbors."""
    if len(way) < 4:
        return False
    speed = (way * (lengths_s.mean() / lengths_s)).tolist()
    triples = zip(speed, speed[1:], speed[2:], strict=False)
    change = median(abs(here - (before + after) / 2) for before, here, after in triples)
    return change >= max(least, MAX_CHANGE * median(map(abs, speed)))
