"""Frames for `bench engine`, rendered with numpy alone as if they had been sampled from clips."""

import math
from statistics import NormalDist

import numpy as np

from captioner.values import Frames

SOURCE_FPS = 24.0
STEP = 12  # source frames between two sampled ones, so 2 samples a second


def render_clips(
    num_clips: int, frames: tuple[int, int], sizes: tuple[tuple[int, int], tuple[int, int]], seed: int
) -> list[Frames]:
    """Render colored blocks and noise: `frames` (min, max; rounded to even), sizes (width, height) in steps of 32."""
    rng = np.random.default_rng(seed)
    (least_w, least_h), (most_w, most_h) = sizes
    clips = []
    for _ in range(num_clips):
        count = max(2, int(rng.integers(frames[0], frames[1] + 1)) // 2 * 2)
        width = 32 * int(rng.integers(least_w // 32, most_w // 32 + 1))
        height = 32 * int(rng.integers(least_h // 32, most_h // 32 + 1))
        blocks = rng.integers(0, 240, (height // 16, width // 16, 3), np.uint8)
        scene = np.kron(blocks, np.ones((16, 16, 1), np.uint8))
        pixels = np.stack([np.roll(scene, 3 * number, axis=1) for number in range(count)])  # the camera pans
        pixels += rng.integers(0, 16, pixels.shape, np.uint8)
        indices = np.arange(count, dtype=np.int64) * STEP
        clips.append(Frames(pixels, indices / SOURCE_FPS, indices, SOURCE_FPS))
    return clips


def draw_lengths(num_clips: int, bounds: tuple[int, int], seed: int) -> list[int]:
    """Draw the length of each caption in tokens, log-normal about the geometric mean of the bounds like real captions.

    They are equally spaced quantiles, so that few clips spread like many; the seed sets their order.
    """
    low, high = bounds
    normal = NormalDist(math.log(low * high) / 2, (math.log(high / low) or 1.0) / 4)  # the bounds are 2 sigma away
    first, last = normal.cdf(math.log(low)), normal.cdf(math.log(high))
    shares = np.linspace(first, last, num_clips) if num_clips > 1 else [0.5]
    lengths = [round(math.exp(normal.inv_cdf(share))) for share in shares]
    np.random.default_rng(seed).shuffle(lengths)
    return lengths
