"""The linter on a large folder: read and checked for the first time, again, and after some captions changed."""

import random
import tempfile
import time
from pathlib import Path

from captioner.captions.store import CaptionStore
from captioner.cli.bench.report import Report
from captioner.dataset.lint.finding import LintOptions
from captioner.dataset.lint.folder import lint_items
from captioner.dataset.lint.listing import captioned_files
from captioner.dataset.targets import target
from captioner.dataset.token_limit import TokenLimit
from captioner.media.discover import ListingOptions
from captioner.media.facts import FactsCache
from captioner.system.database import Database
from captioner.system.roots import EVERYWHERE
from captioner.values import MediaInfo

MAX_S = 15.0
INFO = MediaInfo(640, 360, 5.0, 24.0, 120, 0, "h264")
WHO = (
    "A man in a blue coat",
    "A woman with red hair",
    "An old fisherman",
    "A child in a yellow raincoat",
    "A gray cat",
)
WHAT = ("walks along", "runs across", "looks over", "sits beside", "turns away from", "points at", "circles")
WHERE = ("the harbor", "a wet street", "a field of barley", "an iron bridge", "the school yard", "a market stall")
THEN = ("stops at a door", "lifts a box", "waves at a bus", "drops a glove", "opens an umbrella", "ties a shoe")
LIGHT = ("at dusk", "in the rain", "under a pale sky", "at noon", "in thick fog", "by lamplight")
FAULTS = ("The video shows a dog.", "I'm sorry, but I can't help.", "It appears to be a park.", "A soft music plays.")


def caption(number: int) -> str:
    """Return a caption of about 60 words, one in twenty of them faulty."""
    chance = random.Random(number)
    pick = chance.choice
    sentences = [f"{pick(WHO)} {pick(WHAT)} {pick(WHERE)} {pick(LIGHT)} and {pick(THEN)}." for _ in range(4)]
    return " ".join([*([pick(FAULTS)] if number % 20 == 0 else []), f"Take {number} begins.", *sentences])


def bench_lint(num_files: int = 50_000, as_json: bool = False) -> None:
    """Print the seconds of a first run, of a second one, and of one after a hundredth of the captions changed."""
    with tempfile.TemporaryDirectory(prefix="bench-lint-") as name:
        root = Path(name) / "media"
        root.mkdir()
        for number in range(num_files):
            (root / f"clip {number:06d}.mp4").touch()
            (root / f"clip {number:06d}.txt").write_text(caption(number), encoding="utf-8")
        database = Database(Path(name) / "captioner.sqlite")
        report = Report(("run", "seconds", "cpu_s", "checked", "findings", "target_s"), as_json)
        for run in ("first", "again", "changed"):
            if run == "changed":
                for number in range(0, num_files, 100):
                    (root / f"clip {number:06d}.txt").write_text(caption(number + 7), encoding="utf-8")
            _measure(run, root, CaptionStore(database, Path(name) / "scratch"), report)
        report.end(num_files=num_files)
        database.close()


def _measure(run: str, root: Path, store: CaptionStore, report: Report) -> None:
    started_s, cpu_started_s = time.perf_counter(), time.process_time()
    items, _ = captioned_files(root, ListingOptions(), EVERYWHERE.escapes)
    options = LintOptions(TokenLimit(target("wan2.2")))
    done = lint_items(root, items, options, store, FactsCache(store.database, lambda path: INFO))
    seconds = (time.perf_counter() - started_s, time.process_time() - cpu_started_s)
    report.add(run, *(round(each, 1) for each in seconds), done.num_read, len(done.findings), MAX_S)
