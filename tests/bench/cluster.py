"""A worker of a fixed speed in this machine, the same through Ray, two through Ray, and a model server of that speed.

The engine sleeps, so the figures show what lies between the app and the engine and not how busy the machine is. The
cluster has two nodes on this machine. Needs the package ray.
"""

import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from captioner.cli.bench.encoded_clips import make_clip
from captioner.cli.bench.models import DEMO_FOLDER
from captioner.cli.bench.report import Report, alternate, ratio
from captioner.replicas.launcher import Launcher
from captioner.values import GenerationOptions, ModelSpec
from tests.bench.folder import link
from tests.bench.replicas import PLAN, RECIPE, SLOTS, TARGET
from tests.bench.running import open_runner
from tests.bench.sleeping import STEP_S, TOKENS
from tests.support.model_server import WORDS, FakeServer, running

OVERHEAD_TARGET = 0.95
ROOT = Path(__file__).parents[2]
HOOK = Path(__file__).parent / "fixed_speed"


def bench_cluster(num_clips: int, repeats: int, as_json: bool) -> None:
    """Print the captions a second of each, without loading, and the ratios."""
    folder, options = DEMO_FOLDER, GenerationOptions(max_new_tokens=len(TOKENS))
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-cluster-")))
        source = make_clip(RECIPE, scratch)
        stack.enter_context(mock.patch.dict(os.environ, PYTHONPATH=f"{HOOK}{os.pathsep}{ROOT}"))
        address = stack.enter_context(_cluster())
        url = stack.enter_context(running(FakeServer(form="frames", token_s=STEP_S * len(TOKENS) / len(WORDS))))
        ray = ModelSpec(str(folder), f"ray:{address}", batch_size=SLOTS, ray_gpus=0.0, ray_workers=1)
        kinds = {
            "direct": ModelSpec(str(folder), "cpu", batch_size=SLOTS),
            "through Ray": ray,
            "two through Ray": ModelSpec(**vars(ray) | {"ray_workers": 2}),
            "through an endpoint": ModelSpec("", url, batch_size=SLOTS),
        }
        runs = []
        for kind, spec in kinds.items():
            clips = scratch / kind  # another job would not replace these captions
            clips.mkdir()
            for number in range(num_clips):
                link(source, clips / f"clip {number:04d}.mp4")
            launcher = Launcher()
            stack.callback(launcher.release)
            runner = stack.enter_context(open_runner("demo", folder, (spec,), clips, launcher.start, launcher.count))
            runner.run(PLAN, options, num_clips=2 * SLOTS)
            runs.append(lambda runner=runner: runner.run(PLAN, options))
        seconds = dict(zip(kinds, alternate(tuple(runs), repeats, time.perf_counter), strict=True))
    report = Report(("workers", "captions_per_s", "ratio", "target"), as_json)
    for kind, taken in seconds.items():
        base, target = ("through Ray", TARGET) if kind.startswith("two") else ("direct", OVERHEAD_TARGET)
        shown = round(ratio(taken, seconds[base]), 3)
        report.add(kind, round(num_clips / statistics.median(taken), 3), shown, "" if kind == base else target)
    full = num_clips / SLOTS * len(TOKENS) * STEP_S
    report.end(clips=num_clips, repeats=repeats, seconds_of_the_engine=full, cores=os.cpu_count() or 0)


@contextlib.contextmanager
def _cluster() -> Iterator[str]:
    """Yield the address of a cluster of two nodes with two CPUs each, for three workers."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 2, "object_store_memory": 100 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
    try:
        cluster.add_node(**node)
        yield cluster.address
    finally:
        cluster.shutdown()
