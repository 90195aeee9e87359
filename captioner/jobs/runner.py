"""`JobRunner`: a queue of jobs, run one at a time over the replicas that it owns."""

import itertools
import logging
import queue
import threading
from collections.abc import Callable, Iterator, Mapping

from captioner.captions.store import CaptionStore
from captioner.errors import CaptionerError, JobError, StateError
from captioner.jobs.event_log import EventLog
from captioner.jobs.events import Event, JobEnded, JobQueued, JobStarted, ReplicaChanged
from captioner.jobs.job import Job, Model
from captioner.jobs.journal import Journal
from captioner.jobs.run import Run, Stopped
from captioner.jobs.throughput import RunStore
from captioner.replicas.pool import ReplicaPool

log = logging.getLogger(__name__)


class JobRunner:
    """Runs jobs in one thread that owns the replicas. Public methods return at once; any thread may call."""

    def __init__(
        self,
        event_log: EventLog,
        store: CaptionStore,
        pool: ReplicaPool | None = None,
        runs: RunStore | None = None,
        journal: Journal | None = None,
    ) -> None:
        """`runs`: where to keep how fast each job was, `journal`: what becomes of its items; if anywhere."""
        self._log, self._store, self._pool = event_log, store, pool or ReplicaPool()
        self._runs, self._journal = runs, journal
        self._ready: set[str] = set()
        self._ids = itertools.count(-1, -1)  # of what is in no journal; the others have positive numbers
        self._stops: dict[int, threading.Event] = {}
        self._waiting: set[int] = set()
        self._lock = threading.Lock()
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        self._thread.start()

    def start(self, job: Job, begin: Callable[[], int] | None = None, losses: Mapping[str, int] | None = None) -> int:
        """Queue a job and return its number. Raises JobError when it has no items, and what `begin` raises.

        begin: writes the job into the journal and returns its number there. losses: how many replicas each item has
        cost before.
        """
        if not job.items:
            raise JobError("nothing to caption: no item is selected, or the folder holds no media")
        return self._enqueue(job, begin() if begin else next(self._ids), losses or {})

    def load(self, model: Model) -> int:
        """Queue the loading of a model, as a job without items."""
        return self._enqueue(Job((), model, ""), next(self._ids), {})

    def unload(self) -> None:
        """End all replicas once the queued jobs are done."""
        self._work.put(self._close_pool)

    def stop(self, number: int | None = None) -> None:
        """Stop a job, or all that run or wait. Takes effect within one step of the engine; what waits ends at once."""
        with self._lock:
            numbers = [number] if number else list(self._stops)
            for each in numbers:
                if stop := self._stops.get(each):
                    stop.set()
        for each in numbers:
            self.remove(each)

    def remove(self, number: int) -> bool:
        """End a job that waits; False when it does not wait any more."""
        with self._lock:
            if number not in self._waiting:
                return False
            self._waiting.remove(number)
            del self._stops[number]
        self._end(number, JobEnded(job=number, outcome="stopped"))
        return True

    def follow(self, number: int, cursor: int = 0) -> Iterator[Event]:
        """Yield all events after `cursor` until the given job has ended."""
        for event in self._log.follow(cursor):
            yield event
            if isinstance(event, JobEnded) and event.job == number:
                return

    def close(self) -> None:
        """Stop everything and end the replicas. Returns when no process is left."""
        self._pool.closing.set()
        self.stop()
        self._work.put(None)
        self._thread.join()

    def _enqueue(self, job: Job, number: int, losses: Mapping[str, int]) -> int:
        stop = threading.Event()
        with self._lock:
            self._stops[number] = stop
            self._waiting.add(number)
            self._log.append(JobQueued(job=number, total=len(job.items)))
        self._work.put(lambda: self._run_job(number, job, stop, losses))
        return number

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
        self._close_pool()

    def _run_job(self, number: int, job: Job, stop: threading.Event, losses: Mapping[str, int]) -> None:
        with self._lock:
            if number not in self._waiting:
                return
            self._waiting.remove(number)
        about = {"total": len(job.items), "model": job.model.name, "saves": job.save}
        self._log.append(JobStarted(job=number, **about))
        recorder = self._journal.recorder(number) if self._journal and number > 0 else None
        owned = (self._log, self._store, self._pool, self._ready)
        run = Run(number, job, stop, *owned, recorder=recorder, losses=dict(losses))
        try:
            run.run()
            ended = run.end("stopped" if stop.is_set() else "failed" if run.lost_reason else "done", run.lost_reason)
        except Stopped:
            ended = run.end("stopped")
        except CaptionerError as error:
            ended = run.end("failed", str(error))
        except Exception as error:  # a fault of ours ends this job, never the thread behind all jobs
            log.exception("job %d failed", number)
            ended = run.end("failed", f"internal error: {type(error).__name__}: {error}")
        if self._runs and job.save:  # before the event: whoever hears it may plan the next job
            self._runs.record(job.model.specs, job.plan, run.meter)
        with self._lock:
            del self._stops[number]
        self._end(number, ended)

    def _end(self, number: int, ended: JobEnded) -> None:
        """In the journal, then in the events."""
        try:
            if self._journal and number > 0:
                self._journal.end(number, ended.outcome, ended.reason)
        except StateError as error:  # the captions are safe; the next start finds out what became of the rest
            log.warning("the end of job %d is not recorded: %s", number, error)
        self._log.append(ended)

    def _close_pool(self) -> None:
        self._ready.clear()
        for name in self._pool.close():
            self._log.append(ReplicaChanged(replica=name, state="closed"))
