"""The key-value cache: one slot for each running request, as many slots as the memory holds."""

from dataclasses import dataclass

import torch
from transformers import PretrainedConfig

from captioner.system.resources import available_bytes

SLOT_GRANULE = 256  # slot lengths are multiples of this many tokens


class SlotCache:
    """One tensor of keys and one of values for each layer, (num_slots, slot_tokens, key heads, head dimension)."""

    def __init__(self, num_layers: int, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
        """Fill the cache with zeros: masked values are still multiplied, and uninitialized memory may hold NaN."""
        self.num_slots, self.slot_tokens = shape[:2]
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(num_layers)]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(num_layers)]


def token_bytes(config: PretrainedConfig, dtype: torch.dtype) -> int:
    """Return the bytes of one token's keys and values in all layers: 144 KiB for Qwen3-VL 8B in bfloat16."""
    return 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * dtype.itemsize


@dataclass(frozen=True)
class CachePlan:
    """The size of a cache; num_slots 0 means that there is none."""

    num_slots: int
    slot_tokens: int
    bytes: int


def plan_cache(free_bytes: float, bytes_per_token: int, max_tokens: int, max_slots: int) -> CachePlan:
    """Plan as many slots for requests of `max_tokens` as fit into `free_bytes`, at most `max_slots` and possibly 0."""
    slot_tokens = -(-max_tokens // SLOT_GRANULE) * SLOT_GRANULE
    slot_bytes = slot_tokens * bytes_per_token
    num_slots = max(0, min(max_slots, int(free_bytes // slot_bytes)))
    return CachePlan(num_slots, slot_tokens, num_slots * slot_bytes)


def free_bytes(device: torch.device) -> float:
    """Return the bytes that a cache may take: half of the free memory, on a GPU all but a reserve for activations."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return free - min(max(total * 0.05, 1.5e9), 4e9)  # 5 %, but 1.5 to 4 GB
    return available_bytes() / 2
