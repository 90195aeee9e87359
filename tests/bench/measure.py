"""Measuring the camera, cuts and more in sampled frames, compared with sampling them, by size of the clips."""

import statistics
import tempfile
import time
from pathlib import Path

from captioner.cli.bench.report import Report
from captioner.media.measure import measured_facts
from captioner.media.sample import sample
from captioner.values import SamplePlan
from tests.support.motion_clips import Clip, Scene, Thing, make, panning, shaking, still, zooming

SIZES = ((320, 180), (640, 360), (1280, 720))
MAX_PERCENT = 10.0
SCENES = {
    "static": [(0.0, Scene("clouds", 0, still))],
    "things": [(0.0, Scene("shapes", 1, still, [Thing(0.1, 0.3, 0.25, 0.4, (0.12, 0))]))],
    "pan": [(0.0, Scene("shapes", 0, panning(0.08)))],
    "zoom": [(0.0, Scene("skyline", 0, zooming(1.08, 1.0)))],
    "handheld": [(0.0, Scene("clouds", 1, shaking(0.008, 1)))],
    "cut": [(0.0, Scene("shapes", 0, panning(0.08))), (1.7, Scene("clouds", 0, still))],
}


def bench_measure(repeats: int = 7, as_json: bool = False) -> None:
    """Print the CPU time of both for clips of 4 s at 24 fps; measuring follows sampling, in turns."""
    report = Report(("size", "clip", "sampling_ms", "measuring_ms", "percent", "target_percent"), as_json)
    with tempfile.TemporaryDirectory(prefix="bench-measure-") as name:
        for size in SIZES:
            rows = []
            for kind, scenes in SCENES.items():
                path = make(Path(name), Clip(f"{kind}-{size[1]}", scenes, (), fps=24, noise=2.0, size=size))
                rows.append(_median_ms(path, repeats))
                _add(report, size, kind, rows[-1])
            _add(report, size, "all", tuple(sum(each) for each in zip(*rows, strict=True)))
    report.end()


def _add(report: Report, size: tuple[int, int], kind: str, ms: tuple[float, ...]) -> None:
    sampling, measuring = ms
    percent = round(100 * measuring / sampling, 1)
    report.add(f"{size[0]}x{size[1]}", kind, round(sampling, 1), round(measuring, 2), percent, MAX_PERCENT)


def _median_ms(path: Path, repeats: int) -> tuple[float, float]:
    """Return the CPU time of sampling and of measuring; the first round, which fills caches, does not count."""
    taken: list[tuple[float, float]] = []
    for _ in range(repeats + 1):
        times_s = [time.process_time()]
        frames = sample(path, SamplePlan())
        times_s.append(time.process_time())
        measured_facts(frames)
        times_s.append(time.process_time())
        taken.append((1000 * (times_s[1] - times_s[0]), 1000 * (times_s[2] - times_s[1])))
    sampling, measuring = zip(*taken[1:], strict=True)
    return statistics.median(sampling), statistics.median(measuring)
