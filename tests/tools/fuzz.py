"""Damaged media of every supported type through the app's doors: `python -m tests.tools.fuzz --files 2000 [--seed 1]`.

Whole files are made here, and taken from ../shared/media where that is; each is damaged by a rule that is drawn by lot
and then read as for a thumbnail, for what it is (probe), and for a caption (frames.sample, which the sheet shows). The
same seed gives the same files. Prints figures; exits with 1 if anything but one-line refusals came out.
"""

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from captioner.errors import MediaError
from captioner.media.kinds import KINDS
from captioner.media.sandbox import MEMORY_BYTES, PROBE_S, SHEET_S, THUMBNAIL_S, Sandbox
from captioner.values import MediaItem, SamplePlan
from tests.tools.damaged_media import damage, make_seeds

THREADS = 2
LIMITS_S = {"thumbnail": THUMBNAIL_S, "probe": PROBE_S, "sample": SHEET_S}
MAX_APP_BYTES = 400_000_000  # of this process, with all that the tests import


@dataclass
class Figures:
    """Of a run. Times in seconds, by door; `bad` holds what must not happen."""

    num_files: int = 0
    num_intact: int = 0  # files that were read through all doors in spite of their damage
    num_refused: int = 0
    num_crashes: int = 0  # of workers
    num_timeouts: int = 0
    num_out_of_memory: int = 0
    worst_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(LIMITS_S, 0.0))
    app_bytes: int = 0
    worker_bytes: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)


# The run


def fuzz(num_files: int, seed: int, folder: Path, kept: Path | None = None) -> Figures:
    """Damaged files are written to `folder`; those that did what must not happen stay in `kept`."""
    (folder / "whole").mkdir()
    seeds = [(path.suffix, path.read_bytes()) for path in make_seeds(folder / "whole")]
    figures, lock = Figures(num_files), threading.Lock()
    sandbox = Sandbox(THREADS)

    def try_one(number: int) -> None:
        lots = random.Random(f"{seed} {number}")
        suffix, data = seeds[number % len(seeds)]
        path = folder / f"{number:06d}{suffix}"
        path.write_bytes(damage(data, lots.choice(seeds)[1], lots) or b"\0")
        outcomes = list(_through_all_doors(sandbox, path))
        with lock:
            is_bad = _count(figures, outcomes, path)
        if is_bad and kept:
            path.replace(kept / path.name)
        else:
            path.unlink()

    try:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(try_one, range(num_files)))
    finally:
        sandbox.close()
    figures.app_bytes, figures.worker_bytes = _peaks()
    if figures.app_bytes > MAX_APP_BYTES:
        figures.bad.append(f"this process took {figures.app_bytes / 1e6:.0f} MB")
    return figures


def _through_all_doors(sandbox: Sandbox, path: Path) -> Iterator[tuple[str, float, str]]:
    """(door, seconds, why it was refused or "")."""
    status = path.stat()
    kind = KINDS.get(path.suffix[1:].lower(), "image")  # .jxl without its decoder
    item = MediaItem(path.parent, path.name, path.name, kind, status.st_size, status.st_mtime, "a.txt", False)
    doors = {
        "thumbnail": lambda: sandbox.thumbnail(item),
        "probe": lambda: sandbox.probe(path, kind),
        "sample": lambda: sandbox.sheet(item, SamplePlan()),
    }
    for name, ask in doors.items():
        started_s, reason = time.monotonic(), ""
        try:
            ask()
        except MediaError as error:
            reason = str(error) or "no reason"
        except Exception as error:  # what the app would not expect
            reason = f"UNEXPECTED {type(error).__name__}: {error}"
        yield name, time.monotonic() - started_s, reason


def _count(figures: Figures, outcomes: list[tuple[str, float, str]], path: Path) -> bool:
    """Whether something bad was among them."""
    reasons = {reason for _, _, reason in outcomes if reason}
    figures.num_intact += not reasons
    figures.num_refused += bool(reasons)
    figures.num_crashes += sum("crashed" in reason or "ended unexpectedly" in reason for _, _, reason in outcomes)
    figures.num_timeouts += sum(reason.startswith("takes more than") for _, _, reason in outcomes)
    figures.num_out_of_memory += sum("memory" in reason for _, _, reason in outcomes)
    figures.reasons.update(reasons)
    before = len(figures.bad)
    for door, seconds, reason in outcomes:
        figures.worst_s[door] = max(figures.worst_s[door], seconds)
        if seconds > LIMITS_S[door] + 5:
            figures.bad.append(f"{path.name}: {door} took {seconds:.1f} s")
        if reason and (fault := _fault(reason, path)):
            figures.bad.append(f"{path.name}: {door}: {fault}: {reason!r}")
    return len(figures.bad) > before


def _fault(reason: str, path: Path) -> str:
    """What is wrong with how a file was refused, if anything."""
    if not reason.isprintable() or len(reason) > 300:
        return "not one line of text"
    if path.stem in reason or str(path.parent) in reason:
        return "repeats the path"
    foreseen = not reason.startswith(("UNEXPECTED", "cannot be read (")) and "Traceback" not in reason
    return "" if foreseen else "not foreseen"


def _peaks() -> tuple[int, int]:
    """(of this process, of the largest worker that has ended), in bytes; 0 where the system does not say.

    getrusage() reports for a process started by a larger one the peak of that one, so Linux is asked for the peak of
    the memory that this program has had since it was loaded (VmHWM in proc(5)).
    """
    try:
        import resource
    except ImportError:
        return 0, 0
    unit = 1 if sys.platform == "darwin" else 1024
    users = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    own, children = (resource.getrusage(who).ru_maxrss * unit for who in users)
    status = Path("/proc/self/status")
    if status.exists():
        own = 1024 * next(int(line.split()[1]) for line in status.open() if line.startswith("VmHWM:"))
    return own, children


def report(figures: Figures, seconds: float) -> str:
    rows = [
        ("files", figures.num_files), ("read in spite of it", figures.num_intact), ("refused", figures.num_refused),
        ("different reasons", len(figures.reasons)), ("worker crashes", figures.num_crashes),
        ("over the time limit", figures.num_timeouts), ("over the memory limit", figures.num_out_of_memory),
        *((f"longest {door}", f"{worst:.2f} s of {LIMITS_S[door]:.0f} s") for door, worst in figures.worst_s.items()),
        ("most memory, this process", f"{figures.app_bytes / 1e6:.0f} MB of {MAX_APP_BYTES / 1e6:.0f} MB"),
        ("most memory, a worker", f"{figures.worker_bytes / 1e6:.0f} MB of {MEMORY_BYTES / 1e6:.0f} MB and its start"),
        ("what must not happen", len(figures.bad)), ("time", f"{seconds:.0f} s"),
    ]  # fmt: skip
    return "\n".join([*(f"{name:<28}{value}" for name, value in rows), *figures.bad])


def main() -> int:
    parser = argparse.ArgumentParser(description="Read damaged media of every supported type as the app does.")
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="an existing folder for files that did what must not happen")
    parser.add_argument("--reasons", action="store_true", help="print all reasons too, most frequent first")
    args = parser.parse_args()
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        figures = fuzz(args.files, args.seed, Path(folder), args.keep)
    print(report(figures, time.monotonic() - started_s))
    if args.reasons:
        print("\n".join(f"{count:>6} {reason}" for reason, count in figures.reasons.most_common()))
    return 1 if figures.bad else 0


if __name__ == "__main__":
    sys.exit(main())
