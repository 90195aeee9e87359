"""How busy a job keeps a model server that answers at a fixed speed.

The server takes a fixed time for each clip. It is fully used if it has `slots` clips at every moment; the share is the
time of all its requests together / (slots x the time of the job), which decodes, sends, reads and writes real files.
"""

import tempfile
from pathlib import Path

from captioner.cli.bench.encoded_clips import ClipRecipe, make_clip
from captioner.cli.bench.report import Report
from captioner.replicas.endpoint import EndpointReplica
from captioner.values import GenerationOptions, ModelSpec, SamplePlan
from tests.bench.folder import link
from tests.bench.running import open_runner
from tests.support.model_server import WORDS, FakeServer, running

RECIPE = ClipRecipe("2 s", "source.mp4", (320, 192), 2, 24, "libx264", {"preset": "veryfast"})
TARGET = 0.95


def bench_endpoint(num_clips: int = 96, slots: int = 8, clip_s: float = 2.0, as_json: bool = False) -> None:
    """Print the clips per second, and the share of the server's time that was used."""
    server = FakeServer(form="frames", token_s=clip_s / len(WORDS))
    with tempfile.TemporaryDirectory(prefix="bench-endpoint-") as name, running(server) as url:
        clips = Path(name) / "clips"
        clips.mkdir()
        source = make_clip(RECIPE, Path(name))
        for number in range(num_clips):
            link(source, clips / f"clip {number:04d}.mp4")
        report = Report(("slots", "clips_per_s", "used", "target"), as_json)
        spec = ModelSpec("", url, batch_size=slots)
        with open_runner("toy", Path(name), (spec,), clips, EndpointReplica) as runner:
            runner.run(SamplePlan(), GenerationOptions(), slots)  # the first clip of a size is counted on the server
            before_s = server.busy_s
            seconds = runner.run(SamplePlan(), GenerationOptions())
        used = (server.busy_s - before_s) / (slots * seconds)
        report.add(str(slots), round(num_clips / seconds, 2), round(used, 3), TARGET)
        report.end(clips=num_clips, clip=RECIPE.name, clip_s=clip_s)
