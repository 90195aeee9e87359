"""The cost of opening a folder: scan, probing and thumbnails in one thread.

The app reads media in a sandbox, which is a separate process; "unconfined" rows show the cost without it.
"""

import contextlib
import itertools
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from captioner.cli.bench.encoded_clips import ClipRecipe, make_clip
from captioner.cli.bench.report import Report, alternate
from captioner.errors import CaptionerError
from captioner.media.discover import ListingOptions, discover
from captioner.media.probe import probe
from captioner.media.sandbox import Sandbox
from captioner.media.thumbnail import make_thumbnail
from captioner.media.thumbnail_cache import ThumbnailCache
from captioner.values import MediaItem

RECIPES = (
    ClipRecipe("2 s", "a.mp4", (320, 192), 2, 24, "libx264", {"preset": "veryfast"}),
    ClipRecipe("4 s", "b.mp4", (192, 320), 4, 25, "libx264", {"preset": "veryfast"}),
    ClipRecipe("8 s", "c.mp4", (256, 256), 8, 30, "libx264", {"preset": "veryfast"}),
)
FILES_A_FOLDER = 100


def bench_folder(num_files: int = 2000, repeats: int = 5, as_json: bool = False) -> None:
    """Print milliseconds and files a second for a folder of real clips, half of them with captions."""
    with tempfile.TemporaryDirectory(prefix="bench-folder-") as name, contextlib.ExitStack() as stack:
        root = Path(name) / "media"
        make_folder(root, num_files, Path(name))
        items = discover(root, ListingOptions(recursive=True)).items
        if len(items) != num_files:
            raise CaptionerError(f"the scan found {len(items)} of {num_files} files")
        report = Report(("what", "ms", "files_per_s"), as_json)
        sandbox = stack.enter_context(contextlib.closing(Sandbox()))
        caches = (Path(name) / f"thumbnails {number}" for number in itertools.count())
        kept = ThumbnailCache(Path(name) / "thumbnails", make_thumbnail)
        runs = {
            "discover": lambda: discover(root, ListingOptions(recursive=True)),
            "probe, unconfined": lambda: [probe(item.path, item.kind) for item in items],
            "probe": lambda: [sandbox.probe(item.path, item.kind) for item in items],
            "thumbnails, unconfined": lambda: _ask_all(ThumbnailCache(next(caches), make_thumbnail), items),
            "thumbnails": lambda: _ask_all(ThumbnailCache(next(caches), sandbox.thumbnail), items),
            "thumbnails again": lambda: _ask_all(kept, items),
        }
        _ask_all(kept, items)
        for what, seconds in zip(runs, alternate(tuple(runs.values()), repeats, time.perf_counter), strict=True):
            median = statistics.median(seconds)
            report.add(what, round(1000 * median, 1), round(num_files / median))
        report.end(num_files=num_files, num_captions=num_files // 2, repeats=repeats, threads=1)


def make_folder(root: Path, num_files: int, scratch: Path) -> None:
    """Make subfolders of 100 clips, each a link to one of a few clips that are encoded in `scratch`."""
    sources = [make_clip(recipe, scratch) for recipe in RECIPES]
    for number in range(num_files):
        folder = root / f"folder {number // FILES_A_FOLDER:03d}"
        if number % FILES_A_FOLDER == 0:
            folder.mkdir(parents=True)
        path = folder / f"clip {number:06d}.mp4"
        link(sources[number % len(sources)], path)
        if number < num_files // 2:
            path.with_suffix(".txt").write_text("a red square moves to the left\n", encoding="utf-8")


def link(source: Path, path: Path) -> None:
    """Make a hard link, or a copy on file systems without links."""
    try:
        os.link(source, path)
    except OSError:
        shutil.copyfile(source, path)


def _ask_all(cache: ThumbnailCache, items: tuple[MediaItem, ...]) -> None:
    for item in items:
        cache.get(item)
