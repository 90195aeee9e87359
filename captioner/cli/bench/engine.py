"""`bench engine`: the same rendered clips captioned in four variants, each compared with the roofline.

original   the method of the app before this one: every frame as an image, one clip at a time, `model.generate`, but
           without its repetition penalties, which makes it look better
one        one video at a time, `model.generate`
batch N    fixed batches of N videos, each of which runs until its longest caption is complete
slots N    the continuous core; a waiting clip takes a slot as soon as one is free

The model has no end token, so the captions have the drawn lengths, the same in every row. No row includes the
processor's time, since decode threads run it in parallel with the device. Each run follows a short one of the same
kind; on a GPU that one captures the graphs, which takes seconds once for each job.
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
from captioner.cli.bench.roofline import Clip, caption_s, measure_device
from captioner.cli.bench.variants import EngineSettings, Feed, Outcome, Variant, Workload, make_variants, prepare_all
from captioner.engine.loading import pick_device, pick_dtype
from captioner.engine.prepare import Prepared
from captioner.errors import CaptionerError, ModelError
from captioner.values import GenerationOptions

COLUMNS = (
    "name", "captions_per_s", "tokens_per_s", "first_token_s", "busy", "peak_memory_gb", "roofline", "speedup"
)  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """The result of one variant in one round."""

    outcome: Outcome
    meter: Meter


def bench_engine(settings: EngineSettings, as_json: bool = False) -> None:
    """Print a row for each variant; one that fails is reported below. Raises CaptionerError if nothing can run."""
    workload = open_workload(settings)
    report = Report(COLUMNS, as_json)
    variants = make_variants(settings, workload.device)
    feeds = prepare_all(workload, variants)
    runs, failed = run_rounds(workload, variants, feeds, report)
    baseline = None
    for variant in variants:
        if variant.name in runs:
            rate = add_row(report, workload, variant, runs[variant.name], feeds[variant.feed], baseline)
            baseline = baseline or rate
    videos = [runs[v.name][0].outcome.tokens for v in variants if v.name in runs and v.feed != "images"]
    engines = [measured[-1].outcome.notes for name, measured in runs.items() if name.startswith("slots")]
    report.end(
        same_tokens=same_tokens(videos),
        **facts(workload),
        engine=dict(engines[-1]) if engines else {},
        failed=failed,
        settings=dataclasses.asdict(settings),
    )


def open_workload(settings: EngineSettings) -> Workload:
    """Load the model and render the clips."""
    device = pick_device(settings.device)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    dtype = pick_dtype(settings.dtype, device)
    model, processor = open_model(settings.model, settings.random_weights, device, dtype)
    clips = render_clips(settings.num_clips, settings.frames, settings.sizes, settings.seed)
    lengths = draw_lengths(len(clips), settings.new_tokens, settings.seed)
    return Workload(settings, model, processor, clips, lengths, measure_device(device, model.dtype))


def run_rounds(
    workload: Workload, variants: list[Variant], feeds: dict[Feed, list[Prepared]], report: Report
) -> tuple[dict[str, list[Measured]], dict[str, str]]:
    """Run all variants alternately. Return the results by name, and the reasons of those that failed."""
    runs: dict[str, list[Measured]] = {}
    failed: dict[str, str] = {}
    for _ in range(workload.settings.repeats):
        for variant in variants:
            try:
                measured = measure(workload, variant, feeds[variant.feed])
            except (CaptionerError, torch.OutOfMemoryError) as error:
                failed[variant.name] = str(error).splitlines()[0]
                report.note(f"{variant.name} failed: {failed[variant.name]}")
                continue
            runs.setdefault(variant.name, []).append(measured)
            count, seconds = len(measured.outcome.tokens), measured.meter.wall_s
            report.note(f"{variant.name}: {count} clips in {seconds:.2f} s, {count / seconds:.4g} a second")
    return runs, failed


def measure(workload: Workload, variant: Variant, clips: list[Prepared]) -> Measured:
    """Measure one run after a short one. Raises ModelError."""
    clips = clips[: variant.num_clips(workload)]
    if workload.device.type == "cuda":
        torch.cuda.empty_cache()  # memory of the variant before
    with Meter(workload.device) as meter, variant.open(workload, clips) as run:
        run(_warm_up(clips, variant.width, workload.device))
        meter.start()
        outcome = run(clips)
        meter.stop()
    for clip in clips:
        if len(outcome.tokens[clip.id]) != clip.options.max_new_tokens:
            raise ModelError(f"clip {clip.id} ended after {len(outcome.tokens[clip.id])} tokens")
    return Measured(outcome, meter)


def _warm_up(clips: list[Prepared], width: int, device: torch.device) -> list[Prepared]:
    """Return one short request; on a GPU as many as run at once, of different lengths so that all graphs are used."""
    count = min(width, len(clips)) if device.type == "cuda" else 1
    options = [GenerationOptions(max_new_tokens=2 + count - number) for number in range(count)]
    return [dataclasses.replace(clips[number], options=options[number]) for number in range(count)]


def add_row(
    report: Report, workload: Workload, variant: Variant, runs: list[Measured], clips: list[Prepared],
    baseline: float | None,
) -> float:  # fmt: skip
    """Add the medians over all rounds. Return captions a second, with which later rows are compared."""
    tokens, meters = runs[0].outcome.tokens, [run.meter for run in runs]
    by_cpu = clock(workload).startswith("CPU")
    seconds = statistics.median(meter.cpu_s if by_cpu else meter.wall_s for meter in meters)
    rate = len(tokens) / seconds
    bound = bound_rate(workload, variant, [clip for clip in clips if clip.id in tokens])
    busy = [meter.busy for meter in meters if meter.busy is not None]
    peaks = [meter.peak_bytes for meter in meters if meter.peak_bytes is not None]
    report.add(
        variant.name,
        _round(rate),
        _round(sum(map(len, tokens.values())) / seconds),
        _round(statistics.median(second for run in runs for second in run.outcome.first_token_s)),
        round(statistics.median(busy), 3) if busy else None,
        round(max(peaks) / 1e9, 3) if peaks else None,
        round(rate / bound, 3),
        round(rate / (baseline or rate), 2),
        clips=len(tokens),
        at_once=variant.width,
        roofline_captions_per_s=_round(bound),
        prompt_tokens=round(statistics.mean(clip.num_prompt_tokens for clip in clips), 1),
        wall_s=[round(meter.wall_s, 3) for meter in meters],
        cpu_s=[round(meter.cpu_s, 3) for meter in meters],
    )
    return rate


def bound_rate(workload: Workload, variant: Variant, clips: list[Prepared]) -> float:
    """Return the captions a second that the roofline allows for these inputs and this many at once."""
    config, itemsize, rows = workload.model.config, workload.model.dtype.itemsize, min(variant.width, len(clips))
    return len(clips) / sum(caption_s(config, _shape(clip), rows, workload.speed, itemsize) for clip in clips)


def _shape(clip: Prepared) -> Clip:
    grid = next(clip.inputs[name] for name in ("video_grid_thw", "image_grid_thw") if name in clip.inputs)
    _, height, width = grid[0].tolist()
    patches = int(grid.prod(1).sum())
    return Clip(patches, height * width, clip.num_prompt_tokens, clip.options.max_new_tokens)


def same_tokens(rows: list[dict[int, tuple[int, ...]]]) -> str:
    """Compare the tokens of each clip in all rows; in float32 they are equal, other dtypes round differently."""
    clips = set().union(*rows)
    same = sum(len({row[clip] for row in rows if clip in row}) == 1 for clip in clips)
    return f"{'yes' if same == len(clips) else 'no'} ({same} of {len(clips)})"


def clock(workload: Workload) -> str:
    """Return the clock of rates and speedups; with one thread, CPU seconds are less affected by other programs."""
    return "CPU seconds" if workload.device.type == "cpu" and torch.get_num_threads() == 1 else "wall seconds"


def facts(workload: Workload) -> dict[str, object]:
    """Return the conditions of the measurement."""
    on_cuda = workload.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(workload.device) if on_cuda else "CPU",
        "threads": torch.get_num_threads(),
        "model": workload.settings.model,
        "dtype": str(workload.model.dtype).removeprefix("torch."),
        "params": sum(p.numel() for p in workload.model.parameters()),
        "bandwidth_gb_per_s": round(workload.speed.bytes_per_s / 1e9, 1),
        "matrix_tflop_per_s": round(workload.speed.flops_per_s / 1e12, 3),
        "rates_by": clock(workload),
        "peak_memory_is": "allocated by torch on the device" if on_cuda else "growth of the process during the run",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _round(value: float) -> float:
    """Round to four significant digits."""
    return float(f"{value:.4g}")
