"""Clips that the benchmarks encode: a camera over a textured scene, with sensor noise."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from PIL import Image

from captioner.demo.clips import encode


@dataclass(frozen=True)
class ClipRecipe:
    """A clip to encode."""

    name: str
    filename: str
    size: tuple[int, int]
    seconds: int
    fps: int
    codec: str
    options: dict[str, str]


@contextlib.contextmanager
def folder_or_temporary(folder: Path | None) -> Iterator[Path]:
    """Yield `folder`, created if needed, or for None a temporary one that is deleted afterwards."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="bench-sample-") as name:
            yield Path(name)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder


def make_clip(recipe: ClipRecipe, folder: Path) -> Path:
    """Encode the clip into `folder`, unless it exists. An unfinished file has another name."""
    path = folder / recipe.filename
    if path.exists():
        return path
    unfinished = path.with_suffix(".part.mp4")
    frames = _moving_pictures(*recipe.size, recipe.seconds * recipe.fps)
    encode(unfinished, recipe.size, recipe.fps, frames, recipe.codec, recipe.options)
    return unfinished.rename(path)


def _moving_pictures(width: int, height: int, num_frames: int) -> Iterator[av.VideoFrame]:
    """Render a camera that moves over a textured scene with moving objects and sensor noise."""
    random = np.random.default_rng(1)
    margin = 192
    scene = [_texture(random, height + margin, width + margin)]
    scene += [_texture(random, (height + margin) // 2, (width + margin) // 2) for _ in range(2)]
    moving = _texture(random, height // 3, height // 3)
    noise = random.integers(0, 5, (height + 64, width + 64), dtype=np.uint8)
    for number in range(num_frames):
        x = int(margin / 4 * (1 + np.sin(number / 47))) * 2
        y = int(margin / 4 * (1 + np.cos(number / 61))) * 2
        luma = scene[0][y : y + height, x : x + width].copy()
        for speed in (3, 5, 8):
            left = (number * speed + 311 * speed) % (width - moving.shape[1])
            top = int((height - moving.shape[0]) * (0.5 + 0.5 * np.sin(number * speed / 300)))
            luma[top : top + moving.shape[0], left : left + moving.shape[1]] = moving
        down, right = random.integers(0, 64, 2)
        luma += noise[down : down + height, right : right + width]
        chroma = [plane[y // 2 : (y + height) // 2, x // 2 : (x + width) // 2] for plane in scene[1:]]
        planes = np.concatenate([luma.ravel(), *(plane.ravel() for plane in chroma)])
        frame = av.VideoFrame.from_ndarray(planes.reshape(height * 3 // 2, width), format="yuv420p")
        frame.pts = number
        yield frame


def _texture(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return uint8 (height, width), 30 to 220, with about as much detail of each size as a photograph."""
    total = np.zeros((height, width), np.float32)
    for cell in (256, 128, 64, 32, 16, 8, 4, 2):
        coarse = random.standard_normal((height // cell + 2, width // cell + 2)).astype(np.float32)
        total += cell * np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    low, high = np.percentile(total, (1, 99))
    return (30 + 190 * np.clip((total - low) / (high - low), 0, 1)).astype(np.uint8)
