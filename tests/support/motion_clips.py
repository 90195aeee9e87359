"""Renders clips whose camera is known: a textured world seen through a window that moves, with noise and encoded."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

SIZE = (480, 270)
WORLD = (1100, 900)  # pixels
View = tuple[float, float, float, float]  # center of the window in the world, world pixels per pixel, degrees turned
Path2D = Callable[[float], View]  # of the time in seconds


@dataclass(frozen=True)
class Thing:
    """A textured rectangle in front of the camera: its place and speed in parts of the picture, turned with time."""

    left: float
    top: float
    width: float
    height: float
    speed: tuple[float, float] = (0.0, 0.0)  # parts of the width and the height a second
    seed: int = 1
    texture: str = "shapes"


@dataclass(frozen=True)
class Scene:
    """One shot."""

    texture: str = "clouds"
    seed: int = 0
    view: Path2D = lambda time_s: (550, 450, 1.0, 0.0)
    things: Sequence[Thing] = ()
    light: Callable[[float], float] = lambda time_s: 1.0


@dataclass(frozen=True)
class Clip:
    """A clip to render. expected: the camera's moves in words."""

    name: str
    scenes: Sequence[tuple[float, Scene]]  # each with the time at which it begins
    expected: tuple[str, ...]
    seconds: float = 4.0
    fps: int = 8
    noise: float = 0.0  # standard deviation of the noise of each frame, of 255
    crf: int = 23
    frozen: tuple[float, float] | None = None  # from when until when the picture stands still
    bars: float = 0.0  # height of each black bar, in parts of the height
    cuts: int = 0
    size: tuple[int, int] = SIZE


Texture = Callable[[np.random.Generator, int, int], np.ndarray]  # of a width and a height: uint8 (H, W, 3)
MORE_TEXTURES: dict[str, Texture] = {}


@functools.lru_cache(16)
def world(kind: str, seed: int, size: tuple[int, int] = WORLD) -> np.ndarray:
    """Return uint8 (H, W, 3).

    kind: clouds (coarse and fine), shapes (as of a town), grain (fine), plain (a wall with few things), bricks (a
    pattern that repeats), skyline (the upper half is flat), or one of MORE_TEXTURES.
    """
    width, height = size
    random = np.random.default_rng(1000 + seed)
    if kind in MORE_TEXTURES:
        return MORE_TEXTURES[kind](random, width, height)
    tint = random.uniform(40, 215, 3)
    if kind == "grain":
        fine = cv2.GaussianBlur(random.normal(0, 1, (height, width, 3)).astype(np.float32), (0, 0), 2.0)
        return _bytes(128 + 60 * fine / fine.std())
    if kind == "clouds":
        return _bytes(_octaves(random, width, height, 7) * 45 + tint)
    if kind == "bricks":
        picture = _octaves(random, width, height, 6) * 14 + np.array([150, 85, 70])
        for row, top in enumerate(range(0, height, 36)):
            picture[top : top + 4] = 190
            for left in range(row % 2 * 45, width, 90):
                picture[top + 4 : top + 36, left : left + 90] += random.normal(0, 18)
                picture[top : top + 36, left : left + 4] = 190
        return _bytes(picture)
    picture = _octaves(random, width, height, 3) * 5 + tint
    count, largest = {"shapes": (420, 90), "skyline": (160, 90)}.get(kind, (70, 70))
    for _ in range(count):
        color = random.uniform(0, 255, 3).tolist()
        x, y = int(random.uniform(0, width)), int(random.uniform(0, height))
        if kind == "skyline":
            y = int(height * 0.5 + abs(random.normal(0, 1)) * height * 0.2)
        a, b = (int(side) for side in random.uniform(6, largest, 2))
        if random.uniform() < 0.5:
            cv2.rectangle(picture, (x, y), (x + a, y + b), color, -1)
        else:
            cv2.circle(picture, (x, y), a // 2, color, -1, cv2.LINE_AA)
    return _bytes(picture)


def _octaves(random: np.random.Generator, width: int, height: int, count: int) -> np.ndarray:
    total = np.zeros((height, width, 3))
    for octave in range(count):
        cells = 3 * 2**octave
        grid = random.normal(0, 1, (cells, int(cells * width / height), 3))
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) / 1.6**octave
    return total / total.std()


def _bytes(picture: np.ndarray) -> np.ndarray:
    return np.clip(picture, 0, 255).astype(np.uint8)


def render(clip: Clip) -> list[np.ndarray]:
    """Return the frames, uint8 (H, W, 3)."""
    random = np.random.default_rng(len(clip.name) + clip.fps)
    grain = _grain() * clip.noise
    frames: list[np.ndarray] = []
    for number in range(round(clip.seconds * clip.fps)):
        time_s = number / clip.fps
        if clip.frozen and clip.frozen[0] < time_s <= clip.frozen[1]:
            frames.append(frames[-1])
            continue
        begin_s, scene = [each for each in clip.scenes if each[0] <= time_s][-1]
        picture = _shot(scene, time_s - begin_s, clip.size).astype(np.float32) * scene.light(time_s - begin_s)
        if clip.noise:
            start = random.integers(0, len(grain) - picture.size)
            picture += grain[start : start + picture.size].reshape(picture.shape)
        if bar := round(clip.bars * clip.size[1]):
            picture[:bar] = picture[-bar:] = 0
        frames.append(_bytes(picture))
    return frames


@functools.cache
def _grain() -> np.ndarray:
    return np.random.default_rng(9).normal(0, 1, 3 * WORLD[0] * WORLD[1]).astype(np.float32)


def _shot(scene: Scene, time_s: float, size: tuple[int, int]) -> np.ndarray:
    width, height = size
    x, y, scale, degrees = scene.view(time_s)
    turn = math.radians(degrees)
    a, b = scale * math.cos(turn), scale * math.sin(turn)
    matrix = np.array([[a, -b, x - a * width / 2 + b * height / 2], [b, a, y - b * width / 2 - a * height / 2]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    picture = cv2.warpAffine(world(scene.texture, scene.seed), matrix, size, flags=flags, borderMode=cv2.BORDER_REFLECT)
    for thing in scene.things:
        w, h = round(thing.width * width), round(thing.height * height)
        left = (thing.left + thing.speed[0] * time_s) * width
        top = (thing.top + thing.speed[1] * time_s) * height
        texture = world(thing.texture, thing.seed)[:h, :w]
        place = np.array([[1, 0, left], [0, 1, top]], dtype=np.float64)
        moved = cv2.warpAffine(texture, place, size, flags=cv2.INTER_LINEAR)
        mask = cv2.warpAffine(np.full((h, w), 255, np.uint8), place, size, flags=cv2.INTER_LINEAR)
        picture = np.where(mask[..., None] > 127, moved, picture)
    return picture


def encode(path: Path, frames: Sequence[np.ndarray], fps: int, crf: int = 23, preset: str = "veryfast") -> Path:
    """Encode frames as H.264."""
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps), options={"crf": str(crf), "preset": preset})
        stream.height, stream.width = frames[0].shape[0] // 2 * 2, frames[0].shape[1] // 2 * 2
        stream.pix_fmt = "yuv420p"
        for picture in frames:
            cut = np.ascontiguousarray(picture[: stream.height, : stream.width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(cut, "rgb24")))
        container.mux(stream.encode(None))
    return path


def make(folder: Path, clip: Clip) -> Path:
    """Render and encode a clip."""
    return encode(folder / f"{clip.name}.mp4", render(clip), clip.fps, clip.crf)


# Ways of the camera. Speeds in parts of the picture's width a second; negative: to the left, up.


def still(time_s: float) -> View:
    return 550, 450, 1.0, 0.0


def panning(speed: float, tilt: float = 0.0, until_s: float = 99.0) -> Path2D:
    width = SIZE[0]
    return lambda time_s: (
        550 + (min(time_s, until_s) - 2) * speed * width,
        450 + (min(time_s, until_s) - 2) * tilt * width,
        1.0,
        0.0,
    )


def zooming(rate: float, start: float = 1.2) -> Path2D:
    """rate: the factor a second by which things grow."""
    return lambda time_s: (550, 450, start / rate**time_s, 0.0)


def shaking(amount: float, seed: int = 0, pan: float = 0.0) -> Path2D:
    """amount: of the shake, in parts of the width. It has waves from 0.4 to 3 a second, as of a hand."""
    random = np.random.default_rng(seed)
    waves = [(random.uniform(0.4, 3), random.uniform(0, 6.3), random.uniform(0, 6.3)) for _ in range(5)]

    def view(time_s: float) -> View:
        x = sum(math.sin(6.283 * rate * time_s + phase) / rate**0.5 for rate, phase, _ in waves)
        y = sum(math.sin(6.283 * rate * time_s + phase) / rate**0.5 for rate, _, phase in waves)
        return 550 + SIZE[0] * (amount * x + pan * (time_s - 2)), 450 + SIZE[0] * amount * y, 1.0, amount * 60 * x

    return view
