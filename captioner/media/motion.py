"""The motion of the whole picture from each sampled frame to the next, told from that of things in it.

Whether the picture moved or stood is decided block by block: where there is structure, either the fitted motion
explains the next frame, or the frame as it stands does.
"""

from typing import NamedTuple

import numpy as np

from captioner.media.alignment import Level, Motion, correlated_shifts, details, halved, no_motion

BLOCKS = (6, 8)  # rows and columns
CELLS = 80  # about so many cells in the longer side
MIN_CELLS = 16  # in the shorter side
STRUCTURE = 1.5  # levels of brightness; a block with less tells nothing
EXPLAINED = 0.35  # of a block's energy may be left
STANDS = 0.15  # the same for a block that stands, which the encoder hardly changes
EQUAL = 0.02  # the same in a picture in which nothing moves
ENOUGH = 0.82  # of the blocks with structure are explained: no other motion has to be tried
LITTLE = 0.06  # the same in a pattern that repeats, of their energy on average
OTHER_REPEAT = 3  # cells: a shift that differs by more may be to the next repeat of a pattern
ZOOMS = (1.2, 1 / 1.2)  # from one frame to the next, to begin the fit with
STEPS = (3, 2)  # of the fit with the pictures halved, then with the pictures
STEPS_OF_SHIFT = (0, 3)
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


class _Pairs:
    """Pairs of neighboring frames, divided into blocks: arrays (N, rows, columns)."""

    def __init__(self, gray: np.ndarray) -> None:
        detail, contrast = details(gray)
        self._coarse, self._fine = Level(halved(detail), 1), Level(detail, 2)
        places = self._fine.places
        self._shape = places.shape
        here = places.read(detail)
        energy, self._size = self._sums(here * here), self._sums(np.ones_like(here[:1]))
        structure = energy * contrast[:, None, None] ** 2 > STRUCTURE**2 * self._size
        self.structure = structure[1:] & structure[:-1]
        change = np.diff(here, axis=0)
        # The part of each block's energy that is left if nothing moves.
        self.stood = self._sums(change * change) / (energy[1:] + energy[:-1] + 1e-3)
        border = self.structure & BORDER
        self.stands = _count(border & (self.stood < EXPLAINED)) > 0.5 * _count(border)

    def best_motion(self) -> tuple[Motion, np.ndarray, np.ndarray]:
        """Return the motions that explain the most, what they leave of each block, and the part they explain."""
        count = len(self.stood)
        best, left = no_motion(count), self.stood.copy()
        explained = self._explained(self.stood, self.structure)
        undecided = np.flatnonzero((self.structure & (self.stood > EQUAL)).any((1, 2)))
        if not len(undecided):
            return best, left, explained
        rest, is_open = np.full(count, np.inf), np.zeros(count, bool)
        is_open[undecided] = True
        (first, *others), is_repeating = correlated_shifts(self._coarse.pictures, 3)
        zooms = [Motion(np.full(count, zoom, complex), np.zeros(count, complex)) for zoom in ZOOMS]
        for start in (first, no_motion(count), *others, *zooms):
            todo = np.flatnonzero(is_open)
            if not len(todo):
                break
            found = self._fitted(todo, start.of(todo), STEPS if start is not first else STEPS_OF_SHIFT)
            left_now = self._left_over(todo, found)
            rest_now = self._mean_left(left_now, self.structure[todo])
            better = rest_now < rest[todo]
            won = todo[better]
            rest[won], left[won] = rest_now[better], left_now[better]
            best.factor[won], best.shift[won] = found.factor[better], found.shift[better]
            explained[won] = np.maximum(explained[won], self._explained(left[won], self.structure[won]))
            is_open &= np.where(is_repeating, rest > LITTLE, explained < ENOUGH) & ~self.stands
        self._agree(np.flatnonzero(is_repeating & ~self.stands & (rest < np.inf)), best, left)
        return best, left, explained

    def _agree(self, repeating: np.ndarray, best: Motion, left: np.ndarray) -> None:
        """Give steps whose pattern repeats the motion of most of them, where it explains the step as well."""
        if len(repeating) < 3:
            return
        typical = np.median(best.shift[repeating].real) + 1j * np.median(best.shift[repeating].imag)
        other = repeating[np.abs(best.shift[repeating] - typical) > OTHER_REPEAT]
        if len(other):
            found = self._fine.fit(other, Motion(np.ones(len(other), complex), np.full(len(other), typical)), STEPS[1])
            rest = self._left_over(other, found)
            fits = self._explained(rest, self.structure[other]) >= ENOUGH
            best.factor[other[fits]], best.shift[other[fits]] = found.factor[fits], found.shift[fits]
            left[other[fits]] = rest[fits]

    def lengths(self, motion: Motion) -> np.ndarray:
        """Return by how many cells the motions move the middle of each block."""
        height, width = self._fine.pictures.shape[1:]
        rows, columns = (np.arange(count) + 0.5 - count / 2 for count in BLOCKS)
        place = columns * width / BLOCKS[1] + 1j * rows[:, None] * height / BLOCKS[0]
        return np.abs((motion.factor[:, None, None] - 1) * place + motion.shift[:, None, None])

    def _fitted(self, chosen: np.ndarray, start: Motion, steps: tuple[int, int]) -> Motion:
        """Return the motions fitted from a start, which is in cells of the halved pictures."""
        coarse = self._coarse.fit(chosen, start, steps[0])
        return self._fine.fit(chosen, coarse.in_cells(0.5), steps[1])

    def _left_over(self, chosen: np.ndarray, motion: Motion) -> np.ndarray:
        """Return what the motions leave of each block's energy; UNKNOWN where too little of it is in both frames.

        Where the picture grows, the blocks are those of the later frame, all of which was in the earlier one.
        """
        level, grows = self._fine, np.abs(motion.factor) > 1
        way = Motion(*(np.where(grows, back, on) for on, back in zip(motion, motion.inverse(), strict=True)))
        before, after = level.before[chosen], level.after[chosen]
        swap = grows[:, None, None]
        here = level.places.read(np.where(swap, after, before))
        there, inside = level.places.read_moved(np.where(swap, before, after), way)
        energy = self._sums(inside * (here * here + there * there))
        there -= here
        rest = self._sums(inside * (there * there)) / (energy + 1e-3)
        return np.where(self._sums(inside.astype(np.float32)) >= MIN_KNOWN * self._size, rest, UNKNOWN)

    @staticmethod
    def _explained(left: np.ndarray, structure: np.ndarray) -> np.ndarray:
        known = structure & (left < UNKNOWN)
        return np.where(known.any((1, 2)), _count(known & (left < EXPLAINED)) / np.maximum(1, _count(known)), 0)

    @staticmethod
    def _mean_left(left: np.ndarray, structure: np.ndarray) -> np.ndarray:
        known = structure & (left < UNKNOWN)
        return np.where(_count(known) > 0, _count(known * np.minimum(left, 1)) / np.maximum(1, _count(known)), 1)

    def _sums(self, values: np.ndarray) -> np.ndarray:
        grid = values.reshape(len(values), *self._shape)
        rows, columns = (np.arange(count) * side // count for count, side in zip(BLOCKS, self._shape, strict=True))
        return np.add.reduceat(np.add.reduceat(grid, rows, axis=1), columns, axis=2)


def _count(blocks: np.ndarray) -> np.ndarray:
    return blocks.sum((1, 2))
