"""The worker process behind a ProcessReplica: decode threads in front of an engine loop, one process per device."""

import contextlib
import logging
import os
import queue
import threading
import time
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

import torch
import transformers

from captioner.engine.chat import AnswerReader
from captioner.engine.choose import choose_core
from captioner.engine.core import Core, StepEvent, describe_failure
from captioner.engine.loading import LoadedModel, load
from captioner.engine.prepare import Preparer
from captioner.errors import CaptionerError, ModelError
from captioner.marks import Answer
from captioner.replicas.decoding import Decoded, DecodePool, with_fewer_frames
from captioner.replicas.protocol import Cancelled, Failed, Finished, Load, Lost, Ready, Scored, TokensSoFar
from captioner.values import UNKNOWN_FACTS, CapabilityReport, Caption, CaptionRequest, MediaFacts, ModelSpec

log = logging.getLogger(__name__)

PROGRESS_INTERVAL_S = 0.1
LOAD_INTERVAL_S = 0.5
MAX_DECODE_THREADS = 8
DECODE_TIMEOUT_S = 120.0  # for the frames of one file; even hours of 4K video take a slow core only seconds
MAX_STUCK_THREADS = 4  # each may hold a core and the memory of a clip until the process ends
MAX_SILENCE_S, MAX_SILENCE_CPU_S = 600.0, 3600.0  # the longest steps: compiling; long prompts on a slow CPU

Message = CaptionRequest | int | Decoded  # int: the id of a request to cancel


def serve(connection: Connection, spec: ModelSpec, folder: Path, num_threads: int) -> None:
    """Load the model, then answer requests until the app sends None or is gone."""
    torch.set_num_threads(max(1, num_threads))
    transformers.utils.logging.disable_progress_bar()
    try:
        loaded = load(folder, spec)
        core = choose_core(loaded.model, spec)
        worker = Worker(connection, spec, loaded, core, num_threads)
    except CaptionerError as error:
        connection.send(Lost(str(error), final=True))
        return
    except Exception as error:  # the device or the model may raise anything
        log.exception("the model could not be loaded")
        connection.send(Lost(describe_failure(error)))
        return
    if loaded.model.device.type != "cpu":
        torch.set_num_threads(1)  # leave the cores to the decode threads
    with contextlib.suppress(BrokenPipeError):
        worker.run()
    os._exit(0)  # a decoder may hang in C code, and nothing here needs an orderly shutdown


@dataclass
class _Flight:
    """A request on its way through decoding and generation."""

    request: CaptionRequest
    started_s: float  # monotonic
    in_engine: bool = False  # decoded and submitted
    times_s: tuple[float, ...] = ()  # of its frames
    facts: MediaFacts = UNKNOWN_FACTS
    num_prompt_tokens: int = 0
    file_warning: str = ""
    memory_warning: str = ""

    @property
    def warning(self) -> str:
        return "; ".join(filter(None, (self.file_warning, self.memory_warning)))


class Worker:
    """Owns everything in the worker process. Only the thread of run() uses the model."""

    def __init__(
        self, connection: Connection, spec: ModelSpec, loaded: LoadedModel, core: Core, num_threads: int
    ) -> None:
        self._connection, self._loaded, self._spec, self._core = connection, loaded, spec, core
        self._inbox: queue.SimpleQueue[Message | None] = queue.SimpleQueue()  # None: end
        self._answers = AnswerReader(loaded.processor)
        preparer = Preparer(loaded.processor, core.layout, pin=loaded.model.device.type == "cuda")
        num_decoders = spec.decode_threads or max(1, min(num_threads, MAX_DECODE_THREADS))
        self._decoders = DecodePool(preparer, num_decoders, self._depth, self._inbox.put, DECODE_TIMEOUT_S)
        self._last_ready: Ready | None = None
        self._flights: dict[int, _Flight] = {}
        self._num_received = 0
        self._progress: dict[int, int] = {}  # request id -> tokens so far
        self._progress_sent_s = self._load_sent_s = 0.0
        self._started_s, self._starved_s = time.monotonic(), 0.0

    def run(self) -> None:
        """Answer requests until the app sends None or is gone, or the engine fails."""
        threading.Thread(target=self._read, name="commands", daemon=True).start()
        self._send_ready()
        try:
            while self._take_messages():
                if self._core.ready(self._decoders.more_coming):
                    for event in self._core.step():
                        self._on_step(event)
                    self._send_progress()
        except Exception as error:  # the device or the model failed; a new process may work again
            log.exception("the engine failed")
            self._connection.send(Lost(describe_failure(error)))
        self._decoders.close()

    @property
    def _depth(self) -> int:
        return self._core.num_slots // 2 + 2

    def _send_ready(self) -> None:
        self._decoders.resize(self._depth)
        loaded = self._loaded.report
        thinking = ("thinking", self._answers.report_thinking())
        report = CapabilityReport(loaded.device, (*loaded.rows, *self._core.report_rows(), thinking))
        capacity = self._core.num_slots + self._depth + self._decoders.num_threads
        is_cpu = self._loaded.model.device.type == "cpu"
        ready = Ready(report, capacity, MAX_SILENCE_CPU_S if is_cpu else MAX_SILENCE_S)
        if ready != self._last_ready:  # the engine may plan its memory again or lose an option
            self._connection.send(ready)
            self._last_ready = ready

    def _read(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            while (message := self._connection.recv()) is not None:
                self._inbox.put(message)
        self._inbox.put(None)

    def _take_messages(self) -> bool:
        """Handle all that has arrived; wait if there is nothing else to do. Return False at the end."""
        while True:
            self._decoders.give_up_overdue()
            if len(self._decoders.stuck) > MAX_STUCK_THREADS:
                for request_id in self._flights:
                    self._connection.send(Cancelled(request_id))
                self._connection.send(Lost(f"{len(self._decoders.stuck)} decode threads are stuck in files"))
                return False
            self._decoders.refill(self._core.num_waiting)
            if self._inbox.empty() and self._core.ready(self._decoders.more_coming):
                return True
            try:
                message = self._next_message()
            except queue.Empty:
                self._send_load()
                continue
            if message is None:
                return False
            self._on_message(message)

    def _next_message(self) -> Message | None:
        """Return the next message. Raise queue.Empty if requests are open and none arrives in LOAD_INTERVAL_S."""
        if not self._flights and self._inbox.empty():
            self._send_load()
            return self._inbox.get()
        starving, since_s = self._decoders.num_decoding < self._decoders.num_threads, time.monotonic()
        try:
            return self._inbox.get(timeout=LOAD_INTERVAL_S)
        finally:
            if starving:  # faster decoding could have saved this time
                self._starved_s += time.monotonic() - since_s

    def _on_message(self, message: Message) -> None:
        match message:
            case CaptionRequest():
                self._num_received += 1
                self._core.announce_longest(message.max_tokens)
                self._flights[message.id] = _Flight(message, time.monotonic())
                self._decoders.submit(message)
            case Decoded():
                self._on_decoded(message)
            case request_id:
                self._cancel(request_id)

    def _on_decoded(self, decoded: Decoded) -> None:
        self._decoders.on_delivered(decoded.id)
        flight = self._flights.get(decoded.id)
        if flight is None:  # cancelled meanwhile
            return
        if decoded.prepared:
            flight.in_engine, flight.times_s, flight.file_warning = True, decoded.times_s, decoded.warning
            flight.facts, measured = decoded.facts, decoded.facts.measured
            flight.request = replace(flight.request, prompt=decoded.prompt, measured=measured)
            flight.num_prompt_tokens = decoded.prepared.num_prompt_tokens
            self._core.submit(decoded.prepared)
        else:
            self._fail(decoded.id, decoded.error)

    def _cancel(self, request_id: int) -> None:
        flight = self._flights.get(request_id)
        if flight and flight.in_engine:
            self._core.cancel(request_id)
        elif flight:
            del self._flights[request_id]
            self._decoders.cancel(request_id)
            self._connection.send(Cancelled(request_id))

    def _on_step(self, event: StepEvent) -> None:
        if event.finish_reason is None:
            self._progress[event.id] = event.num_tokens
            return
        self._progress.pop(event.id, None)
        match event.finish_reason:
            case "error":
                self._fail(event.id, event.error)
            case "memory":
                self._on_too_little_memory(event)
            case "cancelled":
                del self._flights[event.id]
                self._connection.send(Cancelled(event.id))
            case "scored":
                flight, (yes, no) = self._flights.pop(event.id), event.probabilities
                self._connection.send(Scored(event.id, flight.request.prompt, yes, no, flight.warning))
            case reason:
                self._finish(event, reason)

    def _on_too_little_memory(self, event: StepEvent) -> None:
        """Try a clip that does not fit even alone with half its frames; fail it if they are too few."""
        flight = self._flights[event.id]
        num_frames = len(flight.times_s)
        request = with_fewer_frames(flight.request, num_frames)
        if request is None:
            self._fail(event.id, event.error)
            return
        max_frames = request.plan.max_frames
        log.warning("%s: %d frames do not fit into memory; trying %d", request.path, num_frames, max_frames)
        flight.request, flight.in_engine = request, False
        flight.memory_warning = f"captioned from at most {max_frames} frames because device memory was short"
        self._decoders.queued.appendleft(request)

    def _fail(self, request_id: int, reason: str) -> None:
        del self._flights[request_id]
        self._connection.send(Failed(request_id, reason))

    def _finish(self, event: StepEvent, finish_reason: str) -> None:
        try:
            answer = self._answers.read(event.tokens, self._flights[event.id].request.options.thinks)
        except ModelError as error:
            self._fail(event.id, str(error))
            return
        caption = self._caption(self._flights.pop(event.id), event, answer, finish_reason)
        self._connection.send(Finished(event.id, caption))

    def _caption(self, flight: _Flight, event: StepEvent, answer: Answer, finish_reason: str) -> Caption:
        return Caption(
            text=answer.text,
            model=self._spec.source,
            prompt=flight.request.prompt,
            options=flight.request.options,
            frame_times_s=flight.times_s,
            num_prompt_tokens=flight.num_prompt_tokens,
            num_tokens=event.num_tokens,
            seconds=time.monotonic() - flight.started_s,
            device=self._loaded.report.device,
            warning=flight.warning,
            finish_reason=finish_reason,
            thinking=answer.thinking,
            adapter=self._spec.adapter,
            facts=flight.facts,
        )

    def _send_progress(self) -> None:
        now_s = time.monotonic()
        if self._progress and now_s - self._progress_sent_s >= PROGRESS_INTERVAL_S:
            self._connection.send(TokensSoFar(dict(self._progress)))
            self._progress_sent_s = now_s
        if now_s - self._load_sent_s >= LOAD_INTERVAL_S:
            self._send_load()

    def _send_load(self) -> None:
        self._send_ready()
        core, now_s = self._core, time.monotonic()
        decoding, queued, up_s = self._decoders.num_decoding, len(self._decoders.queued), now_s - self._started_s
        slots, running, waiting = core.num_slots, core.num_running, core.num_waiting
        load = Load(slots, running, waiting, decoding, self._starved_s, up_s, queued, self._num_received)
        self._connection.send(load)
        self._load_sent_s = now_s
