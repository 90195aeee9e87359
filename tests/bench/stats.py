"""The statistics of a large folder: reading its captions, counting them, and finding those behind each row."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from captioner.captions.store import CaptionStore
from captioner.cli.bench.report import Report
from captioner.dataset.lint.listing import captioned_files
from captioner.dataset.statistics.folder import Captions, read_captions
from captioner.dataset.statistics.report import report as html_report
from captioner.dataset.statistics.rows import captions_behind, sections
from captioner.dataset.statistics.statistics import Statistics, StatisticsOptions, count_captions
from captioner.dataset.targets import target
from captioner.dataset.token_limit import TokenLimit
from captioner.media.discover import ListingOptions
from captioner.system.database import Database
from captioner.system.roots import EVERYWHERE
from tests.bench.lint import caption

SAME = "The camera is static, with a shallow depth of field."  # in nine of ten captions
ODD = "The camera slowly pans to the left."  # in one of a hundred


def text(number: int) -> str:
    """Return a caption of about 70 words."""
    parts = [caption(number), SAME if number % 10 else "", ODD if number % 100 == 1 else ""]
    return " ".join(filter(None, parts))


def bench_stats(num_files: int = 50_000, as_json: bool = False) -> None:
    """Print the seconds and the CPU seconds of each step."""
    with tempfile.TemporaryDirectory(prefix="bench-stats-") as name:
        root = Path(name) / "media"
        root.mkdir()
        for number in range(num_files):
            (root / f"clip {number:06d}.mp4").touch()
            (root / f"clip {number:06d}.txt").write_text(text(number), encoding="utf-8")
        database = Database(Path(name) / "captioner.sqlite")
        report = Report(("what", "seconds", "cpu_s", "rows"), as_json)
        store = CaptionStore(database, Path(name) / "scratch")
        captions: Captions = _measured(report, "read", lambda: _read(root, store), lambda found: len(found.found))
        options = StatisticsOptions(TokenLimit(target("wan2.2")))
        found: Statistics = _measured(report, "count", lambda: count_captions(captions, options), _num_rows)
        _measured(report, "captions behind all rows", lambda: _behind(found), len)
        _measured(report, "report", lambda: html_report(found, "bench"), lambda shown: 0)
        report.end(num_files=num_files)
        database.close()


def _read(root: Path, store: CaptionStore) -> Captions:
    return read_captions(root, captioned_files(root, ListingOptions(), EVERYWHERE.escapes)[0], store)


def _num_rows(found: Statistics) -> int:
    return sum(len(section.rows) for section in sections(found))


def _behind(found: Statistics) -> list[int]:
    return [len(captions_behind(found, row)) for section in sections(found) for row in section.rows]


def _measured(report: Report, what: str, act: Callable[[], Any], count: Callable[[Any], int]) -> Any:
    started_s, cpu_started_s = time.perf_counter(), time.process_time()
    done = act()
    seconds = (time.perf_counter() - started_s, time.process_time() - cpu_started_s)
    report.add(what, *(round(each, 2) for each in seconds), count(done))
    return done
