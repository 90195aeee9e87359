"""Requests and references shared by the tests of the engine cores, on a CPU and on a GPU."""

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from transformers import GenerationConfig, LogitsProcessor, RepetitionPenaltyLogitsProcessor

from captioner.engine.continuous import ContinuousCore
from captioner.engine.core import Core, StepEvent
from captioner.engine.graphs import DecodeSteps
from captioner.engine.prepare import Prepared, Preparer
from captioner.engine.rows import SLOT
from captioner.values import Frames, GenerationOptions

PROMPTS = ("describe this video", "what happens here, in detail?", "tags", "trigger xyz: a man walks his dog")
SHAPES = ((32, 64), (64, 96), (96, 32), (64, 64), (32, 32), (96, 96), (128, 64))


@dataclass(frozen=True)
class Case:
    frames: Frames
    prompt: str
    num_tokens: int


def make_cases(count: int, seed: int = 3, longest: int = 32) -> list[Case]:
    """Make clips of 2 to 12 frames in several shapes, every fifth an image, with captions of at least 3 tokens."""
    rng = np.random.default_rng(seed)
    cases = []
    for i in range(count):
        num_frames = 1 if i % 5 == 0 else int(rng.choice([2, 4, 6, 10, 12]))
        height, width = SHAPES[int(rng.integers(len(SHAPES)))]
        pixels = rng.integers(0, 256, (num_frames, height, width, 3), np.uint8)
        indices = np.arange(num_frames) * 7
        frames = Frames(pixels, indices / 25, indices, 25.0 if num_frames > 1 else 0.0)
        cases.append(Case(frames, PROMPTS[i % len(PROMPTS)], int(rng.integers(3, longest))))
    return cases


def processor_inputs(processor, frames: Frames, prompt: str) -> dict[str, torch.Tensor]:
    """Return the tensors of the installed processor, called as its documentation says."""
    if len(frames.pixels) == 1:
        parts = [{"type": "image"}]
        media = {"images": [torch.from_numpy(frames.pixels[0]).permute(2, 0, 1)]}
    else:
        indices = frames.indices.tolist()
        metadata = {"fps": frames.fps, "frames_indices": indices, "total_num_frames": indices[-1] + 1, "duration": 1.0}
        parts = [{"type": "video"}]
        media = {
            "videos": [torch.from_numpy(frames.pixels).permute(0, 3, 1, 2)],
            "video_metadata": [metadata],
            "do_sample_frames": False,
        }
    chat = [{"role": "user", "content": [*parts, {"type": "text", "text": prompt}]}]
    text = processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    inputs = processor(text=[text], return_tensors="pt", **media)
    return {name: tensor for name, tensor in inputs.items() if isinstance(tensor, torch.Tensor)}


class _PenaltyAfterPrompt(RepetitionPenaltyLogitsProcessor):
    """transformers' own penalty, applied only to tokens after the prompt."""

    def __init__(self, penalty: float, prompt_length: int) -> None:
        super().__init__(penalty)
        self._prompt_length = prompt_length

    def __call__(self, input_ids, scores):
        generated = input_ids[:, self._prompt_length :]
        return super().__call__(generated, scores) if generated.shape[1] else scores


class _PresencePenalty(LogitsProcessor):
    """The definition: what a token that was generated before loses does not depend on how often it was."""

    def __init__(self, penalty: float, prompt_length: int) -> None:
        self._penalty, self._prompt_length = penalty, prompt_length

    def __call__(self, input_ids, scores):
        scores = scores.clone()
        for row, tokens in enumerate(input_ids[:, self._prompt_length :].tolist()):
            for token in set(tokens):
                scores[row, token] -= self._penalty
        return scores


def generate_alone(model, processor, case: Case, penalty: float = 1.0, presence: float = 0.0) -> tuple[int, ...]:
    """Return the tokens of one greedy call of `model.generate`, without the end token."""
    inputs = {k: v.to(model.device) for k, v in processor_inputs(processor, case.frames, case.prompt).items()}
    length, own = inputs["input_ids"].shape[1], model.generation_config
    config = GenerationConfig(
        max_new_tokens=case.num_tokens, do_sample=False, eos_token_id=own.eos_token_id, pad_token_id=own.pad_token_id
    )
    processors = [] if penalty == 1 else [_PenaltyAfterPrompt(penalty, length)]
    processors += [_PresencePenalty(presence, length)] if presence else []
    with torch.inference_mode():
        ids = model.generate(**inputs, generation_config=config, logits_processor=processors)
    return tuple(token for token in ids[0, length:].tolist() if token != own.eos_token_id)


def prepare_cases(preparer: Preparer, cases: list[Case], **options) -> list[Prepared]:
    return [
        preparer.prepare(i, case.frames, case.prompt, GenerationOptions(max_new_tokens=case.num_tokens, **options))
        for i, case in enumerate(cases)
    ]


def run(core: Core, requests: list[Prepared]) -> dict[int, StepEvent]:
    """Submit all requests, step to the end, and return the last event of each by id."""
    for request in requests:
        core.submit(request)
    return finish(core)


def finish(core: Core) -> dict[int, StepEvent]:
    ended = {}
    while core.busy:
        for event in core.step():
            if event.finish_reason:
                assert event.id not in ended
                ended[event.id] = event
    return ended


@torch.inference_mode()
def teacher_forced(model, processor, case: Case, tokens: tuple[int, ...], min_gap: float) -> tuple[int, int]:
    """Run prompt and tokens in one plain forward pass and return (positions that agree, positions compared).

    Only positions whose best logit leads by more than `min_gap` are compared, so that rounding does not matter.
    """
    inputs = {k: v.to(model.device) for k, v in processor_inputs(processor, case.frames, case.prompt).items()}
    length, placeholders = inputs["input_ids"].shape[1], (model.config.image_token_id, model.config.video_token_id)
    # a random model may write placeholders, and a plain forward pass would count them as frames
    tokens = tuple(itertools.takewhile(lambda token: token not in placeholders, tokens))
    if not tokens:
        return 0, 0
    generated = torch.tensor([tokens], device=model.device)
    inputs["input_ids"] = torch.cat([inputs["input_ids"], generated], 1)
    for name, value in (("attention_mask", 1), ("mm_token_type_ids", 0)):
        inputs[name] = torch.cat([inputs[name], torch.full_like(generated, value).to(inputs[name].dtype)], 1)
    logits = model(**inputs).logits[0, length - 1 : -1].float()
    best = logits.topk(2)
    clear = best.values[:, 0] - best.values[:, 1] > min_gap
    agreeing = (best.indices[:, 0] == generated[0]) & clear
    return int(agreeing.sum()), int(clear.sum())


def next_decode_step(core: ContinuousCore) -> tuple[torch.Tensor, int, int] | None:
    """Return the arguments of DecodeSteps.run() for the next step of a core, or None if no request would take part."""
    table = core._memory.table
    slots = table.active()
    rows = table.columns(slots).to(core._model.device)
    return (rows, slots[-1] + 1, table.longest(slots)) if slots else None


def run_fixed_eagerly(steps: DecodeSteps, rows: torch.Tensor, num_slots: int, longest: int) -> torch.Tensor:
    """Compute the same as a CUDA graph, kernel by kernel."""
    fixed, key = steps._fill(rows, num_slots, longest)
    return steps._model.decode(fixed.rows, steps._cache, *key)[rows[SLOT]]
