"""The protocol of an engine core, and what a core returns after a step."""

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from transformers import PreTrainedModel

from captioner.engine.prepare import Layout, Prepared

FinishReason = Literal["stop", "length", "cancelled", "error", "memory"]


@dataclass(frozen=True)
class StepEvent:
    """The state of one request after a step; its tokens (without the end token) and the reason once it has ended.

    The reason "memory" means that it did not fit even alone; it may be tried again with fewer frames.
    """

    id: int
    num_tokens: int
    tokens: tuple[int, ...] = ()
    finish_reason: FinishReason | None = None
    error: str = ""


class Core(Protocol):
    """One model on one device. A core starts no I/O, and one thread calls submit, cancel and step."""

    @property
    def layout(self) -> Layout | None:
        """The function that a Preparer for this core needs; any thread may call it."""

    @property
    def num_slots(self) -> int:
        """How many requests can run at once."""

    @property
    def num_running(self) -> int:
        """How many requests are running."""

    @property
    def num_waiting(self) -> int:
        """How many submitted requests have not begun."""

    @property
    def busy(self) -> bool:
        """True if step() has work to do or events to return."""

    def ready(self, more_coming: bool) -> bool:
        """Return True if step() should be called now instead of waiting for more requests."""

    def announce_longest(self, max_tokens: int) -> None:
        """Announce the length of the longest coming request: prompt + caption, 0 = unknown.

        Memory is planned for it the next time that nothing runs.
        """

    def submit(self, request: Prepared) -> None:
        """Queue a request; step() ends it with exactly one event that has a finish_reason."""

    def cancel(self, request_id: int) -> None:
        """End a request at the next step; its tokens are a prefix of the full caption."""

    def step(self) -> list[StepEvent]:
        """Generate one more token for each running request.

        Raises only if the device or the model can no longer be used.
        """

    def close(self) -> None:
        """Drop all requests and free the device memory except the model's weights."""

    def report_rows(self) -> tuple[tuple[str, str], ...]:
        """Return (label, text) rows for the capability report: what is active, and why other features are not."""


def use_device(device: torch.device) -> None:
    """Make a CUDA device this thread's current one: graph captures and Triton kernels use it, whatever the tensors."""
    if device.type == "cuda":
        torch.cuda.set_device(device)


def is_device_error(error: Exception) -> bool:
    """Return True if the device cannot be used in this process after this error."""
    return isinstance(error, getattr(torch, "AcceleratorError", ())) or "CUDA error" in str(error)


def end_tokens(model: PreTrainedModel) -> tuple[int, ...]:
    """Return the end tokens in the model's generation config, or none."""
    eos = model.generation_config.eos_token_id
    return tuple(eos) if isinstance(eos, list) else (eos,) if eos is not None else ()


def describe_failure(error: Exception) -> str:
    """Return one line for the user about why a request failed."""
    if isinstance(error, torch.OutOfMemoryError):
        return "out of device memory; lower frame_size, max_frames or batch_size"
    return f"the model failed: {first_line(error)}"


def first_line(error: Exception, max_characters: int = 300) -> str:
    """Return the error's type and the first line of its message."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:max_characters]}"
