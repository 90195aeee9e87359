"""The interface of an engine core, what it returns after a step, and what all cores share."""

from collections import deque
from typing import Literal, NamedTuple, Protocol

import torch
from transformers import PreTrainedModel

from captioner.engine.prepare import Layout, Prepared
from captioner.formatting import first_line

FinishReason = Literal["stop", "length", "scored", "cancelled", "error", "memory"]  # memory: too large even alone


class StepEvent(NamedTuple):
    """The state of one request after a step; its tokens (without the end token) and the reason once it has ended."""

    id: int
    num_tokens: int
    tokens: tuple[int, ...] = ()
    finish_reason: FinishReason | None = None
    error: str = ""
    probabilities: tuple[float, ...] = ()  # of scoring.ANSWERS, if it was only scored


class Core(Protocol):
    """One model on one device and its requests. A core starts no I/O, and one thread calls submit, cancel and step."""

    _eos: tuple[int, ...]
    _waiting: deque[Prepared]
    _events: list[StepEvent]  # the next step returns them

    def __init__(self, model: PreTrainedModel) -> None:
        use_device(model.device)
        eos = model.generation_config.eos_token_id
        self._eos = tuple(eos) if isinstance(eos, list) else () if eos is None else (eos,)
        self._waiting, self._events = deque(), []

    @property
    def layout(self) -> Layout | None:
        """The function that a Preparer for this core needs; any thread may call it."""
        return None

    @property
    def num_slots(self) -> int:
        """The number of requests that can run at once."""

    @property
    def num_running(self) -> int:
        """The number of running requests."""

    @property
    def num_waiting(self) -> int:
        """The number of submitted requests that have not begun."""
        return len(self._waiting)

    @property
    def busy(self) -> bool:
        """True if step() has work to do or events to return."""

    def ready(self, more_coming: bool) -> bool:
        """Return True if step() should be called now instead of waiting for more requests."""

    def announce_longest(self, max_tokens: int) -> None:
        """Plan for requests of up to this length (prompt + caption, 0: unknown) the next time that nothing runs."""
        return

    def submit(self, request: Prepared) -> None:
        """Queue a request; step() ends it with exactly one event that has a finish_reason."""
        self._waiting.append(request)

    def cancel(self, request_id: int) -> None:
        """End a request at the next step; its tokens are a prefix of the full caption."""
        for request in self._waiting:
            if request.id == request_id:
                self._waiting.remove(request)
                self._events.append(StepEvent(request_id, 0, (), "cancelled"))
                return
        self._cancel_running(request_id)

    def _cancel_running(self, request_id: int) -> None: ...

    def step(self) -> list[StepEvent]:
        """Generate one more token for each running request. Raises only if the device or model is lost."""

    def close(self) -> None:
        """Drop all requests and free the device memory except the model's weights."""

    def report_rows(self) -> tuple[tuple[str, str], ...]:
        """Return (label, text) rows for the capability report: what is active, and why other features are not."""


def use_device(device: torch.device) -> None:
    """Make a CUDA device this thread's current one: graph captures and Triton kernels use it, whatever the tensors."""
    if device.type == "cuda":
        torch.cuda.set_device(device)


def release_unused(device: torch.device) -> None:
    """Return torch's unused blocks to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def avoid_attention_plans() -> None:
    """Keep torch's attention from cuDNN, which spends 23 to 70 ms on a plan for each new shape, as of each new token.

    On Hopper and Blackwell torch would try it first, for every family that runs through `generate`.
    """
    torch.backends.cuda.enable_cudnn_sdp(False)


# What libraries raise besides torch.OutOfMemoryError: drivers, cuBLAS and cuDNN for their workspaces, Apple's GPU, the
# CPU's allocator. None of these harms the device.
_NO_MEMORY = ("out of memory", "STATUS_ALLOC_FAILED", "can't allocate memory", "not enough memory")


def is_out_of_memory(error: Exception) -> bool:
    """Return True if the device has too little free memory, whichever library noticed it."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)


def is_device_error(error: Exception) -> bool:
    """Return True if the device cannot be used in this process after this error."""
    if is_out_of_memory(error):
        return False
    return isinstance(error, getattr(torch, "AcceleratorError", ())) or "CUDA error" in str(error)


def describe_failure(error: Exception) -> str:
    """Return one line for the user about why a request failed."""
    if is_out_of_memory(error):
        return "out of device memory; lower frame_size, max_frames or batch_size"
    return f"the model failed: {first_line(error)}"
