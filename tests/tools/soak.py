"""`python -m tests.tools.soak --minutes 30`: one app captions, stops, unloads, loads and is reloaded, over and over.

Memory, handles, threads and processes have to stay what they are. Ends with status 1 when one of them grows.
"""

import argparse
import gc
import json
import random
import statistics
import sys
import tempfile
import time
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import httpx
import psutil

from captioner.jobs.event_log import KEPT_EVENTS
from captioner.jobs.events import ItemProgress
from captioner.services import Services
from captioner.ui.launch import launch
from captioner.ui.page import build
from tests.support.media_maker import make_picture, make_video
from tests.support.pulse import pulse_request

# Of the medians of the second and the last quarter of the rounds. Memory: allocators keep what they have had.
BOUNDS = {"memory_mb": 0.08, "replica_mb": 0.08, "handles": 0.02, "threads": 0.0, "processes": 0.0}
PAGES = 3  # reloaded in a round
KEPT_SESSIONS = 200  # `state_session_capacity` in launch()


@dataclass(frozen=True)
class Reading:
    memory_mb: float  # of the app's own process
    replica_mb: float  # of its children together
    handles: int
    threads: int
    processes: int


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name) / "media"
        make_media(folder)
        settings = {"model": "demo", "devices": "cpu", "existing": "overwrite", "max_new_tokens": 24}
        with Services(Path(name) / "state", settings) as services:
            blocks, page = build(services, folder)
            address = launch(blocks, page)
            readings = soak(services, folder, address, args.minutes * 60)
            blocks.close(verbose=False)
    return report(readings)


def make_media(folder: Path) -> None:
    folder.mkdir()
    for number in range(12):
        make_video(folder / f"clip {number:02}.mp4", num_frames=24)
        make_picture(folder / f"still {number:02}.png")


def soak(services: Services, folder: Path, address: str, seconds: float) -> list[Reading]:
    chance, readings, end = random.Random(0), [], time.monotonic() + seconds
    told_s = 0.0
    fill_what_is_bounded(services, folder, address)
    print(" round  " + "  ".join(f"{f.name:>10}" for f in fields(Reading)))
    while time.monotonic() < end:
        play_round(services, folder, address, chance)
        readings.append(read())
        if time.monotonic() - told_s > 60:
            told_s = time.monotonic()
            print(f"{len(readings):6}  " + "  ".join(f"{value:10.0f}" for value in astuple(readings[-1])), flush=True)
    return readings


def fill_what_is_bounded(services: Services, folder: Path, address: str) -> None:
    """As days of work do: the log of events, and what Gradio keeps of each page."""
    for _ in range(KEPT_EVENTS):
        services.events.append(ItemProgress(job=0, item="clip 00.mp4", path=folder / "clip 00.mp4", tokens=1))
    pulse = pulse_request(address)
    with httpx.Client(base_url=address, timeout=30) as client:
        for number in range(KEPT_SESSIONS):
            client.post("gradio_api/run/predict", json=pulse(-number)).raise_for_status()


def play_round(services: Services, folder: Path, address: str, chance: random.Random) -> None:
    """Two runs, the second one stopped at a random moment; the model anew; the folder and the page read again."""
    wait(services, services.start())
    number = services.start()
    time.sleep(chance.random())
    services.jobs.stop(number)
    wait(services, number)
    services.unload()
    wait(services, services.load())
    services.open_folder(folder, recursive=False)
    pulse = pulse_request(address)
    for number in range(PAGES):
        with httpx.Client(base_url=address, timeout=30) as client:
            client.get("/").raise_for_status()
            client.get("gradio_api/vcs/list.json").raise_for_status()
            body = pulse(number) | {"session_hash": f"{chance.random()}"}
            news = client.post("gradio_api/run/predict", json=body).raise_for_status().json()["data"][0]
            assert json.loads(news)["values"]
            for index in range(4):
                client.get(f"gradio_api/vcs/thumb/{services.library.scan.id}-{index}.jpg").raise_for_status()


def wait(services: Services, number: int) -> None:
    *_, ended = services.jobs.follow(number, services.events.snapshot().cursor - 1)
    assert ended.outcome in ("done", "stopped"), ended.reason
    assert not ended.failed, services.events.snapshot().failures


def read() -> Reading:
    gc.collect()
    app = psutil.Process()
    children = app.children(recursive=True)
    replicas_mb = sum(child.memory_info().rss for child in children) / 1e6
    memory_mb = app.memory_info().rss / 1e6
    return Reading(memory_mb, replicas_mb, app.num_fds(), app.num_threads(), len(children))


def report(readings: list[Reading]) -> int:
    """Prints first and last; 1 if anything has grown over its bound."""
    quarter, grown = max(1, len(readings) // 4), False
    print(f"{len(readings)} rounds; medians of the second and of the last quarter:")
    for name, bound in BOUNDS.items():
        first, last = (
            statistics.median(getattr(reading, name) for reading in part)
            for part in (readings[quarter : 2 * quarter] or readings, readings[-quarter:])
        )
        growth = last / first - 1 if first else 0.0
        grown |= growth > bound
        print(f"{name:>10}  {first:8.1f} -> {last:8.1f}  {growth:+.1%}  (bound {bound:.0%})")
    return int(grown)


if __name__ == "__main__":
    sys.exit(main())
