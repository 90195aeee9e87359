"""`python -m tests.tools.load --viewers 50 --strangers 1100 --minutes 10`: what many browsers cost a run they watch.

The app captions a folder with the demo model again and again, with and without viewers by turns, so that both see the
same machine. The replica has processor cores of its own, as it has a GPU of its own elsewhere: what is measured is what
the viewers take from it, not that two programs share a core. Strangers without a login hold connections with half a
request. Ends with status 1 when a promise is broken.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from captioner.demo.clips import write_samples
from captioner.services import Services
from captioner.ui.launch import launch
from captioner.ui.page import build

FEW_VIEWERS = 20  # answered soon
MAX_SLOWDOWNS = {20: 0.03, 100: 0.05, 200: 0.10}  # of the run, by the number of viewers
MAX_ANSWER_FEW_S = 0.2  # in the median
MAX_GROWTH = 0.10  # of the app's memory between the first and the last quarter
WINDOW_S = 20.0
SETTLE_S = 3.0  # of each window are not counted


@dataclass
class Windows:
    """Tokens a second of each window, and the app's memory after it in MB."""

    alone: list[float] = field(default_factory=list)
    watched: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)

    @property
    def slowdown(self) -> float:
        """Of the medians; each watched window is compared with the one before it."""
        return 1 - statistics.median(b / a for a, b in zip(self.alone, self.watched, strict=False))

    @property
    def growth(self) -> float:
        """Of the memory, once the caches are warm."""
        quarter = max(1, len(self.memory_mb) // 4)
        first, last = self.memory_mb[quarter : 2 * quarter], self.memory_mb[-quarter:]
        return statistics.median(last) / statistics.median(first or last) - 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--viewers", type=int, default=50)
    parser.add_argument("--strangers", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--files", type=int, default=400)
    args = parser.parse_args()
    move_to(other_cores())  # until the replica has been started there
    with tempfile.TemporaryDirectory(prefix="load-") as name:
        folder = Path(name) / "media"
        make_media(folder, Path(name) / "samples", args.files)
        with Services(Path(name) / "state", {"model": "demo", "existing": "overwrite"}) as services:
            blocks, page = build(services, folder)
            address = launch(blocks, page)
            windows, seen = measure(services, address, [args.viewers, args.strangers], args.minutes * 60)
            blocks.close(verbose=False)
    print(f"{args.viewers} viewers, {args.strangers} strangers")
    print(f"{len(windows.watched)} pairs of windows of {WINDOW_S:.0f} s")
    print(f"tokens/s alone {statistics.median(windows.alone):.1f}, watched {statistics.median(windows.watched):.1f}")
    print(f"run slowed by {100 * windows.slowdown:.1f} %")
    print(f"requests {seen['requests']:,}, problems {seen['problems'] or 'none'}")
    times = "median {median_s:.3f} s, p95 {p95_s:.3f} s, worst {worst_s:.3f} s"
    print(f"time of an answer: {times.format(**seen)}")
    print(f"memory of the app {windows.memory_mb[0]:.0f} -> {windows.memory_mb[-1]:.0f} MB, grown {windows.growth:.1%}")
    few = args.viewers <= FEW_VIEWERS
    too_slow = windows.slowdown > next((most for count, most in MAX_SLOWDOWNS.items() if args.viewers <= count), 1.0)
    too_late = few and seen["median_s"] > MAX_ANSWER_FEW_S
    return int(too_slow or too_late or windows.growth > MAX_GROWTH or bool(seen["problems"]))


def make_media(folder: Path, samples: Path, count: int) -> None:
    """Links to the sample clips and stills, over and over."""
    originals = [sample.path for sample in write_samples(samples)]
    folder.mkdir()
    for number, original in zip(range(count), itertools.cycle(originals), strict=False):
        os.link(original, folder / f"{number:04} {original.name}")


def measure(services: Services, address: str, counts: list[int], seconds: float) -> tuple[Windows, dict]:
    keep_running(services)
    while not services.events.snapshot().tokens:
        time.sleep(0.2)
    move_to(first_cores())
    viewers = subprocess.Popen(
        [sys.executable, "-m", "tests.tools.viewers", address, *map(str, counts)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    windows, app, end = Windows(), psutil.Process(), time.monotonic() + seconds
    while time.monotonic() < end:
        for speeds, word in ((windows.alone, "rest"), (windows.watched, "go")):
            viewers.stdin.write(f"{word}\n")
            viewers.stdin.flush()
            time.sleep(SETTLE_S)
            speeds.append(tokens_per_s(services, WINDOW_S - SETTLE_S))
            windows.memory_mb.append(app.memory_info().rss / 1e6)
    seen, _ = viewers.communicate(timeout=60)
    services.jobs.stop()
    return windows, json.loads(seen)


def first_cores() -> set[int]:
    """For the app and its viewers: half of them."""
    return set(range(max(1, psutil.cpu_count() // 2)))


def other_cores() -> set[int]:
    """For the replica."""
    return set(range(psutil.cpu_count())) - first_cores() or first_cores()


def move_to(cores: set[int]) -> None:
    """This process with each of its threads; those that it starts from now on follow it."""
    for thread in psutil.Process().threads():
        os.sched_setaffinity(thread.id, cores)


def tokens_per_s(services: Services, seconds: float) -> float:
    """Of a window that may reach over the end of one job into the next."""
    total, before = 0, count_tokens(services)
    end = started = time.monotonic()
    while end - started < seconds:
        time.sleep(0.1)
        end, now = time.monotonic(), count_tokens(services)
        total += now[1] - before[1] if now[0] == before[0] else now[1]
        before = now
        keep_running(services)
    return total / (end - started)


def count_tokens(services: Services) -> tuple[int, int]:
    """(job, its tokens so far)"""
    progress = services.events.snapshot()
    return progress.job, progress.tokens


def keep_running(services: Services) -> None:
    """Two jobs wait at any time, so that no window has a pause."""
    progress = services.events.snapshot()
    if progress.queued_jobs < 1 + (not progress.active):
        services.start()


if __name__ == "__main__":
    sys.exit(main())
