"""The journal of jobs: the settings of each job and the outcome of each item, so that a job can be resumed.

The caption files are the truth; everything else about an item's outcome is derived from them: the rows here, the
counts, the events. Each change of a caption file is committed to the database together with the job that made it
(captions/changes), so an item whose caption was written counts as done even if its row here was never written.
Therefore rows may be written in batches, and a process that is killed in between loses nothing.
"""

import itertools
import json
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Row

from captioner.captions import operations
from captioner.captions.operations import OperationInfo, State, request_of
from captioner.captions.store import CaptionStore
from captioner.captions.unwritten import hand_over
from captioner.errors import JobError, StateError
from captioner.formatting import plural
from captioner.jobs import unfinished
from captioner.jobs.events import JobOutcome
from captioner.jobs.job import FindModel, Job, JobRequest, Losses, rebuild_job, request_for
from captioner.jobs.outcomes import Outcomes, upsert_item
from captioner.jobs.unfinished import Obstacle
from captioner.redaction import redact
from captioner.system.database import Database, escape_surrogates
from captioner.system.pinning import Within

log = logging.getLogger(__name__)

KEPT_UNFINISHED = 10  # older unfinished jobs are not listed


@dataclass(frozen=True)
class Unfinished:
    """A job that ended before all of its items had their turn."""

    operation: int
    title: str
    folder: Path
    left: int  # items
    total: int
    created_at_s: float  # POSIX time
    state: State  # "interrupted" by the end of its process, "stopped" or "failed"
    reason: str


class Journal:
    """Begins, ends, lists and reopens jobs. Any thread may call; every method may raise StateError."""

    def __init__(self, database: Database, captions: CaptionStore) -> None:
        self._database, self._captions = database, captions
        self._guard = threading.Lock()  # of the next two
        self._active: set[int] = set()  # jobs that this process began and whose end is not written yet
        self._ended: dict[int, tuple[JobOutcome, str, Outcomes]] = {}  # ends that are still to be written
        self._left: dict[int, int] = {}  # ended job -> number of items left
        self._infos: dict[tuple, OperationInfo] = {}  # of operations that will not change

    def settle(self) -> None:
        """Close the interrupted jobs of which nothing is left. Call it once at the start, after CaptionStore.settle."""
        self._reconcile_all()
        for row in operations.unfinished_jobs(self._database):
            if row["state"] == "interrupted" and not self._num_left(row):
                with self._database.transaction() as connection:
                    operations.close_unfinished(connection, row["id"], "done")

    def begin(
        self, job: Job, folder: Path, recursive: bool, resumes: int | None = None, losses: Losses | None = None
    ) -> int:
        """Record a job with all of its items before it starts, and return its number.

        resumes: the unfinished job that it continues, which counts as resumed then. Raise JobError if that job was
        resumed already.
        """
        self._write_ends()
        request = request_for(job, folder, recursive, unfinished.current_ids(self._database))
        within = self._captions.files.within
        request["within"] = None if within is None else [str(each) for each in within]
        total, verb, noun = len(job.items), *(("Repair", "caption") if job.repair else ("Caption", "file"))
        noun = noun if resumes is None else f"remaining {noun}"
        title = f"{verb} {plural(total, noun)} with {escape_surrogates(job.model.name)}"
        listed = unfinished.items_text(job.items)
        with self._database.transaction() as connection:
            if resumes is not None and not operations.close_unfinished(connection, resumes, "resumed"):
                raise JobError(f"job {resumes} has already been resumed or finished")
            number = operations.begin_operation(connection, "job", title, folder, total, request, resumes=resumes)
            connection.execute("INSERT INTO job_lists VALUES (?, ?)", (number, listed))
            for name, num in (losses or {}).items():
                connection.execute(*upsert_item(number, name, "waiting", losses=num))
            if resumes is not None:
                hand_over(connection, resumes, number)
            else:
                operations.dismiss_failed_starts(connection, number)
        with self._guard:
            self._active.add(number)
        return number

    def is_active(self, job: int) -> bool:
        """Return whether the job runs or waits in this process."""
        with self._guard:
            return job in self._active and job not in self._ended

    def end(self, job: int, outcome: JobOutcome, reason: str, outcomes: Outcomes) -> None:
        """Write the rest of the items' outcomes and the end of a job.

        What cannot be written now is kept, and written when unfinished jobs are listed or a job begins.
        """
        with self._guard:
            self._ended[job] = (outcome, redact(reason), outcomes)
        self._write_ends()

    def _write_ends(self) -> None:
        with self._guard:
            if not self._ended:
                return
            for job, (outcome, reason, outcomes) in list(self._ended.items()):
                outcomes.flush()
                operations.end_operation(self._database, job, outcome, reason)
                del self._ended[job]
                self._active.discard(job)
            self._reconcile_all()

    def unfinished(self) -> list[Unfinished]:
        """Return the jobs with items left that do not run, after a crash, a stop or a failure; the newest first."""
        try:
            self._write_ends()
        except StateError as error:
            log.warning("a job that has ended is not listed yet: %s", error)
        return [self._unfinished(row) for row in self._listed()]

    def _unfinished(self, row: Row) -> Unfinished:
        folder, left = Path(json.loads(row["request_json"])["folder"]), self._num_left(row)
        total, state, reason = row["total"], row["state"], row["reason"]
        return Unfinished(row["id"], row["title"], folder, left, total, row["created_at_s"], state, reason)

    def reopen(
        self, job: int, find_model: Callable[[str], FindModel], obstacle: Obstacle
    ) -> tuple[Job, dict[str, int]]:
        """Return the rest of an unfinished job, and for each of its items the replicas lost with it, if any.

        find_model, obstacle: see `JobRunner.resume`. Items with an obstacle are skipped for good, and so are those
        whose caption may or may not have been written.
        Raise JobError if the job is not unfinished or nothing is left of it.
        """
        self._write_ends()
        request: JobRequest = request_of(self._database, job)
        if job not in (row["id"] for row in operations.unfinished_jobs(self._database)):
            raise JobError(f"job {job} cannot be resumed: it is running, finished or already resumed")
        self._captions.settle(job)
        self._reconcile(job)
        items = unfinished.items_left(self._database, job, request)
        skipped, example = unfinished.skip_obstructed(self._database, job, items, obstacle), ""
        if skipped:
            self._left.pop(job, None)
            example = ": ".join(next(iter(skipped.items())))
            log.warning("job %d: skipped %s: %s", job, plural(len(skipped), "file"), example)
        items = [item for item in items if item.name not in skipped]
        if not items and skipped:
            raise JobError(f"none of the remaining files of job {job} can be captioned now: {example}")
        if not items:
            raise JobError(f"nothing is left of job {job}: all of its files have been captioned since")
        return rebuild_job(request, items, find_model), unfinished.losses_of(self._database, job, items)

    def folder_of(self, job: int) -> tuple[Path, bool]:
        """Return the folder of a job, and whether its subfolders were included. Raise JobError if it is unknown."""
        request: JobRequest = request_of(self._database, job)
        return Path(request["folder"]), request["recursive"]

    def within_of(self, job: int) -> Within:
        """Return the folders that were allowed when a job began; None: all. Raise JobError if it is unknown."""
        request: JobRequest = request_of(self._database, job)
        within = request.get("within")
        return None if within is None else tuple(map(Path, within))

    def dismiss(self, job: int) -> None:
        """List an unfinished job no longer. Its captions stay as they are."""
        with self._database.transaction() as connection:
            operations.close_unfinished(connection, job, "dismissed")

    def recent(self, limit: int = 50) -> list[OperationInfo]:
        """Return the latest jobs, bulk edits and undos, the latest first."""
        return operations.recent_operations(self._database, limit, self._infos)

    def _listed(self) -> list[Row]:
        rows = (row for row in operations.unfinished_jobs(self._database) if self._num_left(row))
        return list(itertools.islice(rows, KEPT_UNFINISHED))

    def _num_left(self, row: Row) -> int:
        job = row["id"]
        if job not in self._left:
            self._left[job] = row["total"] - unfinished.count_ended(self._database, job)
        return self._left[job]

    def _reconcile_all(self) -> None:
        for row in self._listed():
            self._reconcile(row["id"])

    def _reconcile(self, job: int) -> None:
        if unfinished.reconcile(self._database, job, request_of(self._database, job)):
            self._left.pop(job, None)
