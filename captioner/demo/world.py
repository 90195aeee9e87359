"""The toy world that the demo model knows: one colored shape that moves on a plain or patterned background.

A `Scene` can be drawn at any size and time. All randomness comes from the caller's generator, so a seed gives the same
scenes everywhere.
"""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

COLORS = {
    "red": (222, 38, 38),
    "orange": (250, 140, 20),
    "yellow": (250, 225, 40),
    "green": (40, 175, 70),
    "blue": (50, 105, 240),
    "purple": (150, 60, 205),
    "pink": (255, 130, 190),
    "white": (245, 245, 245),
}
SHAPES = ("circle", "square", "triangle", "star", "ring")
MOTIONS = ("left", "right", "up", "down", "grow", "shrink", "orbit", "still")
BACKGROUNDS = ("black", "gray", "navy", "striped", "checkered")
_DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
_SUPERSAMPLING = 4


@dataclass(frozen=True)
class Scene:
    """The content of one clip or image. Lengths are fractions of the frame's side; x grows rightward, y downward."""

    color: str
    shape: str
    motion: str  # one of MOTIONS, or "" for an image
    background: str
    x: float  # center half-way through the clip
    y: float
    radius: float
    travel: float  # distance covered, diameter of the orbit, or the share by which the radius changes
    phase: float  # start of an orbit in turns; the sign gives the direction


def random_scene(rng: np.random.Generator, still: bool = False) -> Scene:
    """Choose every property at random, such that the shape stays inside the frame all the time."""
    motion = "" if still else str(rng.choice(MOTIONS))
    radius = rng.uniform(0.14, 0.25)
    travel = rng.uniform(0.24, 0.44)
    reach_x = reach_y = radius
    if motion == "orbit":
        travel = rng.uniform(0.24, 0.4)
        reach_x = reach_y = radius + travel / 2
    elif motion in ("grow", "shrink"):
        radius, travel = rng.uniform(0.16, 0.21), rng.uniform(0.7, 1.0)
        reach_x = reach_y = radius * (1 + travel / 2)
    elif motion in _DIRECTIONS:
        dx, dy = _DIRECTIONS[motion]
        travel = min(travel, 0.96 - 2 * radius)
        reach_x, reach_y = radius + abs(dx) * travel / 2, radius + abs(dy) * travel / 2
    return Scene(
        color=str(rng.choice(list(COLORS))),
        shape=str(rng.choice(SHAPES)),
        motion=motion,
        background=str(rng.choice(BACKGROUNDS)),
        x=_inside(rng, reach_x),
        y=_inside(rng, reach_y),
        radius=radius,
        travel=travel,
        phase=rng.uniform(0.05, 1) * rng.choice([-1, 1]),
    )


def _inside(rng: np.random.Generator, reach: float) -> float:
    return 0.5 if reach >= 0.5 else rng.uniform(reach, 1 - reach)


def draw(scene: Scene, progress: float, size: int) -> np.ndarray:
    """Draw the scene at `progress` (0 = first frame, 1 = last) -> uint8 (size, size, 3) RGB with smooth edges."""
    frame = _background(scene.background, size).astype(np.float32)
    x, y, radius = _pose(scene, progress)
    left, top = math.floor((x - radius) * size) - 1, math.floor((y - radius) * size) - 1
    side = math.ceil(2 * radius * size) + 3
    mask = _mask(scene.shape, x * size - left, y * size - top, radius * size, side)
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + side, size), min(top + side, size)
    alpha = mask[y0 - top : y1 - top, x0 - left : x1 - left, None]
    window = frame[y0:y1, x0:x1]
    window += alpha * (np.array(COLORS[scene.color], np.float32) - window)
    return (frame + 0.5).astype(np.uint8)


def _pose(scene: Scene, progress: float) -> tuple[float, float, float]:
    """Return x, y and radius at `progress`."""
    shift = (progress - 0.5) * scene.travel
    if scene.motion in _DIRECTIONS:
        dx, dy = _DIRECTIONS[scene.motion]
        return scene.x + dx * shift, scene.y + dy * shift, scene.radius
    if scene.motion == "grow":
        return scene.x, scene.y, scene.radius * (1 + shift)
    if scene.motion == "shrink":
        return scene.x, scene.y, scene.radius * (1 - shift)
    if scene.motion == "orbit":
        angle = 2 * math.pi * (scene.phase + math.copysign(progress, scene.phase))
        reach = scene.travel / 2
        return scene.x + reach * math.cos(angle), scene.y + reach * math.sin(angle), scene.radius
    return scene.x, scene.y, scene.radius


def _background(name: str, size: int) -> np.ndarray:
    plain = {"black": (10, 10, 12), "gray": (128, 128, 128), "navy": (22, 28, 80)}
    if name in plain:
        return np.broadcast_to(np.array(plain[name], np.uint8), (size, size, 3))
    bands = np.arange(size) * 8 // size % 2
    pattern = bands[:, None] ^ (bands[None, :] if name == "checkered" else np.zeros(size, int)[None, :])
    return np.where(pattern[..., None], np.uint8(88), np.uint8(46)).repeat(3, axis=2)


def _mask(shape: str, x: float, y: float, radius: float, side: int) -> np.ndarray:
    """Return how much of each pixel the shape covers, float32 (side, side) in 0..1."""
    k = _SUPERSAMPLING
    image = Image.new("L", (side * k, side * k))
    pen = ImageDraw.Draw(image)
    if shape in ("circle", "ring"):
        pen.ellipse([(x - radius) * k, (y - radius) * k, (x + radius) * k, (y + radius) * k], fill=255)
        if shape == "ring":
            hole = radius * 0.55
            pen.ellipse([(x - hole) * k, (y - hole) * k, (x + hole) * k, (y + hole) * k], fill=0)
    else:
        pen.polygon([((x + dx * radius) * k, (y + dy * radius) * k) for dx, dy in _outline(shape)], fill=255)
    return np.asarray(image.reduce(k), np.float32) / 255


def _outline(shape: str) -> list[tuple[float, float]]:
    """Return the corners of a polygon about the origin, clockwise from the top."""
    if shape == "square":
        return [(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)]
    num_corners, radii = {"triangle": (3, (1,)), "star": (10, (1, 0.42))}[shape]
    turns = [2 * math.pi * i / num_corners for i in range(num_corners)]
    return [(radii[i % len(radii)] * math.sin(a), -radii[i % len(radii)] * math.cos(a)) for i, a in enumerate(turns)]
