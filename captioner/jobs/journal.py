"""The journal of jobs: what each was asked for and what became of each item, so that one that was cut short goes on."""

import itertools
import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from sqlite3 import Row
from typing import TypeVar

from captioner.captions.operations import (
    OperationInfo,
    begin_operation,
    close_unfinished,
    dismiss_failed_starts,
    end_operation,
    interrupt_running_jobs,
    is_unfinished,
    recent_operations,
    request_of,
    unfinished_jobs,
)
from captioner.captions.store import CaptionStore
from captioner.captions.text import Decoration
from captioner.errors import JobError, StateError
from captioner.jobs.events import JobOutcome
from captioner.jobs.job import FindModel, Job, Model
from captioner.jobs.recorder import JobRecorder, storable, told
from captioner.jobs.unfinished import (
    count_ended,
    items_left,
    items_text,
    leave_out,
    losses_of,
    newest,
    reconcile,
)
from captioner.redaction import redact
from captioner.system.database import Database
from captioner.values import GenerationOptions, MediaItem, ModelSpec, SamplePlan

log = logging.getLogger(__name__)

KEPT_UNFINISHED = 10  # older ones are not offered any more

T = TypeVar("T")

Obstacle = Callable[[MediaItem], str]  # why an item may not be captioned now, or ""


def no_obstacle(item: MediaItem) -> str:
    return ""


@dataclass(frozen=True)
class Unfinished:
    """A job that ended, or was ended, before all of its items had their turn."""

    operation: int
    title: str
    folder: Path
    left: int  # items
    total: int
    created_at_s: float  # POSIX time
    state: str  # "interrupted" by the end of its process, "stopped" or "failed"
    reason: str


class Journal:
    """Any thread may call. All methods raise StateError when the database cannot be used.

    An item whose caption stands is done, whether or not the journal heard of it: the change of the caption names its
    job, and is committed in one step with its outcome. So outcomes can be written some at a time, and a process that
    is killed in between loses none.
    """

    def __init__(self, database: Database, captions: CaptionStore) -> None:
        self._database, self._captions = database, captions
        self._recorders: dict[int, JobRecorder] = {}
        self._guard = threading.Lock()  # of the next
        self._ended: dict[int, tuple[JobOutcome, str]] = {}  # what is still to be written down
        self._left: dict[int, int] = {}  # operation -> items left, of those that have ended
        self._infos: dict[tuple, OperationInfo] = {}  # of those that will not change

    def settle(self) -> None:
        """At the start of the one program that runs jobs: what still says that it runs was cut short."""
        with self._database.transaction() as connection:
            interrupt_running_jobs(connection)
        self._reconcile_all()
        for row in unfinished_jobs(self._database):
            if row["state"] == "interrupted" and not self._num_left(row):  # only its end was not written
                with self._database.transaction() as connection:
                    close_unfinished(connection, row["id"], "done")

    def begin(
        self,
        job: Job,
        folder: Path,
        recursive: bool,
        resumes: int | None = None,
        losses: Mapping[str, int] | None = None,
    ) -> int:
        """Write down a job with all of its items, before anything is done; returns its number.

        resumes: the job that it goes on with, which is then offered no more. Raises JobError when that was taken
        up by another one already.
        """
        self._write_ends()
        request = {
            "folder": str(folder),
            "recursive": recursive,
            "resumes": resumes,
            "model": {"name": job.model.name, "specs": [asdict(spec) for spec in job.model.specs]},
            "prompt": job.prompt,
            "plan": asdict(job.plan),
            "options": asdict(job.options),
            "existing": job.existing,
            "decoration": list(job.decoration),
            "consent": job.consent,
            **newest(self._database),
        }
        total = len(job.items)
        count = f"{total:,} file{'' if total == 1 else 's'}"
        title = f"{'Go on with' if resumes else 'Caption'} {count} with {storable(job.model.name)}"
        listed = items_text(job.items)
        with self._database.transaction() as connection:
            if resumes is not None and not close_unfinished(connection, resumes, "resumed"):
                raise JobError(f"job {resumes} has already been resumed or finished")
            operation = begin_operation(connection, "job", title, folder, total, request)
            connection.execute("INSERT INTO job_lists VALUES (?, ?)", (operation, listed))
            for name, num in (losses or {}).items():
                connection.execute(*told(operation, name, state="waiting", losses=num))
            if resumes is None:
                dismiss_failed_starts(connection, operation)
        self._recorders[operation] = JobRecorder(self._database, operation)
        return operation

    def recorder(self, operation: int) -> JobRecorder:
        """Of a job that this process has begun and not ended."""
        return self._recorders[operation]

    def is_active(self, operation: int) -> bool:
        """Whether this process runs it or is about to."""
        return operation in self._recorders and operation not in self._ended

    def end(self, operation: int, outcome: JobOutcome, reason: str = "") -> None:
        """What cannot be written now is kept, and written when somebody asks what is unfinished or begins a job."""
        with self._guard:
            self._ended[operation] = (outcome, redact(reason))
        self._write_ends()

    def _write_ends(self) -> None:
        with self._guard:
            if not self._ended:
                return
            for operation, (outcome, reason) in list(self._ended.items()):
                self._recorders[operation].flush()
                with self._database.transaction() as connection:
                    end_operation(connection, operation, outcome, reason)
                del self._ended[operation], self._recorders[operation]
            self._reconcile_all()

    def unfinished(self) -> list[Unfinished]:
        """Jobs with items left that no process runs, the newest first: after a crash, a stop or a failure."""
        try:
            self._write_ends()
        except StateError as error:
            log.warning("a job that has ended is not offered yet: %s", error)
        found = []
        for row in self._offered():
            about = json.loads(row["request_json"])
            values = {name: row[name] for name in ("title", "total", "created_at_s", "state", "reason")}
            left = self._num_left(row)
            found.append(Unfinished(row["id"], folder=Path(about["folder"]), left=left, **values))
        return found

    def reopen(
        self, operation: int, find_model: Callable[[str], FindModel], obstacle: Obstacle = no_obstacle
    ) -> tuple[Job, dict[str, int]]:
        """The same job over what is left of it, and how many replicas each of these items has cost already.

        obstacle: why an item may not be captioned now, else "". Such items are left out for good, and so are those
        of which cannot be told whether their caption was written. Raises JobError when it is not unfinished.
        """
        self._write_ends()
        about = request_of(self._database, operation)
        if not is_unfinished(self._database, operation):
            raise JobError(f"job {operation} cannot be resumed: it is running, finished or already resumed")
        self._captions.settle(operation)
        self._reconcile(operation, about)
        items = items_left(self._database, operation, about)
        left_out, why = self._leave_out(operation, items, obstacle)
        items = [item for item in items if item.name not in left_out]
        costly = losses_of(self._database, operation)
        losses = {item.name: costly[name] for item in items if (name := storable(item.name)) in costly}
        if not items and left_out:
            raise JobError(f"nothing is left of job {operation} but what cannot be captioned now: {why}")
        if not items:
            raise JobError(f"nothing is left of job {operation}: all of its files have been captioned since")
        specs = tuple(_build(ModelSpec, spec) for spec in about["model"]["specs"])
        job = Job(
            items=tuple(items),
            model=Model(about["model"]["name"], find_model(specs[0].source), specs),
            prompt=about["prompt"],
            plan=_build(SamplePlan, about["plan"]),
            options=_build(GenerationOptions, about["options"]),
            existing=about["existing"],
            decoration=Decoration(*about["decoration"]),
            consent=about["consent"],
        )
        return job, losses

    def folder_of(self, operation: int) -> tuple[Path, bool]:
        """(the folder of a job, whether its subfolders were included). Raises JobError for an unknown number."""
        about = request_of(self._database, operation)
        return Path(about["folder"]), about["recursive"]

    def dismiss(self, operation: int) -> None:
        """Offer it no more. Its captions stay as they are."""
        with self._database.transaction() as connection:
            close_unfinished(connection, operation, "dismissed")

    def recent(self, limit: int = 50) -> list[OperationInfo]:
        """Return the latest jobs, bulk edits and undos, the latest first."""
        return recent_operations(self._database, limit, self._infos)

    def _offered(self) -> list[Row]:
        rows = (row for row in unfinished_jobs(self._database) if self._num_left(row))
        return list(itertools.islice(rows, KEPT_UNFINISHED))

    def _num_left(self, row: Row) -> int:
        operation = row["id"]
        if operation not in self._left:
            self._left[operation] = row["total"] - count_ended(self._database, operation)
        return self._left[operation]

    def _reconcile_all(self) -> None:
        for row in self._offered():
            self._reconcile(row["id"], json.loads(row["request_json"]))

    def _reconcile(self, operation: int, about: dict) -> None:
        if reconcile(self._database, operation, about):
            self._left.pop(operation, None)

    def _leave_out(self, operation: int, items: list[MediaItem], obstacle: Obstacle) -> tuple[set[str], str]:
        """Skip what `reopen` leaves out; returns the names, and the first one with its reason."""
        left_out = leave_out(self._database, operation, items, obstacle)
        if not left_out:
            return set(), ""
        self._left.pop(operation, None)
        item, reason = left_out[0]
        count = "1 file of job %d is" if len(left_out) == 1 else f"{len(left_out):,} files of job %d are"
        log.warning(f"{count} left out: %s: %s", operation, item.name, reason)
        return {left.name for left, _ in left_out}, f"{item.name}: {reason}"


def _build(kind: type[T], values: dict) -> T:
    """A dataclass from what another version of the program may have written down."""
    return kind(**{name: values[name] for name in kind.__dataclass_fields__ if name in values})
