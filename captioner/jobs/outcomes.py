"""Records each item's outcome: counts it, emits an event, writes it to the journal."""

import functools
import logging
import time
from pathlib import Path
from typing import Literal

from captioner.captions.scores import Score
from captioner.errors import StateError
from captioner.jobs import events
from captioner.jobs.event_log import EventLog
from captioner.media.facts import statement
from captioner.redaction import redact
from captioner.system.database import Database, escape_surrogates
from captioner.values import Caption, MediaInfo, MediaItem

log = logging.getLogger(__name__)

FLUSH_INTERVAL_S = 0.5

ItemState = Literal["waiting", "running", "done", "skipped", "failed"]


class Outcomes:
    """The outcomes of the items of one job. Used by the thread that runs the job.

    Rows of the journal are written in batches. Replica losses are flushed immediately; nothing else records them.
    Rows that cannot be written now are kept for the next batch: that costs no caption, so it does not end the job.
    """

    def __init__(self, job: int, event_log: EventLog, database: Database | None) -> None:
        """`database` holds the journal; None if the job is not recorded there."""
        self.num_done = self.num_skipped = self.num_failed = self.num_unwritten = self.num_faulty = 0
        self._job, self._log, self._database = job, event_log, database
        self._rows: list[tuple[str, tuple]] = []  # (SQL, parameters)
        self._flushed_s = time.monotonic()

    def started(self, item: MediaItem, replica: str) -> None:
        """Record that a replica works on the item."""
        self._write(item, "running", started_at_s=time.time(), replica=replica)
        self._log.append(events.ItemStarted(self._job, item.name, item.path, replica=replica))

    def progress(self, item: MediaItem, path: Path, num_tokens: int) -> None:
        """Emit how many tokens the item's caption has so far. path: that of the item, not to be joined so often."""
        self._log.append(events.ItemProgress(self._job, item.name, path, tokens=num_tokens))

    def done(
        self, item: MediaItem, text: str, caption: Caption, replica: str, flaw: str = "", faults: tuple[str, ...] = ()
    ) -> None:
        """Record that the item's caption file holds `text`. flaw: see captions/flaws; faults: see `ItemDone`."""
        self._write(item, "done", reason="", ended_at_s=time.time(), replica=replica)
        self.num_done, self.num_faulty = self.num_done + 1, self.num_faulty + bool(faults)
        num, seconds = caption.num_tokens, round(caption.seconds, 3)
        warning = "; ".join(filter(None, (caption.warning, f"the caption {flaw}" if flaw else "")))
        about = (self._job, item.name, item.path)
        event = events.ItemDone(
            *about,
            caption=text,
            tokens=num,
            seconds=seconds,
            replica=replica,
            warning=warning,
            flaw=flaw,
            faults=faults,
        )
        self._log.append(event)

    def measured(self, item: MediaItem, info: MediaInfo | None) -> None:
        """Keep the facts of a clip that was decoded, if something was measured in all of it."""
        if self._database and info and info.measured:
            self._rows.append(statement(item.scanned_folder, item, info))

    def tried(self, item: MediaItem, text: str, caption: Caption) -> None:
        """Count and emit the caption of a job that saves nothing."""
        self.num_done += 1
        num, seconds = caption.num_tokens, round(caption.seconds, 3)
        event = events.ItemTried(
            self._job, item.name, item.path, caption=text, tokens=num, seconds=seconds, made=caption
        )
        self._log.append(event)

    def scored(self, item: MediaItem, score: Score, replica: str, warning: str = "") -> None:
        """Count and emit the score of a caption, which is kept."""
        self.num_done += 1
        about, value = (self._job, item.name, item.path), round(score.yes, 6)
        self._log.append(events.ItemScored(*about, score=value, replica=replica, warning=warning, made=score))

    def skipped(self, item: MediaItem, reason: str, faults: tuple[str, ...] = ()) -> None:
        """Record that the item was left alone. faults: see `ItemDone`."""
        self._write(item, "skipped", reason=reason, ended_at_s=time.time())
        self.num_skipped, self.num_faulty = self.num_skipped + 1, self.num_faulty + bool(faults)
        self._log.append(events.ItemSkipped(self._job, item.name, item.path, reason=reason, faults=faults))

    def failed(self, item: MediaItem, reason: str) -> None:
        """Record that the item cannot be captioned."""
        self._write(item, "failed", reason=escape_surrogates(redact(reason)), ended_at_s=time.time())
        self.not_reached(item, reason)

    def not_reached(self, item: MediaItem, reason: str) -> None:
        """Count and emit a failure, but leave the item waiting in the journal: the job failed before its turn."""
        self.num_failed += 1
        self._log.append(events.ItemFailed(self._job, item.name, item.path, reason=reason))

    def unwritten(self, item: MediaItem, reason: str) -> None:
        """Count and emit that the item's caption is kept, since it could not be written; the item stays waiting."""
        self.num_unwritten += 1
        self.not_reached(item, f"{reason}; the caption is kept")

    def note(self, text: str) -> None:
        """Emit a line about the whole job; nothing for ""."""
        if text:
            self._log.append(events.JobNote(job=self._job, text=text))

    def given_back(self, item: MediaItem, losses: int) -> None:
        """Record that the item waits again. losses: how many replicas were lost while they worked on it."""
        self._write(item, "waiting", losses=losses)
        self._log.append(events.ItemGivenBack(self._job, item.name, item.path))

    def end(self, outcome: events.JobOutcome, reason: str) -> events.JobEnded:
        """Return the event that ends the job, with the counts."""
        counts = {"done": self.num_done, "skipped": self.num_skipped, "failed": self.num_failed}
        counts |= {"unwritten": self.num_unwritten, "faulty": self.num_faulty}
        return events.JobEnded(job=self._job, outcome=outcome, reason=reason, **counts)

    def flush(self) -> None:
        """Write the rows of this batch. Raise StateError if that fails; they are kept for the next time."""
        self._flushed_s = time.monotonic()
        if self._database and self._rows:
            with self._database.transaction() as connection:
                for sql, parameters in self._rows:
                    connection.execute(sql, parameters)
            self._rows.clear()

    def _write(self, item: MediaItem, state: ItemState, **columns: str | float) -> None:
        if self._database is None:
            return
        self._rows.append(upsert_item(self._job, item.name, state, **columns))
        if columns.get("losses") or time.monotonic() - self._flushed_s >= FLUSH_INTERVAL_S:
            try:
                self.flush()
            except StateError as error:
                log.warning("what happened to %s is not recorded yet: %s", item.name, error)


def upsert_item(job: int, name: str, state: ItemState, **columns: str | float) -> tuple[str, tuple]:
    """Build the statement, with its parameters, that updates one row of job_items or inserts it."""
    return _upsert_sql(tuple(columns)), (job, escape_surrogates(name), state, *columns.values())


@functools.cache
def _upsert_sql(columns: tuple[str, ...]) -> str:
    names = ("operation", "name", "state", *columns)
    updates = ", ".join(f"{column} = excluded.{column}" for column in ("state", *columns))
    marks = ", ".join("?" * len(names))
    return f"INSERT INTO job_items ({', '.join(names)}) VALUES ({marks}) ON CONFLICT DO UPDATE SET {updates}"
