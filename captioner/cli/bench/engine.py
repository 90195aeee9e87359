"""`bench engine`: the same rendered clips through four ways of captioning, each measured against the roofline.

original   what the app before this one did: every frame an image of its own, one clip at a time, `model.generate`.
           Its repetition penalties are left out, which flatters it
one        one video at a time, `model.generate`
batch N    fixed batches of N videos, each of which runs until its longest caption is written
slots N    our engine; a waiting clip takes a slot as soon as one is free

The model has no end token, so the lengths are those that were drawn, the same in every row. What the processor does is
not timed in any row: it runs beside the device, in the decode threads. Each run is preceded by a short one of the same
kind; on a GPU that one captures the graphs, which takes seconds once a job.
"""

import dataclasses
import datetime
import platform
import statistics
from dataclasses import dataclass

import torch
import transformers

from captioner.cli.bench.meter import Meter
from captioner.cli.bench.models import open_model
from captioner.cli.bench.rendered_clips import draw_lengths, render_clips
from captioner.cli.bench.report import Report
from captioner.cli.bench.roofline import Clip, Device, caption_s, measure_device
from captioner.cli.bench.variants import EngineSettings, Job, Outcome, Way, make_ways, prepare_all, shortened
from captioner.engine.loading import pick_device, pick_dtype
from captioner.engine.prepare import Prepared
from captioner.errors import CaptionerError, ModelError

COLUMNS = (
    "name", "captions_per_s", "tokens_per_s", "first_token_s", "busy", "peak_memory_gb", "roofline", "speedup"
)  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """One way in one round."""

    outcome: Outcome
    wall_s: float
    cpu_s: float
    busy: float | None
    peak_bytes: int | None


def bench_engine(settings: EngineSettings, as_json: bool = False) -> None:
    """Print a row for each way. Raises CaptionerError for what cannot be run at all; a way that fails is noted."""
    job = open_job(settings)
    report = Report(COLUMNS, as_json)
    speed = measure_device(job.device, job.model.dtype)
    ways = make_ways(settings, job.device)
    feeds = prepare_all(job, ways)
    runs, failed = run_rounds(job, ways, feeds, report)
    baseline = None
    for way in ways:
        if way.name in runs:
            rate = add_row(report, job, way, runs[way.name], feeds[way.feed], speed, baseline)
            baseline = baseline or rate
    videos = [runs[way.name][0].outcome.tokens for way in ways if way.name in runs and way.feed != "images"]
    engines = [measured[-1].outcome.notes for name, measured in runs.items() if name.startswith("slots")]
    report.end(
        same_tokens=same_tokens(videos),
        **facts(job, speed),
        engine=dict(engines[-1]) if engines else {},
        failed=failed,
        settings=dataclasses.asdict(settings),
    )


def open_job(settings: EngineSettings) -> Job:
    device = pick_device(settings.device)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    dtype = pick_dtype(settings.dtype, device)
    model, processor = open_model(settings.model, settings.random_weights, device, dtype)
    clips = render_clips(settings.num_clips, settings.frames, settings.sizes, settings.seed)
    return Job(settings, model, processor, clips, draw_lengths(len(clips), settings.new_tokens, settings.seed))


def run_rounds(
    job: Job, ways: list[Way], feeds: dict[str, list[Prepared]], report: Report
) -> tuple[dict[str, list[Measured]], dict[str, str]]:
    """All ways in turn, as often as asked. Returns the runs by name, and why some have none."""
    runs: dict[str, list[Measured]] = {}
    failed: dict[str, str] = {}
    for _ in range(job.settings.repeats):
        for way in ways:
            try:
                measured = measure(job, way, feeds[way.feed])
            except (CaptionerError, torch.OutOfMemoryError) as error:
                failed[way.name] = str(error).splitlines()[0]
                report.note(f"{way.name} failed: {failed[way.name]}")
                continue
            runs.setdefault(way.name, []).append(measured)
            count = len(measured.outcome.tokens)
            report.note(f"{way.name}: {count} clips in {measured.wall_s:.2f} s, {count / measured.wall_s:.4g} a second")
    return runs, failed


def measure(job: Job, way: Way, clips: list[Prepared]) -> Measured:
    """One run after a short one. Raises ModelError."""
    clips = clips[: way.num_clips(job)]
    if job.device.type == "cuda":
        torch.cuda.empty_cache()  # of the way before, or less would be free to this one
    with Meter(job.device) as meter, way.open(job, clips) as run:
        run(_warm_up(clips, way.width, job.device))
        meter.start()
        outcome = run(clips)
        meter.stop()
    for clip in clips:
        if len(outcome.tokens[clip.id]) != clip.options.max_new_tokens:
            raise ModelError(f"clip {clip.id} ended after {len(outcome.tokens[clip.id])} tokens")
    return Measured(outcome, meter.wall_s, meter.cpu_s, meter.busy, meter.peak_bytes)


def _warm_up(clips: list[Prepared], width: int, device: torch.device) -> list[Prepared]:
    """One short caption; on a GPU a full width of them that end one by one from the back, through every graph."""
    count = min(width, len(clips)) if device.type == "cuda" else 1
    return [shortened(clip, 2 + count - number) for number, clip in enumerate(clips[:count])]


def add_row(
    report: Report,
    job: Job,
    way: Way,
    runs: list[Measured],
    clips: list[Prepared],
    speed: Device,
    baseline: float | None,
) -> float:
    """Medians over the rounds. Returns captions a second, by which later rows are compared."""
    tokens = runs[0].outcome.tokens
    seconds = statistics.median(run.cpu_s if clock(job).startswith("CPU") else run.wall_s for run in runs)
    rate = len(tokens) / seconds
    bound = bound_rate(job, way, [clip for clip in clips if clip.id in tokens], speed)
    busy = [run.busy for run in runs if run.busy is not None]
    peaks = [run.peak_bytes for run in runs if run.peak_bytes is not None]
    report.add(
        way.name,
        _round(rate),
        _round(sum(map(len, tokens.values())) / seconds),
        _round(statistics.median(second for run in runs for second in run.outcome.first_token_s)),
        round(statistics.median(busy), 3) if busy else None,
        round(max(peaks) / 1e9, 3) if peaks else None,
        round(rate / bound, 3),
        round(rate / (baseline or rate), 2),
        clips=len(tokens),
        at_once=way.width,
        roofline_captions_per_s=_round(bound),
        prompt_tokens=round(statistics.mean(clip.num_prompt_tokens for clip in clips), 1),
        wall_s=[round(run.wall_s, 3) for run in runs],
        cpu_s=[round(run.cpu_s, 3) for run in runs],
    )
    return rate


def bound_rate(job: Job, way: Way, clips: list[Prepared], speed: Device) -> float:
    """Captions a second that the roofline allows for these inputs, as many at once as the row runs."""
    itemsize = job.model.dtype.itemsize
    rows = min(way.width, len(clips))
    return len(clips) / sum(caption_s(job.model.config, _shape(clip), rows, speed, itemsize) for clip in clips)


def _shape(clip: Prepared) -> Clip:
    grid = next(clip.inputs[name] for name in ("video_grid_thw", "image_grid_thw") if name in clip.inputs)
    _, height, width = grid[0].tolist()
    patches = int(grid.prod(1).sum())
    return Clip(patches, height * width, clip.num_prompt_tokens, clip.options.max_new_tokens)


def same_tokens(rows: list[dict[int, tuple[int, ...]]]) -> str:
    """Whether each clip got the same tokens in all rows that ran it; in float32 they do, other types round apart."""
    clips = set().union(*rows)
    same = sum(len({row[clip] for row in rows if clip in row}) == 1 for clip in clips)
    return f"{'yes' if same == len(clips) else 'no'} ({same} of {len(clips)})"


def clock(job: Job) -> str:
    """What rates and speedups are by. On one core of a CPU that others share, its seconds are the fairer clock."""
    return "CPU seconds" if job.device.type == "cpu" and torch.get_num_threads() == 1 else "wall seconds"


def facts(job: Job, speed: Device) -> dict[str, object]:
    """What a figure is worth nothing without."""
    on_cuda = job.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(job.device) if on_cuda else "CPU",
        "threads": torch.get_num_threads(),
        "model": job.settings.model,
        "dtype": str(job.model.dtype).removeprefix("torch."),
        "params": sum(p.numel() for p in job.model.parameters()),
        "bandwidth_gb_per_s": round(speed.bytes_per_s / 1e9, 1),
        "matrix_tflop_per_s": round(speed.flops_per_s / 1e12, 3),
        "rates_by": clock(job),
        "peak_memory_is": "allocated by torch on the device" if on_cuda else "growth of the process during the run",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _round(value: float) -> float:
    """Four significant digits."""
    return float(f"{value:.4g}")
