"""Spans: the part of each clip that will be trained for a target, so that its caption is about nothing else."""

from dataclasses import replace

from captioner.dataset.targets import Target
from captioner.errors import SettingsError
from captioner.media.spans import Span, spans
from captioner.values import SamplePlan, SpanMode


def trained_spans(duration_s: float, target: Target, mode: SpanMode = "target") -> list[Span]:
    """Return the parts of a clip that are trained. "target" is what most trainers do: the first frames of the target.

    A clip is trained whole if the target says nothing of frames, and as an image by an image model.
    """
    frames = target.frames.default if target.frames else 0
    return spans(duration_s, frames, target.fps or 0.0, mode)


def with_span(plan: SamplePlan, mode: SpanMode, target: Target) -> SamplePlan:
    """Return the plan for the frames of a span. Raise SettingsError if the target does not say how long it is."""
    if mode in ("none", "whole"):
        return replace(plan, span=mode)
    if not target.frames or not target.fps:
        raise SettingsError(f"span {mode} needs a target that trains clips; choose one, such as --target wan2.2")
    return replace(plan, span=mode, span_frames=target.frames.default, span_fps=target.fps)
