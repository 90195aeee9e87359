"""Fits the motion of a whole picture from one frame to the next: a shift, a zoom and a turn, for many pairs at once.

A motion is a complex factor and a complex shift, with x + iy for a place measured from the center in cells: what was at
z is at factor * z + shift in the next frame. Things that move on their own are outliers of the fit.
"""

import functools
from typing import NamedTuple

import numpy as np

BLUR = 4  # cells: shades larger than this are dropped, so that changes of light do not matter
MIN_DETAIL = 1.0  # levels of brightness; a picture with less has no structure
MAX_FACTOR = 2.5
OUTLIER = 1.0  # times the median of what is left, in the last step; earlier ones see farther
EDGE = 1e-3
IN_THE_MIDDLE = 0.25  # weight of a cell there, where things are rather than the background
SIMILAR = 0.5  # of the highest peak


class Motion(NamedTuple):
    """The motions of N pairs of frames."""

    factor: np.ndarray  # complex128 (N,)
    shift: np.ndarray  # complex128 (N,), in cells

    def of(self, chosen: np.ndarray) -> "Motion":
        """Return the motions at some indices, or where a mask is true."""
        return Motion(self.factor[chosen], self.shift[chosen])

    def inverse(self) -> "Motion":
        """Return the motions backwards in time."""
        return Motion(1 / self.factor, -self.shift / self.factor)

    def in_cells(self, size: float) -> "Motion":
        """Return the same motions in cells of this size, in parts of the present ones."""
        return Motion(self.factor, self.shift / size)


def no_motion(count: int) -> Motion:
    """Return motions that change nothing."""
    return Motion(np.ones(count, complex), np.zeros(count, complex))


def details(gray: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return pictures without large shades and with equal contrast, and their contrast in levels (T,).

    gray: float32 (T, H, W).
    """
    rows, columns = _blurring(gray.shape[1]), _blurring(gray.shape[2])
    detail = gray - rows @ (gray @ columns.T)
    contrast = np.sqrt(np.einsum("thw,thw->t", detail, detail) / detail[0].size + MIN_DETAIL**2)
    detail /= contrast[:, None, None]
    return detail, contrast


@functools.lru_cache(maxsize=64)
def _blurring(size: int) -> np.ndarray:
    """Return the matrix, float32 (size, size), of the means of 2 * BLUR + 1 cells in a row; the last cells repeat."""
    matrix = np.zeros((size, size), np.float32)
    for offset in range(-BLUR, BLUR + 1):
        cells = np.clip(np.arange(size) + offset, 0, size - 1)
        matrix[np.arange(size), cells] += 1 / (2 * BLUR + 1)
    return matrix


def halved(pictures: np.ndarray) -> np.ndarray:
    """Return the pictures at half their size."""
    height, width = (side // 2 * 2 for side in pictures.shape[1:])
    rows = pictures[:, 0:height:2] + pictures[:, 1:height:2]
    return (rows[:, :, 0:width:2] + rows[:, :, 1:width:2]) / 4


class Places:
    """Every `stride`-th cell of a picture, from the middle of the first such square on."""

    def __init__(self, height: int, width: int, stride: int) -> None:
        self.shape, self.size = (height // stride, width // stride), (height, width)
        rows, columns = (np.arange(count) * stride + stride // 2 for count in self.shape)
        self._cells = (rows[:, None] * width + columns).ravel()
        self.x = np.tile(columns - (width - 1) / 2, len(rows)).astype(np.float32)
        at_border = [np.abs(np.linspace(-1, 1, count)) > 0.5 for count in self.shape]
        self.weight = np.where(at_border[0][:, None] | at_border[1], 1, IN_THE_MIDDLE).ravel().astype(np.float32)
        self.y = np.repeat(rows - (height - 1) / 2, len(columns)).astype(np.float32)

    def read(self, pictures: np.ndarray) -> np.ndarray:
        """Return the values at the places, (N, places)."""
        return pictures.reshape(len(pictures), -1).take(self._cells, axis=1)

    def gradients(self, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return how the values change to the right and down at the places, (N, places) each; 0 at the border."""
        flat, (height, width) = pictures.reshape(len(pictures), -1), self.size
        found = []
        for step, inner in ((1, np.abs(self.x) < (width - 1) / 2), (width, np.abs(self.y) < (height - 1) / 2)):
            after, before = (flat.take(self._cells + way, axis=1, mode="clip") for way in (step, -step))
            after -= before
            after *= np.where(inner, np.float32(0.5), np.float32(0))
            found.append(after)
        return found[0], found[1]

    def read_moved(self, pictures: np.ndarray, motion: Motion) -> tuple[np.ndarray, np.ndarray]:
        """Return the values at the places after a motion, and which of these are inside the picture."""
        height, width = self.size
        parts = (motion.factor.real, motion.factor.imag, motion.shift.real, motion.shift.imag)
        a, b, right, down = np.array(parts, np.float32)[:, :, None]
        x = a * self.x - b * self.y + (right + np.float32((width - 1) / 2))
        y = b * self.x + a * self.y + (down + np.float32((height - 1) / 2))
        inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
        for values, last in ((x, width - 1 - EDGE), (y, height - 1 - EDGE)):
            np.minimum(np.maximum(values, 0, out=values), np.float32(last), out=values)
        left, top = x.astype(np.int32), y.astype(np.int32)
        x -= left
        y -= top
        top *= width
        top += left
        top += np.arange(len(pictures), dtype=np.int32)[:, None] * (height * width)
        flat = pictures.reshape(-1)
        upper = flat.take(top)
        upper += x * (flat.take(top + 1) - upper)
        top += width
        lower = flat.take(top)
        lower += x * (flat.take(top + 1) - lower)
        lower -= upper
        lower *= y
        upper += lower
        return upper, inside


_places = functools.lru_cache(maxsize=64)(Places)


class Level:
    """The pictures at one size, and their pairs of neighbors."""

    def __init__(self, pictures: np.ndarray, stride: int) -> None:
        """pictures: float32 (T, H, W). stride: of the places that are fitted."""
        self.pictures = pictures
        self.before, self.after = pictures[:-1], pictures[1:]
        self.places = _places(pictures.shape[1], pictures.shape[2], stride)

    def fit(self, chosen: np.ndarray, motion: Motion, steps: int) -> Motion:
        """Return the motions after steps of Gauss-Newton with weights against outliers (inverse compositional)."""
        if not steps:
            return motion
        after, places = self.after[chosen], self.places
        here, jacobian, edges = (each[chosen] for each in self._slopes)
        total = edges.sum(1) + 1e-6
        for left in reversed(range(steps)):
            there, inside = places.read_moved(after, motion)
            there -= here
            size = np.abs(there)
            usual = np.einsum("np,np->n", edges, size) / total
            size /= np.maximum(0.05, OUTLIER * (1 + left) * usual)[:, None]
            size *= size
            size += 1
            size *= size
            weighted = jacobian * (inside * places.weight / size)[:, None]
            hessian = (weighted @ jacobian.transpose(0, 2, 1)).astype(np.float64)
            slope = (weighted @ there[:, :, None]).astype(np.float64)
            damping = 1e-3 * np.einsum("nii->ni", hessian) + 1e-3
            hessian += damping[:, :, None] * np.eye(4)
            a, b, x, y = np.linalg.solve(hessian, slope)[:, :, 0].T
            motion = _composed(motion, 1 + a + 1j * b, x + 1j * y)
        return motion

    @functools.cached_property
    def _slopes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The earlier pictures at the places, how they change with factor and shift (N, 4, places), and their edges.

        The last are squared and weighted; flat places match in any case.
        """
        places = self.places
        right, down = places.gradients(self.before)
        changes = [right * places.x + down * places.y, down * places.x - right * places.y, right, down]
        return places.read(self.before), np.stack(changes, axis=1), (right * right + down * down) * places.weight


def _composed(motion: Motion, factor: np.ndarray, shift: np.ndarray) -> Motion:
    """Return the motion after the inverse of a small one; no motion where it goes astray."""
    turned = motion.factor / np.where(np.abs(factor) < 0.5, 1, factor)
    moved = motion.shift - turned * shift
    astray = (np.abs(turned) > MAX_FACTOR) | (np.abs(turned) * MAX_FACTOR < 1) | (np.abs(moved) > 1000)
    return Motion(np.where(astray, 1, turned), np.where(astray, 0, moved))


def correlated_shifts(pictures: np.ndarray, count: int) -> tuple[list[Motion], np.ndarray]:
    """Return the shifts, by whole cells, at the highest peaks of the phase correlation of neighbors.

    Also return bool (N,): several are about as high, as in a pattern that repeats. The first is the shortest of these.
    """
    height, width = pictures.shape[1:]
    spectra = np.fft.rfft2(pictures * _window(height, width))
    cross = spectra[1:] * spectra[:-1].conj()
    size = np.abs(cross)
    cross /= size + 1e-3 * size.max() + 1e-9
    surface = np.fft.irfft2(cross, s=(height, width))
    pairs = np.arange(len(surface))
    shifts, heights = np.zeros((count + 1, len(surface)), complex), np.zeros((count + 1, len(surface)))
    heights[0] = surface[:, [[-1], [0], [1]], [-1, 0, 1]].max((1, 2))
    for number in range(1, count + 1):
        peak = surface.reshape(len(surface), -1).argmax(1)
        row, column = np.divmod(peak, width)
        heights[number] = surface[pairs, row, column]
        shifts[number] = (column + width // 2) % width - width // 2 + 1j * ((row + height // 2) % height - height // 2)
        if number < count:
            around = np.array([-1, 0, 1])
            rows, columns = (row[:, None] + around) % height, (column[:, None] + around) % width
            surface[pairs[:, None, None], rows[:, :, None], columns[:, None, :]] = -1
    heights[0, (np.maximum(np.abs(shifts[1:].real), np.abs(shifts[1:].imag)) <= 1).any(0)] = 0  # it is that of a shift
    similar = heights >= SIMILAR * heights.max(0)
    first = np.where(similar, np.abs(shifts), np.inf).argmin(0)
    shifts[first, pairs], shifts[0] = shifts[0].copy(), shifts[first, pairs]
    return [Motion(np.ones(len(surface), complex), shift) for shift in shifts], similar[1:].sum(0) > 1


@functools.lru_cache(maxsize=64)
def _window(height: int, width: int) -> np.ndarray:
    return np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1]).astype(np.float32)
