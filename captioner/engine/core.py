"""What every engine core offers, and what it says after a step."""

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from transformers import PreTrainedModel

from captioner.engine.prepare import Layout, Prepared

FinishReason = Literal["stop", "length", "cancelled", "error", "memory"]


@dataclass(frozen=True)
class StepEvent:
    """One request after a step: how many tokens it has; when it ended also which, without the end token, and why.

    "memory": it did not fit even alone, and may be tried again with fewer frames.
    """

    id: int
    num_tokens: int
    tokens: tuple[int, ...] = ()
    finish_reason: FinishReason | None = None
    error: str = ""


class Core(Protocol):
    """One model on one device. No threads and no I/O of its own: one owner calls submit, cancel and step."""

    num_slots: int  # requests it can run at once
    num_running: int
    num_waiting: int  # submitted, not yet begun
    layout: Layout | None  # for the Preparer that feeds it

    @property
    def busy(self) -> bool:
        """Whether step() has anything to do or to tell."""

    def ready(self, more_coming: bool) -> bool:
        """Whether step() is worth calling now, or rather when more requests have been submitted."""

    def announce_longest(self, max_tokens: int) -> None:
        """Of the longest request to come, prompt and caption; 0: unknown. Memory is planned by it when nothing runs."""

    def submit(self, request: Prepared) -> None:
        """Queue a request; step() ends it with exactly one event that has a finish_reason."""

    def cancel(self, request_id: int) -> None:
        """End a request at the next step; its tokens so far are a prefix of what it would have written."""

    def step(self) -> list[StepEvent]:
        """One more token for each running request. Raises only when the device or the model is beyond repair."""

    def close(self) -> None:
        """Forget all requests and give back the device's memory, but for the model's own."""

    def report_rows(self) -> tuple[tuple[str, str], ...]:
        """(label, text) for the capability report: what is active, and what is not and why."""


def use_device(device: torch.device) -> None:
    """Make it the current device of this thread: captures and Triton kernels go there, wherever their tensors are."""
    if device.type == "cuda":
        torch.cuda.set_device(device)


def is_device_error(error: Exception) -> bool:
    """One after which the device answers nothing any more in this process."""
    return isinstance(error, getattr(torch, "AcceleratorError", ())) or "CUDA error" in str(error)


def end_tokens(model: PreTrainedModel) -> tuple[int, ...]:
    """Of the model's generation config; empty when it has none."""
    eos = model.generation_config.eos_token_id
    return tuple(eos) if isinstance(eos, list) else (eos,) if eos is not None else ()


def describe_failure(error: Exception) -> str:
    """Why a request failed, fit to show."""
    if isinstance(error, torch.OutOfMemoryError):
        return "out of device memory; lower frame_size, max_frames or batch_size"
    return f"the model failed: {first_line(error)}"


def first_line(error: Exception, max_characters: int = 300) -> str:
    """Its type and the first line of what it says."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:max_characters]}"
