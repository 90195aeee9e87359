"""`python -m tests.chaos --runs 100`: kill the command line or a worker of it at random, go on, look for what is lost.

Every run captions a folder, appending to the texts that half of its files have. The program, one of its workers or both
get SIGKILL at moments drawn from the whole run and its start, and `caption --resume` goes on until nothing is left.
Prints a table; exit status 1 when anything was lost, done twice, torn or left behind.
"""

import argparse
import contextlib
import dataclasses
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("program", "worker", "program twice", "worker, then program", "all at once")
TIMEOUT_S = 240
START_SHARE, JITTER_S = 0.15, 0.03  # of the moments: those before the first caption; drawn on top of the others
OLD_TEXT = "what stood here before."
STATE_FILES = {"captioner.sqlite", "captioner.sqlite-wal", "captioner.sqlite-shm", "in-use.lock"}


@dataclass
class Figures:
    """What one run, or several, came to."""

    runs: int = 0
    items: int = 0
    program_kills: int = 0
    worker_kills: int = 0
    cut_short: int = 0  # kills that came when some captions were written and others were not
    mid_write: int = 0  # kills between the promise of a caption and the note that it was kept
    resumed: int = 0
    twice: int = 0
    missing: int = 0
    torn: int = 0
    temporaries: int = 0
    orphans: int = 0
    journal_faults: int = 0

    @property
    def faults(self) -> int:
        return self.twice + self.missing + self.torn + self.temporaries + self.orphans + self.journal_faults

    def __add__(self, other: "Figures") -> "Figures":
        return Figures(*(a + b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)))


class Folder:
    """Media and the state of one run, and the program over them."""

    def __init__(self, media: Path, state: Path, fast: bool) -> None:
        self.media, self.state, self.fast = media, state, fast
        self.old = {path: path.read_bytes() for path in media.glob("*.txt")}
        self.figures = Figures(runs=1, items=len(list(media.glob("*.png"))))

    def command(self, *arguments: str) -> list[str]:
        module = "tests.chaos_app" if self.fast else "captioner"
        return [sys.executable, "-m", module, "--state", str(self.state), "caption", *arguments]

    def first(self) -> list[str]:
        devices = "cpu,cpu" if self.fast else "cpu"
        return self.command(str(self.media), "--model", "demo", "--devices", devices, "--existing", "append")

    def run(self, command: list[str], kills: list[tuple[float, str]], start_s: float = 0.0) -> tuple[int, str]:
        """Run it and kill what is named at these moments from 0 to 1. Returns exit status and standard error."""
        program = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        seen: dict[int, psutil.Process] = {}
        num_before = self.num_changed()
        for moment, victim in kills:
            if moment < START_SHARE:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    program.wait(moment / START_SHARE * start_s)
            else:
                share = (moment - START_SHARE) / (1 - START_SHARE)
                self.wait_for(program, num_before + share * (self.figures.items - num_before))
                time.sleep(moment * 1e4 % 1 * JITTER_S)
            if program.poll() is not None:
                break
            children = psutil.Process(program.pid).children(recursive=True)
            seen |= {child.pid: child for child in children}
            self._kill(program, children, victim)
        _, error = program.communicate(timeout=TIMEOUT_S)
        _, left = psutil.wait_procs(seen.values(), timeout=10)
        self.figures.orphans += len(left)
        return program.returncode, error

    def wait_for(self, program: subprocess.Popen, num_captions: float) -> None:
        """Until so many captions are written, or the program ends."""
        while self.num_changed() < num_captions and program.poll() is None:
            time.sleep(0.01)

    def _kill(self, program: subprocess.Popen, children: list[psutil.Process], victim: str) -> None:
        workers = [child for child in children if is_worker(child)]
        done = self.num_changed()
        if victim in ("worker", "all") and workers:
            for worker in workers[: None if victim == "all" else 1]:
                worker.kill()
            self.figures.worker_kills += 1
        if victim in ("program", "all"):
            program.kill()
            program.wait()
            self.figures.program_kills += 1
            self.figures.mid_write += bool(self._rows("SELECT 1 FROM caption_changes WHERE made = 0"))
            self.look_for_torn()
        self.figures.cut_short += 0 < done < self.figures.items

    def num_changed(self) -> int:
        with os.scandir(self.media) as entries:
            return sum(e.name.endswith(".txt") and e.stat().st_size != len(OLD_TEXT) for e in entries)

    def look_for_torn(self) -> None:
        """Every caption file is as it was before or as the database says that it was to be."""
        wanted: dict[str, set[bytes]] = {}
        for path, after in self._rows("SELECT caption_path, after FROM caption_changes"):
            wanted.setdefault(path, set()).add(after)
        for path in self.media.glob("*.txt"):
            whole = wanted.get(str(path), set()) | {self.old.get(path)}
            self.figures.torn += path.read_bytes() not in whole

    def check(self) -> list[str]:
        """After the last resume: adds to the figures, and says in words what is wrong."""
        self.look_for_torn()
        counts: dict[str, int] = {}
        for path, before, after, made in self._rows("SELECT caption_path, before, after, made FROM caption_changes"):
            counts[path] = counts.get(path, 0) + 1
            whole = made == 1 and before == self.old.get(Path(path)) and Path(path).read_bytes() == after
            self.figures.torn += not whole
        made = dict(self._rows("SELECT caption_path, count(*) FROM captions_made GROUP BY 1"))
        expected = {str(path.with_suffix(".txt")) for path in self.media.glob("*.png")}
        self.figures.missing += len(expected - counts.keys()) + len(expected - made.keys())
        self.figures.twice += sum(n > 1 for n in counts.values()) + sum(n > 1 for n in made.values())
        strange = [path.name for path in self.state.iterdir() if path.name not in STATE_FILES]
        strange += [p.name for p in self.media.iterdir() if p.suffix not in (".png", ".txt") or p.name[0] == "."]
        self.figures.temporaries += len(strange)
        faults = [*self._journal_faults(), *(f"left behind: {name}" for name in strange)]
        return faults + ([str(self.figures)] if self.figures.faults else [])

    def _journal_faults(self) -> list[str]:
        faults = [text for (text,) in self._rows("PRAGMA integrity_check") if text != "ok"]
        faults += [f"foreign key: {row}" for row in self._rows("PRAGMA foreign_key_check")]
        states = [state for (state,) in self._rows("SELECT state FROM operations ORDER BY id")]
        if states[-1:] != ["done"] or set(states[:-1]) - {"resumed"}:
            faults.append(f"states of the jobs: {states}")
        sql = "SELECT outcome, count(*) FROM captions_made GROUP BY 1"
        if (outcomes := dict(self._rows(sql))).keys() != {"written"}:
            faults.append(f"outcomes: {outcomes}")
        sql = "SELECT name, count(*) FROM job_items WHERE state = 'done' GROUP BY name HAVING count(*) != 1"
        faults += [f"{name} is done {count} times" for name, count in self._rows(sql)]
        ((done,),) = self._rows("SELECT count(*) FROM job_items WHERE state = 'done'")
        if done != self.figures.items:
            faults.append(f"{done} of {self.figures.items} items are done")
        sql = (
            "SELECT count(*) FROM caption_changes c WHERE NOT EXISTS (SELECT 1 FROM job_items i WHERE i.state = 'done' "
            "AND i.operation = c.operation AND c.caption_path LIKE '%/' || replace(i.name, '.png', '.txt'))"
        )
        ((foreign,),) = self._rows(sql)
        if foreign:
            faults.append(f"{foreign} captions were written by a job that has not done them")
        self.figures.journal_faults += len(faults)
        return faults

    def _rows(self, sql: str) -> list[tuple]:
        path = self.state / "captioner.sqlite"
        if not path.exists():
            return []
        database = sqlite3.connect(path, timeout=30)
        try:
            return database.execute(sql).fetchall()
        except sqlite3.OperationalError:  # killed before the tables were made
            return []
        finally:
            database.close()


def is_worker(process: psutil.Process) -> bool:
    try:
        return "spawn_main" in " ".join(process.cmdline())
    except psutil.Error:  # gone, or about to
        return False


def make_media(folder: Path, num_items: int, fast: bool) -> None:
    """Stills; every second one has a caption."""
    folder.mkdir(parents=True)
    if fast:
        for i in range(num_items):
            (folder / f"still {i:03}.png").write_bytes(b"no model looks at this")
    else:
        from captioner.demo.clips import write_samples

        write_samples(folder, num_clips=0, num_stills=num_items)
    for path in sorted(folder.glob("*.png"))[::2]:
        path.with_suffix(".txt").write_text(OLD_TEXT)


def plan_kills(kind: str, moments: list[float]) -> list[list[tuple[float, str]]]:
    """For each start of the program, what to kill at which moments."""
    first, second = moments
    match kind:
        case "program":
            return [[(first, "program")]]
        case "worker":
            return [[(first, "worker")]]
        case "program twice":
            return [[(first, "program")], [(second, "program")]]
        case "worker, then program":
            return [sorted([(first, "worker"), (second, "program")], key=lambda kill: kill[1] == "program")]
        case _:
            return [[(first, "all")]]


def one_run(
    media: Path, work: Path, state: Path, kind: str, moments: list[float], start_s: float, fast: bool
) -> tuple[Figures, list[str]]:
    """Copy the media, kill, resume, check. Returns the figures and what is wrong."""
    shutil.copytree(media, work)
    folder = Folder(work, state, fast)
    command, wrong = folder.first(), []
    for kills in plan_kills(kind, moments):
        folder.run(command, kills, start_s)
        command = folder.command("--resume")
    status, error = folder.run(command, [])
    if "no job is unfinished" in error and not folder._rows("SELECT 1 FROM operations"):
        status, error = folder.run(folder.first(), [])  # killed before the job was written down
    folder.figures.resumed += "going on with job" in error
    if status != 0:
        wrong.append(f"exit status {status}: {error.strip()[-300:]}")
    status, error = folder.run(folder.command("--resume"), [])
    if (status, error.strip()) != (0, "no job is unfinished"):
        wrong.append(f"a resume after the end: {status} {error.strip()[-300:]}")
    wrong += folder.check()
    return folder.figures, wrong


def chaos(num_runs: int, num_items: int, fast: bool, seed: int, at_once: int, base: Path) -> tuple[Figures, list[str]]:
    """All runs, `at_once` at a time, in folders under `base` (of which nothing is left); prints a line a kind."""
    random_ = random.Random(seed)
    make_media(base / "media", num_items, fast)
    shutil.copytree(base / "media", base / "measured")
    measured = Folder(base / "measured", base / "state", fast)
    with ThreadPoolExecutor(1) as alone:
        began_s = time.monotonic()
        status_and_error = alone.submit(measured.run, measured.first(), [])
        while not measured.num_changed() and not status_and_error.done():
            time.sleep(0.01)
        start_s = time.monotonic() - began_s
        status, error = status_and_error.result()
        length_s = time.monotonic() - began_s
    if status:
        return Figures(), [f"even without a kill: {error}"]
    elsewhere = Path("/dev/shm")  # for some states, so that captions are not on the same filesystem
    elsewhere = elsewhere if elsewhere.is_dir() else base
    with tempfile.TemporaryDirectory(dir=elsewhere) as other, ThreadPoolExecutor(at_once) as pool:
        runs = []
        for i in range(num_runs):
            moments = [(i * 0.618 + random_.random() / num_runs) % 1, random_.random()]  # spread over each kind, too
            state = (base, Path(other))[i // len(KINDS) % 2] / f"state {i}"
            about = (base / "media", base / f"clips {i}", state, KINDS[i % len(KINDS)], moments, start_s, fast)
            runs.append((KINDS[i % len(KINDS)], i, moments, pool.submit(one_run, *about)))
        totals, wrong = {kind: Figures() for kind in KINDS}, []
        for kind, i, moments, run in runs:
            figures, found = run.result()
            totals[kind] += figures
            wrong += [f"run {i}, {kind} at {moments[0]:.3f} and {moments[1]:.3f}: {text}" for text in found]
    print(
        f"{num_runs} runs of {num_items} files, seed {seed}; without a kill {length_s:.1f} s, {start_s:.1f} s to start"
    )
    columns = [*totals.items(), ("all", sum(totals.values(), Figures()))]
    print(f"{'killed':16}" + "".join(f"{kind:>21}" for kind, _ in columns))
    for field in dataclasses.fields(Figures):
        values = (f"{getattr(figures, field.name):>21,}" for _, figures in columns)
        print(f"{field.name.replace('_', ' '):16}" + "".join(values))
    return sum(totals.values(), Figures()), wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--at-once", type=int, default=2, help="runs side by side, default %(default)s")
    parser.add_argument("--fast", action="store_true", help="workers without a model, which start at once")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chaos-") as base:
        _, wrong = chaos(args.runs, args.items, args.fast, args.seed, args.at_once, Path(base))
    for line in wrong:
        print(line)
    return bool(wrong)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main())
