"""The ways of captioning that `bench engine` compares, and what each of them is fed."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel, ProcessorMixin
from transformers.generation.streamers import BaseStreamer

from captioner.engine.continuous import ContinuousCore, ContinuousOptions
from captioner.engine.core import Core
from captioner.engine.prepare import PIXELS, Prepared, Preparer
from captioner.engine.static import StaticCore
from captioner.errors import ModelError
from captioner.values import Frames, GenerationOptions

PROMPT = "describe this video in detail"
CPU_SLOTS, GPU_SLOTS = (1, 4, 8, 16), (1, 8, 32, 64)

# images: every frame an image of its own; video: one video; packed: the same, laid out for our engine
Feed = Literal["images", "video", "packed"]


@dataclass(frozen=True)
class EngineSettings:
    """What to measure. Pairs are (least, most); sizes are (width, height)."""

    model: str = "100m"
    random_weights: bool = False
    device: str = "auto"
    dtype: str = "auto"
    threads: int | None = None
    num_clips: int = 24
    waves: int = 0  # a row that runs N clips at once takes at most N x waves clips; 0: all
    frames: tuple[int, int] = (16, 16)
    sizes: tuple[tuple[int, int], tuple[int, int]] = ((320, 192), (320, 192))
    new_tokens: tuple[int, int] = (20, 140)
    slots: tuple[int, ...] | None = None
    batch: int = 8
    attention: str = "auto"
    compile: bool = False
    sage: bool = False
    graphs: bool = True
    repeats: int = 1
    skip: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Job:
    """The model, the clips, and how many tokens each is to get."""

    settings: EngineSettings
    model: PreTrainedModel
    processor: ProcessorMixin
    clips: list[Frames]
    lengths: list[int]

    @property
    def device(self) -> torch.device:
        return self.model.device

    def options(self, number: int) -> GenerationOptions:
        return GenerationOptions(max_new_tokens=self.lengths[number])


@dataclass(frozen=True)
class Outcome:
    """Of one run over some clips: their tokens, and seconds from a clip's start to its first token."""

    tokens: dict[int, tuple[int, ...]]
    first_token_s: list[float]
    notes: tuple[tuple[str, str], ...] = ()  # what was active, for the report


Run = Callable[[Sequence[Prepared]], Outcome]


@dataclass(frozen=True)
class Way:
    """One way of captioning. `open` gives what runs clips, as often as wanted, and cleans up behind it."""

    name: str
    width: int  # clips at once
    feed: Feed
    open: Callable[[Job, list[Prepared]], AbstractContextManager[Run]]

    @property
    def kind(self) -> str:
        return self.name.split()[0]

    def num_clips(self, job: Job) -> int:
        return min(self.width * job.settings.waves or len(job.clips), len(job.clips))


def make_ways(settings: EngineSettings, device: torch.device) -> list[Way]:
    """All but those to skip."""
    slots = settings.slots or (GPU_SLOTS if device.type == "cuda" else CPU_SLOTS)
    ways = [
        Way("original", 1, "images", open_generate),
        Way("one video at a time", 1, "video", open_generate),
        Way(f"batch {settings.batch}", settings.batch, "video", open_batches(settings.batch)),
        *(Way(f"slots {count}", count, "packed", open_slots(count)) for count in slots),
    ]
    return [way for way in ways if way.kind not in settings.skip]


@contextmanager
def open_generate(job: Job, clips: list[Prepared]) -> Iterator[Run]:
    """One at a time through `generate`."""

    def run(clips: Sequence[Prepared]) -> Outcome:
        tokens, first_s = {}, []
        for clip in clips:
            started_s = time.perf_counter()
            watch = _FirstToken()
            tokens[clip.id] = _generate(job.model, clip, watch)
            first_s.append(watch.at_s - started_s)
        return Outcome(tokens, first_s)

    yield run


def open_batches(size: int) -> Callable[[Job, list[Prepared]], AbstractContextManager[Run]]:
    """Fixed batches of `size` through `generate`."""

    @contextmanager
    def opened(job: Job, clips: list[Prepared]) -> Iterator[Run]:
        core = StaticCore(job.model, size)
        try:
            yield lambda some: run_core(core, some, size)
        finally:
            core.close()

    return opened


def open_slots(count: int) -> Callable[[Job, list[Prepared]], AbstractContextManager[Run]]:
    """Our engine with `count` slots."""

    @contextmanager
    def opened(job: Job, clips: list[Prepared]) -> Iterator[Run]:
        settings = job.settings
        options = ContinuousOptions(
            max_slots=count,
            max_tokens=max(clip.num_prompt_tokens + clip.options.max_new_tokens for clip in clips),
            attention=settings.attention,
            compile=settings.compile,
            sage_attention=settings.sage,
            graphs=settings.graphs,
        )
        core = ContinuousCore(job.model, options)
        try:
            if core.num_slots < count:
                raise ModelError(f"only {core.num_slots} slots fit into the memory of {job.device}")
            yield lambda some: run_core(core, some, count)
        finally:
            core.close()

    return opened


def run_core(core: Core, clips: Sequence[Prepared], width: int) -> Outcome:
    """Submit all, step until all have ended. First tokens are those of the first `width` clips. Raises ModelError."""
    started_s = time.perf_counter()
    for clip in clips:
        core.submit(clip)
    first_s: dict[int, float] = {}
    tokens: dict[int, tuple[int, ...]] = {}
    while core.busy:
        for event in core.step():
            first_s.setdefault(event.id, time.perf_counter() - started_s)
            if event.error:
                raise ModelError(event.error)
            if event.finish_reason:
                tokens[event.id] = event.tokens
    return Outcome(tokens, [first_s[clip.id] for clip in clips[:width]], core.report_rows())


class _FirstToken(BaseStreamer):
    """Notes when `generate` had the first token: it hands over the prompt, and then each token."""

    def __init__(self) -> None:
        self._calls, self.at_s = 0, 0.0

    def put(self, value: Tensor) -> None:
        self._calls += 1
        if self._calls == 2:
            self.at_s = time.perf_counter()

    def end(self) -> None:
        """Part of the streamer's interface."""


@torch.inference_mode()
def _generate(model: PreTrainedModel, clip: Prepared, streamer: BaseStreamer) -> tuple[int, ...]:
    inputs = {name: tensor.to(model.device) for name, tensor in clip.inputs.items()}
    for name in inputs.keys() & set(PIXELS):
        inputs[name] = inputs[name].to(model.dtype)
    config = GenerationConfig(
        max_new_tokens=clip.options.max_new_tokens,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=model.generation_config.pad_token_id,
    )
    ids = model.generate(**inputs, generation_config=config, streamer=streamer)
    return tuple(ids[0, clip.num_prompt_tokens :].tolist())


def prepare_all(job: Job, ways: list[Way]) -> dict[Feed, list[Prepared]]:
    """What the processor makes of as many clips as the ways take."""
    counts: dict[Feed, int] = {}
    for way in ways:
        counts[way.feed] = max(counts.get(way.feed, 0), way.num_clips(job))
    feeds: dict[Feed, Callable[[Job, int], list[Prepared]]] = {"images": _images, "video": _videos, "packed": _packed}
    return {feed: feeds[feed](job, count) for feed, count in counts.items()}


def _videos(job: Job, count: int) -> list[Prepared]:
    preparer = Preparer(job.processor)
    return [preparer.prepare(i, clip, PROMPT, job.options(i)) for i, clip in enumerate(job.clips[:count])]


def _packed(job: Job, count: int) -> list[Prepared]:
    core = ContinuousCore(job.model)
    preparer = Preparer(job.processor, core.layout, pin=job.device.type == "cuda")
    prepared = [preparer.prepare(i, clip, PROMPT, job.options(i)) for i, clip in enumerate(job.clips[:count])]
    core.close()
    return prepared


def _images(job: Job, count: int) -> list[Prepared]:
    """As a message of many pictures."""
    processor, prepared = job.processor, []
    for number, clip in enumerate(job.clips[:count]):
        parts = [*[{"type": "image"}] * len(clip.pixels), {"type": "text", "text": PROMPT}]
        chat = [{"role": "user", "content": parts}]
        text = processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        images = [torch.from_numpy(frame).permute(2, 0, 1) for frame in clip.pixels]
        inputs = processor(text=[text], images=[images], return_tensors="pt")
        tensors = {name: value for name, value in inputs.items() if isinstance(value, Tensor)}
        prepared.append(Prepared(number, tensors, job.options(number)))
    return prepared


def shortened(clip: Prepared, new_tokens: int) -> Prepared:
    return dataclasses.replace(clip, options=GenerationOptions(max_new_tokens=new_tokens))
