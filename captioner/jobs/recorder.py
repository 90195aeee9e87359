"""What a run tells of its items, on its way into the journal."""

import time

from captioner.captions.store import Written
from captioner.redaction import redact
from captioner.system.database import Database
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
        self._tell(item, state="running", started_at_s=time.time(), replica=replica)

    def done(self, item: MediaItem, written: Written, replica: str) -> None:
        self._tell(item, state="done", reason="", ended_at_s=time.time(), replica=replica)

    def skipped(self, item: MediaItem, reason: str) -> None:
        self._tell(item, state="skipped", reason=reason, ended_at_s=time.time())

    def failed(self, item: MediaItem, reason: str) -> None:
        self._tell(item, state="failed", reason=storable(redact(reason)), ended_at_s=time.time())

    def given_back(self, item: MediaItem, losses: int) -> None:
        self._tell(item, state="waiting", losses=losses)
        if losses:
            self.flush()

    def flush(self) -> None:
        """Write what was told; after a StateError it is kept for the next time."""
        self._flushed_s = time.monotonic()
        with self._database.transaction() as connection:
            for sql, parameters in self._told:
                connection.execute(sql, parameters)
        self._told.clear()

    def _tell(self, item: MediaItem, **news: object) -> None:
        self._told.append(told(self._operation, item.name, **news))
        if time.monotonic() - self._flushed_s >= FLUSH_INTERVAL_S:
            self.flush()


def told(operation: int, name: str, **news: object) -> tuple[str, tuple]:
    """(SQL, its parameters) that keep news of one item; the first of it make its row in job_items."""
    values = {"operation": operation, "name": storable(name), **news}
    changes = ", ".join(f"{column} = excluded.{column}" for column in news)
    places = ", ".join("?" * len(values))
    sql = f"INSERT INTO job_items ({', '.join(values)}) VALUES ({places}) ON CONFLICT DO UPDATE SET {changes}"
    return sql, tuple(values.values())


def storable(text: str) -> str:
    """Names that are no text keep their bytes as \\x escapes, which SQLite can hold."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
