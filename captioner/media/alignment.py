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
MAX_SHIFT = 1000  # cells
DAMPING = 1e-3
OUTLIER = 1.0  # times the median of what is left, in the last step; earlier ones see farther
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


def sums_of_parts(values: np.ndarray, parts: tuple[int, int]) -> np.ndarray:
    """Return the sums in equal parts, by rows and columns, of pictures (..., H, W): float32 (..., rows, columns)."""
    height, width = values.shape[-2:]
    rows = values.reshape(-1, width) @ _parting(width, parts[1])
    return _parting(height, parts[0]).T @ rows.reshape(*values.shape[:-1], parts[1])


@functools.lru_cache(maxsize=64)
def _parting(size: int, count: int) -> np.ndarray:
    """Return which of `count` parts each cell is in, float32 (size, count)."""
    starts = np.arange(count) * size // count
    return (np.searchsorted(starts, np.arange(size), "right")[:, None] == np.arange(1, count + 1)).astype(np.float32)


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
        self._terms = np.stack([self.x, self.y, np.ones_like(self.x)])  # of an affine motion
        self._center = complex((width - 1) / 2, (height - 1) / 2)
        self._last = np.array([width - 1, height - 1], np.float32)[:, None, None]
        self._corners = np.array([0, 1, width, width + 1])[:, None, None]

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

    def read_moved(self, pictures: np.ndarray, chosen: np.ndarray, motion: Motion) -> tuple[np.ndarray, np.ndarray]:
        """Return the values of the chosen pictures at the places after a motion, and which of these are inside."""
        height, width = self.size
        affine = np.empty((2, len(chosen), 3), np.float32)
        affine[0, :, 0] = affine[1, :, 1] = motion.factor.real
        affine[1, :, 0] = motion.factor.imag
        affine[0, :, 1] = -motion.factor.imag
        center = motion.shift + self._center
        affine[0, :, 2], affine[1, :, 2] = center.real, center.imag
        place = affine @ self._terms
        part = np.maximum(place, 0)
        np.minimum(part, self._last, out=part)
        inside = np.equal(place, part).all(0)
        whole = np.floor(part, out=place)
        part -= whole
        right, down = part
        whole[1] *= width
        whole[0] += whole[1]
        cells = whole[0].astype(np.intp)
        cells += (chosen * (height * width))[:, None]
        # Beyond the last column and row the part is 0, so it does not matter what is read there.
        corners = pictures.reshape(-1).take(cells + self._corners, mode="clip").reshape(2, 2, *cells.shape)
        left = corners[:, 0]
        corners[:, 1] -= left
        corners[:, 1] *= right
        left += corners[:, 1]
        upper, lower = left
        lower -= upper
        lower *= down
        upper += lower
        return upper, inside


_places = functools.lru_cache(maxsize=64)(Places)


class Level:
    """The pictures at one size, and their pairs of neighbors."""

    def __init__(self, pictures: np.ndarray, stride: int) -> None:
        """pictures: float32 (T, H, W). stride: of the places that are fitted."""
        self.pictures = pictures
        self.places = _places(pictures.shape[1], pictures.shape[2], stride)

    def fit(self, chosen: np.ndarray, motion: Motion, steps: int) -> Motion:
        """Return the motions after steps of Gauss-Newton with weights against outliers (inverse compositional)."""
        if not steps:
            return motion
        places = self.places
        here, slopes, edges = self._slopes
        if not np.array_equal(chosen, np.arange(len(here))):
            here, slopes, edges = here[chosen], slopes[chosen], edges[chosen]
        total = edges.sum(1) + 1e-6
        after = chosen + 1
        for left in reversed(range(steps)):
            there, inside = places.read_moved(self.pictures, after, motion)
            there -= here
            size = np.abs(there)
            usual = np.einsum("np,np->n", edges, size) / total
            size /= np.maximum(0.05, OUTLIER * (1 + left) * usual)[:, None]
            size *= size
            size += 1
            size *= size
            weights = np.divide(places.weight, size, out=size)
            weights *= inside
            weighted = slopes * weights[:, None]
            hessian = (weighted @ slopes.transpose(0, 2, 1)).astype(np.float64)
            slope = (weighted @ there[:, :, None]).astype(np.float64)
            diagonal = np.einsum("nii->ni", hessian)  # a view
            diagonal *= 1 + DAMPING
            diagonal += DAMPING
            change = np.linalg.solve(hessian, slope).reshape(-1, 4).view(complex)
            motion = _composed(motion, 1 + change[:, 0], change[:, 1])
        return motion

    @functools.cached_property
    def _slopes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The earlier pictures at the places, how they change with factor and shift (N, 4, places), and their edges.

        The last are squared and weighted; flat places match in any case.
        """
        places, before = self.places, self.pictures[:-1]
        right, down = places.gradients(before)
        slopes = np.empty((len(before), 4, right.shape[1]), np.float32)
        np.add(right * places.x, down * places.y, out=slopes[:, 0])
        np.subtract(down * places.x, right * places.y, out=slopes[:, 1])
        slopes[:, 2], slopes[:, 3] = right, down
        return places.read(before), slopes, (right * right + down * down) * places.weight


def _composed(motion: Motion, factor: np.ndarray, shift: np.ndarray) -> Motion:
    """Return the motion after the inverse of a small one; no motion where it goes astray."""
    is_small = np.abs(factor) < 0.5
    turned = motion.factor / (np.where(is_small, 1, factor) if is_small.any() else factor)
    moved = motion.shift - turned * shift
    size = np.abs(turned)
    astray = (size > MAX_FACTOR) | (size < 1 / MAX_FACTOR) | (np.abs(moved) > MAX_SHIFT)
    return Motion(np.where(astray, 1, turned), np.where(astray, 0, moved)) if astray.any() else Motion(turned, moved)


def correlated_shifts(pictures: np.ndarray, count: int) -> tuple[list[Motion], np.ndarray]:
    """Return the shifts, by whole cells, at the highest peaks of the phase correlation of neighbors.

    Also return bool (N,): several are about as high, as in a pattern that repeats. The first is the shortest of these.
    """
    height, width = pictures.shape[1:]
    spectra = np.fft.rfft2(pictures * _window(height, width))
    cross = spectra[1:] * spectra[:-1].conj()
    size = np.abs(cross)
    cross /= size + (1e-3 * size.max() + 1e-9)
    surface = np.fft.irfft2(cross, s=(height, width)).reshape(len(cross), height * width)
    shift_of, around = _peaks(height, width)
    pairs = np.arange(len(surface))
    shifts, heights = np.zeros((count + 1, len(surface)), complex), np.zeros((count + 1, len(surface)))
    heights[0] = surface[:, around[0]].max(1)
    for number in range(1, count + 1):
        peak = surface.argmax(1)
        heights[number], shifts[number] = surface[pairs, peak], shift_of[peak]
        if number < count:
            surface[pairs[:, None], around[peak]] = -1
    heights[0, (np.maximum(np.abs(shifts[1:].real), np.abs(shifts[1:].imag)) <= 1).any(0)] = 0  # it is that of a shift
    similar = heights >= SIMILAR * heights.max(0)
    first = np.where(similar, np.abs(shifts), np.inf).argmin(0)
    shifts[first, pairs], shifts[0] = shifts[0].copy(), shifts[first, pairs]
    return [Motion(np.ones(len(surface), complex), shift) for shift in shifts], similar[1:].sum(0) > 1


@functools.lru_cache(maxsize=64)
def _peaks(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the shift that a peak in each cell stands for, complex (cells,), and the cells around it, (cells, 9)."""
    rows, columns = (each.ravel() for each in np.divmod(np.arange(height * width), width))
    shifts = (columns + width // 2) % width - width // 2 + 1j * ((rows + height // 2) % height - height // 2)
    near = [(rows + down) % height * width + (columns + right) % width for down in (-1, 0, 1) for right in (-1, 0, 1)]
    return shifts, np.stack(near, axis=1)


@functools.lru_cache(maxsize=64)
def _window(height: int, width: int) -> np.ndarray:
    return np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1]).astype(np.float32)
