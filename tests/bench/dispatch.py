"""What one job costs the app itself with very many workers and items: everything but decoding and the model.

The job, its journal, events and caption files are real; the workers are simulated and waiting takes no time. With a
`--folder` on a disk, the time of the disk is in `ms_per_item` but not in `cpu_us_per_item`.
"""

import contextlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import psutil

from captioner.captions.store import CaptionStore
from captioner.cli.bench.report import Report
from captioner.errors import CaptionerError
from captioner.jobs.event_log import EventLog
from captioner.jobs.job import Job, Model
from captioner.jobs.outcomes import Outcomes
from captioner.jobs.runner import JobRunner
from captioner.media.discover import ListingOptions, discover
from captioner.system.database import Database
from captioner.values import MediaItem, ModelSpec
from tests.support.virtual_workers import VirtualPool, VirtualTime

FILES_A_FOLDER = 1000
CAPACITY = 8  # items at once of each worker
ITEM_S = 8.0  # so each worker captions one clip a second
TARGET_US = 1000
ROWS = 10


@dataclass
class Point:
    """What was measured when a share of the items was done."""

    done: int
    wall_s: float
    cpu_s: float
    memory_mb: float


@dataclass
class Watch:
    """Reads the clock and the memory when each tenth of the items is done."""

    virtual: VirtualTime
    report: Report
    every: int
    points: list[Point] = field(default_factory=list)

    def read(self, done: int) -> None:
        """Add a row to the report. To be called in the thread of the job after each item."""
        if done % self.every and self.points:
            return
        cpu_s = time.thread_time() - self.virtual.own_s
        self.points.append(Point(done, time.perf_counter(), cpu_s, psutil.Process().memory_info().rss / 1e6))
        for before, after in zip(self.points[-2:], self.points[-1:], strict=False):
            count = after.done - before.done
            if count:
                cpu_us, ms = (after.cpu_s - before.cpu_s) / count * 1e6, (after.wall_s - before.wall_s) / count * 1e3
                self.report.add(f"{after.done:,}", round(cpu_us), round(ms, 3), TARGET_US, round(after.memory_mb))


def bench_dispatch(num_workers: int, num_items: int, folder: Path | None = None, as_json: bool = False) -> None:
    """Print for each tenth of the items the costs of one item and the memory; then the size of the journal."""
    columns = ("done", "cpu_us_per_item", "ms_per_item", "target_us", "memory_mb")
    with tempfile.TemporaryDirectory(prefix="bench-dispatch-", dir=folder) as name:
        root = Path(name)
        items = make_items(root / "clips", num_items)
        report = Report(columns, as_json)
        with open_virtual(root, num_workers) as (jobs, log, virtual, model):
            watch = Watch(virtual, report, max(1, num_items // ROWS))
            began_s, virtual_s = time.perf_counter(), virtual.now_s()
            with watched(watch):
                jobs.start(Job(items, model, "describe"), root / "clips", recursive=True)
                while not (ended := log.snapshot()).ended_s:
                    time.sleep(0.2)
            virtual_s, end_s = virtual.now_s() - virtual_s, time.perf_counter()
        if (ended.stage, ended.done) != ("done", num_items):
            raise CaptionerError(f"{ended.done} of {num_items} items were captioned: {ended.reason}")
        size = sum(path.stat().st_size for path in root.glob("captioner.sqlite*"))
        report.end(
            workers=num_workers,
            items=num_items,
            journal_bytes_per_item=round(size / num_items),
            seconds_before_the_first_caption=round(watch.points[0].wall_s - began_s, 2),
            seconds_after_the_last_caption=round(end_s - watch.points[-1].wall_s, 2),
            captions_per_s_in_virtual_time=round(num_items / virtual_s),
            captions_per_s_of_the_workers=round(num_workers * CAPACITY / ITEM_S),
        )


def make_items(root: Path, count: int) -> tuple[MediaItem, ...]:
    """Return the items of empty files, which no worker looks at."""
    for start in range(0, count, FILES_A_FOLDER):
        folder = root / f"folder {start // FILES_A_FOLDER:04d}"
        folder.mkdir(parents=True)
        for number in range(start, min(start + FILES_A_FOLDER, count)):
            (folder / f"clip {number:07d}.mp4").touch()
    return discover(root, ListingOptions(recursive=True)).items


@contextlib.contextmanager
def open_virtual(
    state: Path, num_workers: int, runs: bool = True, reports: bool = True
) -> Iterator[tuple[JobRunner, EventLog, VirtualTime, Model]]:
    """Yield a runner over virtual workers in virtual time, and their model. runs, reports: see VirtualTime."""
    virtual = VirtualTime(runs, reports)
    specs = tuple(ModelSpec("m", f"virtual:{number}") for number in range(num_workers))
    database, log = Database(state / "captioner.sqlite"), EventLog()
    with mock.patch.object(time, "monotonic", virtual.now_s):
        pool = VirtualPool(virtual, ITEM_S, CAPACITY)
        jobs = JobRunner(log, CaptionStore(database, state / "scratch"), database, pool)
        try:
            yield jobs, log, virtual, Model("virtual", lambda on_bytes: Path("model"), specs)
        finally:
            jobs.close()
            log.close()
            database.close()


@contextlib.contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """Let the watch read after each item that is done."""
    done = Outcomes.done

    def count(outcomes: Outcomes, *arguments: object) -> None:
        done(outcomes, *arguments)
        watch.read(outcomes.num_done)

    with mock.patch.object(Outcomes, "done", count):
        yield
