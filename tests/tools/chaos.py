"""`python -m tests.tools.chaos --runs 100`: kill the program or a worker of it at random, go on, look for what is lost.

Every run captions a folder, appending to the texts that half of its files have. The program, one of its workers or both
get SIGKILL at moments drawn from the whole run and its start, and `caption --resume`, or for the program that serves
the page its button Resume, goes on until nothing is left. With `--beyond` it is a model server or a Ray cluster that is
killed and started again.
Prints a table; exit status 1 when anything was lost, done twice, torn or left behind.
"""

import argparse
import contextlib
import dataclasses
import random
import shutil
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.tools.chaos_beyond import RAY_KINDS, SERVER_KINDS, Place, ray_place, server_place
from tests.tools.chaos_folder import OLD_TEXT, Figures, Folder
from tests.tools.chaos_page import Page

BEYOND = {"server": (SERVER_KINDS, server_place), "ray": (RAY_KINDS, ray_place)}
KINDS = ("program", "worker", "program twice", "worker, then program", "page", "all at once")


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
        case "program" | "page":
            return [[(first, "program")]]
        case "worker":
            return [[(first, "worker")]]
        case "program twice":
            return [[(first, "program")], [(second, "program")]]
        case "worker, then program" | "server, then program" | "ray node, then program":
            return [[(first, kind.split(",")[0]), (second, "program")]]
        case "server" | "ray worker" | "ray node":
            return [[(first, kind)]]
        case "server twice":
            return [[(first, "server"), (second, "server")]]
        case _:
            return [[(first, "all")]]


def go_on(folder: Folder, kills_by_start: list[list[tuple[float, str]]], start_s: float) -> tuple[int, str]:
    """Kill and resume on the command line; exit status and standard error of the last resume."""
    command = folder.first()
    for kills in kills_by_start:
        folder.run(command, kills, start_s)
        command = folder.command("--resume")
    status, error = folder.run(command, [])
    if "no unfinished job" in error and not folder.has_jobs():
        status, error = folder.run(folder.first(), [])  # killed before the job was written down
    folder.figures.resumed += "resuming job" in error
    return status, error


def go_on_with_page(folder: Folder, kills_by_start: list[list[tuple[float, str]]], start_s: float) -> tuple[int, str]:
    """The same on the page."""

    def resume(page: Page) -> None:
        folder.figures.resumed += page.resume()

    for kills in kills_by_start:
        folder.run_page(Page.start, kills, start_s)
    return folder.run_page(resume if folder.has_jobs() else Page.start, [])


def one_run(
    media: Path,
    work: Path,
    state: Path,
    kind: str,
    moments: list[float],
    start_s: float,
    fast: bool,
    place: Place | None = None,
) -> tuple[Figures, list[str]]:
    """Copy the media, kill, resume, check. Returns the figures and what is wrong."""
    shutil.copytree(media, work)
    folder, wrong = Folder(work, state, fast, place), []
    kill_and_go_on = go_on_with_page if kind == "page" else go_on
    status, error = kill_and_go_on(folder, plan_kills(kind, moments), start_s)
    if status != 0:
        wrong.append(f"exit status {status}: {error.strip()[-300:]}")
    status, error = folder.run(folder.command("--resume"), [])
    if (status, error.strip()) != (0, "no unfinished job"):
        wrong.append(f"a resume after the end: {status} {error.strip()[-300:]}")
    wrong += folder.check()
    return folder.figures, wrong


def results_of(runs: list[tuple], at_once: int) -> list[tuple[Figures, list[str]]]:
    """Do all runs; one at a time in this thread, as only the main thread can start a node of a Ray cluster."""
    if at_once == 1:
        return [one_run(*about) for about in runs]
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(lambda about: one_run(*about), runs))


def chaos(
    num_runs: int,
    num_items: int,
    fast: bool,
    seed: int,
    at_once: int,
    base: Path,
    kinds: tuple[str, ...] = KINDS,
    place: Place | None = None,
) -> tuple[Figures, list[str]]:
    """All runs, `at_once` at a time, in folders under `base` (of which nothing is left); prints a line a kind."""
    random_ = random.Random(seed)
    make_media(base / "media", num_items, fast)
    shutil.copytree(base / "media", base / "measured")
    measured = Folder(base / "measured", base / "state", fast, place)
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
    with tempfile.TemporaryDirectory(dir=elsewhere) as other:
        runs = []
        for i in range(num_runs):
            moments = [(i * 0.618 + random_.random() / num_runs) % 1, random_.random()]  # spread over each kind, too
            state = (base, Path(other))[i // len(kinds) % 2] / f"state {i}"
            kind = kinds[i % len(kinds)]
            about = (base / "media", base / f"clips {i}", state, kind, moments, start_s, fast, place)
            runs.append(about)
        totals, wrong = {kind: Figures() for kind in kinds}, []
        for i, (about, (figures, found)) in enumerate(zip(runs, results_of(runs, at_once), strict=True)):
            kind, moments = about[3], about[4]
            totals[kind] += figures
            wrong += [f"run {i}, {kind} at {moments[0]:.3f} and {moments[1]:.3f}: {text}" for text in found]
    print(
        f"{num_runs} runs of {num_items} files, seed {seed}; without a kill {length_s:.1f} s, {start_s:.1f} s to start"
    )
    columns = [*totals.items(), ("all", sum(totals.values(), Figures()))]
    print(f"{'killed':16}" + "".join(f"{kind:>23}" for kind, _ in columns))
    for field in dataclasses.fields(Figures):
        values = (f"{getattr(figures, field.name):>23,}" for _, figures in columns)
        print(f"{field.name.replace('_', ' '):16}" + "".join(values))
    return sum(totals.values(), Figures()), wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--at-once", type=int, default=2, help="runs side by side, default %(default)s")
    parser.add_argument("--fast", action="store_true", help="workers without a model, which start at once")
    parser.add_argument(
        "--beyond", choices=BEYOND, help="kill a model server, or workers and nodes of a Ray cluster, one run at a time"
    )
    args = parser.parse_args()
    kinds, open_place = BEYOND.get(args.beyond, (KINDS, contextlib.nullcontext))
    at_once = 1 if args.beyond else args.at_once
    with tempfile.TemporaryDirectory(prefix="chaos-") as base, open_place() as place:
        _, wrong = chaos(args.runs, args.items, args.fast, args.seed, at_once, Path(base), kinds, place)
    for line in wrong:
        print(line)
    return bool(wrong)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main())
