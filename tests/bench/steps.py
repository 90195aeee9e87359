"""Decode steps of the engine: how many in a second of CPU time, what one call of C saves, and the host's own work."""

import statistics
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from unittest import mock

import torch

from captioner.cli.bench.models import open_model
from captioner.cli.bench.rendered_clips import render_clips
from captioner.cli.bench.report import Report
from captioner.engine import sampling
from captioner.engine.continuous import ContinuousCore, ContinuousOptions
from captioner.engine.packed import PackedModel
from captioner.engine.prepare import Preparer
from captioner.values import GenerationOptions

STEPS = 300
STEPS_IN_TURNS = 40  # with the kernel of whole steps, and as many without it


def bench_steps(model_name: str, rows: tuple[int, ...], repeats: int, as_json: bool = False) -> None:
    """Print a row for each number of running clips: decode steps a second of CPU time, and the host's microseconds.

    Where a C kernel runs whole steps, also the median milliseconds with and without it.
    """
    torch.set_num_threads(1)
    report = Report(("rows", "kernel_ms", "without_ms", "steps_per_cpu_s", "host_us"), as_json)
    for count in rows:
        num_tokens = (2 * repeats + 1) * STEPS + 2 * STEPS_IN_TURNS
        with decoding(model_name, count, num_tokens) as (core, _):
            in_turns = _in_turns(core) if core._model.has_step_kernel else (None, None)
            rates = [STEPS / _cpu_s(core) for _ in range(repeats)]
            with _free_device(core):
                host_s = [_cpu_s(core) / STEPS for _ in range(repeats)]
        report.add(count, *in_turns, round(statistics.median(rates), 1), round(1e6 * statistics.median(host_s), 1))
    report.end(model=model_name, torch=torch.__version__)


@contextmanager
def decoding(
    model_name: str, count: int, num_tokens: int, num_free: int = 0, piece_tokens: int = 0
) -> Iterator[tuple[ContinuousCore, Preparer]]:
    """Yield a core in which `count` clips have read their prompts and go on for `num_tokens`, and what prepares others.

    num_free: slots for these; piece_tokens: see `ContinuousOptions`.
    """
    model, processor = open_model(model_name, True, torch.device("cpu"), torch.float32)
    options = ContinuousOptions(count + num_free, num_tokens + 200, piece_tokens=piece_tokens)
    with closing(ContinuousCore(model, options)) as core:
        preparer = Preparer(processor, core.layout)
        sampling_options = GenerationOptions(max_new_tokens=num_tokens)
        for number, frames in enumerate(render_clips(count, (4, 4), ((96, 64), (96, 64)), 0)):
            core.submit(preparer.prepare(number, frames, "describe this video", sampling_options))
        while core.num_waiting or core.num_running < count:
            core.step()
        for _ in range(3):
            core.step()
        yield core, preparer


def _cpu_s(core: ContinuousCore, num_steps: int = STEPS) -> float:
    started_s = time.process_time()
    for _ in range(num_steps):
        core.step()
    return time.process_time() - started_s


def _in_turns(core: ContinuousCore) -> tuple[float, float]:
    """Return the milliseconds of a step with the kernel of whole steps, and without it."""
    kernel, seconds = core._model._step_kernel, ([], [])
    for _ in range(STEPS_IN_TURNS):
        for each, taken in zip((kernel, None), seconds, strict=True):
            core._model._step_kernel = each
            taken.append(_cpu_s(core, 1))
    core._model._step_kernel = kernel
    with_kernel, without = (round(1000 * statistics.median(taken), 2) for taken in seconds)
    return with_kernel, without


@contextmanager
def _free_device(core: ContinuousCore) -> Iterator[None]:
    """Let the model and the choice of tokens cost nothing, as on a device that computes while the host goes on."""
    count, vocabulary = core.num_slots, core._model.config.vocab_size
    logits, tokens = torch.zeros(count, vocabulary), torch.ones(count, dtype=torch.int64)
    with (
        mock.patch.object(PackedModel, "decode", return_value=logits),
        mock.patch.object(sampling, "_pick_alike", return_value=tokens),
    ):
        yield
