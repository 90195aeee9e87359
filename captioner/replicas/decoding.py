"""Decode threads in front of an engine: they turn files into tensors, a limited number of them ahead of the engine."""

import logging
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from captioner.errors import CaptionerError
from captioner.formatting import first_line
from captioner.media.measure import measured_facts
from captioner.media.sample import sample
from captioner.media.words import fill_measured
from captioner.values import UNKNOWN_FACTS, CaptionRequest, Frames, GenerationOptions, MediaFacts

log = logging.getLogger(__name__)

MIN_FRAMES = 2  # of a clip
SCENES_TIMEOUTS = 30  # as long as usual may take what decodes all of a clip to find its scenes
P = TypeVar("P", covariant=True)


class Prepares(Protocol[P]):
    """Turns frames and a prompt into what an engine or a server takes. Safe to use from several threads."""

    def prepare(self, request_id: int, frames: Frames, prompt: str, options: GenerationOptions) -> P:
        """Prepare a clip or an image. Raises CaptionerError."""


@dataclass(frozen=True, eq=False)
class Decoded(Generic[P]):
    """The result of decoding a request: its input or the error. It holds no pixels besides those of `prepared`."""

    id: int
    prepared: P | None = None
    times_s: tuple[float, ...] = ()  # of the frames, from the start of the clip
    warning: str = ""
    facts: MediaFacts = UNKNOWN_FACTS
    error: str = ""
    prompt: str = ""  # with what was measured in the frames


class DecodePool(Generic[P]):
    """Decode threads. At most `depth` requests are being decoded, or are decoded and wait for the engine.

    That bounds host memory: 12 MB of pixels for a clip of 32 frames at 352 x 352, and twice that while a thread builds
    tensors. A thread that is stuck in a file is abandoned and replaced, since it cannot be ended.
    Only one thread may call the methods. `deliver` is called in that thread and in the decode threads.
    """

    def __init__(
        self,
        preparer: Prepares[P],
        num_threads: int,
        depth: int,
        deliver: Callable[[Decoded[P]], None],
        timeout_s: float = math.inf,
    ) -> None:
        self.num_threads, self._depth, self._timeout_s = num_threads, max(depth, num_threads), timeout_s
        self.num_decoding = 0
        self._preparer, self._deliver = preparer, deliver
        self.queued: deque[CaptionRequest] = deque()  # not yet being decoded
        self._cancelled: set[int] = set()  # ids of requests that are decoded or about to be
        self._to_decode: queue.SimpleQueue[CaptionRequest | None] = queue.SimpleQueue()
        self._begun: dict[int, tuple[float, float]] = {}  # id -> (monotonic time, limit in s)
        self._closed = False
        self.stuck: set[int] = set()  # ids that were given up and whose threads have not returned
        for _ in range(num_threads):
            self._start_thread()

    def resize(self, depth: int) -> None:
        """Change how many requests may be ahead of the engine; none is dropped."""
        self._depth = max(depth, self.num_threads)

    @property
    def more_coming(self) -> bool:
        """True if requests are queued or being decoded."""
        return bool(self.num_decoding or self.queued)

    def submit(self, request: CaptionRequest) -> None:
        """Queue a request."""
        self.queued.append(request)

    def refill(self, num_waiting: int) -> None:
        """Begin as many requests as `depth` allows while `num_waiting` decoded ones wait for the engine."""
        while self.queued and self.num_decoding + num_waiting < self._depth:
            request = self.queued.popleft()
            self.num_decoding += 1
            self._to_decode.put(request)

    def on_delivered(self, request_id: int) -> None:
        """Note that the owner has received a request; to be called once for each."""
        self.num_decoding -= 1
        self._cancelled.discard(request_id)

    def cancel(self, request_id: int) -> None:
        """Drop a queued request. One that has begun is delivered nevertheless, undecoded if possible."""
        num_queued, self.queued = len(self.queued), deque(each for each in self.queued if each.id != request_id)
        if len(self.queued) == num_queued:
            self._cancelled.add(request_id)

    def give_up_overdue(self) -> None:
        """Deliver an error for each request whose decoding takes too long."""
        now_s = time.monotonic()
        for request_id, (begun_s, timeout_s) in self._begun.copy().items():
            if now_s - begun_s < timeout_s:
                continue
            self.stuck.add(request_id)
            if self._begun.pop(request_id, None) is None:  # it returned just now
                self.stuck.discard(request_id)
                continue
            self._start_thread()
            reason = f"decoding took longer than {timeout_s:.0f} s; the file may be damaged"
            self._deliver(Decoded(request_id, error=reason))

    def close(self) -> None:
        """End the threads without waiting for them, since a decoder may hang."""
        self.queued.clear()
        self._closed = True
        for _ in range(self.num_threads):
            self._to_decode.put(None)

    def _start_thread(self) -> None:
        threading.Thread(target=self._run, name="decode", daemon=True).start()

    def _run(self) -> None:
        while (request := self._to_decode.get()) is not None and not self._closed and self._handle(request):
            pass  # _handle keeps no reference to the tensors, as a loop here would while it waits

    def _handle(self, request: CaptionRequest) -> bool:
        """Decode a request and deliver it. Return False if it was given up meanwhile and this thread was replaced."""
        times = SCENES_TIMEOUTS if request.plan.windows == "scenes" or request.plan.find_cuts else 1
        self._begun[request.id] = time.monotonic(), self._timeout_s * times
        cancelled = request.id in self._cancelled
        decoded = Decoded(request.id, error="cancelled") if cancelled else self._decode(request)
        if self._begun.pop(request.id, None) is None:  # the thread that removes it delivers it
            self.stuck.discard(request.id)
            return False
        self._deliver(decoded)
        return True

    def _decode(self, request: CaptionRequest) -> Decoded[P]:
        try:
            frames = sample(request.path, request.plan, request.kind, request.within)
            facts = frames.facts if request.options.scores else measured_facts(frames, request.measured)
            prompt = fill_measured(request.prompt, facts)
            prepared = self._preparer.prepare(request.id, frames, prompt, request.options)
            times_s = tuple(frames.clip_times_s.tolist())
            return Decoded(request.id, prepared, times_s, frames.warning, facts, prompt=prompt)
        except CaptionerError as error:
            return Decoded(request.id, error=str(error))
        except MemoryError:
            return Decoded(request.id, error="not enough memory to decode this file")
        except Exception as error:  # an unexpected error of a decoder fails this item, not the replica
            log.exception("decoding %s failed", request.path)
            return Decoded(request.id, error=f"decoding failed: {first_line(error)}")


def with_fewer_frames(request: CaptionRequest, num_frames: int) -> CaptionRequest | None:
    """Return the request with half of its `num_frames` frames; None if that is too few."""
    fewer = num_frames // 4 * 2
    plan = replace(request.plan, max_frames=fewer, min_frames=min(request.plan.min_frames, fewer))
    return replace(request, plan=plan) if fewer >= MIN_FRAMES else None
