"""Decode threads in front of an engine: files to tensors, a little ahead of it and no further."""

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from captioner.engine.prepare import Prepared, Preparer
from captioner.errors import CaptionerError, MediaError
from captioner.frames import sample
from captioner.values import CaptionRequest, SamplePlan

log = logging.getLogger(__name__)

MIN_FRAMES = 2  # a clip is not tried with fewer


@dataclass(frozen=True, eq=False)
class Decoded:
    """A request whose tensors are ready, or why not. It keeps no pixels beside those of `prepared`."""

    id: int
    prepared: Prepared | None = None
    times_s: tuple[float, ...] = ()
    warning: str = ""
    error: str = ""


class Feeder:
    """Bounded: at most `depth` requests are being decoded, or are decoded and wait for the engine.

    So host memory stays under depth * max_frames * frame_size^2 * 3 bytes of pixels (12 MB a clip of 32 frames at 352 x
    352), twice that while a thread builds its tensors, and each thread's decoder, however many requests wait in here.
    submit, cancel, refill: one owner. `deliver` is called in the decode threads.
    """

    def __init__(self, preparer: Preparer, num_threads: int, depth: int, deliver: Callable[[Decoded], None]) -> None:
        self.num_threads, self._depth = num_threads, max(depth, num_threads)
        self.num_decoding = 0
        self._preparer, self._deliver = preparer, deliver
        self._pool = ThreadPoolExecutor(num_threads, thread_name_prefix="decode")
        self._pending: deque[CaptionRequest] = deque()
        self._started: dict[int, Future] = {}

    @property
    def has_idle_thread(self) -> bool:
        return self.num_decoding < self.num_threads

    @property
    def more_coming(self) -> bool:
        return bool(self.num_decoding or self._pending)

    def submit(self, request: CaptionRequest, first: bool = False) -> None:
        """first: before all that wait."""
        if first:
            self._pending.appendleft(request)
        else:
            self._pending.append(request)

    def refill(self, num_waiting: int) -> None:
        """Start as many as may be begun while `num_waiting` decoded requests wait for the engine."""
        while self._pending and self.num_decoding + num_waiting < self._depth:
            request = self._pending.popleft()
            self.num_decoding += 1
            self._started[request.id] = self._pool.submit(self._decode, request)

    def on_delivered(self, request_id: int) -> None:
        """To be called by the owner once for each request that was delivered."""
        self.num_decoding -= 1
        self._started.pop(request_id, None)

    def cancel(self, request_id: int) -> None:
        """A request that is being decoded is delivered nevertheless."""
        for request in self._pending:
            if request.id == request_id:
                self._pending.remove(request)
                return
        future = self._started.get(request_id)
        if future and future.cancel():
            self.on_delivered(request_id)

    def close(self) -> None:
        """Does not wait: a decoder may hang."""
        self._pending.clear()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _decode(self, request: CaptionRequest) -> None:
        try:
            frames = sample(request.path, request.plan, request.kind)
            prepared = self._preparer.prepare(request.id, frames, request.prompt, request.options)
            decoded = Decoded(request.id, prepared, tuple(frames.times_s.tolist()), frames.warning)
        except CaptionerError as error:
            decoded = Decoded(request.id, error=str(error))
        except MemoryError:
            decoded = Decoded(request.id, error=str(MediaError("not enough memory to decode it")))
        except Exception as error:  # a decoder's surprise costs this item, not the replica
            log.exception("decoding %s failed", request.path)
            decoded = Decoded(request.id, error=f"decoding failed: {type(error).__name__}: {error}")
        self._deliver(decoded)


def with_fewer_frames(request: CaptionRequest, num_frames: int) -> CaptionRequest | None:
    """The request for half as many frames as the `num_frames` it had, or None when that would be too few."""
    fewer = num_frames // 4 * 2
    if fewer < MIN_FRAMES:
        return None
    plan = request.plan
    return replace(request, plan=SamplePlan(fewer, plan.fps, min(plan.min_frames, fewer), plan.frame_size))


def join_warnings(*warnings: str) -> str:
    return "; ".join(warning for warning in warnings if warning)
