"""The far end of a ProcessReplica: decode threads in front of an engine loop, one process a device."""

import contextlib
import logging
import os
import queue
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch
import transformers

from captioner.engine.generate import GenerateCore, StepEvent
from captioner.engine.loading import LoadedModel, load
from captioner.engine.prepare import Prepared, Preparer
from captioner.errors import CaptionerError, MediaError
from captioner.frames import sample
from captioner.replicas.base import Cancelled, Failed, Finished, Lost, Ready, TokensSoFar
from captioner.values import Caption, CaptionRequest, Frames, ModelSpec

log = logging.getLogger(__name__)

PROGRESS_INTERVAL_S = 0.1


def serve(connection: Connection, spec: ModelSpec, folder: Path, num_threads: int) -> None:
    """Load the model, then answer requests until the near end says None or is gone."""
    torch.set_num_threads(max(1, num_threads))
    transformers.utils.logging.disable_progress_bar()
    try:
        loaded = load(folder, spec)
    except CaptionerError as error:
        connection.send(Lost(str(error)))
        return
    with contextlib.suppress(BrokenPipeError):
        _Worker(connection, spec, loaded, num_threads).run()


@dataclass
class _Flight:
    """A request on its way through decoding and generation."""

    request: CaptionRequest
    started_s: float  # monotonic
    decoding: Future | None = None
    frames: Frames | None = None
    num_prompt_tokens: int = 0


@dataclass(frozen=True, eq=False)
class _Decoded:
    id: int
    frames: Frames | None = None
    prepared: Prepared | None = None
    error: str = ""


class _Worker:
    """Owns everything in the process. Only run()'s thread touches the model."""

    def __init__(self, connection: Connection, spec: ModelSpec, loaded: LoadedModel, num_threads: int) -> None:
        self._connection, self._loaded, self._spec = connection, loaded, spec
        self._core = GenerateCore(loaded.model, spec.batch_size, spec.compile)
        self._preparer = Preparer(loaded.processor)
        decoders = spec.decode_threads or max(1, min(num_threads, 8))
        self._pool = ThreadPoolExecutor(decoders, thread_name_prefix="decode")
        self._inbox: queue.SimpleQueue[CaptionRequest | int | _Decoded | None] = queue.SimpleQueue()
        self._flights: dict[int, _Flight] = {}
        self._num_decoding = 0
        self._progress: dict[int, int] = {}
        self._progress_sent_s = 0.0

    def run(self) -> None:
        threading.Thread(target=self._read, name="commands", daemon=True).start()
        self._connection.send(Ready(self._loaded.report))
        while self._take_messages():
            if self._core.ready(more_coming=self._num_decoding > 0):
                for event in self._core.step():
                    self._on_step(event)
                self._send_progress()
        self._pool.shutdown(wait=False, cancel_futures=True)
        os._exit(0)  # a decoder may hang in C code, and nothing here needs an orderly end

    def _read(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            while (message := self._connection.recv()) is not None:
                self._inbox.put(message)
        self._inbox.put(None)

    def _take_messages(self) -> bool:
        """Handle all that has arrived; wait when there is nothing else to do. False at the end."""
        wait = not self._core.ready(more_coming=self._num_decoding > 0)
        while True:
            try:
                message = self._inbox.get(block=wait)
            except queue.Empty:
                return True
            wait = False
            match message:
                case None:
                    return False
                case CaptionRequest():
                    self._accept(message)
                case _Decoded():
                    self._on_decoded(message)
                case request_id:
                    self._cancel(request_id)

    def _accept(self, request: CaptionRequest) -> None:
        flight = self._flights[request.id] = _Flight(request, time.monotonic())
        self._num_decoding += 1
        flight.decoding = self._pool.submit(self._decode, request)

    def _decode(self, request: CaptionRequest) -> None:
        """In a decode thread: the file to tensors; the result goes to the inbox."""
        try:
            frames = sample(request.path, request.plan, request.kind)
            prepared = self._preparer.prepare(request.id, frames, request.prompt, request.options)
            self._inbox.put(_Decoded(request.id, frames, prepared))
        except CaptionerError as error:
            self._inbox.put(_Decoded(request.id, error=str(error)))
        except MemoryError:
            self._inbox.put(_Decoded(request.id, error=str(MediaError("not enough memory to decode it"))))
        except Exception as error:  # a decoder's surprise costs this item, not the replica
            log.exception("decoding %s failed", request.path)
            self._inbox.put(_Decoded(request.id, error=f"decoding failed: {type(error).__name__}: {error}"))

    def _on_decoded(self, decoded: _Decoded) -> None:
        self._num_decoding -= 1
        flight = self._flights.get(decoded.id)
        if flight is None:  # cancelled meanwhile
            return
        if decoded.prepared is None:
            del self._flights[decoded.id]
            self._connection.send(Failed(decoded.id, decoded.error))
            return
        flight.frames, flight.num_prompt_tokens = decoded.frames, decoded.prepared.num_prompt_tokens
        self._core.submit(decoded.prepared)

    def _cancel(self, request_id: int) -> None:
        flight = self._flights.get(request_id)
        if flight is None:
            return
        if flight.frames is not None:
            self._core.cancel(request_id)
            return
        del self._flights[request_id]
        if flight.decoding and flight.decoding.cancel():
            self._num_decoding -= 1
        self._connection.send(Cancelled(request_id))

    def _on_step(self, event: StepEvent) -> None:
        if event.finish_reason is None:
            self._progress[event.id] = event.num_tokens
            return
        self._progress.pop(event.id, None)
        flight = self._flights.pop(event.id)
        if event.finish_reason == "cancelled":
            self._connection.send(Cancelled(event.id))
        elif event.finish_reason == "error":
            self._connection.send(Failed(event.id, event.error))
        else:
            self._connection.send(Finished(event.id, self._caption(flight, event)))

    def _caption(self, flight: _Flight, event: StepEvent) -> Caption:
        frames = flight.frames
        return Caption(
            text=self._loaded.processor.tokenizer.decode(event.tokens, skip_special_tokens=True),
            model=self._spec.source,
            prompt=flight.request.prompt,
            options=flight.request.options,
            frame_times_s=tuple(frames.times_s.tolist()),
            num_prompt_tokens=flight.num_prompt_tokens,
            num_tokens=event.num_tokens,
            seconds=time.monotonic() - flight.started_s,
            device=self._loaded.report.device,
            warning=frames.warning,
            finish_reason=event.finish_reason,
        )

    def _send_progress(self) -> None:
        now_s = time.monotonic()
        if self._progress and now_s - self._progress_sent_s >= PROGRESS_INTERVAL_S:
            self._connection.send(TokensSoFar(dict(self._progress)))
            self._progress_sent_s = now_s
