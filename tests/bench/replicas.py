"""One worker process compared with two on the same clips, run alternately with one core each.

`busy` is the workers' CPU seconds / (wall seconds x workers). If it is much below 1, other programs used the cores and
the ratio means little.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from captioner.cli.bench.encoded_clips import ClipRecipe, make_clip
from captioner.cli.bench.report import Report, alternate, ratio
from captioner.replicas.process import ProcessReplica
from captioner.values import GenerationOptions, ModelSpec, SamplePlan
from tests.bench.folder import link
from tests.bench.running import Runner, open_runner, saved_folder

RECIPE = ClipRecipe("1 s", "source.mp4", (160, 96), 1, 24, "libx264", {"preset": "veryfast"})
PLAN = SamplePlan(max_frames=4, min_frames=4, frame_size=96)
SLOTS = 4  # of each replica; few, so that both stay full almost to the end
TARGET = 1.6


class OneCoreReplica(ProcessReplica):
    """A worker with one thread for the model and one for decoding, on one core if the system allows that."""

    def pin(self, core: int) -> None:
        """Restrict the process to one core; its threads, which start later, inherit this."""
        if hasattr(os, "sched_setaffinity"):
            cores = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(self._process.pid, {cores[core % len(cores)]})

    @property
    def cpu_s(self) -> float:
        times = psutil.Process(self._process.pid).cpu_times()
        return times.user + times.system


@dataclass
class Side:
    """One side of the comparison: its replicas, and how busy they were in each run."""

    options: GenerationOptions
    replicas: list[OneCoreReplica] = field(default_factory=list)
    runner: Runner | None = None
    busy: list[float] = field(default_factory=list)

    @contextmanager
    def open(self, model: str, folder: Path, num_replicas: int, clips: Path) -> Iterator[None]:
        spec = ModelSpec(str(folder), device="cpu", batch_size=SLOTS)
        with open_runner(model, folder, (spec,) * num_replicas, clips, self._start) as self.runner:
            self.runner.run(PLAN, self.options, num_clips=SLOTS)
            yield

    def run(self) -> None:
        before_s = sum(replica.cpu_s for replica in self.replicas)
        seconds = self.runner.run(PLAN, self.options)
        self.busy.append((sum(replica.cpu_s for replica in self.replicas) - before_s) / seconds / len(self.replicas))

    def _start(self, name: str, spec: ModelSpec, folder: Path, num_threads: int) -> OneCoreReplica:
        self.replicas.append(OneCoreReplica(name, spec, folder, num_threads=1))
        self.replicas[-1].pin(len(self.replicas) - 1)
        return self.replicas[-1]


def bench_replicas(
    model: str = "tiny", num_clips: int = 48, new_tokens: int = 300, repeats: int = 3, as_json: bool = False
) -> None:
    """Print the captions a second of one and of two replicas on the CPU, without loading, and their ratio."""
    one, two = (Side(GenerationOptions(max_new_tokens=new_tokens)) for _ in range(2))
    with tempfile.TemporaryDirectory(prefix="bench-replicas-") as name:
        clips = Path(name) / "clips"
        clips.mkdir()
        source = make_clip(RECIPE, Path(name))
        for number in range(num_clips):
            link(source, clips / f"clip {number:04d}.mp4")
        folder = saved_folder(model, Path(name) / "model")
        report = Report(("devices", "captions_per_s", "busy", "ratio", "target"), as_json)
        with one.open(model, folder, 1, clips), two.open(model, folder, 2, clips):
            seconds = alternate((one.run, two.run), repeats, time.perf_counter)
        rates = [round(num_clips / statistics.median(taken), 3) for taken in seconds]
        busy = [round(statistics.median(side.busy), 3) for side in (one, two)]
        report.add("cpu", rates[0], busy[0], 1.0, "")
        report.add("cpu,cpu", rates[1], busy[1], round(ratio(seconds[1], seconds[0]), 2), TARGET)
        report.end(model=model, clips=num_clips, new_tokens=new_tokens, repeats=repeats, cores=os.cpu_count() or 0)
