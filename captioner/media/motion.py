"""The motion of the whole picture from each sampled frame to the next, told from that of things in it.

Whether the picture moved or stood is decided block by block: where there is structure, either the fitted motion
explains the next frame, or the frame as it stands does.
"""

import functools
from collections.abc import Sequence
from statistics import median  # which takes a tenth of the time of that of numpy for a few values
from typing import NamedTuple

import numpy as np

from captioner.media.alignment import Level, Motion, correlated_shifts, details, halved, no_motion, sums_of_parts

BLOCKS = (6, 8)  # rows and columns
CELLS = 80  # about so many cells in the longer side
MIN_CELLS = 16  # in the shorter side
STRUCTURE = 1.5  # levels of brightness; a block with less tells nothing
EXPLAINED = 0.35  # of a block's energy may be left
STANDS = 0.15  # the same for a block that stands, which the encoder hardly changes
EQUAL = 0.02  # the same in a picture in which nothing moves
UNMOVED = 0.004  # the same at the border of a picture that stands; the slowest moves that are told leave 0.01
MIN_BORDER = 8  # blocks with structure at the border, to tell that it stands
ENOUGH = 0.82  # of the blocks with structure are explained: no other motion has to be tried
MOST = 0.5  # the same if ENOUGH are explained at the border, as where a thing moves before the camera
AS_GOOD = 0.07  # of the blocks' energy on average; a start that leaves so much more is no worse
LITTLE = 0.06  # the same in a pattern that repeats, of their energy on average
OTHER_REPEAT = 3  # cells: a shift that differs by more may be to the next repeat of a pattern
ZOOMS = (1.2, 1 / 1.2)  # from one frame to the next, to begin the fit with
COARSE_STEPS = (2, 1)  # of the fit with the pictures halved: of all starts, then of the best one
STEPS = 2  # of the fit with the pictures after that
STEPS_OF_SHIFT = 3  # the same from a shift by whole cells
MIN_LENGTH = 0.3  # cells by which a block has to move to tell that another one stands
MIN_KNOWN = 0.4  # of a block that has to be in both frames
UNKNOWN = 9.0  # more than any block leaves

# Things rarely reach the borders of the picture; the camera moves all of them.
BORDER = np.ones(BLOCKS, bool)
BORDER[1:-1, 1:-1] = False


class Steps(NamedTuple):
    """The motion of the picture between neighboring frames, each array (N,). A camera moves the other way."""

    right: np.ndarray  # in parts of the picture's width
    down: np.ndarray  # in the same unit
    growth: np.ndarray  # natural logarithm of the zoom
    turn: np.ndarray  # clockwise, in radians
    moving: np.ndarray  # blocks at the border that moved so
    standing: np.ndarray  # blocks at the border that stood instead
    may_move: np.ndarray  # bool: few blocks stood, and those that moved are on both sides
    may_stand: np.ndarray  # bool: most of the blocks at the border are as before
    explained: np.ndarray  # part of the blocks with structure that any motion, or none, explains
    num_blocks: np.ndarray  # blocks with structure


def brightness(pixels: np.ndarray) -> np.ndarray:
    """Return float32 (T, H', W'): the brightness of square cells, about CELLS in a row. pixels: uint8 (T, H, W, 3)."""
    count, height, width, _ = pixels.shape
    cell = 1
    while max(height, width) >= cell * 2 * CELLS and min(height, width) >= cell * 2 * MIN_CELLS:
        cell *= 2
    pixels = pixels[:, : height // cell * cell, : width // cell * cell]
    sums = pixels[:, 0::cell].astype(np.uint16)
    for row in range(1, cell):
        sums += pixels[:, row::cell]
    ones = np.full((cell * 3, 1), 1 / (cell * cell * 3), np.float32)
    return (sums.reshape(-1, cell * 3).astype(np.float32) @ ones).reshape(count, height // cell, width // cell)


def measure_steps(gray: np.ndarray) -> Steps:
    """Return the motion from each frame to the next. gray: `brightness` of two frames or more."""
    pairs = _Pairs(gray)
    best, left, explained = pairs.best_motion()
    moves = pairs.structure & (left < EXPLAINED) & (left < 0.5 * pairs.stood)
    stands = pairs.structure & (pairs.stood < STANDS) & (pairs.stood < 0.3 * left) & (pairs.lengths(best) > MIN_LENGTH)
    half = BLOCKS[1] // 2
    is_wide = moves[:, :, :half].any((1, 2)) & moves[:, :, half:].any((1, 2))
    moving, standing = (_count(blocks & BORDER) for blocks in (moves, stands))
    few_stand = (standing <= 0.34 * moving) & (_count(stands) <= 0.5 * _count(moves))
    return Steps(
        best.shift.real / gray.shape[2],
        best.shift.imag / gray.shape[2],
        np.log(np.abs(best.factor)),
        np.angle(best.factor),
        moving,
        standing,
        is_wide & few_stand & (moving > 0),
        pairs.stands,
        explained,
        _count(pairs.structure),
    )


class _Best(NamedTuple):
    """The best motions found so far, changed in place."""

    motion: Motion
    left: np.ndarray  # (N, rows, columns): the part of each block's energy that it leaves
    rest: np.ndarray  # (N,): its mean over the blocks with structure
    explained: np.ndarray  # (N,): part of the blocks with structure
    at_border: np.ndarray  # the same at the border


class _Pairs:
    """Pairs of neighboring frames, divided into blocks: arrays (N, rows, columns)."""

    def __init__(self, gray: np.ndarray) -> None:
        detail, contrast = details(gray)
        self._coarse, self._fine = Level(halved(detail), 1), Level(detail, 2)
        here = self._fine.places.read(detail)
        energy = _sums(here * here, self._fine.places.shape)
        structure = energy * contrast[:, None, None] ** 2 > STRUCTURE**2 * _sizes(self._fine.places.shape)
        self.structure = structure[1:] & structure[:-1]
        change = np.diff(here, axis=0)
        # The part of each block's energy that is left if nothing moves.
        self.stood = _sums(change * change, self._fine.places.shape) / (energy[1:] + energy[:-1] + 1e-3)
        border = self.structure & BORDER
        num_border = _count(border)
        self.stands = _count(border & (self.stood < EXPLAINED)) > 0.5 * num_border
        self._is_unmoved = (_count(border & (self.stood <= UNMOVED)) > 0.5 * num_border) & (num_border >= MIN_BORDER)

    def best_motion(self) -> tuple[Motion, np.ndarray, np.ndarray]:
        """Return the motions that explain the most, what they leave of each block, and the part they explain."""
        count = len(self.stood)
        explained = self._explained(self.stood, self.structure)
        best = _Best(no_motion(count), self.stood.copy(), np.full(count, np.inf), explained, np.zeros(count))
        undecided = np.flatnonzero((self.structure & (self.stood > EQUAL)).any((1, 2)) & ~self._is_unmoved)
        if not len(undecided):
            return best.motion, best.left, best.explained
        (shift, *other_shifts), is_repeating = correlated_shifts(self._coarse.pictures, 3)
        start = shift.of(undecided).in_cells(0.5)
        self._keep_better(best, undecided, self._fine.fit(undecided, start, STEPS_OF_SHIFT))
        self._try_others(best, undecided, is_repeating, other_shifts)
        self._agree(np.flatnonzero(is_repeating & ~self.stands & (best.rest < np.inf)), best.motion, best.left)
        return best.motion, best.left, best.explained

    def _try_others(
        self, best: _Best, undecided: np.ndarray, is_repeating: np.ndarray, shifts: Sequence[Motion]
    ) -> None:
        """Try other motions where the first one does not do: that of the other pairs, then more shifts and zooms."""
        unsettled = self._unsettled(best, undecided, is_repeating)
        if not len(unsettled):
            return
        is_settled = ~self.stands
        is_settled[unsettled] = False
        moved = undecided[is_settled[undecided]]
        if len(moved):
            start = _typical(best.motion.of(moved), len(unsettled))
            self._keep_better(best, unsettled, self._fine.fit(unsettled, start, STEPS))
            unsettled = self._unsettled(best, unsettled, is_repeating)
        if len(unsettled):
            count = len(self.stood)
            zooms = [Motion(np.full(count, zoom, complex), np.zeros(count, complex)) for zoom in ZOOMS]
            start = self._best_start(unsettled, [no_motion(count), *shifts, *zooms])
            self._keep_better(best, unsettled, self._fine.fit(unsettled, start, STEPS))

    def _unsettled(self, best: _Best, chosen: np.ndarray, is_repeating: np.ndarray) -> np.ndarray:
        """Return those of the chosen pairs for which another motion has to be tried."""
        is_settled = (best.explained >= ENOUGH) | ((best.explained >= MOST) & (best.at_border >= ENOUGH))
        is_settled = np.where(is_repeating, best.rest <= LITTLE, is_settled) | self.stands
        return chosen[~is_settled[chosen]]

    def _best_start(self, chosen: np.ndarray, starts: Sequence[Motion]) -> Motion:
        """Return the start, fitted to the halved pictures, that leaves the least; the first of those about as good."""
        several = np.tile(chosen, len(starts))
        first = Motion(*(np.concatenate(each) for each in zip(*(start.of(chosen) for start in starts), strict=True)))
        fitted = self._coarse.fit(several, first, COARSE_STEPS[0])
        rest = self._mean_left(self._left_over(several, fitted, self._coarse), self.structure[several])
        rest = rest.reshape(len(starts), -1)
        number = (rest <= rest.min(0) + AS_GOOD).argmax(0)
        best = fitted.of(number * len(chosen) + np.arange(len(chosen)))
        return self._coarse.fit(chosen, best, COARSE_STEPS[1]).in_cells(0.5)

    def _keep_better(self, best: _Best, chosen: np.ndarray, found: Motion) -> None:
        """Keep motions that leave less than the best so far."""
        left = self._left_over(chosen, found, self._fine)
        rest = self._mean_left(left, self.structure[chosen])
        better = rest < best.rest[chosen]
        won, left, structure = chosen[better], left[better], self.structure[chosen[better]]
        best.motion.factor[won], best.motion.shift[won] = found.of(better)
        best.left[won], best.rest[won] = left, rest[better]
        best.explained[won] = np.maximum(best.explained[won], self._explained(left, structure))
        best.at_border[won] = self._explained(left, structure & BORDER)

    def _agree(self, repeating: np.ndarray, best: Motion, left: np.ndarray) -> None:
        """Give steps whose pattern repeats the motion of most of them, where it explains the step as well."""
        if len(repeating) < 3:
            return
        typical = _typical(best.of(repeating), 1).shift
        other = repeating[np.abs(best.shift[repeating] - typical) > OTHER_REPEAT]
        if len(other):
            start = Motion(np.ones(len(other), complex), np.repeat(typical, len(other)))
            found = self._fine.fit(other, start, STEPS)
            rest = self._left_over(other, found, self._fine)
            fits = self._explained(rest, self.structure[other]) >= ENOUGH
            best.factor[other[fits]], best.shift[other[fits]] = found.of(fits)
            left[other[fits]] = rest[fits]

    def lengths(self, motion: Motion) -> np.ndarray:
        """Return by how many cells the motions move the middle of each block."""
        height, width = self._fine.pictures.shape[1:]
        rows, columns = (np.arange(count) + 0.5 - count / 2 for count in BLOCKS)
        place = columns * width / BLOCKS[1] + 1j * rows[:, None] * height / BLOCKS[0]
        return np.abs((motion.factor[:, None, None] - 1) * place + motion.shift[:, None, None])

    def _left_over(self, chosen: np.ndarray, motion: Motion, level: Level) -> np.ndarray:
        """Return what the motions leave of each block's energy; UNKNOWN where too little of it is in both frames.

        Where the picture grows, the blocks are those of the later frame, all of which was in the earlier one.
        """
        grows = np.abs(motion.factor) > 1
        way = Motion(*(np.where(grows, back, on) for on, back in zip(motion, motion.inverse(), strict=True)))
        here = level.places.read(level.pictures[chosen + grows])
        there, inside = level.places.read_moved(level.pictures, chosen + ~grows, way)
        energy = here * here + there * there
        there -= here
        known, energy, rest = _sums(np.stack([inside, energy * inside, there * there * inside]), level.places.shape)
        return np.where(known >= MIN_KNOWN * _sizes(level.places.shape), rest / (energy + 1e-3), UNKNOWN)

    @staticmethod
    def _explained(left: np.ndarray, structure: np.ndarray) -> np.ndarray:
        known = structure & (left < UNKNOWN)
        return np.where(known.any((1, 2)), _count(known & (left < EXPLAINED)) / np.maximum(1, _count(known)), 0)

    @staticmethod
    def _mean_left(left: np.ndarray, structure: np.ndarray) -> np.ndarray:
        known = structure & (left < UNKNOWN)
        return np.where(_count(known) > 0, _count(known * np.minimum(left, 1)) / np.maximum(1, _count(known)), 1)


def _typical(motion: Motion, count: int) -> Motion:
    """Return the median of the motions, `count` times."""
    parts = (median(part.real.tolist()) + 1j * median(part.imag.tolist()) for part in motion)
    return Motion(*(np.full(count, part) for part in parts))


def _sums(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return the sums of values (..., places) in each block, (..., rows, columns). shape: of the places."""
    return sums_of_parts(values.reshape(*values.shape[:-1], *shape), BLOCKS)


@functools.lru_cache(maxsize=64)
def _sizes(shape: tuple[int, int]) -> np.ndarray:
    """Return the number of places in each block."""
    return _sums(np.ones(shape[0] * shape[1], np.float32), shape)


def _count(blocks: np.ndarray) -> np.ndarray:
    return blocks.reshape(len(blocks), BLOCKS[0] * BLOCKS[1]).sum(1)
