"""Jobs as the app runs them, with worker processes, caption files and a journal, for the benchmarks."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import transformers

from captioner.captions.store import CaptionStore
from captioner.cli.bench.build import build_model, build_processor, build_tokenizer
from captioner.cli.bench.models import (
    ALWAYS_RANDOM,
    CORPUS,
    GEOMETRIES,
    RELEASED_MIN_IMAGE_PIXELS,
    endless,
    model_folder,
)
from captioner.errors import CaptionerError
from captioner.jobs.event_log import EventLog
from captioner.jobs.events import ItemFailed, JobEnded
from captioner.jobs.job import Job, Model
from captioner.jobs.runner import JobRunner
from captioner.media.discover import discover
from captioner.replicas.pool import CountReplicas, ReplicaPool, StartReplica
from captioner.replicas.process import ProcessReplica
from captioner.system.database import Database
from captioner.values import GenerationOptions, ModelSpec, SamplePlan


class Runner:
    """Runs jobs over one folder of clips with loaded replicas."""

    def __init__(self, jobs: JobRunner, model: Model, folder: Path) -> None:
        self._jobs, self._model = jobs, model
        self._items = discover(folder).items
        self._wait(jobs.load(model))

    def run(self, plan: SamplePlan, options: GenerationOptions, num_clips: int | None = None) -> float:
        """Caption the first `num_clips` clips, or all, replacing their captions, and return the seconds it took.

        Raises CaptionerError if one fails.
        """
        items = self._items[:num_clips]
        job = Job(items, self._model, "describe this video in detail", plan, options, existing="overwrite")
        started_s = time.perf_counter()
        ended = self._wait(self._jobs.start(job))
        seconds = time.perf_counter() - started_s
        if ended.done + ended.failed != len(items):
            raise CaptionerError(f"only {ended.done} of {len(items)} clips were captioned: {ended.reason}")
        return seconds

    def _wait(self, number: int) -> JobEnded:
        event, reason = None, ""
        for event in self._jobs.follow(number):
            # Random weights may begin with the end of the turn.
            if isinstance(event, ItemFailed) and "empty caption" not in event.reason:
                reason = event.reason
        if event.outcome != "done" or reason:
            raise CaptionerError(event.reason or reason or f"the job {event.outcome}")
        return event


@contextmanager
def open_runner(
    name: str,
    model_folder: Path,
    specs: tuple[ModelSpec, ...],
    clips: Path,
    start: StartReplica = ProcessReplica,
    count: CountReplicas | None = None,
) -> Iterator[Runner]:
    """Yield a Runner with its own state folder; end its worker processes afterwards."""
    with tempfile.TemporaryDirectory(prefix="bench-state-") as state:
        database = Database(Path(state) / "captioner.sqlite")
        log = EventLog()
        jobs = JobRunner(log, CaptionStore(database, Path(state)), database, ReplicaPool(start, count))
        try:
            yield Runner(jobs, Model(name, lambda on_bytes: model_folder, specs), clips)
        finally:
            jobs.close()
            log.close()
            database.close()


def saved_folder(name: str, scratch: Path) -> Path:
    """Return a folder from which a worker can load the model; random weights are first saved to `scratch`."""
    if name not in ALWAYS_RANDOM:
        return model_folder(name)
    tokenizer = build_tokenizer(CORPUS, 400)
    model = build_model(tokenizer, GEOMETRIES[name], seed=1)
    model.generation_config = endless(model.generation_config)
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(scratch)
    build_processor(tokenizer, RELEASED_MIN_IMAGE_PIXELS).save_pretrained(scratch)
    return scratch
