"""The log of the events of all jobs, and the progress that they add up to.

Writers append and never wait for readers. Any number of readers follow, each with its own cursor. A reader that comes
late or falls behind takes the snapshot, which includes all events, and continues from there.
"""

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

from captioner.jobs.events import Event, JobStarted
from captioner.jobs.progress import Progress, ProgressTracker
from captioner.redaction import redact

KEPT_EVENTS = 20_000
LOOK_INTERVAL_S = 0.05


def _redacted(event: Event) -> dict[str, str]:
    """Return the texts of an event that may quote foreign errors, without secrets."""
    values = vars(event)
    return {name: redact(values[name]) for name in ("reason", "detail", "warning", "text") if values.get(name)}


class EventLog:
    """Numbers events, keeps the newest, and folds all of them into one Progress. Thread-safe.

    The times of a job come from a clock that runs on while that of the machine is set: no time is negative, none jumps.
    """

    def __init__(self) -> None:
        self._offset_s = time.time() - time.monotonic()
        self._events: deque[Event] = deque(maxlen=KEPT_EVENTS)
        self._tracker = ProgressTracker()
        self._changed = threading.Condition()
        self._closed = False

    def append(self, event: Event) -> Event:
        """Give an event its number and time, keep it, and return it. Wakes the followers."""
        with self._changed:
            if isinstance(event, JobStarted):
                self._offset_s = time.time() - time.monotonic()
            event = event.numbered(self._tracker.cursor + 1, self.now_s(), _redacted(event))
            self._events.append(event)
            self._tracker.add(event)
            self._changed.notify_all()
        return event

    def now_s(self) -> float:
        """Return the time by the clock of the events, which is POSIX time when a job starts."""
        return self._offset_s + time.monotonic()

    def snapshot(self) -> Progress:
        """Return the progress that all events so far add up to."""
        with self._changed:
            return self._tracker.progress(self.now_s())

    def wait(self, until: Callable[[Progress], bool], timeout_s: float) -> None:
        """Return when the snapshot meets a condition, or after the timeout. It is checked now and then."""
        deadline_s = time.monotonic() + timeout_s
        while not until(self.snapshot()) and time.monotonic() < deadline_s:
            time.sleep(LOOK_INTERVAL_S)

    def since(self, cursor: int) -> list[Event]:
        """Return the kept events after number `cursor`; older ones may be gone."""
        with self._changed:
            newest_first = itertools.islice(reversed(self._events), max(0, self._tracker.cursor - cursor))
            return list(newest_first)[::-1]

    def follow(self, cursor: int = 0) -> Iterator[Event]:
        """Yield events after `cursor`, waiting for new ones, until the log is closed."""
        while True:
            with self._changed:
                while not self._closed and self._tracker.cursor <= cursor:
                    self._changed.wait()
                events = self.since(cursor)
            if not events:
                return
            yield from events
            cursor = events[-1].number

    def close(self) -> None:
        """End all followers once they have seen every event."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
