"""Reads media files in worker processes, so that a hostile file costs nothing but itself.

A file that hangs or crashes its decoder or fills the memory costs one worker, which is replaced, and gives an error of
one line. A worker imports only the decoders. It could read other files and use the network; container.py and picture.py
keep media files from making it do so.
"""

import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from captioner.errors import MediaError
from captioner.media.contact_sheet import make_sheet
from captioner.media.measure import measure
from captioner.media.probe import probe
from captioner.media.sample import sample
from captioner.media.thumbnail import Thumbnail, make_thumbnail
from captioner.system.limited_process import Answer, LimitedProcess, ProcessFailure
from captioner.system.pinning import Within
from captioner.system.roots import EVERYWHERE, Roots
from captioner.values import MediaInfo, MediaItem, MediaKind, SamplePlan, measured_from

WORKERS = 4  # one more than the thumbnails made at the same time
MEMORY_BYTES = 2_000_000_000  # of one worker: what the largest allowed picture needs
THUMBNAIL_S, PROBE_S, SHEET_S = 20.0, 30.0, 60.0  # limits for one file; a contact sheet decodes as much as a caption


class Sandbox:
    """Up to `count` worker processes, started when first needed. Any thread may call, and waits while all are busy.

    All methods except close() raise MediaError with one line that does not repeat the path.
    """

    def __init__(self, count: int = WORKERS, memory_bytes: int = MEMORY_BYTES, roots: Roots = EVERYWHERE) -> None:
        """roots: no file outside of them is opened."""
        self._turns, self._memory_bytes, self._roots = threading.Semaphore(count), memory_bytes, roots
        self._idle: list[LimitedProcess] = []
        self._busy: set[LimitedProcess] = set()
        self._closed, self._lock = False, threading.Lock()

    def thumbnail(self, item: MediaItem, limit_s: float = THUMBNAIL_S) -> Thumbnail:
        """Make the thumbnail of a file in a worker."""
        info, data = self._run("thumbnail", limit_s, item)
        return Thumbnail(data, float(info["duration_s"]))

    def probe(self, path: Path, kind: MediaKind | None = None, limit_s: float = PROBE_S) -> MediaInfo:
        """Probe a file in a worker."""
        return MediaInfo(**self._run("probe", limit_s, path, kind)[0])

    def sheet(self, item: MediaItem, plan: SamplePlan, limit_s: float = SHEET_S) -> bytes:
        """Make the contact sheet of a file in a worker: a JPEG of the frames that the plan takes."""
        return self._run("sheet", limit_s, item, plan)[1]

    def measure(self, item: MediaItem, plan: SamplePlan, limit_s: float = SHEET_S) -> MediaInfo:
        """Probe a clip in a worker and measure what the frames show that the plan takes of all of it."""
        info = self._run("measure", limit_s, item, plan)[0]
        return MediaInfo(**info | {"measured": measured_from(info["measured"])})

    def close(self) -> None:
        """End all workers; what they are reading fails."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            for worker in self._busy:
                worker.kill()
        for worker in idle:
            worker.disconnect()  # all of them before waiting for the first to end
        for worker in idle:
            worker.end()

    def _run(self, task: str, limit_s: float, *arguments: Any) -> Answer:
        with self._turns:
            worker = self._take()
            try:
                answer, data = worker.ask(limit_s, task, (*arguments, self._roots.within))
            except BaseException as error:
                worker.kill()
                worker.end()
                if isinstance(error, ProcessFailure):
                    raise MediaError(_cause(error, limit_s)) from None
                raise
            finally:
                with self._lock:
                    self._busy.discard(worker)
            with self._lock:
                is_reused = not self._closed
                if is_reused:
                    self._idle.append(worker)
            if not is_reused:
                worker.end()
        if "error" in answer:
            raise MediaError(str(answer["error"]))
        return answer["info"], data

    def _take(self) -> LimitedProcess:
        with self._lock:
            worker = self._idle.pop() if self._idle else LimitedProcess("media", _answer, self._memory_bytes)
            self._busy.add(worker)
            if self._closed:
                worker.kill()
        return worker


def _cause(failure: ProcessFailure, limit_s: float) -> str:
    match failure.reason:
        case "slow":
            return f"takes more than {limit_s:.0f} s to read; the file may be damaged, or its disk slow"
        case "large":
            return "needs too much memory to read; make it smaller first"
        case "closed":
            return "not read: the app is closing"
        case "not started":
            return "not read: the process that reads media did not start; see the log"
    how = f"crashed ({failure.signal})" if failure.signal else "ended unexpectedly"
    return f"its decoder {how}; the file is damaged or malicious"


# In the worker process


def _answer(task: str, arguments: tuple[Any, ...]) -> Answer:
    try:
        info, data = TASKS[task](*arguments)
        return {"info": info}, data
    except MediaError as error:
        return {"error": str(error)}, b""
    except MemoryError:
        raise
    except Exception as error:  # an unexpected error of a decoder costs this file, not the process
        text = (str(error).splitlines() or [""])[0][:200]
        return {"error": f"cannot be read ({type(error).__name__}: {text})"}, b""


def _make_thumbnail(item: MediaItem, within: Within) -> Answer:
    made = make_thumbnail(item, within)
    return {"duration_s": made.duration_s}, made.data


def _measure(item: MediaItem, plan: SamplePlan, within: Within) -> Answer:
    frames = sample(item.path, plan, item.kind, within)
    assert frames.facts.info  # the plan takes all of a clip
    return asdict(replace(frames.facts.info, measured=measure(frames))), b""


TASKS: dict[str, Callable[..., Answer]] = {
    "thumbnail": _make_thumbnail,
    "probe": lambda path, kind, within: (asdict(probe(path, kind, within)), b""),
    "measure": _measure,
    "sheet": lambda item, plan, within: ({}, make_sheet(item, plan, within)),
}
