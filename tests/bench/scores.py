"""Scoring captions beside prefilling the same prompts: clips in a second of CPU time, in turns."""

import statistics
import time
from contextlib import closing
from dataclasses import replace

import torch

from captioner.captions.scores import question
from captioner.cli.bench.models import open_model
from captioner.cli.bench.rendered_clips import render_clips
from captioner.cli.bench.report import Report
from captioner.engine.continuous import ContinuousCore, ContinuousOptions
from captioner.engine.prepare import Prepared, Preparer
from captioner.values import GenerationOptions

CAPTION = "A man in a gray coat walks his dog along a wet street at dusk while cars pass; the camera follows him. " * 3
IDS = ((5, 6, 7, 8), (9, 10, 11))  # the random model's own tokenizer need not have the words


def bench_scores(model_name: str, num_clips: int, slots: tuple[int, ...], repeats: int, as_json: bool = False) -> None:
    """Print a row for each number of slots: both rates, and the median of the ratios of rounds."""
    torch.set_num_threads(1)
    model, processor = open_model(model_name, True, torch.device("cpu"), torch.float32)
    report = Report(("slots", "prefills_per_cpu_s", "scores_per_cpu_s", "ratio"), as_json)
    for count in slots:
        with closing(ContinuousCore(model, ContinuousOptions(max_slots=count, max_tokens=2000))) as core:
            preparer, options = Preparer(processor, core.layout), GenerationOptions(max_new_tokens=1)
            clips = render_clips(num_clips, (8, 8), ((160, 96), (160, 96)), 0)
            prompt = question(CAPTION, "video")
            prefills = [preparer.prepare(number, frames, prompt, options) for number, frames in enumerate(clips)]
            scoring = replace(options, scores=True)
            scores = [replace(each, options=scoring, answer_ids=IDS) for each in prefills]
            _cpu_s(core, prefills)
            pairs = [(_cpu_s(core, prefills), _cpu_s(core, scores)) for _ in range(repeats)]
        rates = [num_clips / statistics.median(column) for column in zip(*pairs, strict=True)]
        ratio = statistics.median(prefill / score for prefill, score in pairs)
        report.add(count, *(round(rate, 2) for rate in rates), round(ratio, 3))
    report.end(model=model_name, prompt_tokens=prefills[0].num_prompt_tokens, torch=torch.__version__)


def _cpu_s(core: ContinuousCore, requests: list[Prepared]) -> float:
    started_s = time.process_time()
    for request in requests:
        core.submit(request)
    while core.busy:
        core.step()
    return time.process_time() - started_s
