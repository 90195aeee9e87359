"""`ContinuousCore`: continuous batching, one token of every running request in each step.

New requests join at any step: pieces of their prompts and one token of each running request go through the model as one
packed sequence. A step reads so few tokens of prompts that running requests do not wait long; first come, first served.
The text of a request does not depend on the others.
"""

import logging
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from captioner.engine.answer import begin_answer
from captioner.engine.cache import CachePlan
from captioner.engine.core import Core, StepEvent, describe_failure, is_device_error, use_device
from captioner.engine.packed import PackedModel
from captioner.engine.prepare import Layout, Prepared
from captioner.engine.running import Prompt, Running
from captioner.engine.slot_memory import WHAT_TO_LOWER, SlotMemory, allocate, release_unused
from captioner.engine.slot_policy import SlotPolicy, needed_tokens
from captioner.errors import ModelError

log = logging.getLogger(__name__)

PIECE_TOKENS, PIECE_TOKENS_CPU = 2048, 512  # of prompts in one step: enough to use the device fully
CHUNK = 64  # tokens that linear attention computes at once; pieces are multiples, so that they change no rounding
MAX_SLOTS = 64  # on a GPU: up to about here, additional rows cost a step of 8B almost nothing
MAX_SLOTS_CPU = 16  # a CPU is limited by arithmetic much earlier
UNDECIDED_STEPS = (("CUDA graphs", "decided with the first clip"), ("compile", "decided with the first clip"))
FEW_SLOTS = 4  # with fewer, the report says how to get more


@dataclass(frozen=True)
class ContinuousOptions:
    """How a ContinuousCore runs; the defaults leave the choice to it."""

    max_slots: int = 0  # 0: as many as fit, up to 64 (16 on a CPU)
    max_tokens: int = 0  # prompt + caption of the longest expected request; 0: unknown
    attention: str = "auto"  # or "sdpa"
    compile: bool = False
    sage_attention: bool = False
    graphs: bool = True
    piece_tokens: int = 0  # of prompts in one step; 0: 2,048, or 512 on a CPU


class ContinuousCore(Core):
    """A Core that replaces the model's attention until close()."""

    def __init__(self, model: PreTrainedModel, options: ContinuousOptions = ContinuousOptions()) -> None:
        """Prepare the model. Raises ModelError if `max_tokens` is given and not even one such request fits."""
        super().__init__(model)
        self._options = options
        self._weights_gb = model.get_memory_footprint() / 1e9
        self._model = PackedModel(model, options.attention, options.sage_attention)
        self._max_slots = options.max_slots or (MAX_SLOTS if self._model.device.type == "cuda" else MAX_SLOTS_CPU)
        on_cuda = self._model.device.type == "cuda"
        self._piece_tokens = options.piece_tokens or (PIECE_TOKENS if on_cuda else PIECE_TOKENS_CPU)
        self._memory: SlotMemory | None = None
        self._policy = SlotPolicy(self._max_slots, options.max_tokens)
        self._running: dict[int, Running] = {}  # by slot
        self._suspects: set[int] = set()  # new in a step that failed: their prompts run in steps of their own
        if options.max_tokens:
            try:
                self._allocate(options.max_tokens, self._max_slots)
            except ModelError:
                self._model.release()
                raise

    @property
    def layout(self) -> Layout:
        return self._model.layout

    @property
    def num_slots(self) -> int:
        return self._plan.num_slots or self._policy.limit

    @property
    def _plan(self) -> CachePlan:
        return self._memory.plan if self._memory else CachePlan(0, 0, 0)

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def busy(self) -> bool:
        return bool(self._running or self._waiting or self._events)

    def ready(self, more_coming: bool) -> bool:
        return self.busy

    def announce_longest(self, max_tokens: int) -> None:
        self._policy.announce_longest(max_tokens)

    def submit(self, request: Prepared) -> None:
        if not self.busy:
            self._policy.on_idle()
        super().submit(request)

    def _cancel_running(self, request_id: int) -> None:
        for running in self._running.values():
            if running.request.id == request_id:
                tokens = tuple(running.tokens)
                self._events.append(StepEvent(request_id, len(tokens), tokens, "cancelled"))
                self._running.pop(running.slot)
                return

    @torch.inference_mode()
    def step(self) -> list[StepEvent]:
        use_device(self._model.device)
        rows = sorted((each for each in self._running.values() if not each.is_reading), key=lambda each: each.slot)
        pieces = self._next_pieces()
        new = [running for running, _ in pieces]
        events, self._events = self._events, []
        if not new and not rows:
            return events
        try:
            logits = self._forward(pieces, rows)
            order = [running for running, length in pieces if running.prompt.ends_with(length)] + rows
            assert self._memory is not None
            tokens = self._memory.pick(order, logits)
        except torch.OutOfMemoryError as error:
            self._after_out_of_memory(new, rows, error)
            return events
        except Exception as error:  # the model may raise anything; the new requests caused it
            if not new or is_device_error(error):
                raise
            log.exception("a step with %d new requests failed", len(new))
            return events + self._after_failure(new, error)
        for running, length in pieces:
            running.prompt.on_read(length)
            running.length += length
            if not running.is_reading:
                self._suspects.discard(running.request.id)
        for running in rows:
            running.length += 1
        return events + [self._record(*pair) for pair in zip(order, tokens, strict=True)]

    def close(self) -> None:
        self._waiting.clear()
        self._running.clear()
        self._events.clear()
        self._drop_memory()
        self._model.release()

    def report_rows(self) -> tuple[tuple[str, str], ...]:
        plan, slots = self._plan, "planned with the first clip"
        if plan.num_slots:
            slots = f"{plan.num_slots} slots, {plan.slot_tokens:,} tokens each, "
            slots += f"{self._weights_gb:.1f} GB weights, {plan.bytes / 1e9:.1f} GB cache"
            if plan.num_slots < min(FEW_SLOTS, self._max_slots):
                slots += f"; {WHAT_TO_LOWER} to run more clips at once"
        steps = self._memory.decode.report_rows() if self._memory else UNDECIDED_STEPS
        return ("engine", "continuous batching"), ("memory", slots), *self._model.report_rows(), *steps

    def _next_pieces(self) -> list[tuple[Running, int]]:
        """Return the prompts to read from in the next step, the oldest first, and how many tokens of each."""
        room, pieces = self._piece_tokens, []
        waiting = [each for each in self._running.values() if each.is_reading]
        new = self._admit(waiting, room)
        for running in (*waiting, *new):
            left = running.prompt.num_tokens - running.prompt.num_read
            length = left if left <= room else room // CHUNK * CHUNK
            if length:
                pieces.append((running, length))
                room -= length
        return pieces

    def _admit(self, reading: list[Running], room: int) -> list[Running]:
        """Give slots to waiting requests, of which a first piece fits into the next step beside those being read."""
        room -= sum(each.prompt.num_tokens - each.prompt.num_read for each in reading)
        new: list[Running] = []
        while self._waiting and self._may_join(self._waiting[0], reading + new, room):
            request = self._waiting[0]
            if self._policy.must_plan(request, self._plan, idle=not self._running):
                if self._running:
                    break  # the memory can be planned again only when nothing runs
                try:
                    self._plan_for(request)
                except ModelError as error:
                    self._waiting.popleft()
                    self._end_for_memory(request, str(error))
                    continue
            if len(self._running) == self._plan.num_slots:
                break
            slot = next(number for number in range(self._plan.num_slots) if number not in self._running)
            self._running[slot] = Running(Prompt(self._waiting.popleft(), slot), begin_answer(request, self._eos))
            new.append(self._running[slot])
            room -= request.num_prompt_tokens
        return new

    def _plan_for(self, request: Prepared) -> None:
        """Plan memory for the longest expected request, or for this one if that is too long. Raises ModelError."""
        num_tokens, num_slots = self._policy.wanted(request)
        try:
            self._allocate(num_tokens, num_slots)
        except ModelError:
            if num_tokens <= needed_tokens(request):
                raise
            num_tokens = needed_tokens(request)
            self._allocate(num_tokens, num_slots)
        self._policy.on_planned(request, num_tokens)

    def _may_join(self, request: Prepared, others: list[Running], room: int) -> bool:
        """Return True if the request may begin in the next step, in which prompts of `others` are read."""
        if not others:
            return True
        if request.id in self._suspects or others[-1].request.id in self._suspects:
            return False
        return room >= min(CHUNK, request.num_prompt_tokens)

    def _allocate(self, max_tokens: int, max_slots: int) -> None:
        self._drop_memory()
        self._memory = allocate(self._model, max_tokens, max_slots, self._options.graphs, self._options.compile)

    def _drop_memory(self) -> None:
        self._memory = None
        release_unused(self._model.device)

    def _forward(self, pieces: list[tuple[Running, int]], rows: list[Running]) -> Tensor:
        """Run one step and return logits (P + len(rows), V) for the P prompts that end in it and the rows."""
        assert self._memory is not None
        table = torch.tensor([running.row() for running in rows], dtype=torch.int64).reshape(-1, 4).T
        longest = max((running.length + 1 for running in rows), default=0)
        if not pieces:
            return self._memory.decode.run(table, longest)
        prompts = [(running.prompt, length) for running, length in pieces]
        return self._model.mixed(prompts, table, self._memory.cache, longest)

    def _record(self, running: Running, token: int) -> StepEvent:
        """Add the token to the request, which ends if it is the end token or the last allowed one."""
        reason = running.answer.add(token)
        if reason:
            self._running.pop(running.slot)
            self._policy.on_end(running.request.id)
        return StepEvent(running.request.id, len(running.tokens), tuple(running.tokens) if reason else (), reason)

    def _after_failure(self, new: list[Running], error: Exception) -> list[StepEvent]:
        """Retry several new requests in steps of their own, or end a single one; running requests lose nothing."""
        self._put_back(new)
        if len(new) == 1:
            request = self._waiting.popleft()
            self._suspects.discard(request.id)
            return [StepEvent(request.id, 0, (), "error", describe_failure(error))]
        self._suspects.update(running.request.id for running in new)
        return []

    def _after_out_of_memory(self, new: list[Running], rows: list[Running], error: Exception) -> None:
        """Free memory and retry the new requests, or else the last running one.

        Several are retried in steps of their own, a single one in a one-slot plan, and then it ends.
        """
        release_unused(self._model.device)
        victims = new or rows[-1:]
        log.warning("out of memory with %d new and %d running requests", len(new), len(rows))
        self._put_back(victims)
        if len(victims) > 1:
            self._suspects.update(running.request.id for running in victims)
        elif self._plan.num_slots > 1:
            self._policy.on_shortage(victims[0].request, self._plan.num_slots)
        else:
            self._end_for_memory(self._waiting.popleft(), describe_failure(error))

    def _end_for_memory(self, request: Prepared, reason: str) -> None:
        self._policy.on_end(request.id)
        self._suspects.discard(request.id)
        self._events.append(StepEvent(request.id, 0, (), "memory", reason))

    def _put_back(self, victims: list[Running]) -> None:
        for running in reversed(victims):
            self._running.pop(running.slot)
            self._waiting.appendleft(running.request)
