"""The settings as what a request for a caption takes: which frames to show, and how to write."""

from typing import TypeVar

from captioner.config.presets import Preset
from captioner.config.settings import Settings
from captioner.values import GenerationOptions, SamplePlan

Number = TypeVar("Number", int, float)


def sampling_plan(settings: Settings, preset: Preset) -> SamplePlan:
    """Return which frames to take, with the frame size limited to what the model supports."""
    frame_size = min(settings.frame_size, preset.max_frame_size or settings.frame_size)
    min_frames = min(SamplePlan.min_frames, settings.max_frames)
    return SamplePlan(settings.max_frames, settings.fps, min_frames, frame_size)


def generation_options(settings: Settings, preset: Preset) -> GenerationOptions:
    """Return how to write a caption, with the model's recommended value for each option that is not set."""
    temperature = _or(settings.temperature, preset.temperature)
    top_p, top_k = _or(settings.top_p, preset.top_p), _or(settings.top_k, preset.top_k)
    repetition_penalty = _or(settings.repetition_penalty, preset.repetition_penalty)
    return GenerationOptions(
        settings.max_new_tokens, temperature, top_p, top_k, repetition_penalty, settings.seed, settings.thinking_budget
    )


def _or(value: Number | None, recommended: Number) -> Number:
    return recommended if value is None else value
