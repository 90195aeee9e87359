"""The page with many files: how fast it opens, reacts and starts a job, measured in a real Chromium."""

import json
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import psutil

from captioner.cli.bench.report import Report
from tests.bench.opening import make_files, new_page, open_chromium, open_page, running_app
from tests.support.pulse import pulse_request

START_TIMEOUT_S, CHECK_TIMEOUT_S = 120, 900
PULSE_S = 1.0
WATCH_S = 20.0
GRID = "document.querySelector('#grid [data-grid]').grid"
COUNT_NODES_JS = """() => { const walker = document.createTreeWalker(document, NodeFilter.SHOW_ALL); let count = 1;
  while (walker.nextNode()) count++; return count; }"""  # elements, texts, comments
# Runs one action in the page and waits until the next frame is drawn; ms.
TIMED_JS = """async () => {{ const grid = {grid}; const start = performance.now(); {action};
  await new Promise(done => requestAnimationFrame(() => setTimeout(done, 0))); return performance.now() - start; }}"""
# Scrolls a list by a screen at a time and waits for each frame; the median, ms.
SCROLLED_SCREENS = 40
SCROLL_JS = """async selector => {
  const port = document.querySelector(selector), times = [];
  const frame = () => new Promise(done => requestAnimationFrame(() => setTimeout(done, 0)));
  for (let step = 1; step <= 40; step++) {
    await frame();
    const start = performance.now();
    port.scrollTop = step * port.clientHeight;
    await frame();
    times.push(performance.now() - start);
  }
  port.scrollTop = 0;
  return times.sort((a, b) => a - b)[20]; }"""
# Clicks and waits until the page is as expected; ms. It runs in the page, since polling from outside adds a delay.
CLICKED_JS = """([button, expected]) => new Promise(done => {
  const start = performance.now(), isThere = new Function(`return ${expected}`);
  const poll = () => isThere() ? done(performance.now() - start) : setTimeout(poll, 5);
  document.querySelector(button).click(); poll(); })"""
# Time since the server's answer to the last action was complete; ms.
ANSWERED_JS = """() => performance.now() -
  performance.getEntriesByType('resource').filter(entry => entry.name.includes('/queue/data')).at(-1).responseEnd"""
TYPING_PAUSE_S = 1.0  # a person types a caption before saving it
PLAN_PAUSE_S = 3.0  # a person reads the button before pressing it, while the page estimates the job


def bench_page(num_files: int = 50_000, num_viewers: int = 20, as_json: bool = False) -> None:
    """Print how long the page takes to open, search, sort, select, update a tile and start. Raises CaptionerError.

    The files are links to the sample clips, three in five with a caption; the model is the demo model on the CPU.
    """
    report = Report(("what", "measured", "unit", "target"), as_json)
    with open_chromium() as browser, tempfile.TemporaryDirectory(prefix="bench-page-") as name:
        folder = Path(name) / "media"
        report.note(f"making {num_files:,} files")
        make_files(folder, num_files)
        start_s = time.time()
        with running_app(folder, Path(name) / "state") as (address, app):
            page = _measure_opening(browser, address, report, start_s)
            _measure_use(page, report)
            _measure_dataset(page, report)
            _measure_statistics(page, report)
            _measure_viewers(address, app, num_viewers, report)
            _measure_start(page, report)
    report.end(num_files=num_files, num_viewers=num_viewers)


def _measure_opening(browser: Any, address: str, report: Report, start_s: float) -> Any:
    """Open the page three times, each time in a new browser profile; the median counts. start_s: of the app."""
    seconds, page = [], None
    for _ in range(3):
        if page:
            page.context.close()
        page = new_page(browser)
        page_s, at_s = open_page(page, address)
        seconds.append(page_s)
        if len(seconds) == 1:
            report.add("app start to first tiles", round(at_s - start_s, 2), "s", "")
    report.add("first tiles", round(statistics.median(seconds), 2), "s", 2.5)
    page.wait_for_timeout(3000)
    metrics = page.context.new_cdp_session(page)
    metrics.send("Performance.enable")
    page.evaluate("gc()")
    found = {entry["name"]: entry["value"] for entry in metrics.send("Performance.getMetrics")["metrics"]}
    report.add("DOM nodes", page.evaluate(COUNT_NODES_JS), "", 2000)
    report.add("JS heap", round(found["JSHeapUsedSize"] / 1e6, 1), "MB", 20)
    return page


def _measure_use(page: Any, report: Report) -> None:
    for what, action in (
        ("sort by size", "grid.sort('size', true)"),
        ("sort by name", "grid.sort('name', false)"),
        ("search names", "grid.filter({query: '49'})"),
        ("filter by state", "grid.filter({query: '', state: 'done'})"),
        ("select all", "grid.filter({state: 'all'}); grid.select('all')"),
    ):
        times = [page.evaluate(TIMED_JS.format(grid=GRID, action=action)) for _ in range(3)]
        report.add(what, round(statistics.median(times) / 1000, 3), "s", 0.3)
    page.evaluate(f"{GRID}.select('none')")
    start = time.perf_counter()
    page.locator(".grid-search input").fill("zebra")
    page.wait_for_function("document.querySelector('.caption-shown')?.textContent.startsWith('1 shown')")
    report.add("search captions", round(time.perf_counter() - start, 3), "s", 0.3)
    page.locator(".grid-search input").fill("")


def _measure_dataset(page: Any, report: Report) -> None:
    """Measure the list of findings in the tab Dataset beside the gallery, with some 20,000 files of one finding."""
    metrics = page.context.new_cdp_session(page)
    metrics.send("Performance.enable")
    for what, selector in (("the gallery", ".grid-view"), ("the findings", ".dataset-rows")):
        if what == "the findings":
            page.get_by_role("tab", name="Dataset").click()
            page.get_by_role("button", name="Check folder").click()
            page.wait_for_selector(".dataset-row [data-row]", timeout=1000 * CHECK_TIMEOUT_S)
        before = _busy_seconds(metrics)
        frame_s = page.evaluate(SCROLL_JS, selector) / 1000
        busy_s = _busy_seconds(metrics) - before
        report.add(f"scroll {what} a screen", round(frame_s, 4), "s", 0.05)
        report.add(f"its work on the page's thread, {what}", round(1000 * busy_s / SCROLLED_SCREENS, 2), "ms", "")
    report.add("DOM nodes with findings", page.evaluate(COUNT_NODES_JS), "", "")
    report.add("choose a finding", _choose(page, "#dataset", ".dataset-row [data-row]"), "s", 0.3)
    report.add("findings in the gallery", _show(page, "#dataset"), "s", 0.5)


def _measure_statistics(page: Any, report: Report) -> None:
    """Measure the statistics once they are counted."""
    page.get_by_role("tab", name="Dataset").click()
    page.get_by_role("tab", name="Statistics").click()
    page.get_by_role("button", name="Count words").click()
    page.wait_for_selector("#statistics .statistics-rows li", timeout=1000 * CHECK_TIMEOUT_S)
    report.add("choose a table of statistics", _choose(page, "#statistics", ".statistics-rows li"), "s", 0.5)
    report.add("files behind a row in the gallery", _show(page, "#statistics"), "s", 0.5)


def _choose(page: Any, part: str, row: str) -> float:
    """Return the median time until the rows of another group are shown, in s."""
    times = []
    for number in (2, 1, 2, 1, 2, 1):  # of the group
        button = f"{part} .dataset-groups li:nth-child({number}) button"
        chosen = f"document.querySelector('{button}').getAttribute('aria-pressed') === 'true'"
        times.append(page.evaluate(CLICKED_JS, [button, f"{chosen} && document.querySelector('{part} {row}')"]))
    return round(statistics.median(times) / 1000, 3)


def _show(page: Any, part: str) -> float:
    """Return the time until the files of a group or row are shown in the gallery, in s."""
    shown = "document.querySelector('.grid-view').offsetParent && document.querySelector('.grid-tile')"
    time_ms = page.evaluate(CLICKED_JS, [f"{part} [data-act=show]:enabled", shown])
    page.evaluate(f"{GRID}.filter({{only: null}})")
    return round(time_ms / 1000, 3)


def _busy_seconds(metrics: Any) -> float:
    found = {entry["name"]: entry["value"] for entry in metrics.send("Performance.getMetrics")["metrics"]}
    return found["ScriptDuration"] + found["LayoutDuration"] + found["RecalcStyleDuration"]


def _measure_viewers(address: str, app: psutil.Process, num_viewers: int, report: Report) -> None:
    """Measure the load of viewers on the server: each requests the pulse once a second, without a browser."""
    pulse = pulse_request(address)
    idle = _processor_seconds(app, WATCH_S / 2) / (WATCH_S / 2)
    stop, answered = threading.Event(), []
    threads = [
        threading.Thread(target=_watch, args=(address, pulse(number), stop, answered), daemon=True)
        for number in range(num_viewers)
    ]
    for thread in threads:
        thread.start()
    busy = _processor_seconds(app, WATCH_S) / WATCH_S
    stop.set()
    for thread in threads:
        thread.join()
    report.add(f"{num_viewers} viewers", round(100 * (busy - idle), 2), "% of a core", "")
    report.add("answer with viewers", round(statistics.median(answered), 3), "s", 0.2)


def _watch(address: str, body: dict, stop: threading.Event, answered: list[float]) -> None:
    with httpx.Client(base_url=address, timeout=30) as client:
        while not stop.is_set():
            start = time.perf_counter()
            data = client.post("gradio_api/run/predict", json=body).json()["data"]
            answered.append(time.perf_counter() - start)
            if data[0]:
                body["data"][0] = json.loads(data[0])["cursor"]  # the state that this viewer has seen
            stop.wait(max(0.0, PULSE_S - answered[-1]))


def _processor_seconds(app: psutil.Process, seconds: float) -> float:
    before = app.cpu_times()
    time.sleep(seconds)
    after = app.cpu_times()
    return after.user + after.system - before.user - before.system


def _measure_start(page: Any, report: Report) -> None:
    """Measure the time from Save to the new tile, and with a loaded model from Start to the first running clip."""
    page.get_by_role("tab", name="Settings").click()
    page.locator("#load-model").click()
    page.wait_for_selector("#model-state [data-state=ready]", timeout=1000 * START_TIMEOUT_S)
    page.get_by_role("tab", name="Gallery").click()
    page.locator(".grid-tile").first.click()
    times, drawn = [], []
    for number in range(7):  # at seven phases of the pulse
        text = f"Text {number}."
        page.locator("#panel textarea").fill(text)
        page.wait_for_timeout(1000 * (TYPING_PAUSE_S + number * PULSE_S / 7))
        page.evaluate("performance.clearResourceTimings()")
        there = f"document.querySelector('.grid-tile p').textContent === '{text}'"
        times.append(page.evaluate(CLICKED_JS, ["#save-caption", there]))
        drawn.append(page.evaluate(ANSWERED_JS))
    report.add("update of a tile", round(statistics.median(drawn) / 1000, 3), "s", 0.2)
    report.add("from Save to the tile", round(statistics.median(times) / 1000, 3), "s", "")
    times = []
    for _ in range(3):
        page.evaluate(f"{GRID}.select('all')")
        page.wait_for_timeout(1000 * PLAN_PAUSE_S)
        running = "document.querySelector('.run-strip[data-phase=running]')"
        times.append(page.evaluate(CLICKED_JS, ["#start", running]))
        page.locator("#stop").click()
        page.wait_for_selector(".run-strip[data-phase=stopped]", timeout=60_000)
    report.add("start all", round(statistics.median(times) / 1000, 2), "s", 0.5)
