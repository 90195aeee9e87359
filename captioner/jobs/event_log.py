"""The log of numbered facts about jobs, and of the progress that they add up to.

Writers append and never wait for readers. Any number of readers follow, each with its own cursor; one that comes late
or falls behind takes the snapshot, which holds the sum of all events, and goes on from there.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace

from captioner.jobs.events import Event
from captioner.jobs.progress import Progress, Sum
from captioner.redaction import redact

KEPT_EVENTS = 20_000


def _cleaned(event: Event) -> dict[str, str]:
    """What it quotes of errors of other libraries, without secrets."""
    texts = {name: getattr(event, name, "") for name in ("reason", "detail", "warning")}
    return {name: redact(text) for name, text in texts.items() if text}


class EventLog:
    """Appends, numbers and keeps the newest events; folds all of them into one Progress. Thread-safe."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=KEPT_EVENTS)
        self._sum = Sum()
        self._changed = threading.Condition()
        self._closed = False

    def append(self, event: Event) -> Event:
        """Number, time and keep an event; wake the followers."""
        with self._changed:
            event = replace(event, number=self._sum.cursor + 1, time_s=time.time(), **_cleaned(event))
            self._events.append(event)
            self._sum.add(event)
            self._changed.notify_all()
        return event

    def snapshot(self) -> Progress:
        with self._changed:
            return self._sum.progress(time.time())

    def wait(self, until: Callable[[Progress], bool], timeout_s: float) -> None:
        """Until the snapshot is so, or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: until(self._sum.progress(time.time())), timeout_s)

    def since(self, cursor: int) -> list[Event]:
        """Kept events after number `cursor`; when older ones are gone already, those that are left."""
        with self._changed:
            return self._after(cursor)

    def follow(self, cursor: int = 0) -> Iterator[Event]:
        """Yield events after `cursor`, waiting for new ones, until the log is closed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda seen=cursor: self._closed or self._sum.cursor > seen)
                news = self._after(cursor)
                if not news:
                    return
            yield from news
            cursor = news[-1].number

    def close(self) -> None:
        """Let the followers end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _after(self, cursor: int) -> list[Event]:
        missing = self._sum.cursor - cursor
        if missing <= 0:
            return []
        if missing >= len(self._events):
            return list(self._events)
        return [self._events[i] for i in range(-missing, 0)]
