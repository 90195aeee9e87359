"""The rows of a step: what it must know of each running request."""

import numpy as np
import torch
from torch import Tensor

from captioner.engine.prepare import Prepared

SLOT, POSITION, LENGTH, SEED, DRAWN = range(5)  # of a step's rows, int64 (5, B)


class RowTable:
    """One column for each slot, kept on the host: a step uploads those of its requests, sorted by slot."""

    def __init__(self, num_slots: int) -> None:
        self._columns = torch.zeros(5, num_slots, dtype=torch.int64)
        self._columns[SLOT] = torch.arange(num_slots)
        # numpy changes a few numbers faster than torch; both share the memory
        self._table = self._columns.numpy()
        # tokens that may be drawn; 0: no request, or its prompt is being read
        self._limits = np.zeros(num_slots, np.int64)

    def add(self, slot: int, request: Prepared) -> None:
        """Fill the column of a request whose prompt will be read now."""
        last = request.num_prompt_tokens - 1  # the step that reads it moves on to the next one
        self._table[1:, slot] = (last + int(request.layout["offset"]), last, request.options.seed, 0)

    def num_drawn(self, slot: int) -> int:
        """Return how many tokens of its answer are drawn, also those not read from the device yet."""
        return int(self._table[DRAWN, slot])

    def start(self, slot: int, max_new_tokens: int) -> None:
        """Let the request take part in each step until so many tokens are drawn, now that its prompt is read."""
        self._limits[slot] = max_new_tokens

    def remove(self, slot: int) -> None:
        """Leave the slot out of the steps to come."""
        self._limits[slot] = 0

    def active(self) -> list[int]:
        """Return the slots of the requests that need another token, in order."""
        return (self._table[DRAWN] < self._limits).nonzero()[0].tolist()

    def advance(self, slots: list[int]) -> None:
        """Record that a step has drawn a token for each of these."""
        self._table[[[POSITION], [LENGTH], [DRAWN]], slots] += 1

    def longest(self, slots: list[int]) -> int:
        """Return the greatest length with the new token, or 0."""
        return int(self._table[LENGTH, slots].max()) + 1 if slots else 0

    def columns(self, slots: list[int]) -> Tensor:
        """Return a copy of the columns of these slots, int64 (5, B) on the host."""
        return torch.from_numpy(self._table[:, slots])


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy to the device without waiting for what it computes. The allocator of pinned memory keeps the source."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
