"""How soon the page shows its first files, also beside another version of the app, in a real Chromium."""

import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import psutil

from captioner.cli.bench.report import Report, ratio
from captioner.demo.clips import write_samples
from captioner.errors import CaptionerError
from tests.support.chromium import CHROMIUM, LIGHT_WINDOWS

HERE = Path(__file__).parents[2]
TIMEOUT_MS = 120_000
TARGETS = {"opening to first tile": 0.5, "start to first tile": 0.6, "CPU time of the app": ""}
# Notes when a frame was drawn that shows a file with its name: the time of day, ms. It looks at each frame in the page,
# since polling from outside adds a delay.
STAMP_JS = """requestAnimationFrame(function look() {
  const name = document.querySelector('.grid-tile b'), options = { opacityProperty: true, visibilityProperty: true };
  if (!name?.textContent || !name.checkVisibility(options)) return requestAnimationFrame(look);
  setTimeout(() => { window.firstTile = performance.timeOrigin + performance.now(); });
});"""


@dataclass(frozen=True)
class Opening:
    """Seconds from opening the page to its first tile, from the start of the process to that, and its CPU time."""

    page_s: float
    tile_s: float
    cpu_s: float


def bench_opening(num_files: int, against: Path, num_pairs: int, as_json: bool = False) -> None:
    """Print how soon this version and the one in the folder `against` show the first of the same files, in turns.

    A first pair is not counted: it fills the page cache and compiles both versions. Raises CaptionerError.
    """
    if not (against / "app.py").exists():
        raise CaptionerError(f"{against} is not a checkout of this app: it has no app.py")
    report = Report(("what", "new_s", "old_s", "ratio", "target"), as_json)
    versions, measured = (HERE, against), ([], [])
    with open_chromium() as browser, tempfile.TemporaryDirectory(prefix="bench-page-") as name:
        make_files(Path(name) / "media", num_files)
        for pair in range(num_pairs + 1):
            for version, openings, state in zip(versions, measured, ("new", "old"), strict=True):
                openings.append(_open_once(browser, version, Path(name) / "media", Path(name) / state))
                report.note(
                    f"pair {pair}, {state}: " + ", ".join(f"{seconds:.2f} s" for seconds in astuple(openings[-1]))
                )
    rows = zip(TARGETS.items(), *(zip(*map(astuple, openings[1:]), strict=True) for openings in measured), strict=True)
    for (what, target), new, old in rows:
        medians = [round(statistics.median(seconds), 2) for seconds in (new, old)]
        report.add(what, *medians, round(ratio(old, new), 2), target, new=new, old=old)
    report.end(num_files=num_files, num_pairs=num_pairs)


def _open_once(browser: Any, version: Path, folder: Path, state: Path) -> Opening:
    page = new_page(browser)
    start_s = time.time()
    with running_app(folder, state, version) as (address, app):
        page_s, at_s = open_page(page, address)
        cpu = app.cpu_times()
    page.context.close()
    return Opening(page_s, at_s - start_s, cpu.user + cpu.system)


def new_page(browser: Any) -> Any:
    """Return an empty page of a new browser profile."""
    context = browser.new_context(viewport={"width": 1600, "height": 900})
    context.add_init_script(STAMP_JS)
    return context.new_page()


def open_page(page: Any, address: str) -> tuple[float, float]:
    """Open the address; return the seconds until the first tile was drawn, and the time of day of that."""
    page.goto(address, wait_until="commit")
    page.wait_for_function("window.firstTile", timeout=TIMEOUT_MS)
    first, opened = page.evaluate("[window.firstTile, performance.timeOrigin]")
    return (first - opened) / 1000, first / 1000


def make_files(folder: Path, num_files: int) -> None:
    """Make a folder of links to the sample clips, three in five with a caption."""
    samples = folder.parent / "samples"
    write_samples(samples)
    originals = sorted(samples.iterdir())
    folder.mkdir()
    for number in range(num_files):
        original = originals[number % len(originals)]
        path = folder / f"clip {number:05}{original.suffix}"
        os.link(original, path)
        if number % 5 < 3:
            text = "A zebra crosses the road." if number == 0 else f"A caption of clip {number}, some words long."
            path.with_suffix(".txt").write_text(text)


@contextlib.contextmanager
def running_app(folder: Path, state: Path, version: Path = HERE) -> Iterator[tuple[str, psutil.Process]]:
    """Run the app of a checkout with the demo model; gives its address and process. Raises CaptionerError."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, str(version / "app.py"), str(folder), "--state", str(state), "--port", str(port)]
    environment = {**os.environ, "CAPTIONER_MODEL": "demo"}
    app = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
    try:
        line = app.stdout.readline()
        if "http://" not in line:
            raise CaptionerError("the app did not start; its messages are above")
        yield next(word for word in line.split() if word.startswith("http://")), psutil.Process(app.pid)
    finally:
        app.terminate()
        try:
            app.wait(20)
        except subprocess.TimeoutExpired:  # an older version may hang
            app.kill()


@contextlib.contextmanager
def open_chromium() -> Iterator[Any]:
    """Start Chromium; gives Playwright's browser. Raises CaptionerError if one of them is missing."""
    try:
        from playwright import sync_api  # one of the tests' requirements
    except ImportError:
        sync_api = None
    if sync_api is None or not CHROMIUM.exists():
        raise CaptionerError("this benchmark needs a browser: pip install playwright, and Debian's package chromium")
    arguments = ["--no-sandbox", "--disable-gpu", "--js-flags=--expose-gc", LIGHT_WINDOWS]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()
