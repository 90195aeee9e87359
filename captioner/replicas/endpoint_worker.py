"""The worker process behind an EndpointReplica: decode threads in front of a model server.

One event loop owns everything. While the server does not answer, all work is given back and the replica takes none.
"""

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

from captioner.formatting import first_line
from captioner.marks import ALL_THINKING, after_opening, closes_thinking, read_answer
from captioner.replicas.clip_message import ClipMessage
from captioner.replicas.decoding import Decoded, DecodePool
from captioner.replicas.protocol import (
    Answer,
    Cancelled,
    Failed,
    Finished,
    Load,
    Lost,
    Ready,
    ReplicaEvent,
    Scored,
    TokensSoFar,
)
from captioner.replicas.server import ModelServer, Reply
from captioner.replicas.server_errors import Failing, NoScores, Refused, ServerError, Unusable, delay_s
from captioner.replicas.tries import Tries
from captioner.values import UNKNOWN_FACTS, CapabilityReport, Caption, CaptionRequest, MediaFacts, ModelSpec

log = logging.getLogger(__name__)

PROGRESS_INTERVAL_S, LOAD_INTERVAL_S = 0.1, 0.5
MAX_DECODE_THREADS = 8
DECODE_TIMEOUT_S = 120.0  # for the frames of one file
MAX_STUCK_THREADS = 4
MAX_SILENCE_S = 60.0  # this process itself is never silent while it has work
START_PATIENCE_S = 3.0  # for a server that does not answer when the job starts
PATIENCE_S = 1800.0  # for one that has answered before


def serve(connection: Connection, spec: ModelSpec, key: str, num_threads: int) -> None:
    """Answer requests until the app sends None or is gone, or the server cannot be used."""
    try:
        asyncio.run(EndpointWorker(connection, spec, key, num_threads).run())
    except BrokenPipeError:
        pass
    except Exception as error:  # a bug ends this process, and the work goes to another one
        log.exception("the connection to a model server failed")
        with contextlib.suppress(OSError):
            connection.send(Lost(f"the connection to the server failed: {first_line(error)}"))
    os._exit(0)  # a decoder may hang in C code


@dataclass(eq=False)
class _Flight:
    """A request on its way through decoding and the server."""

    request: CaptionRequest
    started_s: float  # monotonic
    message: ClipMessage | None = None
    times_s: tuple[float, ...] = ()  # of its frames
    facts: MediaFacts = UNKNOWN_FACTS
    warning: str = ""
    num_tokens: int = 0


class EndpointWorker:
    """Owns everything in the worker process."""

    def __init__(self, connection: Connection, spec: ModelSpec, key: str, num_threads: int) -> None:
        self._connection, self._spec = connection, spec
        self._server = ModelServer(spec, key)
        self._tries = Tries(self._server, spec.batch_size)
        num_decoders = spec.decode_threads or max(1, min(num_threads, MAX_DECODE_THREADS))
        self._decoders = DecodePool(self._server.writer, num_decoders, self._depth, self._deliver, DECODE_TIMEOUT_S)
        self._flights: dict[int, _Flight] = {}
        self._waiting: deque[_Flight] = deque()  # decoded
        self._running: dict[int, asyncio.Task[None]] = {}  # by request id
        self._was_connected, self._away = False, ""  # why the server cannot be asked now
        self._num_received, self._opens_thinking = 0, False
        self._last_ready: Ready | None = None
        self._load_sent_s, self._started_s = 0.0, time.monotonic()

    async def run(self) -> None:
        """Answer requests until the app sends None or is gone, or the server cannot be used."""
        self._loop = asyncio.get_running_loop()
        self._ended, self._lost = asyncio.Event(), asyncio.Event()
        threading.Thread(target=self._read, name="commands", daemon=True).start()
        parts = [asyncio.ensure_future(part) for part in (self._ended.wait(), self._keep_connected(), self._tick())]
        done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        for part in done:
            part.result()  # raises its error
        self._decoders.close()

    @property
    def _depth(self) -> int:
        return self._tries.limit // 2 + 2

    def _read(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            while (message := self._connection.recv()) is not None:
                self._call(self._on_message, message)
        self._call(self._ended.set)

    def _deliver(self, decoded: Decoded[ClipMessage]) -> None:
        self._call(self._on_decoded, decoded)

    def _call(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call a function in the event loop, from another thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(function, *arguments)

    async def _keep_connected(self) -> None:
        """Connect, and again whenever the server went away. Return when it is lost, after saying so."""
        patience_s = START_PATIENCE_S
        while True:
            try:
                await self._connect(patience_s)
            except ServerError as error:
                self._send(Lost(str(error), final=isinstance(error, Unusable)))
                return
            patience_s, self._was_connected, self._away = PATIENCE_S, True, ""
            self._lost.clear()
            self._send_ready()
            self._fill()
            await self._lost.wait()

    async def _connect(self, patience_s: float) -> None:
        began_s, attempt = time.monotonic(), 0
        while True:
            try:
                return await self._server.connect()
            except ServerError as error:
                wait_s = max(delay_s(attempt), getattr(error, "retry_after_s", 0.0))
                if isinstance(error, Failing) and error.is_loading:
                    patience_s = PATIENCE_S
                if isinstance(error, Unusable | Refused) or time.monotonic() + wait_s > began_s + patience_s:
                    raise
                attempt += 1
            await asyncio.sleep(wait_s)

    async def _tick(self) -> None:
        while True:
            self._decoders.give_up_overdue()
            if len(self._decoders.stuck) > MAX_STUCK_THREADS:
                self._give_back()
                self._send(Lost(f"{len(self._decoders.stuck)} decode threads are stuck in files"))
                return
            if tokens := {id: flight.num_tokens for id, flight in self._flights.items() if flight.num_tokens}:
                self._send(TokensSoFar(tokens))
            if self._last_ready and time.monotonic() - self._load_sent_s >= LOAD_INTERVAL_S:
                self._send_ready()
                self._send_load()
            await asyncio.sleep(PROGRESS_INTERVAL_S)

    def _on_message(self, message: CaptionRequest | int) -> None:
        if isinstance(message, CaptionRequest):
            self._num_received += 1
            self._flights[message.id] = _Flight(message, time.monotonic())
            if self._away:
                self._end(message.id, Cancelled(message.id))
            else:
                self._decoders.submit(message)
        elif message in self._flights:
            self._cancel(message)
        self._fill()

    def _on_decoded(self, decoded: Decoded[ClipMessage]) -> None:
        self._decoders.on_delivered(decoded.id)
        flight = self._flights.get(decoded.id)
        if flight and decoded.prepared:
            flight.message, flight.times_s, flight.warning = decoded.prepared, decoded.times_s, decoded.warning
            flight.facts, measured = decoded.facts, decoded.facts.measured
            flight.request = replace(flight.request, prompt=decoded.prompt, measured=measured)
            self._waiting.append(flight)
        elif flight:
            self._end(decoded.id, Failed(decoded.id, decoded.error))
        self._fill()

    def _fill(self) -> None:
        """Send as many requests as the server may get, and decode the next ones. The form of clips is known by then."""
        if not self._was_connected:
            return
        while self._waiting and len(self._running) < self._tries.limit:
            flight = self._waiting.popleft()
            self._running[flight.request.id] = asyncio.ensure_future(self._answer(flight))
        self._decoders.resize(self._depth)
        self._decoders.refill(len(self._waiting))

    async def _answer(self, flight: _Flight) -> None:
        request = flight.request
        assert flight.message

        def on_token(count: int) -> None:
            flight.num_tokens = count

        try:
            reply = await self._tries.ask(flight.message, request.options, on_token)
            answer: Answer = Scored(request.id, request.prompt, *reply.answers, flight.warning)
            if not request.options.scores:
                answer = Finished(request.id, self._caption(flight, reply))
        except Refused as error:
            self._end(request.id, Failed(request.id, str(error)))
        except NoScores as error:
            self._give_back()
            self._send(Lost(str(error), final=True))
            self._ended.set()
        except ServerError as error:
            self._on_away(str(error))
        else:
            self._end(request.id, answer)
        finally:
            self._running.pop(request.id, None)
            self._fill()

    def _caption(self, flight: _Flight, reply: Reply) -> Caption:
        request, is_cut = flight.request, reply.finish_reason == "length"
        if closes_thinking(reply.text) and after_opening(reply.text) == reply.text:
            self._opens_thinking = True  # the template did, and so an answer that is cut off may be all thinking
        answer = read_answer(reply.text, self._opens_thinking and is_cut)
        if answer.cut_off or (reply.thinking and not answer.text.strip()):
            raise Refused(ALL_THINKING)
        return Caption(
            text=answer.text,
            model=self._server.model,
            prompt=request.prompt,
            options=request.options,
            frame_times_s=flight.times_s,
            num_prompt_tokens=reply.num_prompt_tokens or 0,
            num_tokens=reply.num_tokens,
            seconds=time.monotonic() - flight.started_s,
            device=self._spec.device,
            warning=flight.warning,
            finish_reason="length" if is_cut else "stop",
            thinking="\n\n".join(filter(None, (reply.thinking.strip(), answer.thinking))),
            facts=flight.facts,
        )

    def _on_away(self, reason: str) -> None:
        """Give all work back, and take none until the server answers again."""
        if not self._away:
            self._away = reason
            self._send_ready()  # before the work comes back, so that it is not sent here again
            self._give_back()
            self._lost.set()

    def _give_back(self) -> None:
        for request_id in list(self._flights):
            self._cancel(request_id)

    def _cancel(self, request_id: int) -> None:
        """End a request early; its connection to the server is closed."""
        flight = self._flights[request_id]
        if task := self._running.get(request_id):
            task.cancel()
        elif flight in self._waiting:
            self._waiting.remove(flight)
        else:
            self._decoders.cancel(request_id)
        self._end(request_id, Cancelled(request_id))

    def _end(self, request_id: int, answer: Answer) -> None:
        if self._flights.pop(request_id, None):  # else it was cancelled
            self._send(answer)

    def _send(self, event: ReplicaEvent) -> None:
        self._connection.send(event)

    def _send_ready(self) -> None:
        limit = self._tries.limit
        at_once = f"{limit}" if self._tries.is_fixed else f"{limit}, found by the server's answers"
        rows = (("server", self._spec.device), *self._server.report_rows(), ("requests at once", at_once))
        if self._away:
            rows = (*rows, ("note", f"{self._away}; its work is given back, and it is tried again"))
        capacity = 0 if self._away else limit + self._depth + self._decoders.num_threads
        ready = Ready(CapabilityReport(self._spec.device, rows), capacity, MAX_SILENCE_S)
        if ready != self._last_ready:
            self._send(ready)
            self._last_ready = ready

    def _send_load(self) -> None:
        decoding, queued, up_s = (
            self._decoders.num_decoding,
            len(self._decoders.queued),
            time.monotonic() - self._started_s,
        )
        running, waiting = len(self._running), len(self._waiting)
        self._send(Load(self._tries.limit, running, waiting, decoding, 0.0, up_s, queued, self._num_received))
        self._load_sent_s = time.monotonic()
