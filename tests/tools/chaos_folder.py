"""One folder of a chaos run: the programs over it, what of them is killed, and what is found wrong afterwards."""

import contextlib
import dataclasses
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.tools.chaos_beyond import Place
from tests.tools.chaos_page import Page

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 240
START_SHARE, JITTER_S = 0.15, 0.03  # of the moments: those before the first caption; drawn on top of the others
OLD_TEXT = "what stood here before."
STATE_FILES = {"captioner.sqlite", "captioner.sqlite-wal", "captioner.sqlite-shm", "in-use.lock"}
PAGE_FILES = {"incoming", "recent.json"}


@dataclass
class Figures:
    """What one run, or several, came to."""

    runs: int = 0
    items: int = 0
    program_kills: int = 0
    worker_kills: int = 0
    kills_beyond: int = 0  # of servers, actors and nodes
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

    def __init__(self, media: Path, state: Path, fast: bool, place: Place | None = None) -> None:
        self.media, self.state, self.fast = media, state, fast
        self.place = place or Place(("--devices", "cpu,cpu" if fast else "cpu", "--model", "demo"), {})
        self.old = {path: path.read_bytes() for path in media.glob("*.txt")}
        self.figures = Figures(runs=1, items=len(list(media.glob("*.png"))))

    def command(self, *arguments: str) -> list[str]:
        module = "tests.tools.chaos_app" if self.fast else "captioner"
        return [sys.executable, "-m", module, "--state", str(self.state), "caption", *arguments]

    def first(self) -> list[str]:
        return self.command(str(self.media), *self.place.options, "--existing", "append")

    def run(self, command: list[str], kills: list[tuple[float, str]], start_s: float = 0.0) -> tuple[int, str]:
        """Run it and kill what is named at these moments from 0 to 1. Returns exit status and standard error."""
        program = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        return self._see_to_the_end(program, kills, start_s)

    def run_page(
        self, act: Callable[[Page], object], kills: list[tuple[float, str]], start_s: float = 0.0
    ) -> tuple[int, str]:
        """The same for the program that serves the page, from when it has done what `act` asks of it."""
        page = Page(self.media, self.state, self.fast)
        try:
            act(page)
            return self._see_to_the_end(page.program, kills, start_s, page.end)
        finally:
            page.close()

    def _see_to_the_end(
        self,
        program: subprocess.Popen,
        kills: list[tuple[float, str]],
        start_s: float,
        end: Callable[[], None] = lambda: None,
    ) -> tuple[int, str]:
        """end: ends a program that does not end by itself."""
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
        if program.poll() is None:
            end()
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
        if victim in self.place.victims:
            self.figures.kills_beyond += self.place.victims[victim]()
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
        strange = [path.name for path in self.state.iterdir() if path.name not in STATE_FILES | PAGE_FILES]
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

    def has_jobs(self) -> bool:
        return bool(self._rows("SELECT 1 FROM operations"))

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
