"""`StaticCore`: fixed batches through `model.generate`, for every model family; the reference in tests of the other."""

import inspect
import logging
import threading
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel, StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from captioner.engine.answer import begin_answer
from captioner.engine.core import (
    Core,
    FinishReason,
    StepEvent,
    describe_failure,
    first_line,
    is_device_error,
    is_out_of_memory,
    release_unused,
    use_device,
)
from captioner.engine.prepare import PIXELS, Prepared, can_share_batch, collate
from captioner.engine.sampling import PerRowSampling

log = logging.getLogger(__name__)


class StaticCore(Core):
    """A Core that starts the next batch only when the last row of the current one has ended."""

    def __init__(
        self, model: PreTrainedModel, max_batch: int, compile_decode: bool = False, reason: str = "", sage: bool = False
    ) -> None:
        """Prepare the core; the report shows `reason`, the reason why the continuous core cannot run the model."""
        super().__init__(model)
        self._model, self._max_batch, self._reason = model, max_batch, reason
        self._batch = max_batch  # size of the next batch; smaller after a shortage of memory
        pad = model.generation_config.pad_token_id
        self._pad = pad if pad is not None else (self._eos or (0,))[0]
        self._sage_wanted = sage
        self._compile = compile_decode and model.device.type == "cuda"
        self._compiling = "off"
        if compile_decode:
            self._compiling = "decode steps" if self._compile else "not active: needs an NVIDIA GPU"
        self._alone: set[int] = set()  # requests whose batch failed: they run again in batches of one
        self._run: _Run | None = None

    @property
    def num_slots(self) -> int:
        return self._max_batch

    @property
    def num_running(self) -> int:
        return len(self._run.unfinished) if self._run else 0

    @property
    def busy(self) -> bool:
        return bool(self._run or self._waiting or self._events)

    def ready(self, more_coming: bool) -> bool:
        """Return True if a batch runs, is full, or no more requests are coming."""
        full = len(self._waiting) >= self._batch
        return self.busy and (self._run is not None or full or not more_coming or bool(self._events))

    def _cancel_running(self, request_id: int) -> None:
        if self._run:
            self._run.cancel(request_id)

    def step(self) -> list[StepEvent]:
        """Start a batch if none runs, and generate one token for each of its rows; after a failure they run again."""
        events, self._events = self._events, []
        if self._run is None and self._waiting:
            self._run = _Run(self._model, self._take_batch(), self._eos, self._pad, self._compile)
        if self._run is None:
            return events
        try:
            events += self._run.step()
        except Exception as error:  # the model may raise anything; its requests caused it
            if is_device_error(error):
                raise
            if is_out_of_memory(error):
                self._batch = max(1, len(self._run.batch) // 2)
                release_unused(self._model.device)
            else:
                log.exception("generation failed")
            return events + self._after_failure(self._run, error)
        if self._run.ended:
            self._batch = min(self._max_batch, self._batch + 1)
            self._run = None
        return events

    def close(self) -> None:
        """Drop all requests and wait for the end of the running batch."""
        self._waiting.clear()
        if self._run:
            for request in self._run.batch:
                self._run.cancel(request.id)
            while not self._run.ended:
                self._run.step()
        self._run = None

    def report_rows(self) -> tuple[tuple[str, str], ...]:
        return (
            ("engine", "batches through generate" + (f", since {self._reason}" if self._reason else "")),
            ("batch", f"up to {self._max_batch} clips at once"),
            ("attention", str(self._model.config._attn_implementation)),
            ("SageAttention", "not active: needs continuous batching" if self._sage_wanted else "off"),
            ("compile", self._compiling),
        )

    def _take_batch(self) -> list[Prepared]:
        first = self._waiting.popleft()
        batch = [first]
        if first.id not in self._alone:
            for request in list(self._waiting):
                if len(batch) < self._batch and request.id not in self._alone and can_share_batch(first, request):
                    self._waiting.remove(request)
                    batch.append(request)
        return batch

    def _after_failure(self, run: "_Run", error: Exception) -> list[StepEvent]:
        """Queue the requests again, without compilation if that may be the cause. One that failed alone ends."""
        unfinished, self._run = run.unfinished, None
        reason, out_of_memory = describe_failure(error), is_out_of_memory(error)
        if self._compile and run.decoding and not out_of_memory:
            self._compile, self._compiling = False, f"not active: {first_line(error, 160)}"
            self._waiting.extendleft(reversed(unfinished))
            return []
        if len(unfinished) == 1:
            self._alone.discard(unfinished[0].id)
            self._batch = self._max_batch  # the size of the batch was not the cause
            return [StepEvent(unfinished[0].id, 0, (), "memory" if out_of_memory else "error", reason)]
        log.warning("%s; retrying its %d clips in smaller batches", reason, len(unfinished))
        if not out_of_memory:
            self._alone.update(request.id for request in unfinished)
        self._waiting.extendleft(reversed(unfinished))
        return []


class _Run(BaseStreamer, StoppingCriteria):
    """One call of `generate` as a coroutine: its thread runs only while the owner waits in step()."""

    def __init__(
        self, model: PreTrainedModel, batch: list[Prepared], eos: tuple[int, ...], pad: int, compile_decode: bool
    ) -> None:
        self.batch, self.ended = batch, False
        self._model, self._eos, self._pad, self._compile = model, eos, pad, compile_decode
        self._answers = [begin_answer(request, eos) for request in batch]
        self._reasons: list[FinishReason | None] = [None] * len(batch)
        self._cancelled: set[int] = set()
        self._events: list[StepEvent] = []
        self._error: BaseException | None = None
        self._prompt_seen = False
        self._go, self._paused = threading.Semaphore(0), threading.Semaphore(0)
        threading.Thread(target=self._generate, name="generate", daemon=True).start()

    @property
    def unfinished(self) -> list[Prepared]:
        return [p for p, reason in zip(self.batch, self._reasons, strict=True) if reason is None]

    @property
    def decoding(self) -> bool:
        return any(answer.tokens for answer in self._answers)

    def cancel(self, request_id: int) -> None:
        self._cancelled.add(request_id)

    def step(self) -> list[StepEvent]:
        """Run until all rows have their next token, or to the end. Raises what generate raises."""
        self._go.release()
        self._paused.acquire()
        events, self._events = self._events, []
        if self._error:
            raise self._error
        return events

    def _generate(self) -> None:
        self._go.acquire()
        try:
            use_device(self._model.device)
            with torch.inference_mode():
                self._call_generate()
        except BaseException as error:  # step() raises it in the owner's thread
            self._error = error
        self.ended = True
        self._paused.release()

    def _call_generate(self) -> None:
        device = self._model.device
        inputs = {k: v.to(device) for k, v in collate(self.batch, self._pad).items()}
        if "mm_token_type_ids" not in inspect.signature(self._model.forward).parameters:
            inputs.pop("mm_token_type_ids", None)  # MiniMax-M3's processor returns them, but its model refuses them
        for name in inputs.keys() & set(PIXELS):
            inputs[name] = inputs[name].to(self._model.dtype)  # not every model family casts them
        sampling = PerRowSampling(self.batch, self._answers, inputs["input_ids"].shape[1])
        config = GenerationConfig(
            max_new_tokens=max(p.options.max_tokens for p in self.batch),
            do_sample=False,
            repetition_penalty=1.0,  # else generate takes the model's own, which also counts the prompt
            no_repeat_ngram_size=0,
            eos_token_id=list(self._eos) or None,
            pad_token_id=self._pad,
            cache_implementation="static" if self._compile else None,
        )
        generate = cast(Callable[..., object], self._model.generate)  # torch types it as a Tensor or Module
        generate(
            **inputs,
            generation_config=config,
            logits_processor=LogitsProcessorList([sampling]),
            stopping_criteria=StoppingCriteriaList([self]),
            streamer=self,
        )

    def put(self, value: Tensor) -> None:
        """Take the streamer's input from generate: first the prompts (B, L), then the newest tokens (B,)."""
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        for row, token in enumerate(value.tolist()):
            if self._reasons[row] is None:
                self._record(row, token)
        self._paused.release()
        self._go.acquire()

    def _record(self, row: int, token: int) -> None:
        self._reasons[row] = self._answers[row].add(token)
        self._report(row)

    def _report(self, row: int) -> None:
        reason, answer, id = self._reasons[row], self._answers[row], self.batch[row].id
        tokens = tuple(answer.tokens) if reason else ()
        event = StepEvent(id, len(answer.tokens), tokens, reason, probabilities=answer.probabilities)
        self._events.append(event)

    def end(self) -> None:
        """Do nothing; the streamer's interface requires this method."""

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: object) -> Tensor:
        """Return the rows to stop, bool (B,); generate calls this after put()."""
        for row, request in enumerate(self.batch):
            if self._reasons[row] is None and request.id in self._cancelled:
                self._reasons[row] = "cancelled"
                self._report(row)
        return torch.tensor([reason is not None for reason in self._reasons], device=input_ids.device)
