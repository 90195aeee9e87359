"""The variants of captioning that `bench engine` compares, and the input of each."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel, ProcessorMixin
from transformers.generation.streamers import BaseStreamer

from captioner.engine.continuous import ContinuousCore, ContinuousOptions
from captioner.engine.core import Core
from captioner.engine.prepare import PIXELS, Prepared, Preparer, chat_prompt
from captioner.engine.static import StaticCore
from captioner.errors import ModelError
from captioner.values import Frames, GenerationOptions

PROMPT = "describe this video in detail"
CPU_SLOTS, GPU_SLOTS = (1, 4, 8, 16), (1, 8, 32, 64)

# images: every frame as an image; video: one video; packed: one video with the layout for the continuous core
Feed = Literal["images", "video", "packed"]


@dataclass(frozen=True)
class EngineSettings:
    """The measurement to make. Pairs are (min, max); sizes are (width, height)."""

    model: str = "100m"
    random_weights: bool = False
    device: str = "auto"
    dtype: str = "auto"
    threads: int | None = None
    num_clips: int = 24
    waves: int = 0  # a variant that runs N clips at once captions at most N x waves clips; 0: all
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
class Workload:
    """The model, the clips, and the number of tokens of each caption."""

    settings: EngineSettings
    model: PreTrainedModel
    processor: ProcessorMixin
    clips: list[Frames]
    lengths: list[int]

    @property
    def device(self) -> torch.device:
        return self.model.device

    def options(self, number: int) -> GenerationOptions:
        """Return the options for one clip."""
        return GenerationOptions(max_new_tokens=self.lengths[number])


@dataclass(frozen=True)
class Outcome:
    """The tokens of each clip in one run, and the seconds from a clip's start to its first token."""

    tokens: dict[int, tuple[int, ...]]
    first_token_s: list[float]
    notes: tuple[tuple[str, str], ...] = ()  # the core's report rows


Run = Callable[[Sequence[Prepared]], Outcome]


@dataclass(frozen=True)
class Variant:
    """One variant of captioning. `open` gives a function that runs clips any number of times, then cleans up."""

    name: str
    width: int  # clips at once
    feed: Feed
    open: Callable[[Workload, list[Prepared]], AbstractContextManager[Run]]

    @property
    def kind(self) -> str:
        """The first word of the name, which --skip accepts."""
        return self.name.split()[0]

    def num_clips(self, workload: Workload) -> int:
        """Return how many clips this variant captions."""
        return min(self.width * workload.settings.waves or len(workload.clips), len(workload.clips))


def make_variants(settings: EngineSettings, device: torch.device) -> list[Variant]:
    """Return all variants except those to skip."""
    slots = settings.slots or (GPU_SLOTS if device.type == "cuda" else CPU_SLOTS)
    variants = [
        Variant("original", 1, "images", open_generate),
        Variant("one video at a time", 1, "video", open_generate),
        Variant(f"batch {settings.batch}", settings.batch, "video", open_batches(settings.batch)),
        *(Variant(f"slots {count}", count, "packed", open_slots(count)) for count in slots),
    ]
    return [variant for variant in variants if variant.kind not in settings.skip]


@contextmanager
def open_generate(workload: Workload, clips: list[Prepared]) -> Iterator[Run]:
    """Run one clip at a time through `generate`."""

    def run(clips: Sequence[Prepared]) -> Outcome:
        tokens, first_s = {}, []
        for clip in clips:
            started_s = time.perf_counter()
            watch = _FirstToken()
            tokens[clip.id] = _generate(workload.model, clip, watch)
            first_s.append(watch.at_s - started_s)
        return Outcome(tokens, first_s)

    yield run


def open_batches(size: int) -> Callable[[Workload, list[Prepared]], AbstractContextManager[Run]]:
    """Return an `open` for fixed batches of `size` through `generate`."""

    @contextmanager
    def opened(workload: Workload, clips: list[Prepared]) -> Iterator[Run]:
        core = StaticCore(workload.model, size)
        try:
            yield lambda some: run_core(core, some, size)
        finally:
            core.close()

    return opened


def open_slots(count: int) -> Callable[[Workload, list[Prepared]], AbstractContextManager[Run]]:
    """Return an `open` for the continuous core with `count` slots."""

    @contextmanager
    def opened(workload: Workload, clips: list[Prepared]) -> Iterator[Run]:
        settings = workload.settings
        options = ContinuousOptions(
            max_slots=count,
            max_tokens=max(clip.num_prompt_tokens + clip.options.max_new_tokens for clip in clips),
            attention=settings.attention,
            compile=settings.compile,
            sage_attention=settings.sage,
            graphs=settings.graphs,
        )
        core = ContinuousCore(workload.model, options)
        try:
            if core.num_slots < count:
                raise ModelError(f"only {core.num_slots} slots fit into the memory of {workload.device}")
            yield lambda some: run_core(core, some, count)
        finally:
            core.close()

    return opened


def run_core(core: Core, clips: Sequence[Prepared], width: int) -> Outcome:
    """Submit all clips and step until all have ended.

    The times to the first token are those of the first `width` clips. Raises ModelError.
    """
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
    """Records the time of the first token: `generate` passes the prompt, then each token."""

    def __init__(self) -> None:
        self._calls, self.at_s = 0, 0.0

    def put(self, value: Tensor) -> None:
        self._calls += 1
        if self._calls == 2:
            self.at_s = time.perf_counter()

    def end(self) -> None:
        """Do nothing; the streamer's interface requires this method."""


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
    generate = cast(Callable[..., Tensor], model.generate)  # torch types it as a Tensor or Module
    ids = generate(**inputs, generation_config=config, streamer=streamer)
    return tuple(ids[0, clip.num_prompt_tokens :].tolist())


def prepare_all(workload: Workload, variants: list[Variant]) -> dict[Feed, list[Prepared]]:
    """Prepare as many clips as the variants need, for each kind of input."""
    counts: dict[Feed, int] = {}
    for variant in variants:
        counts[variant.feed] = max(counts.get(variant.feed, 0), variant.num_clips(workload))
    feeds: dict[Feed, Callable[[Workload, int], list[Prepared]]] = {
        "images": _images,
        "video": _videos,
        "packed": _packed,
    }
    return {feed: feeds[feed](workload, count) for feed, count in counts.items()}


def _videos(workload: Workload, count: int) -> list[Prepared]:
    preparer = Preparer(workload.processor)
    return [preparer.prepare(i, clip, PROMPT, workload.options(i)) for i, clip in enumerate(workload.clips[:count])]


def _packed(workload: Workload, count: int) -> list[Prepared]:
    core = ContinuousCore(workload.model)
    preparer = Preparer(workload.processor, core.layout, pin=workload.device.type == "cuda")
    prepared = [preparer.prepare(i, clip, PROMPT, workload.options(i)) for i, clip in enumerate(workload.clips[:count])]
    core.close()
    return prepared


def _images(workload: Workload, count: int) -> list[Prepared]:
    """Prepare clips as messages of many images."""
    processor, prepared = workload.processor, []
    for number, clip in enumerate(workload.clips[:count]):
        parts = [*[{"type": "image"}] * len(clip.pixels), {"type": "text", "text": PROMPT}]
        text = chat_prompt(processor, parts)
        images = [torch.from_numpy(frame).permute(2, 0, 1) for frame in clip.pixels]
        inputs = processor(text=[text], images=[images], return_tensors="pt")
        tensors = {name: value for name, value in inputs.items() if isinstance(value, Tensor)}
        prepared.append(Prepared(number, tensors, workload.options(number)))
    return prepared


def shortened(clip: Prepared, new_tokens: int) -> Prepared:
    """Return a copy whose caption has `new_tokens` tokens."""
    return dataclasses.replace(clip, options=GenerationOptions(max_new_tokens=new_tokens))
