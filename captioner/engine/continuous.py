"""`ContinuousCore`: continuous batching for Qwen3-VL, one token of every running request a step.

New requests join at any step: their whole prompts and one token of each running request go through the model as one
packed sequence. A request's text does not depend on which others run beside it.
"""

import logging
from collections import deque
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedModel

from captioner.engine.cache import CachePlan, SlotCache, free_bytes, plan_cache, token_bytes
from captioner.engine.core import StepEvent, describe_failure, end_tokens, is_device_error, use_device
from captioner.engine.graphs import DecodeSteps
from captioner.engine.packed import PackedModel
from captioner.engine.prepare import Prepared
from captioner.engine.sampling import Draw, pick_tokens
from captioner.engine.slot_policy import SlotPolicy, needed_tokens
from captioner.errors import ModelError

log = logging.getLogger(__name__)

MAX_NEW_TOKENS_A_STEP = 8192  # of prompts admitted together, so that running requests do not wait long
MAX_NEW_PATCHES_A_STEP = 32768  # the vision tower's working memory
MAX_SLOTS = 64  # on a GPU: a step of 8B reads its weights for a few more rows nearly for free, up to about here
MAX_SLOTS_CPU = 16  # a CPU is bound by arithmetic much earlier
FEW_SLOTS = 4


@dataclass(frozen=True)
class ContinuousOptions:
    """max_slots 0: as many as fit, up to 64 (16 on a CPU). max_tokens 0: the first request decides."""

    max_slots: int = 0
    max_tokens: int = 0  # prompt and new tokens of the longest request expected; longer ones are met with a new plan
    attention: str = "auto"  # or "sdpa"
    compile: bool = False
    sage_attention: bool = False
    graphs: bool = True


@dataclass(eq=False)
class _Running:
    request: Prepared
    slot: int
    length: int = 0  # tokens whose keys and values are in the slot
    tokens: list[int] = field(default_factory=list)

    def draw(self) -> Draw:
        return Draw(self.request.options, len(self.tokens))

    def row(self) -> tuple[int, int, int, int]:
        """Its column for PackedModel.decode: token, position, slot, tokens in the slot."""
        position = self.length + int(self.request.layout["offset"])
        return self.tokens[-1], position, self.slot, self.length


class ContinuousCore:
    """See core.Core. Takes over the model's attention until close()."""

    def __init__(self, model: PreTrainedModel, options: ContinuousOptions = ContinuousOptions()) -> None:
        """Raises ModelError when not even one request of `max_tokens` fits into the memory that is free."""
        use_device(model.device)
        self._options = options
        self._model = PackedModel(model, options.attention, options.sage_attention)
        self._eos = end_tokens(model)
        self._max_slots = options.max_slots or (MAX_SLOTS if self._model.device.type == "cuda" else MAX_SLOTS_CPU)
        self._weights_gb = model.get_memory_footprint() / 1e9
        self._cache: SlotCache | None = None
        self._decode: DecodeSteps | None = None
        self._plan = CachePlan(0, 0, 0)
        self._policy = SlotPolicy(self._max_slots, options.max_tokens)
        self._seen: Tensor | None = None  # bool (slots, V): tokens generated, for repetition penalties
        self._waiting: deque[Prepared] = deque()
        self._running: dict[int, _Running] = {}  # by slot
        self._events: list[StepEvent] = []
        self._suspects: set[int] = set()  # in a step that failed: each runs its prompt without company
        if options.max_tokens:
            reason = self._make_cache(options.max_tokens, self._max_slots)
            if reason:
                self._model.release()
                raise ModelError(reason)

    layout = property(lambda self: self._model.layout, doc="For Preparer; any thread may call it.")

    @property
    def num_slots(self) -> int:
        return self._plan.num_slots or self._policy.limit

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

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
        self._waiting.append(request)

    def cancel(self, request_id: int) -> None:
        for request in self._waiting:
            if request.id == request_id:
                self._waiting.remove(request)
                self._events.append(StepEvent(request_id, 0, (), "cancelled"))
                return
        for running in self._running.values():
            if running.request.id == request_id:
                tokens = tuple(running.tokens)
                self._events.append(StepEvent(request_id, len(tokens), tokens, "cancelled"))
                self._running.pop(running.slot)
                return

    @torch.inference_mode()
    def step(self) -> list[StepEvent]:
        use_device(self._model.device)
        rows = sorted(self._running.values(), key=lambda running: running.slot)
        new = self._admit()
        events, self._events = self._events, []
        if not new and not rows:
            return events
        try:
            logits = self._forward(new, rows)
            tokens = self._pick(new + rows, logits)
        except torch.OutOfMemoryError as error:
            return events + self._after_out_of_memory(new, rows, error)
        except Exception as error:  # whatever a model raises belongs to the request that brought it in
            if not new or is_device_error(error):
                raise
            log.exception("a step with %d new requests failed", len(new))
            return events + self._after_failure(new, error)
        for running in new:
            running.length = running.request.num_prompt_tokens
            self._suspects.discard(running.request.id)
        for running in rows:
            running.length += 1
        return events + [self._record(*pair) for pair in zip(new + rows, tokens, strict=True)]

    def close(self) -> None:
        self._waiting.clear()
        self._running.clear()
        self._events.clear()
        self._drop_cache()
        self._model.release()

    def report_rows(self) -> tuple[tuple[str, str], ...]:
        plan, decode, model = self._plan, self._decode, self._model
        slots = "planned with the first clip"
        if plan.num_slots:
            slots = (
                f"{plan.num_slots} slots, {plan.slot_tokens:,} tokens each, "
                f"{self._weights_gb:.1f} GB weights, {plan.bytes / 1e9:.1f} GB cache"
            )
            if plan.num_slots < min(FEW_SLOTS, self._max_slots):
                slots += f"; {_WHAT_TO_LOWER} to run more clips at once"
        graphs = compiling = "decided with the first clip"
        if decode is not None:
            graphs = f"not active: {decode.why_no_graphs}" if decode.why_no_graphs else "active"
            compiling = decode.compiling
        return (
            ("engine", "continuous batching"),
            ("memory", slots),
            ("attention", _with_note(model.backend.name, model.backend_note)),
            ("vision attention", _with_note(model.vision_backend.name, model.vision_note)),
            ("SageAttention", model.sage_note),
            ("CUDA graphs", graphs),
            ("compile", compiling),
        )

    def _admit(self) -> list[_Running]:
        """Requests that start now: as many as there are free slots, within the budget of a step."""
        new: list[_Running] = []
        while self._waiting and self._may_join(self._waiting[0], new):
            request = self._waiting[0]
            if self._policy.must_plan(request, self._plan, idle=not self._running):
                if self._running:
                    break  # once these have ended, the memory can be planned anew
                reason = self._plan_for(request)
                if reason:
                    self._waiting.popleft()
                    self._end_for_memory(request, reason)
                    continue
            if len(self._running) == self._plan.num_slots:
                break
            slot = next(number for number in range(self._plan.num_slots) if number not in self._running)
            self._running[slot] = _Running(self._waiting.popleft(), slot)
            new.append(self._running[slot])
        return new

    def _plan_for(self, request: Prepared) -> str:
        """Memory for it and for what else is expected, else for requests of its size; "" or why it does not fit."""
        num_tokens, num_slots = self._policy.wanted(request)
        reason = self._make_cache(num_tokens, num_slots)
        if reason and num_tokens > needed_tokens(request):
            num_tokens = needed_tokens(request)
            reason = self._make_cache(num_tokens, num_slots)
        if not reason:
            self._policy.on_planned(request, num_tokens)
        return reason

    def _may_join(self, request: Prepared, new: list[_Running]) -> bool:
        """Whether one step can take its prompt together with those of `new`."""
        if not new:
            return True
        if request.id in self._suspects or new[-1].request.id in self._suspects:
            return False
        together = [request, *(running.request for running in new)]
        num_tokens = sum(r.num_prompt_tokens for r in together)
        num_patches = sum(len(r.layout["patch_positions"]) for r in together)
        return num_tokens <= MAX_NEW_TOKENS_A_STEP and num_patches <= MAX_NEW_PATCHES_A_STEP

    @torch.inference_mode()
    def _make_cache(self, max_tokens: int, max_slots: int) -> str:
        """Plan and allocate; "" or why not even one slot fits."""
        self._drop_cache()
        model = self._model
        free, per_token = free_bytes(model.device), token_bytes(model.config, model.dtype)
        plan = plan_cache(free, per_token, max_tokens, max_slots)
        while plan.num_slots:
            try:
                self._cache = SlotCache.for_model(
                    model.config, plan.num_slots, plan.slot_tokens, model.dtype, model.device
                )
                self._decode = DecodeSteps(model, self._cache, self._options.graphs, self._options.compile)
                self._plan = plan
                self._decode.warm_up()
                return ""
            except torch.OutOfMemoryError:  # what is free is not always in one piece
                self._drop_cache()
                plan = plan_cache(plan.bytes / 2, per_token, max_tokens, plan.num_slots)
        return (
            f"a clip of {max_tokens:,} tokens needs {max_tokens * per_token / 1e9:.1f} GB of cache beside the model, "
            f"but only {max(free, 0) / 1e9:.1f} GB are free on {model.device}; {_WHAT_TO_LOWER}"
        )

    def _drop_cache(self) -> None:
        self._cache = self._decode = self._seen = None
        self._plan = CachePlan(0, 0, 0)
        if self._model.device.type == "cuda":
            torch.cuda.empty_cache()

    def _forward(self, new: list[_Running], rows: list[_Running]) -> Tensor:
        table = torch.tensor([running.row() for running in rows], dtype=torch.int64).reshape(-1, 4).T
        longest = max((running.length + 1 for running in rows), default=0)
        if not new:
            return self._decode.run(table, longest)
        requests, slots = [running.request for running in new], [running.slot for running in new]
        return self._model.mixed(requests, slots, table, self._cache, longest)

    def _pick(self, order: list[_Running], logits: Tensor) -> list[int]:
        if not any(running.request.options.repetition_penalty != 1 for running in order):
            return pick_tokens(logits, [running.draw() for running in order]).tolist()
        if self._seen is None:
            self._seen = torch.zeros(self._plan.num_slots, logits.shape[1], dtype=torch.bool, device=logits.device)
        slots = torch.tensor([running.slot for running in order], device=logits.device)
        for running in order:
            if not running.tokens:
                self._seen[running.slot] = False
        tokens = pick_tokens(logits, [running.draw() for running in order], self._seen[slots])
        self._seen[slots, tokens] = True
        return tokens.tolist()

    def _record(self, running: _Running, token: int) -> StepEvent:
        reason = "stop" if token in self._eos else None
        if reason is None:
            running.tokens.append(token)
            reason = "length" if len(running.tokens) >= running.request.options.max_new_tokens else None
        if reason:
            self._running.pop(running.slot)
            self._policy.on_end(running.request.id)
        return StepEvent(running.request.id, len(running.tokens), tuple(running.tokens) if reason else (), reason)

    def _after_failure(self, new: list[_Running], error: Exception) -> list[StepEvent]:
        """Nothing is lost of the requests that ran before. Of several new ones each is tried alone."""
        self._put_back(new)
        if len(new) == 1:
            request = self._waiting.popleft()
            self._suspects.discard(request.id)
            return [StepEvent(request.id, 0, (), "error", describe_failure(error))]
        self._suspects.update(running.request.id for running in new)
        return []

    def _after_out_of_memory(
        self, new: list[_Running], rows: list[_Running], error: torch.OutOfMemoryError
    ) -> list[StepEvent]:
        """Several new: each in a step of its own. One: in a plan of its own, once the rest has ended. Else it ends."""
        if self._model.device.type == "cuda":
            torch.cuda.empty_cache()
        victims = new or rows[-1:]
        log.warning("out of memory with %d new and %d running requests", len(new), len(rows))
        self._put_back(victims)
        if len(victims) > 1:
            self._suspects.update(running.request.id for running in victims)
        elif self._plan.num_slots > 1:
            self._policy.on_shortage(victims[0].request, self._plan.num_slots)
        else:
            self._end_for_memory(self._waiting.popleft(), describe_failure(error))
        return []

    def _end_for_memory(self, request: Prepared, reason: str) -> None:
        self._policy.on_end(request.id)
        self._suspects.discard(request.id)
        self._events.append(StepEvent(request.id, 0, (), "memory", reason))

    def _put_back(self, victims: list[_Running]) -> None:
        for running in reversed(victims):
            self._running.pop(running.slot)
            self._waiting.appendleft(running.request)


_WHAT_TO_LOWER = (
    "lower frame_size, max_frames or max_new_tokens, or choose a smaller model or quantization 8bit or 4bit"
)


def _with_note(name: str, note: str) -> str:
    return f"{name} ({note})" if note else name
