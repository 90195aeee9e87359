"""Seventy clips for one honest figure: their textures, seed, speeds, sizes and rates were used in no tuning.

Do not choose thresholds by them. If they are ever looked at while measurements change, draw others with a new seed.
"""

import math
from collections.abc import Iterator

import cv2
import numpy as np

from tests.support.motion_clips import MORE_TEXTURES, WORLD, Clip, Path2D, Scene, Thing

SEED = 20_261_130
SIZES = ((480, 270), (640, 360), (400, 300), (270, 480))
RATES = (8, 12, 24, 25)
MIDDLE = WORLD[0] / 2, WORLD[1] / 2
SEEN = 440  # pixels of the world in the width of the picture, before any zoom
COUNTS = {
    "static": 8, "pan left": 8, "pan right": 8, "tilt up": 5, "tilt down": 5, "zoom in": 6, "zoom out": 6,
    "things": 12, "cuts": 6, "freeze": 6,
}  # fmt: skip


def mosaic(random: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Return flat patches around random points, as of stained glass."""
    points = np.stack([random.uniform(0, width, 260), random.uniform(0, height, 260)])
    colors = random.uniform(20, 235, (260, 3))
    seeds = np.full((height, width), 255, np.uint8)
    seeds[points[1].astype(int), points[0].astype(int)] = 0
    _, labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    return colors[labels % 260].astype(np.uint8)


def leaves(random: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Return ellipses in all directions, as of a forest floor."""
    picture = np.full((height, width, 3), random.uniform(30, 120, 3))
    for _ in range(1500):
        place = int(random.uniform(0, width)), int(random.uniform(0, height))
        axes = int(random.uniform(8, 40)), int(random.uniform(3, 12))
        color = (random.uniform(20, 110), random.uniform(60, 220), random.uniform(30, 170))
        cv2.ellipse(picture, place, axes, random.uniform(0, 360), 0, 360, color, -1, cv2.LINE_AA)
    return picture.astype(np.uint8)


def letters(random: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Return words of all sizes on paper, as of a wall of posters."""
    picture = np.full((height, width, 3), random.uniform(170, 235, 3)).astype(np.uint8)
    for _ in range(230):
        word = "".join(random.choice(list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), random.integers(2, 8)))
        place = int(random.uniform(-40, width)), int(random.uniform(0, height))
        color = random.uniform(0, 160, 3).tolist()
        size = random.uniform(0.6, 3.0)
        cv2.putText(picture, word, place, cv2.FONT_HERSHEY_DUPLEX, size, color, int(1 + size * 1.5), cv2.LINE_AA)
    return picture


def hills(random: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Return ridges behind one another below an empty sky."""
    picture = np.zeros((height, width, 3)) + np.linspace(225, 160, height)[:, None, None]
    x = np.arange(width)
    for ridge in range(9):
        waves = sum(
            random.uniform(6, 45) / n * np.sin(x * n * random.uniform(0.006, 0.02) + random.uniform(0, 6))
            for n in (1, 2, 5, 9)
        )
        top = (height * (0.22 + 0.085 * ridge) + waves).astype(int)
        rough = cv2.GaussianBlur(random.normal(0, 1, (height, width)), (0, 0), 2.5)
        first = max(0, top.min())  # of the rows that it reaches
        below = np.arange(first, height)[:, None] >= top
        shade = random.uniform(30, 190, 3) + 14 * (rough[first:] / rough.std())[..., None]
        picture[first:] = np.where(below[..., None], shade, picture[first:])
    return np.clip(picture, 0, 255).astype(np.uint8)


MORE_TEXTURES.update(mosaic=mosaic, leaves=leaves, letters=letters, hills=hills)
KINDS = tuple(MORE_TEXTURES)


def held_back() -> list[Clip]:
    """Return the clips, the same each time."""
    random = np.random.default_rng(SEED)
    return [_clip(random, kind, number) for kind, count in COUNTS.items() for number in range(count)]


def _clip(random: np.random.Generator, kind: str, number: int) -> Clip:
    size, fps = SIZES[random.integers(4)], int(RATES[random.integers(4)])
    seconds = float(random.uniform(3.0, 6.0))
    name = kind if kind not in ("things", "cuts", "freeze") else str(random.choice(["static", "pan left", "tilt up"]))
    name = "static" if kind == "things" else name
    frozen = None
    if kind == "freeze":
        start = float(random.uniform(0.8, seconds - 2.2))
        frozen = start, start + float(random.uniform(1.3, 2.0))
    begins = [0.0]
    if kind == "cuts":
        begins += [seconds * part for part in ((0.5,), (0.33, 0.68))[number % 2]]
    things = tuple(_things(random)) if kind == "things" or (kind == "freeze" and name == "static") else ()
    way = _way(random, name, seconds / len(begins), size)
    first = int(random.integers(4))
    scenes = [
        (begin, Scene(KINDS[(first + shot) % 4], 500 + 10 * number + shot, way, things))
        for shot, begin in enumerate(begins)
    ]
    noise, crf = float(random.uniform(1.5, 8)), int(random.integers(18, 33))
    title = f"{kind.replace(' ', '-')}-{number}"
    return Clip(title, scenes, (name,), seconds, fps, noise, crf, frozen, cuts=len(begins) - 1, size=size)


def _way(random: np.random.Generator, name: str, seconds: float, size: tuple[int, int]) -> Path2D:
    """Return a way of the camera that stays inside the world: by 12 to 100 % of the picture, or 15 to 110 % larger."""
    scale = SEEN / size[0] if size[0] > size[1] else 0.55 * SEEN / size[0]
    if name == "static":
        x, y = MIDDLE
        return lambda time_s: (x, y, scale, 0.0)
    kind, way = name.split()
    if kind == "zoom":
        factor = float(random.uniform(1.15, 2.1)) ** (1 if way == "in" else -1)
        start = scale * (1.2 if way == "in" else 0.75)
        return lambda time_s: (*MIDDLE, start / factor ** (time_s / seconds), 0.0)
    seen = size[0] * scale, size[1] * scale
    room = (WORLD[0] - seen[0]) * 0.95 if kind == "pan" else (WORLD[1] - seen[1]) * 0.95
    length = min(room, float(random.uniform(0.12, 1.0)) * seen[0 if kind == "pan" else 1])
    sign = -1 if way in ("left", "up") else 1

    def view(time_s: float) -> tuple[float, float, float, float]:
        moved = sign * length * (time_s / seconds - 0.5)
        x, y = MIDDLE
        return (x + moved, y, scale, 0.0) if kind == "pan" else (x, y + moved, scale, 0.0)

    return view


def _things(random: np.random.Generator) -> Iterator[Thing]:
    for _ in range(random.integers(1, 4)):
        angle, speed = random.uniform(0, 2 * math.pi), random.uniform(0.05, 0.25)
        width, height = random.uniform(0.12, 0.45), random.uniform(0.2, 0.5)
        place = random.uniform(0, 0.9 - width), random.uniform(0.05, 0.95 - height)
        move = (speed * math.cos(angle), speed * math.sin(angle))
        yield Thing(*place, width, height, move, int(random.integers(900, 999)), str(random.choice(KINDS)))
