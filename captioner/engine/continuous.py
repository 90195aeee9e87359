"""`ContinuousCore`: continuous batching, one token of every running request in each step.

New requests join at any step: pieces of their prompts and one token of each running request go through the model as one
packed sequence. A step reads so few tokens of prompts that running requests do not wait long; first come, first served.
The text of a request does not depend on the others.
"""

import logging
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from captioner.engine.answer import begin_answer
from captioner.engine.cache import CachePlan
from captioner.engine.core import (
    Core,
    StepEvent,
    describe_failure,
    is_device_error,
    is_out_of_memory,
    release_unused,
    use_device,
)
from captioner.engine.packed import PackedModel
from captioner.engine.prepare import Layout, Prepared
from captioner.engine.rows import upload
from captioner.engine.running import CHUNK, Prompt, Running, UnreadSteps, share
from captioner.engine.slot_memory import SlotMemory, allocate, describe_memory
from captioner.engine.slot_policy import SlotPolicy, needed_tokens
from captioner.errors import ModelError

log = logging.getLogger(__name__)

PIECE_TOKENS, PIECE_TOKENS_CPU = 2048, 512  # of prompts in one step: enough to use the device fully
MAX_SLOTS, MAX_SLOTS_CPU = 64, 16  # up to here, a GPU runs more rows of 8B at almost no cost; arithmetic limits a CPU
UNDECIDED_STEPS = (("CUDA graphs", "decided with the first clip"), ("compile", "decided with the first clip"))


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
    read_late: bool | None = None  # read tokens while the next step runs; None: on a GPU


class ContinuousCore(Core):
    """A Core that replaces the model's attention until close()."""

    def __init__(self, model: PreTrainedModel, options: ContinuousOptions = ContinuousOptions()) -> None:
        """Prepare the model. Raises ModelError if `max_tokens` is given and not even one such request fits."""
        super().__init__(model)
        self._options = options
        self._weights_gb = model.get_memory_footprint() / 1e9
        self._model = PackedModel(model, options.attention, options.sage_attention)
        on_cuda = self._model.device.type == "cuda"
        self._max_unread = int(on_cuda if options.read_late is None else options.read_late)
        self._max_slots = options.max_slots or (MAX_SLOTS if on_cuda else MAX_SLOTS_CPU)
        self._piece_tokens = options.piece_tokens or (PIECE_TOKENS if on_cuda else PIECE_TOKENS_CPU)
        self._memory: SlotMemory | None = None
        self._policy = SlotPolicy(self._max_slots, options.max_tokens)
        self._running: dict[int, Running] = {}  # by slot
        self._unread = UnreadSteps()
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
                self._free(running)
                return

    @torch.inference_mode()
    def step(self) -> list[StepEvent]:
        """Launch a step, then read its tokens, or on a GPU those of the step before while this one runs."""
        use_device(self._model.device)
        pieces = self._next_pieces()
        slots = self._memory.table.active() if self._memory else []
        events, self._events = self._events, []
        try:
            num_unread = self._launch(pieces, slots) if pieces or slots else 0
        except Exception as error:  # the model may raise anything
            events += self._read_tokens(0)
            return events + self._after_error([running for running, _ in pieces], slots, error)
        return events + self._read_tokens(num_unread)

    def close(self) -> None:
        self._waiting.clear()
        self._running.clear()
        self._unread.clear()
        self._events.clear()
        self._memory = None
        release_unused(self._model.device)
        self._model.release()

    def report_rows(self) -> tuple[tuple[str, str], ...]:
        memory = describe_memory(self._plan, self._weights_gb, self._max_slots)
        steps = self._memory.decode.report_rows() if self._memory else UNDECIDED_STEPS
        return ("engine", "continuous batching"), ("memory", memory), *self._model.report_rows(), *steps

    def _next_pieces(self) -> list[tuple[Running, int]]:
        """Return the prompts to read from in the next step, the oldest first, and how many tokens of each."""
        waiting = [each for each in self._running.values() if each.is_reading]
        return share([*waiting, *self._admit(waiting, self._piece_tokens)], self._piece_tokens)

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
            new.append(self._start(self._waiting.popleft()))
            room -= request.num_prompt_tokens
        return new

    def _start(self, request: Prepared) -> Running:
        """Give the request a slot."""
        slot = next(number for number in range(self._plan.num_slots) if number not in self._running)
        running = self._running[slot] = Running(Prompt(request, slot), begin_answer(request, self._eos))
        if self._memory:
            self._memory.table.add(slot, request)
        return running

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
        self._memory = None
        release_unused(self._model.device)
        self._memory = allocate(self._model, max_tokens, max_slots, self._options.graphs, self._options.compile)

    def _launch(self, pieces: list[tuple[Running, int]], slots: list[int]) -> int:
        """Run pieces of prompts and one more token in each of these slots. Return how many steps may stay unread."""
        assert self._memory is not None
        table, cache = self._memory.table, self._memory.cache
        new = [running for running, length in pieces if running.prompt.ends_with(length)]
        order = [*new, *(self._running[slot] for slot in slots)]
        drawn = [running.slot for running in order]
        rows = upload(table.columns(drawn), self._model.device)
        bounds = slots[-1] + 1 if slots else 0, table.longest(slots)
        if pieces:
            prompts = [(running.prompt, length) for running, length in pieces]
            logits = self._model.mixed(prompts, rows[:, len(new) :], cache, *bounds)
        else:
            logits = self._memory.decode.run(rows, *bounds)
        if order:
            self._unread.add(order, self._memory.pick(order, rows, logits))
        table.advance(drawn)
        for running, length in pieces:
            running.prompt.on_read(length)
        for running in new:
            table.start(running.slot, running.answer.limit)
            self._suspects.discard(running.request.id)
        # a request that thinks may have to write other tokens than it draws
        return 0 if any(running.answer.chooses for running in order) else self._max_unread

    def _read_tokens(self, max_unread: int) -> list[StepEvent]:
        """Read the tokens of all steps but the last `max_unread`, except those of requests that have ended."""
        read = self._unread.read(max_unread)
        events = [self._record(*each) for each in read if self._running.get(each[0].slot) is each[0]]
        if not self._running:
            self._unread.clear()
        return events

    def _record(self, running: Running, token: int) -> StepEvent:
        """Add the token to the request, which ends if it is the end token or the last allowed one."""
        answer, id = running.answer, running.request.id
        chose, reason = answer.chooses, answer.add(token)
        if chose and self._memory:
            self._memory.table.start(running.slot, answer.limit)
        if reason is None:
            return StepEvent(id, len(answer.tokens))
        self._free(running)
        self._policy.on_end(id)
        return StepEvent(id, len(answer.tokens), tuple(answer.tokens), reason, probabilities=answer.probabilities)

    def _free(self, running: Running) -> None:
        """Leave the request out of the steps to come, and let another one take its slot."""
        self._running.pop(running.slot)
        if self._memory:
            self._memory.table.remove(running.slot)

    def _after_error(self, new: list[Running], slots: list[int], error: Exception) -> list[StepEvent]:
        """Go on after a step that failed. Raises the error if no new request caused it."""
        if is_out_of_memory(error):
            rows = [self._running[slot] for slot in slots if slot in self._running]  # others have just ended
            if new or rows:
                self._after_out_of_memory(new, rows, error)
            return []
        if not new or is_device_error(error):
            raise error
        log.error("a step with %d new requests failed", len(new), exc_info=error)
        return self._after_failure(new, error)

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
        """Free memory and retry the new requests, each in a step, then in a plan of its own, or else the last row."""
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
            self._free(running)
            self._waiting.appendleft(running.request)
