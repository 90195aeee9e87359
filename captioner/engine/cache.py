"""The memory of running requests: one slot for each, as many slots as the device holds."""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from captioner.system.resources import available_bytes

SLOT_GRANULE = 256  # slot lengths are multiples of this many tokens


@dataclass(frozen=True)
class SlotShape:
    """The contents of a slot: keys and values of each token, and the states of linear layers, of fixed size."""

    attention_layers: tuple[int, ...]
    heads: tuple[int, int]  # (key heads, head dimension)
    linear_layers: tuple[int, ...] = ()
    convolution: tuple[int, int] = (0, 0)  # (channels, kernel size), in the model's dtype
    recurrent: tuple[int, int, int] = (0, 0, 0)  # (value heads, key dimension, value dimension), in float32

    def token_bytes(self, dtype: torch.dtype) -> int:
        """Return the bytes of one token's keys and values: 144 KiB for Qwen3-VL 8B in bfloat16."""
        return 2 * len(self.attention_layers) * math.prod(self.heads) * dtype.itemsize

    def state_bytes(self, dtype: torch.dtype) -> int:
        """Return the bytes of a slot's states, whatever its length: 49.5 MiB for Qwen3.5 9B in bfloat16.

        A step needs the same once more for the new states, which replace them at its end.
        """
        one = math.prod(self.convolution) * dtype.itemsize + math.prod(self.recurrent) * torch.float32.itemsize
        return len(self.linear_layers) * one


class SlotCache:
    """The keys and values, (num_slots, slot_tokens, key heads, head dimension), and the states, by layer."""

    def __init__(
        self, shape: SlotShape, num_slots: int, slot_tokens: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        """Fill the cache with zeros: masked values are still multiplied, and uninitialized memory may hold NaN."""
        self.num_slots, self.slot_tokens, self.dtype = num_slots, slot_tokens, dtype
        self.token_bytes = 2 * math.prod(shape.heads) * dtype.itemsize  # of one token in one layer
        self.tokens = torch.zeros(num_slots, dtype=torch.int64, device=device)  # the newest, which the next step reads

        def zeros(layers: tuple[int, ...], each: tuple[int, ...], kind: torch.dtype) -> dict[int, torch.Tensor]:
            return {layer: torch.zeros(num_slots, *each, dtype=kind, device=device) for layer in layers}

        self.keys = zeros(shape.attention_layers, (slot_tokens, *shape.heads), dtype)
        self.values = zeros(shape.attention_layers, (slot_tokens, *shape.heads), dtype)
        self.convolution = zeros(shape.linear_layers, shape.convolution, dtype)  # the last inputs, by layer
        self.recurrent = zeros(shape.linear_layers, shape.recurrent, torch.float32)

    @contextlib.contextmanager
    def kept_states(self, num_slots: int) -> Iterator[None]:
        """Undo what happens to the states of the first slots: steps that are run to try something advance them."""
        states = [state[:num_slots] for state in (*self.convolution.values(), *self.recurrent.values())]
        copies = [state.cpu() if state.is_cuda else state.clone() for state in states]
        try:
            yield
        finally:
            for state, copy in zip(states, copies, strict=True):
                state.copy_(copy)


@dataclass(frozen=True)
class CachePlan:
    """The size of a cache; num_slots 0 means that there is none."""

    num_slots: int
    slot_tokens: int
    bytes: int


def plan_cache(
    free_bytes: float, bytes_per_token: int, max_tokens: int, max_slots: int, state_bytes: int = 0
) -> CachePlan:
    """Plan as many slots for requests of `max_tokens` as fit into `free_bytes`, at most `max_slots` and possibly 0."""
    slot_tokens = -(-max_tokens // SLOT_GRANULE) * SLOT_GRANULE
    slot_bytes = slot_tokens * bytes_per_token + state_bytes
    num_slots = max(0, min(max_slots, int(free_bytes // slot_bytes)))
    return CachePlan(num_slots, slot_tokens, num_slots * slot_bytes)


def free_bytes(device: torch.device) -> float:
    """Return the bytes that a cache may take: half of the free memory, on a GPU all but a reserve for activations."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return free - min(max(total * 0.05, 1.5e9), 4e9)  # 5 %, but 1.5 to 4 GB
    return available_bytes() / 2
