"""Scanning a folder with discover(), compared with a walk that only reads the names."""

import os
import statistics
import tempfile
import time
from pathlib import Path

from captioner.cli.bench.report import Report, alternate, ratio
from captioner.errors import CaptionerError
from captioner.media.discover import ListingOptions, discover

MAX_DISCOVERY_RATIO = 3.5


def bench_discovery(
    num_files: int = 50_000,
    num_folders: int = 500,
    num_captions: int = 30_000,
    repeats: int = 7,
    as_json: bool = False,
) -> None:
    """Print how long discover() takes, compared with a walk that only reads the names of a generated folder."""
    with tempfile.TemporaryDirectory(prefix="bench-discovery-") as name:
        root = Path(name)
        _make_tree(root, num_files, num_folders, num_captions)
        report = Report(("what", "ms", "ratio", "target"), as_json)
        found = discover(root, ListingOptions(recursive=True)).items
        if len(found) != num_files or sum(item.has_caption for item in found) != num_captions:
            raise CaptionerError("discover() did not find all generated files")
        del found
        runs = (
            lambda: _walk(name, []),
            lambda: _walk(name, [], ask_size=True),
            lambda: discover(root, ListingOptions(recursive=True)),
        )
        walk, *others = alternate(runs, repeats, time.perf_counter)
        report.add("names", round(1000 * statistics.median(walk), 1), 1.0, "")
        targets = (("names and sizes", ""), ("discover", MAX_DISCOVERY_RATIO))
        for (what, target), seconds in zip(targets, others, strict=True):
            report.add(what, round(1000 * statistics.median(seconds), 1), round(ratio(walk, seconds), 2), target)
        report.end(num_files=num_files, num_folders=num_folders, num_captions=num_captions)


def _walk(folder: str, names: list[str], ask_size: bool = False) -> None:
    """Append all names to `names`; ask_size also reads the sizes of media files, as discover() must."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _walk(entry.path, names, ask_size)
            else:
                names.append(entry.name)
                if ask_size and entry.name[-1] == "4":
                    entry.stat()


def _make_tree(root: Path, num_files: int, num_folders: int, num_captions: int) -> None:
    for number in range(num_folders):
        (root / f"folder_{number:03d}").mkdir()
    for number in range(num_files):
        stem = root / f"folder_{number % num_folders:03d}" / f"clip_{number:06d}"
        stem.with_suffix(".mp4").touch()
        if number < num_captions:
            stem.with_suffix(".txt").touch()
