"""Sixty clips whose camera, cuts and freezes are known. Every third one was held back while thresholds were chosen."""

from collections.abc import Iterator

from tests.support.motion_clips import Clip, Path2D, Scene, Thing, panning, shaking, still, zooming

TEXTURES = ("clouds", "shapes", "grain", "skyline", "bricks", "plain")
NOISE, CRF = (0, 4, 8, 2), (20, 28, 34, 23)
THINGS = (
    [Thing(0.1, 0.3, 0.25, 0.4, (0.12, 0))],
    [Thing(0.6, 0.2, 0.3, 0.6, (-0.12, 0.02))],
    [Thing(-0.6, 0.25, 0.7, 0.5, (0.3, 0))],
    [Thing(0.1, 0.1, 0.2, 0.3, (0.1, 0.05)), Thing(0.7, 0.5, 0.25, 0.4, (-0.1, 0))],
    [Thing(-2, 0.2, 3, 0.6, (0.4, 0), texture="bricks")],  # a train
    [Thing(0.4, -0.3, 0.3, 0.5, (0, 0.2))],
    [Thing(0.05 * n, 0.15 * n, 0.15, 0.15, (0.1, 0)) for n in range(6)],  # a flock
    [Thing(0.2, 0.3, 0.6, 0.7, (0.05, 0), texture="clouds")],
    [Thing(0.35, 0.3, 0.3, 0.5, (0.1, 0))],
    [Thing(-0.3, 0.0, 0.7, 1.0, (0.12, 0))],
    [Thing(0.3, 0.9, 0.4, 0.6, (0, -0.15))],
    [Thing(-1.5, 0.35, 3, 0.65, (0.25, 0))],
)


def corpus() -> list[Clip]:
    """Return the clips."""
    return [*_static(), *_moves(), *_things(), *_shakes(), *_cuts(), *_freezes()]


def _clip(kind: str, number: int, view: Path2D, expected: str, texture: int = 0, **more) -> Clip:
    scene = Scene(TEXTURES[(number + texture) % len(TEXTURES)], number % 2, view, more.pop("things", ()))
    values = {"noise": NOISE[number % 4], "crf": CRF[number % 4]} | more
    return Clip(f"{kind}-{number}", [(0.0, scene)], (expected,), **values)


def _static() -> Iterator[Clip]:
    for number in range(6):
        yield _clip("static", number, still, "static")


def _moves() -> Iterator[Clip]:
    for number, speed in enumerate((0.03, 0.08, 0.15, 0.3)):
        yield _clip("pan-left", number, panning(-speed), "pan left")
        yield _clip("pan-right", number, panning(speed), "pan right", 3)
    for number, speed in enumerate((0.03, 0.07, 0.12, 0.2)):
        yield _clip("tilt-up", number, panning(0, -speed), "tilt up", 1)
        yield _clip("tilt-down", number, panning(0, speed), "tilt down", 4)
    for number, rate in enumerate((1.03, 1.08, 1.2, 1.4)):
        yield _clip("zoom-in", number, zooming(rate, 1.3), "zoom in", 2)
        yield _clip("zoom-out", number, zooming(1 / rate, 0.6), "zoom out", 0)


def _things() -> Iterator[Clip]:
    for number, things in enumerate(THINGS):
        yield _clip("things", number, still, "static", things=things)


def _shakes() -> Iterator[Clip]:
    for number, amount in enumerate((0.004, 0.008, 0.012, 0.006)):
        yield _clip("handheld", number, shaking(amount, number), "handheld")


def _cuts() -> Iterator[Clip]:
    for number in range(8):
        count, view = 1 + number % 3, still if number % 2 else panning(0.08)
        begins = [0.0, *(round(4 * (cut + 1) / (count + 1) + 0.05 * number, 2) for cut in range(count))]
        shots = [(begin, Scene(TEXTURES[(number + n) % 5], n, view)) for n, begin in enumerate(begins)]
        expected = ("static",) if number % 2 else ("pan right",)
        yield Clip(f"cuts-{number}", shots, expected, cuts=count, noise=NOISE[number % 4], crf=24)


def _freezes() -> Iterator[Clip]:
    ways = (panning(0.08), panning(-0.1), zooming(1.1), still, panning(0, 0.06), panning(0, -0.08))
    names = ("pan right", "pan left", "zoom in", "static", "tilt down", "tilt up")
    times = ((1.5, 4.0), (0.8, 2.6), (2.0, 4.0), (1.2, 3.0), (0.0, 1.5), (1.0, 2.5))
    for number, (view, name, frozen) in enumerate(zip(ways, names, times, strict=True)):
        things = THINGS[0] if name == "static" else ()
        yield _clip("freeze", number, view, name, frozen=frozen, things=things)
