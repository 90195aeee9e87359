"""A long prompt beside running clips, read as a whole and in pieces, in turns: CPU time between two of their tokens."""

import statistics
import time

import numpy as np
import torch

from captioner.cli.bench.rendered_clips import render_clips
from captioner.cli.bench.report import Report
from captioner.engine.continuous import PIECE_TOKENS_CPU, ContinuousCore
from captioner.engine.prepare import Preparer
from captioner.values import GenerationOptions
from tests.bench.steps import decoding

SIDE = 512  # pixels; two frames are 256 tokens and their time
ROOM = 1000  # tokens of running clips, and of the text of a prompt
NUMBER = 1000  # of the request
WHOLE = 1_000_000  # tokens at once: more than any prompt has


def bench_prompts(model_name: str, num_frames: int, rows: int, repeats: int, as_json: bool = False) -> None:
    """Print a row for each way: the 95th percentile between two tokens of `rows` running clips, in s of CPU time.

    A clip of `num_frames` frames of 512x512 arrives; what is measured ends with its first token.
    """
    torch.set_num_threads(1)
    report = Report(("prompts", "p95_s", "first_token_s", "steps"), as_json)
    found: dict[int, list[list[float]]] = {WHOLE: [], PIECE_TOKENS_CPU: []}
    num_tokens = 0
    for _ in range(repeats):
        for piece_tokens, rounds in found.items():
            room = ROOM + num_frames * SIDE**2 // 2048
            with decoding(model_name, rows, room, num_free=1, piece_tokens=piece_tokens) as (core, preparer):
                num_tokens, gaps = _read(core, preparer, num_frames)
            rounds.append(gaps)
    for piece_tokens, rounds in found.items():
        name = "as a whole" if piece_tokens == WHOLE else f"in pieces of {piece_tokens}"
        p95, total = (statistics.median(map(of, rounds)) for of in (_p95, sum))
        report.add(name, round(p95, 3), round(total, 2), len(rounds[0]))
    ratio = statistics.median(_p95(whole) / _p95(pieces) for whole, pieces in zip(*found.values(), strict=True))
    report.end(ratio=round(ratio, 2), model=model_name, prompt_tokens=num_tokens, torch=torch.__version__)


def _read(core: ContinuousCore, preparer: Preparer, num_frames: int) -> tuple[int, list[float]]:
    """Let a clip arrive. Return the tokens of its prompt, and the CPU time of each step until it is read."""
    (frames,) = render_clips(1, (num_frames, num_frames), ((SIDE, SIDE), (SIDE, SIDE)), 1)
    request = preparer.prepare(NUMBER, frames, "describe this video", GenerationOptions())
    gaps, is_read = [], False
    core.submit(request)
    while not is_read:
        started_s = time.process_time()
        is_read = any(event.id == NUMBER for event in core.step())
        gaps.append(time.process_time() - started_s)
    return request.num_prompt_tokens, gaps


def _p95(gaps: list[float]) -> float:
    return float(np.percentile(gaps, 95))
