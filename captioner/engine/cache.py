"""Keys and values of the running requests: one slot each, and how many slots the memory holds."""

from dataclasses import dataclass

import torch
from transformers import PretrainedConfig

from captioner.system.resources import available_bytes

SLOT_GRANULE = 256  # tokens; slots are multiples of it


class SlotCache:
    """Per layer one tensor of keys and one of values, (num_slots, slot_tokens, key heads, head dimension)."""

    def __init__(
        self,
        num_layers: int,
        num_slots: int,
        slot_tokens: int,
        num_heads: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        """Filled with zeros: what is masked is still multiplied, and memory as it comes may hold NaN."""
        shape = (num_slots, slot_tokens, num_heads, head_dim)
        self.num_slots, self.slot_tokens = num_slots, slot_tokens
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(num_layers)]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(num_layers)]

    @classmethod
    def for_model(
        cls, config: PretrainedConfig, num_slots: int, slot_tokens: int, dtype: torch.dtype, device: torch.device
    ) -> "SlotCache":
        heads, dim = config.num_key_value_heads, config.head_dim
        return cls(config.num_hidden_layers, num_slots, slot_tokens, heads, dim, dtype, device)


def token_bytes(config: PretrainedConfig, dtype: torch.dtype) -> int:
    """Of keys and values in all layers: 144 KiB for Qwen3-VL 8B in bfloat16."""
    return 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * dtype.itemsize


@dataclass(frozen=True)
class CachePlan:
    num_slots: int
    slot_tokens: int
    bytes: int


def plan_cache(free_bytes: float, bytes_per_token: int, max_tokens: int, max_slots: int) -> CachePlan:
    """As many slots for requests of `max_tokens` as fit into `free_bytes`, at most `max_slots`; 0 when none fits."""
    slot_tokens = -(-max_tokens // SLOT_GRANULE) * SLOT_GRANULE
    slot_bytes = slot_tokens * bytes_per_token
    num_slots = max(0, min(max_slots, int(free_bytes // slot_bytes)))
    return CachePlan(num_slots, slot_tokens, num_slots * slot_bytes)


def free_bytes(device: torch.device) -> float:
    """What a cache may take: free memory less a reserve for the work itself (5 %, 1.5 to 4 GB); on a CPU half of it."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return free - min(max(total * 0.05, 1.5e9), 4e9)
    return available_bytes() / 2
