"""A queue of jobs, run one at a time on the replicas that the runner owns."""

import itertools
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from captioner.captions.store import CaptionStore
from captioner.errors import CaptionerError, JobError, StateError
from captioner.jobs.backlog import Backlog
from captioner.jobs.event_log import EventLog
from captioner.jobs.events import Event, JobEnded, JobOutcome, JobQueued, JobStarted, ReplicaChanged
from captioner.jobs.job import FindModel, Job, Losses, Model
from captioner.jobs.journal import Journal
from captioner.jobs.outcomes import Outcomes
from captioner.jobs.run import Run, Stopped
from captioner.jobs.throughput import SpeedStore
from captioner.jobs.unfinished import Obstacle
from captioner.replicas.pool import ReplicaPool
from captioner.system.database import Database
from captioner.values import ModelSpec

log = logging.getLogger(__name__)


class JobRunner:
    """Runs jobs in one thread that owns the replicas. Public methods return at once; any thread may call."""

    def __init__(
        self, event_log: EventLog, store: CaptionStore, database: Database, pool: ReplicaPool | None = None
    ) -> None:
        self.journal = Journal(database, store)  # to look up jobs; only this class begins and ends them
        self.speeds = SpeedStore(database)
        self._log, self._store, self._database, self._pool = event_log, store, database, pool or ReplicaPool()
        self._ids = itertools.count(-1, -1)  # of jobs outside the journal; the others have positive numbers
        self._stops: dict[int, threading.Event] = {}
        self._waiting: set[int] = set()
        self._lock = threading.Lock()
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        self._thread.start()

    def start(self, job: Job, folder: Path | None = None, recursive: bool = False) -> int:
        """Queue a job and return its number. Raise JobError if it has no items, StateError if it cannot be recorded.

        folder: the scanned folder of its items; without one, the job is not recorded in the journal (and so cannot be
        resumed or undone), and its number is negative.
        """
        if not job.items:
            raise JobError("nothing to caption: no item is selected, or the folder holds no media")
        number = self.journal.begin(job, folder, recursive) if folder else next(self._ids)
        return self._enqueue(job, number, {})

    def resume(self, number: int, find_model: Callable[[str], FindModel], obstacle: Obstacle) -> int:
        """Queue what is left of an unfinished job, with its own settings, and return the new job's number.

        find_model: maps a model's source to how to find its files. obstacle: why an item may not be captioned now, or
        "". Raise JobError if the job is not unfinished or nothing is left of it, and StateError.
        """
        folder, recursive = self.journal.folder_of(number)
        job, losses = self.journal.reopen(number, find_model, obstacle)
        return self._enqueue(job, self.journal.begin(job, folder, recursive, number, losses), losses)

    @property
    def loaded_specs(self) -> tuple[ModelSpec, ...]:
        """The specs that the replicas were last started for; () if there are none."""
        return self._pool.specs

    def load(self, model: Model) -> int:
        """Queue the loading of a model, as a job without items."""
        return self._enqueue(Job((), model, ""), next(self._ids), {})

    def unload(self) -> None:
        """End all replicas once the queued jobs are done."""
        self._work.put(self._close_pool)

    def stop(self, number: int | None = None) -> None:
        """Stop a job, or all jobs. A waiting job ends at once, a running one within one step of the engine."""
        with self._lock:
            numbers = [each for each in self._stops if number in (None, each)]
            for each in numbers:
                self._stops[each].set()
        for each in numbers:
            self.remove(each)

    def remove(self, number: int) -> bool:
        """End a waiting job; return False if it is not waiting any more."""
        with self._lock:
            if number not in self._waiting:
                return False
            self._waiting.remove(number)
            del self._stops[number]
        self._end(Outcomes(number, self._log, None), number, "stopped")
        return True

    def follow(self, number: int, cursor: int = 0) -> Iterator[Event]:
        """Yield all events after `cursor` until the given job has ended."""
        for event in self._log.follow(cursor):
            yield event
            if isinstance(event, JobEnded) and event.job == number:
                return

    def close(self) -> None:
        """Stop all jobs and end the replicas. Returns when no process is left."""
        self._pool.closing.set()
        self.stop()
        self._work.put(None)
        self._thread.join()

    def _enqueue(self, job: Job, number: int, losses: Losses) -> int:
        stop = threading.Event()
        with self._lock:
            self._stops[number] = stop
            self._waiting.add(number)
            self._log.append(JobQueued(job=number, total=len(job.items), scores=job.options.scores))
        self._work.put(lambda: self._run_job(number, job, stop, losses))
        return number

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
        self._close_pool()

    def _run_job(self, number: int, job: Job, stop: threading.Event, losses: Losses) -> None:
        with self._lock:
            if number not in self._waiting:
                return
            self._waiting.remove(number)
        about = {"saves": job.save, "scores": job.options.scores}
        self._log.append(JobStarted(job=number, total=len(job.items), model=job.model.name, **about))
        operation = number if number > 0 else None
        outcomes = Outcomes(number, self._log, self._database if operation else None)
        backlog = Backlog(job.items, losses)
        run = Run(job, operation, stop, self._log, self._store, self._pool, outcomes, backlog)
        outcome, reason = self._outcome_of(run)
        if job.save:  # before the event: its readers may estimate the next job
            self.speeds.record(job.model.specs, job.plan, run.answers.meter)
        with self._lock:
            del self._stops[number]
        self._end(outcomes, number, outcome, reason)

    @staticmethod
    def _outcome_of(run: Run) -> tuple[JobOutcome, str]:
        try:
            run.run()
        except Stopped:
            return "stopped", ""
        except CaptionerError as error:
            return "failed", str(error)
        except Exception as error:  # a bug ends this job, never the thread behind all jobs
            log.exception("a job failed")
            return "failed", f"internal error: {type(error).__name__}: {error}"
        problem = "; ".join(filter(None, (run.lost_reason, run.writer.problem)))
        if run.stop.is_set():
            return "stopped", problem
        return ("failed", problem) if problem else ("done", "")

    def _end(self, outcomes: Outcomes, number: int, outcome: JobOutcome, reason: str = "") -> None:
        try:
            if number > 0:
                self.journal.end(number, outcome, reason, outcomes)
        except StateError as error:  # the captions are safe; the next start finds out what happened to the rest
            log.warning("the end of job %d is not recorded: %s", number, error)
        self._log.append(outcomes.end(outcome, reason))

    def _close_pool(self) -> None:
        for name in self._pool.close():
            self._log.append(ReplicaChanged(replica=name, state="closed"))
