"""Turn frames and a prompt into a model's input tensors, on the CPU and in the decode threads."""

import contextlib
import copy
import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import ProcessorMixin

from captioner.engine.chat import chat_prompt, check_prompt, media_of, special_tokens
from captioner.engine.isolation import one_line
from captioner.engine.scoring import AnswerIds, answer_ids
from captioner.engine.thinking import ThinkingMarks
from captioner.engine.video_inputs import video_inputs, video_options
from captioner.errors import ModelError
from captioner.values import Frames, GenerationOptions

PIXELS = ("pixel_values", "pixel_values_videos")
Layout = Callable[[dict[str, Tensor]], dict[str, Tensor]]  # see PackedModel.layout


@dataclass(frozen=True)
class PixelScale:
    """The processor's scaling of colors: (x - mean) / std, with a mean and std for each channel in units of 0..255."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def apply(self, patches: Tensor) -> Tensor:
        """Scale uint8 (P, channels * patch) to float32 of the same shape, bitwise equal to the processor's result."""
        mean, std = (_column(values, patches.device) for values in (self.mean, self.std))
        return patches.float().unflatten(1, (len(self.mean), -1)).sub_(mean).div_(std).flatten(1)


@functools.lru_cache(maxsize=16)  # a copy to a GPU would wait for all that it computes
def _column(values: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(values, device=device)[:, None]


@dataclass(frozen=True, eq=False)
class Prepared:
    """One request, ready for the device. The first dimension of every tensor is a batch of 1, or the patches."""

    id: int
    inputs: dict[str, Tensor]  # the processor's output, including input_ids (1, L)
    options: GenerationOptions
    layout: dict[str, Tensor] = field(default_factory=dict)  # the result of Core.layout
    scale: PixelScale | None = None  # None: the pixels are float32 already
    alone: bool = False  # its tensors cannot be joined with those of others
    marks: ThinkingMarks | None = None  # of the model; None: thinking is not watched
    answer_ids: AnswerIds = ()  # of a request that scores

    @property
    def num_prompt_tokens(self) -> int:
        """The length of the prompt, visual tokens included."""
        return self.inputs["input_ids"].shape[1]


class Preparer:
    """Calls the model's own processor. Safe to use from several threads: each gets a copy of the processor.

    With a core's `layout`, pixels stay uint8, a quarter of the bytes to keep and copy, and are scaled on the device.
    """

    def __init__(self, processor: ProcessorMixin, layout: Layout | None = None, pin: bool = False) -> None:
        self._processor, self._layout, self._pin = processor, layout, pin
        self._local = threading.local()
        self._copying = threading.Lock()
        self._video_options = video_options(processor) if "video" in media_of(processor) else None
        self._special_tokens, self._marks = special_tokens(processor), ThinkingMarks(processor)
        # For batches, of clips (True) and of images: what two requests become is tried once for each.
        self._joins = {clips: layout is None and self._can_join(1 + clips) for clips in (True, False)}

    def prepare(self, request_id: int, frames: Frames, prompt: str, options: GenerationOptions) -> Prepared:
        """Prepare a clip as one video with its true times, or a single frame as an image. Raises ModelError."""
        check_prompt(prompt, self._special_tokens)
        processor = self._own_processor()
        text, media = self._ask(processor, frames, prompt, options.thinking_budget)
        ids: AnswerIds = ()
        if options.scores:  # the answer is read right behind the prompt, so a template that opens thinking is closed
            text, ids = text + self._marks.opened_by_prompt(False), self._answer_ids
        if self._layout:
            media |= {"do_rescale": False, "do_normalize": False}
        tensors = _call(processor, [text], media)
        if not self._layout:
            alone = not self._joins[len(frames.pixels) > 1]
            return Prepared(request_id, tensors, options, alone=alone, marks=self._marks, answer_ids=ids)
        kind = processor.image_processor if "images" in media else processor.video_processor
        scale = _pixel_scale(kind.image_mean, kind.image_std, kind.rescale_factor)
        layout = self._layout(tensors)
        if self._pin:  # page-locked pixels are copied to a GPU asynchronously; the others are joined before the copy
            tensors |= {name: tensors[name].pin_memory() for name in PIXELS if name in tensors}
        return Prepared(request_id, tensors, options, layout, scale, marks=self._marks, answer_ids=ids)

    def _ask(
        self, processor: ProcessorMixin, frames: Frames, prompt: str, thinking_budget: int | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Return the text and the processor's keywords for the frames."""
        if len(frames.pixels) == 1 or self._video_options is None:
            parts = [{"type": "image"}] * len(frames.pixels)
            media: dict[str, Any] = {"images": [[torch.from_numpy(frame).permute(2, 0, 1) for frame in frames.pixels]]}
        else:
            parts, media = [{"type": "video"}], video_inputs(processor, self._video_options, frames)
        return chat_prompt(processor, [*parts, {"type": "text", "text": prompt}], thinking_budget), media

    @functools.cached_property
    def _answer_ids(self) -> AnswerIds:
        return answer_ids(self._processor.tokenizer)

    def _can_join(self, num_frames: int) -> bool:
        """Return True if `collate` makes of two requests what the processor makes of both at once.

        It does not if a tensor counts the patches of all requests, as Molmo2's, or packs them in another dimension.
        """
        noise, steps = np.random.default_rng(0), np.arange(num_frames)
        clips = [Frames(noise.integers(0, 256, (num_frames, 64, 64, 3), np.uint8), steps / 2, steps, 2.0) for _ in "ab"]
        with contextlib.suppress(ModelError):
            (text, one), (_, other) = (self._ask(self._processor, clip, "Describe this.") for clip in clips)
            both = {name: x + other[name] if isinstance(x, list) else x for name, x in one.items()}
            wanted = _call(self._processor, [text, text], both)
            alone = [Prepared(0, _call(self._processor, [text], media), GenerationOptions()) for media in (one, other)]
            joined = collate(alone, 0) if can_share_batch(*alone) else {}
            return joined.keys() == wanted.keys() and all(torch.equal(joined[name], wanted[name]) for name in wanted)
        return False

    def _own_processor(self) -> ProcessorMixin:
        # A fast tokenizer raises "Already borrowed" when two threads use one object.
        if not hasattr(self._local, "processor"):
            with self._copying:
                self._local.processor = copy.deepcopy(self._processor)
        return self._local.processor


def _call(processor: ProcessorMixin, texts: list[str], media: dict[str, Any]) -> dict[str, Tensor]:
    # Cosmos3's own call leaves out what its model needs.
    kinds = {"return_mm_token_type_ids": True} if "mm_token_type_ids" in processor.model_input_names else {}
    with one_line("the model's processor refused the frames", "the model"):
        inputs = processor(text=texts, return_tensors="pt", **kinds, **media)
    return {name: value for name, value in inputs.items() if isinstance(value, Tensor)}


def _pixel_scale(means: list[float], stds: list[float], rescale_factor: float) -> PixelScale:
    """Combine rescaling and normalization in float32, as the installed processors do."""
    mean, std = (torch.tensor(x) * (1.0 / rescale_factor) for x in (means, stds))
    return PixelScale(tuple(mean.tolist()), tuple(std.tolist()))


def collate(batch: list[Prepared], pad_token_id: int) -> dict[str, Tensor]:
    """Left-pad the tensors of prompt length to (B, L_max); concatenate pixels and grids of all requests."""
    longest = max(p.num_prompt_tokens for p in batch)
    merged = {}
    for name in batch[0].inputs:
        tensors = [p.inputs[name] for p in batch]
        if all(t.shape == p.inputs["input_ids"].shape for t, p in zip(tensors, batch, strict=True)):
            fill = pad_token_id if name == "input_ids" else 0
            tensors = [torch.nn.functional.pad(t, (longest - t.shape[1], 0), value=fill) for t in tensors]
        merged[name] = torch.cat(tensors)
    return merged


def can_share_batch(a: Prepared, b: Prepared) -> bool:
    """Return True if `collate` can batch both: they have the same tensors, unlike an image and a clip of Qwen's."""
    if a.alone or b.alone or a.inputs.keys() != b.inputs.keys():
        return False
    prompt = a.inputs["input_ids"].shape
    return all(x.shape == prompt or x.shape[1:] == b.inputs[name].shape[1:] for name, x in a.inputs.items())
