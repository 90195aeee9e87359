"""What a run tells of its items, on its way into the journal."""

import time

from captioner.captions import Written
from captioner.database import Database
from captioner.redaction import redact
from captioner.values import MediaItem

FLUSH_INTERVAL_S = 0.5


class JobRecorder:
    """What a run tells of its items (see job.Recorder). Used by the thread that runs the job.

    What is told is written some at a time, losses at once: they are known from nowhere else.
    """

    def __init__(self, database: Database, operation: int) -> None:
        self._database, self._operation = database, operation
        self._told: list[tuple[str, tuple]] = []  # (SQL, parameters)
        self._flushed_s = time.monotonic()

    def started(self, item: MediaItem, replica: str) -> None:
        self._tell(item, "state = 'running', started_at_s = ?, replica = ?", time.time(), replica)

    def done(self, item: MediaItem, written: Written, replica: str) -> None:
        self._tell(item, "state = 'done', reason = '', ended_at_s = ?, replica = ?", time.time(), replica)

    def skipped(self, item: MediaItem, reason: str) -> None:
        self._tell(item, "state = 'skipped', reason = ?, ended_at_s = ?", reason, time.time())

    def failed(self, item: MediaItem, reason: str) -> None:
        self._tell(item, "state = 'failed', reason = ?, ended_at_s = ?", storable(redact(reason)), time.time())

    def given_back(self, item: MediaItem, losses: int) -> None:
        self._tell(item, "state = 'waiting', losses = ?", losses)
        if losses:
            self.flush()

    def flush(self) -> None:
        """Write what was told; after a StateError it is kept for the next time."""
        self._flushed_s = time.monotonic()
        with self._database.transaction() as connection:
            for sql, parameters in self._told:
                connection.execute(sql, parameters)
        self._told.clear()

    def _tell(self, item: MediaItem, news: str, *parameters: object) -> None:
        sql = f"UPDATE job_items SET {news} WHERE operation = ? AND name = ?"
        self._told.append((sql, (*parameters, self._operation, storable(item.name))))
        if time.monotonic() - self._flushed_s >= FLUSH_INTERVAL_S:
            self.flush()


def storable(text: str) -> str:
    """Names that are no text keep their bytes as \\x escapes, which SQLite can hold."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
