"""The variants of captioning that `bench engine` compares, and the input of each."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel, ProcessorMixin
from transformers.generation.streamers import BaseStreamer

from captioner.cli.bench.roofline import Device
from captioner.engine.chat import chat_prompt
from captioner.engine.continuous import ContinuousCore, ContinuousOptions
from captioner.engine.core import Core
from captioner.engine.prepare import PIXELS, Prepared, Preparer
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
    """The model, the clips, the number of tokens of each caption, and the speed of the device."""

    settings: EngineSettings
    model: PreTrainedModel
    processor: ProcessorMixin
    clips: list[Frames]
    lengths: list[int]
    speed: Device

    @property
    def device(self) -> torch.device:
        return self.model.device


@dataclass(frozen=True)
class Outcome:
    """The tokens of each clip in one run, and the seconds from a clip's start to its first token."""

    tokens: dict[int, tuple[int, ...]]
    first_token_s: list[float]
    notes: tuple[tuple[str, str], ...] = ()  # the core's report rows


Run = Callable[[Sequence[Prepared]], Outcome]


@dataclass(frozen=True)
class Variant:
    """One variant of captioning: through the core that `make_core` makes, or through `generate`, one clip at a time."""

    name: str
    width: int  # clips at once
    feed: Feed
    make_core: Callable[[Workload, list[Prepared], int], Core] | None = None

    def num_clips(self, workload: Workload) -> int:
        """Return how many clips this variant captions."""
        return min(self.width * workload.settings.waves or len(workload.clips), len(workload.clips))

    @contextmanager
    def open(self, workload: Workload, clips: list[Prepared]) -> Iterator[Run]:
        """Yield a function that runs some of these clips, any number of times."""
        if self.make_core is None:
            yield lambda some: run_generate(workload.model, some)
            return
        with closing(self.make_core(workload, clips, self.width)) as core:
            yield lambda some: run_core(core, some, self.width)


def make_variants(settings: EngineSettings, device: torch.device) -> list[Variant]:
    """Return all variants except those to skip."""
    slots = settings.slots or (GPU_SLOTS if device.type == "cuda" else CPU_SLOTS)
    variants = [
        Variant("original", 1, "images"),
        Variant("one video at a time", 1, "video"),
        Variant(f"batch {settings.batch}", settings.batch, "video", make_static),
        *(Variant(f"slots {count}", count, "packed", make_continuous) for count in slots),
    ]
    return [variant for variant in variants if variant.name.split()[0] not in settings.skip]


def make_static(workload: Workload, clips: list[Prepared], width: int) -> Core:
    """Return a core for fixed batches."""
    return StaticCore(workload.model, width)


def make_continuous(workload: Workload, clips: list[Prepared], width: int) -> Core:
    """Return a core with slots for these clips. Raises ModelError if fewer than `width` fit into the memory."""
    settings = workload.settings
    longest = max(clip.num_prompt_tokens + clip.options.max_new_tokens for clip in clips)
    options = ContinuousOptions(
        width, longest, settings.attention, settings.compile, settings.sage, graphs=settings.graphs
    )
    core = ContinuousCore(workload.model, options)
    if core.num_slots < width:
        core.close()
        raise ModelError(f"only {core.num_slots} slots fit into the memory of {workload.device}")
    return core


@torch.inference_mode()
def run_generate(model: PreTrainedModel, clips: Sequence[Prepared]) -> Outcome:
    """Run one clip at a time through `generate`."""
    generate = cast(Callable[..., Tensor], model.generate)  # torch types it as a Tensor or Module
    pad = model.generation_config.pad_token_id
    tokens, first_s = {}, []
    for clip in clips:
        started_s, watch, length = time.perf_counter(), _FirstToken(), clip.options.max_new_tokens
        inputs = {name: tensor.to(model.device) for name, tensor in clip.inputs.items()}
        for name in inputs.keys() & set(PIXELS):
            inputs[name] = inputs[name].to(model.dtype)
        config = GenerationConfig(max_new_tokens=length, do_sample=False, eos_token_id=None, pad_token_id=pad)
        ids = generate(**inputs, generation_config=config, streamer=watch)
        tokens[clip.id] = tuple(ids[0, clip.num_prompt_tokens :].tolist())
        first_s.append(watch.at_s - started_s)
    return Outcome(tokens, first_s)


def run_core(core: Core, clips: Sequence[Prepared], width: int) -> Outcome:
    """Caption all clips; the times to the first token are those of the first `width`. Raises ModelError."""
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


def prepare_all(workload: Workload, variants: list[Variant]) -> dict[Feed, list[Prepared]]:
    """Prepare as many clips as the variants need, for each kind of input."""
    counts: dict[Feed, int] = {}
    for variant in variants:
        counts[variant.feed] = max(counts.get(variant.feed, 0), variant.num_clips(workload))
    return {
        feed: _images(workload, count) if feed == "images" else _videos(workload, count, feed == "packed")
        for feed, count in counts.items()
    }


def _videos(workload: Workload, count: int, packed: bool) -> list[Prepared]:
    core = ContinuousCore(workload.model) if packed else None
    pin = packed and workload.device.type == "cuda"
    preparer = Preparer(workload.processor, core.layout if core else None, pin)
    options = [GenerationOptions(max_new_tokens=length) for length in workload.lengths[:count]]
    prepared = [preparer.prepare(i, workload.clips[i], PROMPT, options[i]) for i in range(count)]
    if core:
        core.close()
    return prepared


def _images(workload: Workload, count: int) -> list[Prepared]:
    """Prepare clips as messages of many images."""
    prepared = []
    for number, clip in enumerate(workload.clips[:count]):
        parts = [*[{"type": "image"}] * len(clip.pixels), {"type": "text", "text": PROMPT}]
        images = [torch.from_numpy(frame).permute(2, 0, 1) for frame in clip.pixels]
        text = chat_prompt(workload.processor, parts)
        inputs = workload.processor(text=[text], images=[images], return_tensors="pt")
        tensors = {name: value for name, value in inputs.items() if isinstance(value, Tensor)}
        prepared.append(Prepared(number, tensors, GenerationOptions(max_new_tokens=workload.lengths[number])))
    return prepared
