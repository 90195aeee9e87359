"""Turn frames and a prompt into a model's input tensors, on the CPU and in the decode threads."""

import copy
import inspect
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import ProcessorMixin

from captioner.engine.chat import chat_prompt, check_prompt, media_of, special_tokens
from captioner.engine.isolation import one_line
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
        mean, std = (torch.tensor(x, device=patches.device)[:, None] for x in (self.mean, self.std))
        return patches.float().unflatten(1, (len(self.mean), -1)).sub_(mean).div_(std).flatten(1)


@dataclass(frozen=True, eq=False)
class Prepared:
    """One request, ready for the device. The first dimension of every tensor is a batch of 1, or the patches."""

    id: int
    inputs: dict[str, Tensor]  # the processor's output, including input_ids (1, L)
    options: GenerationOptions
    layout: dict[str, Tensor] = field(default_factory=dict)  # the result of Core.layout
    scale: PixelScale | None = None  # None: the pixels are float32 already

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
        self._special_tokens = special_tokens(processor)

    def prepare(self, request_id: int, frames: Frames, prompt: str, options: GenerationOptions) -> Prepared:
        """Prepare a clip as one video with its true times, or a single frame as an image. Raises ModelError."""
        check_prompt(prompt, self._special_tokens)
        processor = self._own_processor()
        as_images = len(frames.pixels) == 1 or self._video_options is None
        if as_images:
            parts = [{"type": "image"}] * len(frames.pixels)
            media: dict[str, Any] = {"images": [[torch.from_numpy(frame).permute(2, 0, 1) for frame in frames.pixels]]}
        else:
            parts, media = [{"type": "video"}], self._video(frames)
        if self._layout:
            media |= {"do_rescale": False, "do_normalize": False}
        text = chat_prompt(processor, [*parts, {"type": "text", "text": prompt}])
        with one_line("the model's processor refused the frames", "the model"):
            inputs = processor(text=[text], return_tensors="pt", **media)
        tensors = {k: v for k, v in inputs.items() if isinstance(v, Tensor)}
        if not self._layout:
            return Prepared(request_id, tensors, options)
        kind = processor.image_processor if as_images else processor.video_processor
        scale = _pixel_scale(kind.image_mean, kind.image_std, kind.rescale_factor)
        layout = self._layout(tensors)
        if self._pin:  # page-locked pixels are copied to a GPU asynchronously; the others are joined before the copy
            tensors |= {name: tensors[name].pin_memory() for name in PIXELS if name in tensors}
        return Prepared(request_id, tensors, options, layout, scale)

    def _video(self, frames: Frames) -> dict[str, Any]:
        fps, ticks = frames.clock
        count = ticks[-1] + 1
        metadata = {"fps": fps, "frames_indices": ticks, "total_num_frames": count, "duration": count / fps}
        pixels = torch.from_numpy(frames.pixels).permute(0, 3, 1, 2)  # (T, 3, H, W)
        return {"videos": [[pixels]], "video_metadata": [metadata], **(self._video_options or {})}

    def _own_processor(self) -> ProcessorMixin:
        # A fast tokenizer raises "Already borrowed" when two threads use one object.
        if not hasattr(self._local, "processor"):
            with self._copying:
                self._local.processor = copy.deepcopy(self._processor)
        return self._local.processor


def _pixel_scale(means: list[float], stds: list[float], rescale_factor: float) -> PixelScale:
    """Combine rescaling and normalization in float32, as the installed processors do."""
    mean, std = (torch.tensor(x) * (1.0 / rescale_factor) for x in (means, stds))
    return PixelScale(tuple(mean.tolist()), tuple(std.tolist()))


def video_options(processor: ProcessorMixin) -> dict[str, bool] | None:
    """Return the keywords for a video whose frames are already sampled, or None if the processor takes only images."""
    video_processor = getattr(processor, "video_processor", None)
    if video_processor is None:
        return None
    known = {"do_sample_frames", *inspect.get_annotations(getattr(type(video_processor), "valid_kwargs", object))}
    # the default of the second differs between releases, and some do not know it
    return {name: False for name in ("do_sample_frames", "cap_pixels_per_frame") if name in known}


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
    if a.inputs.keys() != b.inputs.keys():
        return False
    prompt = a.inputs["input_ids"].shape
    return all(x.shape == prompt or x.shape[1:] == b.inputs[name].shape[1:] for name, x in a.inputs.items())
