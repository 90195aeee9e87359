"""How long the engine waits for clips in a job on the CPU, and how much memory its worker process takes.

The waiting time is the worker's own count, `Load.starved_s`.
"""

import re
import tempfile
import time
from pathlib import Path

import psutil

from captioner.cli.bench.encoded_clips import ClipRecipe, folder_or_temporary, make_clip
from captioner.cli.bench.report import Report
from captioner.replicas.process import ProcessReplica
from captioner.replicas.protocol import Load, ReplicaEvent
from captioner.values import GenerationOptions, ModelSpec, SamplePlan
from tests.bench.folder import link
from tests.bench.running import open_runner, saved_folder

RECIPE = ClipRecipe("5 s 720p", "feed-720p-5s.mp4", (1280, 720), 5, 24, "libx264", {"preset": "veryfast"})
STARVED_TARGET = 0.02
IDLE_TIMEOUT_S = 10.0


class WatchedReplica(ProcessReplica):
    """A replica that keeps its latest Load event."""

    load: Load | None = None

    def events(self, timeout_s: float) -> list[ReplicaEvent]:
        events = super().events(timeout_s)
        self.load = next((event for event in reversed(events) if isinstance(event, Load)), self.load)
        return events

    def load_when_idle(self) -> Load:
        """Wait until the replica is idle and return its Load. Raises TimeoutError."""
        deadline = time.monotonic() + IDLE_TIMEOUT_S
        while time.monotonic() < deadline:
            if self.load and not (self.load.running or self.load.waiting or self.load.decoding):
                return self.load
            time.sleep(0.01)
        raise TimeoutError(f"{self.name} did not become idle")

    @property
    def peak_bytes(self) -> int:
        """The peak resident memory of its process, or the current one if the system does not report the peak."""
        process = psutil.Process(self._process.pid)
        status = Path(f"/proc/{process.pid}/status")
        found = re.search(r"^VmHWM:\s*(\d+) kB", status.read_text(), re.MULTILINE) if status.is_file() else None
        memory = process.memory_info()
        return int(found.group(1)) * 1024 if found else getattr(memory, "peak_wset", memory.rss)


def bench_feed(
    model: str = "demo", num_clips: int = 40, num_more: int = 400, folder: Path | None = None, as_json: bool = False
) -> None:
    """Print a row for a job of `num_clips` clips, and one for a second job of `num_more` in the same process."""
    counts = [count for count in (num_clips, num_more) if count]
    started: list[WatchedReplica] = []

    def start(name: str, spec: ModelSpec, model_folder: Path, num_threads: int) -> WatchedReplica:
        started.append(WatchedReplica(name, spec, model_folder, num_threads))
        return started[-1]

    with folder_or_temporary(folder) as sources, tempfile.TemporaryDirectory(prefix="bench-feed-") as name:
        source = make_clip(RECIPE, sources)
        clips = Path(name) / "clips"
        clips.mkdir()
        for number in range(max(counts)):
            link(source, clips / f"clip {number:04d}.mp4")
        files = saved_folder(model, Path(name) / "model")
        report = Report(("clips", "captions_per_s", "starved", "target", "peak_memory_mb"), as_json)
        with open_runner(model, files, (ModelSpec(str(files), device="cpu"),), clips, start) as runner:
            (replica,) = started
            for count in counts:
                before = replica.load_when_idle()
                seconds = runner.run(SamplePlan(), GenerationOptions(), count)
                starved = (replica.load_when_idle().starved_s - before.starved_s) / seconds
                peak_mb = round(replica.peak_bytes / 1e6)
                report.add(count, round(count / seconds, 3), round(starved, 4), STARVED_TARGET, peak_mb)
        report.end(model=model, clip=RECIPE.name, slots=before.slots)
