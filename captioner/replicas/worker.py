"""The far end of a ProcessReplica: decode threads in front of an engine loop, one process a device."""

import contextlib
import logging
import os
import queue
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch
import transformers

from captioner.engine.choose import choose_core
from captioner.engine.core import Core, StepEvent, describe_failure
from captioner.engine.loading import LoadedModel, load
from captioner.engine.prepare import Preparer
from captioner.errors import CaptionerError
from captioner.replicas.decoding import Decoded, Feeder, join_warnings, with_fewer_frames
from captioner.replicas.protocol import Cancelled, Failed, Finished, Load, Lost, Ready, TokensSoFar
from captioner.values import CapabilityReport, Caption, CaptionRequest, ModelSpec

log = logging.getLogger(__name__)

PROGRESS_INTERVAL_S = 0.1
LOAD_INTERVAL_S = 0.5
MAX_DECODE_THREADS = 8
DECODE_TIMEOUT_S = 120.0  # for the frames of one clip; those of hours of video in 4K take a slow core seconds
MAX_STUCK_THREADS = 4  # each may hold a core and the memory of a clip, until the process ends
MAX_SILENCE_S, MAX_SILENCE_CPU_S = 600.0, 3600.0  # of the longest step: compiling; long prompts on a slow CPU


def serve(connection: Connection, spec: ModelSpec, folder: Path, num_threads: int) -> None:
    """Load the model, then answer requests until the near end says None or is gone."""
    torch.set_num_threads(max(1, num_threads))
    transformers.utils.logging.disable_progress_bar()
    try:
        loaded = load(folder, spec)
        core = choose_core(loaded.model, spec)
    except CaptionerError as error:
        connection.send(Lost(str(error), final=True))
        return
    except Exception as error:  # as below: of the device or the model
        log.exception("the model could not be loaded")
        connection.send(Lost(describe_failure(error)))
        return
    if loaded.model.device.type != "cpu":
        torch.set_num_threads(1)  # the decode threads are the ones that need the cores
    with contextlib.suppress(BrokenPipeError):
        Worker(connection, spec, loaded, core, num_threads).run()
    os._exit(0)  # a decoder may hang in C code, and nothing here needs an orderly end


class _Tick:
    """Nothing arrived for LOAD_INTERVAL_S."""


@dataclass
class _Flight:
    """A request on its way through decoding and generation."""

    request: CaptionRequest
    started_s: float  # monotonic
    decoded: Decoded | None = None
    num_prompt_tokens: int = 0
    warning: str = ""


class Worker:
    """Owns everything in the process. Only run()'s thread touches the model."""

    def __init__(
        self, connection: Connection, spec: ModelSpec, loaded: LoadedModel, core: Core, num_threads: int
    ) -> None:
        self._connection, self._loaded, self._spec, self._core = connection, loaded, spec, core
        self._inbox: queue.SimpleQueue[CaptionRequest | int | Decoded | None] = queue.SimpleQueue()
        preparer = Preparer(loaded.processor, core.layout, pin=loaded.model.device.type == "cuda")
        decoders = spec.decode_threads or max(1, min(num_threads, MAX_DECODE_THREADS))
        self._feeder = Feeder(preparer, decoders, self._depth, self._inbox.put, DECODE_TIMEOUT_S)
        self._told: Ready | None = None
        self._flights: dict[int, _Flight] = {}
        self._num_received = 0
        self._progress: dict[int, int] = {}
        self._progress_sent_s = self._load_sent_s = 0.0
        self._started_s, self._starved_s = time.monotonic(), 0.0

    def run(self) -> None:
        """Until the near end says None or is gone, or the engine is beyond repair."""
        threading.Thread(target=self._read, name="commands", daemon=True).start()
        self._tell_ready()
        try:
            while self._take_messages():
                if self._core.ready(self._feeder.more_coming):
                    for event in self._core.step():
                        self._on_step(event)
                    self._send_progress()
        except Exception as error:  # the device or the model is beyond repair; another process may do better
            log.exception("the engine failed")
            self._connection.send(Lost(describe_failure(error)))
        self._feeder.close()

    @property
    def _depth(self) -> int:
        """Requests that are decoded ahead of the engine."""
        return self._core.num_slots // 2 + 2

    def _tell_ready(self) -> None:
        """At the start, and when the engine has planned its memory anew or lost one of its options."""
        self._feeder.resize(self._depth)
        loaded = self._loaded.report
        ready = Ready(
            CapabilityReport(loaded.device, loaded.rows + self._core.report_rows()),
            self._core.num_slots + self._depth + self._feeder.num_threads,
            MAX_SILENCE_CPU_S if self._loaded.model.device.type == "cpu" else MAX_SILENCE_S,
        )
        if ready != self._told:
            self._connection.send(ready)
            self._told = ready

    def _read(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            while (message := self._connection.recv()) is not None:
                self._inbox.put(message)
        self._inbox.put(None)

    def _take_messages(self) -> bool:
        """Handle all that has arrived; wait when there is nothing else to do. False at the end."""
        while True:
            self._feeder.give_up_overdue()
            if self._feeder.num_stuck > MAX_STUCK_THREADS:
                self._give_back()
                return False
            self._feeder.refill(self._core.num_waiting)
            try:
                message = self._inbox.get(block=False)
            except queue.Empty:
                if self._core.ready(self._feeder.more_coming):
                    return True
                message = self._wait()
            match message:
                case None:
                    return False
                case _Tick():
                    self._send_load()
                case CaptionRequest():
                    self._num_received += 1
                    self._core.announce_longest(message.max_tokens)
                    self._flights[message.id] = _Flight(message, time.monotonic())
                    self._feeder.submit(message)
                case Decoded():
                    self._on_decoded(message)
                case request_id:
                    self._cancel(request_id)

    def _wait(self) -> CaptionRequest | int | Decoded | _Tick | None:
        """For the next message. Time in which a decode thread idles as well is what a faster feed could save."""
        if not self._flights:
            self._send_load()
        starving = bool(self._flights) and self._feeder.has_idle_thread
        waiting_since_s = time.monotonic()
        try:
            message = self._inbox.get(timeout=LOAD_INTERVAL_S if self._flights else None)
        except queue.Empty:
            message = _Tick()
        if starving:
            self._starved_s += time.monotonic() - waiting_since_s
        return message

    def _give_back(self) -> None:
        """All requests, unharmed, and then this process: too many of its threads never return."""
        for request_id in self._flights:
            self._connection.send(Cancelled(request_id))
        self._connection.send(Lost(f"{self._feeder.num_stuck} of its decode threads are stuck in files"))

    def _on_decoded(self, decoded: Decoded) -> None:
        self._feeder.on_delivered(decoded.id)
        flight = self._flights.get(decoded.id)
        if flight is None:  # cancelled meanwhile
            return
        if decoded.prepared is None:
            self._fail(decoded.id, decoded.error)
            return
        flight.num_prompt_tokens = decoded.prepared.num_prompt_tokens
        self._core.submit(decoded.prepared)
        flight.decoded = Decoded(decoded.id, None, decoded.times_s, decoded.warning)

    def _cancel(self, request_id: int) -> None:
        flight = self._flights.get(request_id)
        if flight is None:
            return
        if flight.decoded is not None:
            self._core.cancel(request_id)
            return
        del self._flights[request_id]
        self._feeder.cancel(request_id)
        self._connection.send(Cancelled(request_id))

    def _on_step(self, event: StepEvent) -> None:
        if event.finish_reason is None:
            self._progress[event.id] = event.num_tokens
            return
        self._progress.pop(event.id, None)
        if event.finish_reason == "error":
            self._fail(event.id, event.error)
        elif event.finish_reason == "memory":
            self._on_too_little_memory(event)
        elif event.finish_reason == "cancelled":
            del self._flights[event.id]
            self._connection.send(Cancelled(event.id))
        else:
            self._connection.send(Finished(event.id, self._caption(self._flights.pop(event.id), event)))

    def _on_too_little_memory(self, event: StepEvent) -> None:
        """Not even alone: the clip again with half its frames, before it is given up."""
        flight = self._flights[event.id]
        num_frames = len(flight.decoded.times_s)
        request = with_fewer_frames(flight.request, num_frames)
        if request is None:
            self._fail(event.id, event.error)
            return
        log.warning("%s: %d frames do not fit; again with %d", request.path, num_frames, request.plan.max_frames)
        flight.request, flight.decoded = request, None
        flight.warning = f"captioned from {request.plan.max_frames} frames at most, for want of device memory"
        self._feeder.submit(request, first=True)

    def _fail(self, request_id: int, reason: str) -> None:
        del self._flights[request_id]
        self._connection.send(Failed(request_id, reason))

    def _caption(self, flight: _Flight, event: StepEvent) -> Caption:
        return Caption(
            text=self._loaded.processor.tokenizer.decode(event.tokens, skip_special_tokens=True),
            model=self._spec.source,
            prompt=flight.request.prompt,
            options=flight.request.options,
            frame_times_s=flight.decoded.times_s,
            num_prompt_tokens=flight.num_prompt_tokens,
            num_tokens=event.num_tokens,
            seconds=time.monotonic() - flight.started_s,
            device=self._loaded.report.device,
            warning=join_warnings(flight.decoded.warning, flight.warning),
            finish_reason=event.finish_reason,
        )

    def _send_progress(self) -> None:
        now_s = time.monotonic()
        if self._progress and now_s - self._progress_sent_s >= PROGRESS_INTERVAL_S:
            self._connection.send(TokensSoFar(dict(self._progress)))
            self._progress_sent_s = now_s
        if now_s - self._load_sent_s >= LOAD_INTERVAL_S:
            self._send_load()

    def _send_load(self) -> None:
        self._tell_ready()
        core, now_s = self._core, time.monotonic()
        load = Load(
            slots=core.num_slots,
            running=core.num_running,
            waiting=core.num_waiting,
            decoding=self._feeder.num_decoding,
            queued=self._feeder.num_queued,
            num_received=self._num_received,
            starved_s=self._starved_s,
            up_s=now_s - self._started_s,
        )
        self._connection.send(load)
        self._load_sent_s = now_s
