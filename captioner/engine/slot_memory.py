"""The memory of the running requests: their cache and the decode steps over it."""

import contextlib
from dataclasses import dataclass

import torch
from torch import Tensor

from captioner.engine.cache import CachePlan, SlotCache, free_bytes, plan_cache
from captioner.engine.graphs import DecodeSteps
from captioner.engine.packed import PackedModel
from captioner.engine.running import Running
from captioner.engine.sampling import pick_tokens
from captioner.errors import ModelError

WHAT_TO_LOWER = "lower frame_size, max_frames or max_new_tokens, or choose a smaller model or quantization 8bit or 4bit"


@dataclass(eq=False)
class SlotMemory:
    """A cache and the decode steps over it, allocated together."""

    plan: CachePlan
    cache: SlotCache
    decode: DecodeSteps
    _seen: Tensor | None = None  # bool (num_slots, V), the tokens generated in each slot; made for the first penalty

    def pick(self, order: list[Running], logits: Tensor) -> list[int]:
        """Pick the next token of each request, given its row of logits (B, V)."""
        draws = [running.draw() for running in order]
        if not any(draw.options.repetition_penalty != 1 for draw in draws):
            return choose(order, pick_tokens(logits, draws).tolist())
        if self._seen is None:
            self._seen = torch.zeros(self.plan.num_slots, logits.shape[1], dtype=torch.bool, device=logits.device)
        for running, draw in zip(order, draws, strict=True):
            if draw.num_tokens == draw.caption_start:
                self._seen[running.slot] = False
        index = torch.tensor([running.slot for running in order], device=logits.device)
        tokens = choose(order, pick_tokens(logits, draws, self._seen[index]).tolist())
        self._seen[index, torch.tensor(tokens, device=logits.device)] = True
        return tokens


def choose(order: list[Running], picked: list[int]) -> list[int]:
    """Return the tokens that are written instead of the picked ones: others where thinking has to end."""
    return [running.answer.choose(token) for running, token in zip(order, picked, strict=True)]


@torch.inference_mode()
def allocate(model: PackedModel, max_tokens: int, max_slots: int, graphs: bool, compile_step: bool) -> SlotMemory:
    """Allocate up to `max_slots` slots of `max_tokens`, as many as fit. Raises ModelError if not even one does."""
    free, shape = free_bytes(model.device), model.slot_shape
    sizes = shape.token_bytes(model.dtype), 2 * shape.state_bytes(model.dtype)
    plan = plan_cache(free, sizes[0], max_tokens, max_slots, sizes[1])
    while plan.num_slots:
        with contextlib.suppress(torch.OutOfMemoryError):  # free memory is not always contiguous
            return _allocate(model, plan, graphs, compile_step)
        release_unused(model.device)
        plan = plan_cache(plan.bytes / 2, sizes[0], max_tokens, plan.num_slots, sizes[1])
    needed = max_tokens * sizes[0] + sizes[1]
    raise ModelError(
        f"a clip of {max_tokens:,} tokens needs {needed / 1e9:.1f} GB of cache beside the model, "
        f"but only {max(free, 0) / 1e9:.1f} GB are free on {model.device}; {WHAT_TO_LOWER}"
    )


def _allocate(model: PackedModel, plan: CachePlan, graphs: bool, compile_step: bool) -> SlotMemory:
    cache = SlotCache(model.slot_shape, plan.num_slots, plan.slot_tokens, model.dtype, model.device)
    decode = DecodeSteps(model, cache, graphs, compile_step)
    decode.warm_up()
    return SlotMemory(plan, cache, decode)


def release_unused(device: torch.device) -> None:
    """Return torch's unused blocks to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
