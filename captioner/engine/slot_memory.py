"""The memory of the running requests: their cache and the decode steps over it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from captioner.engine.cache import CachePlan, SlotCache, free_bytes, plan_cache
from captioner.engine.core import is_out_of_memory, release_unused
from captioner.engine.graphs import DecodeSteps
from captioner.engine.packed import PackedModel
from captioner.engine.rows import SEED, SLOT, RowTable, upload
from captioner.engine.running import Picked, Running
from captioner.engine.sampling import pick_tokens
from captioner.engine.scoring import probabilities
from captioner.errors import ModelError

WHAT_TO_LOWER = "lower frame_size, max_frames or max_new_tokens, or choose a smaller model or quantization 8bit or 4bit"

FEW_SLOTS = 4  # with fewer, the report says how to get more


@dataclass(eq=False)
class SlotMemory:
    """A cache and the decode steps over it, allocated together."""

    plan: CachePlan
    cache: SlotCache
    decode: DecodeSteps
    table: RowTable
    _seen: Tensor | None = None  # bool (num_slots, V), the tokens generated in each slot; made for the first penalty

    def pick(self, order: list[Running], rows: Tensor, logits: Tensor) -> Picked:
        """Pick the next token of each request, and score those that want it, given logits (B, V) and rows (5, B)."""
        seen, slots, kinds = None, rows[SLOT], [running.kind for running in order]
        if any(running.penalizes for running in order):
            seen = self._seen_tokens(logits)
            for running in order:
                if self.table.num_drawn(running.slot) == running.answer.caption_start:
                    seen[running.slot] = False
        tokens = pick_tokens(logits, kinds, rows[SEED:], None if seen is None else seen[slots])
        if any(running.answer.chooses for running in order):
            tokens = choose(order, tokens)
        if seen is not None:
            seen[slots, tokens] = True
        self.cache.tokens.index_copy_(0, slots, tokens)
        return Picked(tokens, score(order, logits))

    def _seen_tokens(self, logits: Tensor) -> Tensor:
        if self._seen is None:
            self._seen = torch.zeros(self.plan.num_slots, logits.shape[1], dtype=torch.bool, device=logits.device)
        return self._seen


def score(order: list[Running], logits: Tensor) -> Tensor | None:
    """Return the probabilities of the answers, float32 (S, answers), for the S requests that are scored, if any."""
    scored = [row for row, running in enumerate(order) if running.is_scored]
    if not scored:
        return None
    rows = upload(torch.tensor(scored), logits.device)
    return probabilities(logits.index_select(0, rows), order[scored[0]].request.answer_ids)  # one tokenizer, one list


def choose(order: list[Running], picked: Tensor) -> Tensor:
    """Return the tokens that are written instead of the picked ones: others where thinking has to end."""
    tokens = [running.answer.choose(token) for running, token in zip(order, picked.tolist(), strict=True)]
    return upload(torch.tensor(tokens), picked.device)


@torch.inference_mode()
def allocate(model: PackedModel, max_tokens: int, max_slots: int, graphs: bool, compile_step: bool) -> SlotMemory:
    """Allocate up to `max_slots` slots of `max_tokens`, as many as fit. Raises ModelError if not even one does."""
    free, shape = free_bytes(model.device), model.slot_shape
    sizes = shape.token_bytes(model.dtype), 2 * shape.state_bytes(model.dtype)
    plan = plan_cache(free, sizes[0], max_tokens, max_slots, sizes[1])
    while plan.num_slots:
        try:
            return _allocate(model, plan, graphs, compile_step)
        except Exception as error:
            if not is_out_of_memory(error):  # free memory is not always contiguous
                raise
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
    return SlotMemory(plan, cache, decode, RowTable(plan.num_slots))


def describe_memory(plan: CachePlan, weights_gb: float, max_slots: int) -> str:
    """Return the row of the capability report about memory."""
    if not plan.num_slots:
        return "planned with the first clip"
    text = f"{plan.num_slots} slots, {plan.slot_tokens:,} tokens each, "
    text += f"{weights_gb:.1f} GB weights, {plan.bytes / 1e9:.1f} GB cache"
    return text + (f"; {WHAT_TO_LOWER} to run more clips at once" if plan.num_slots < min(FEW_SLOTS, max_slots) else "")
