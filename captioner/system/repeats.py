"""A filter that keeps a log from growing when the same thing happens again and again."""

import logging
import re
import threading
import time

PERIOD_S = 60.0
MAX_KINDS = 500
_NUMBERS = re.compile(r"\d+")


class RepeatFilter(logging.Filter):
    """Passes warnings and errors that differ only in numbers once a minute, then with the number of those left out."""

    def __init__(self, period_s: float = PERIOD_S) -> None:
        super().__init__()
        self._period_s = period_s
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[float, int]] = {}  # kind -> (time of the last line, number left out since then)

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is logged."""
        if record.levelno < logging.WARNING:
            return True
        error = record.exc_info[0] if record.exc_info else None
        kind, now_s = _NUMBERS.sub("0", f"{record.name} {error} {record.getMessage()}")[:300], time.monotonic()
        with self._lock:
            at_s, num_left_out = self._seen.get(kind, (-self._period_s, 0))
            if now_s - at_s < self._period_s:
                self._seen[kind] = (at_s, num_left_out + 1)
                return False
            if len(self._seen) >= MAX_KINDS:
                self._seen.clear()
            self._seen[kind] = (now_s, 0)
        if num_left_out:
            record.msg, record.args = f"{record.getMessage()} ({num_left_out:,} more in the last minutes)", None
        return True
