"""One worker process, the same through Ray, and two through Ray, on the same clips in turns, with one thread each.

The cluster has two nodes on this machine. Needs the package ray.
"""

import contextlib
import os
import statistics
import tempfile
import time
from pathlib import Path

from captioner.cli.bench.encoded_clips import make_clip
from captioner.cli.bench.report import Report, alternate, ratio
from captioner.replicas.launcher import Launcher
from captioner.replicas.process import ProcessReplica
from captioner.values import GenerationOptions, ModelSpec
from tests.bench.folder import link
from tests.bench.replicas import PLAN, RECIPE, SLOTS, TARGET
from tests.bench.running import open_runner, saved_folder

OVERHEAD_TARGET = 0.95


def bench_cluster(model: str, num_clips: int, new_tokens: int, repeats: int, as_json: bool) -> None:
    """Print the captions a second of each, without loading, and the ratios."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
    options = GenerationOptions(max_new_tokens=new_tokens)
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-cluster-")))
        cluster = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
        stack.callback(cluster.shutdown)
        cluster.add_node(**node)
        clips = scratch / "clips"
        clips.mkdir()
        source = make_clip(RECIPE, scratch)
        for number in range(num_clips):
            link(source, clips / f"clip {number:04d}.mp4")
        folder = saved_folder(model, scratch / "model")
        spec = ModelSpec(str(folder), device="cpu", batch_size=SLOTS)
        runs = []
        for workers in (0, 1, 2):
            ray = ModelSpec(str(folder), f"ray:{cluster.address}", batch_size=SLOTS, ray_gpus=0.0, ray_workers=workers)
            launcher = Launcher()
            stack.callback(launcher.release)
            start = launcher.start if workers else _one_thread
            runner = stack.enter_context(open_runner(model, folder, (ray if workers else spec,), clips, start))
            runner.run(PLAN, options, num_clips=SLOTS)
            runs.append(lambda runner=runner: runner.run(PLAN, options))
        seconds = alternate(tuple(runs), repeats, time.perf_counter)
    report = Report(("workers", "captions_per_s", "ratio", "target"), as_json)
    rates = [round(num_clips / statistics.median(taken), 3) for taken in seconds]
    report.add("direct", rates[0], 1.0, "")
    report.add("through Ray", rates[1], round(ratio(seconds[1], seconds[0]), 2), OVERHEAD_TARGET)
    report.add("two through Ray", rates[2], round(ratio(seconds[2], seconds[1]), 2), TARGET)
    report.end(model=model, clips=num_clips, new_tokens=new_tokens, repeats=repeats, cores=os.cpu_count() or 0)


def _one_thread(name: str, spec: ModelSpec, folder: Path, num_threads: int) -> ProcessReplica:
    return ProcessReplica(name, spec, folder, 1)
