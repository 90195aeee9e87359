"""Makes comparisons, and has their contenders caption the files: one job each, which changes no caption file."""

import contextlib
import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from captioner.config.prompts import PromptLibrary
from captioner.config.servers import choose_model
from captioner.config.settings import Settings
from captioner.errors import CaptionerError, JobError
from captioner.formatting import plural, printable
from captioner.jobs import events
from captioner.jobs.event_log import EventLog
from captioner.jobs.job import Job, build_job
from captioner.jobs.runner import JobRunner
from captioner.library.comparisons.comparison import (
    DEFAULT_FILES,
    MAX_FILES,
    Answer,
    ComparedFile,
    Comparison,
    Contender,
)
from captioner.library.comparisons.contenders import new_contenders, settings_of
from captioner.library.comparisons.sampling import choose_files
from captioner.library.comparisons.store import ComparisonStore
from captioner.media.discover import ListingOptions, discover
from captioner.media.facts import FactsCache
from captioner.media.sandbox import Sandbox
from captioner.system.database import Database, escape_surrogates, path_text
from captioner.system.resources import largest_vram_gb
from captioner.system.roots import EVERYWHERE, Roots
from captioner.values import MediaItem

log = logging.getLogger(__name__)

SAVE_INTERVAL_S = 0.5
GONE = "no such file; it was moved or deleted"
Told = Callable[[str, int, int], None]  # called with what is done, captions done, captions in all


class App(Protocol):
    """The parts of `Services` that comparisons need."""

    folder: Path
    prompts: PromptLibrary
    database: Database
    events: EventLog
    sandbox: Sandbox
    jobs: JobRunner
    roots: Roots

    @property
    def settings(self) -> Settings: ...
    def listing_options(self, recursive: bool) -> ListingOptions: ...
    def claim(self) -> None: ...


@dataclass
class _Job:
    """The answers of one contender's job while it runs, and its time."""

    number: int
    is_timed: bool
    started_s: float = 0.0  # by the clock of the events
    ended_s: float = 0.0
    num_timed: int = 0
    unsaved: dict[str, Answer] = field(default_factory=dict)
    saved_s: float = field(default_factory=time.monotonic)

    def add(self, event: events.ItemEvent) -> None:
        """Take the answer from an event, if it has one."""
        name = escape_surrogates(event.item)
        match event:
            case events.ItemStarted():
                self.started_s = self.started_s or event.time_s
            case events.ItemTried(made=made):
                read = made.num_prompt_tokens if made else 0
                self.unsaved[name] = Answer(event.caption, read, event.tokens)
                self.num_timed, self.ended_s = self.num_timed + 1, event.time_s
            case events.ItemFailed():
                self.unsaved[name] = Answer(problem=event.reason)


class Comparer:
    """Makes comparisons and runs them, one at a time. Any thread may call."""

    def __init__(self, app: App) -> None:
        self.store = ComparisonStore(app.folder)
        self._app, self._lock = app, threading.Lock()
        self._running, self._job, self._stopping = 0, 0, False
        self.doing = ""  # in words, while one runs

    @property
    def running(self) -> int:
        """The number of the comparison whose captions are being written; 0: none."""
        return self._running

    def create(
        self,
        folder: Path,
        recursive: bool,
        items: Sequence[MediaItem],
        contenders: Sequence[Mapping[str, Any]],
        num_files: int = DEFAULT_FILES,
    ) -> Comparison:
        """Make a comparison on a sample of these items. contenders: see `new_contenders`. Raise CaptionerError."""
        app = self._app
        if not 1 <= num_files <= MAX_FILES:
            raise JobError(f"compare on 1 to {MAX_FILES} files, not {num_files:,}")
        made = new_contenders(contenders, app.settings, app.prompts, app.roots)
        seed = secrets.randbits(50)
        chosen = choose_files(folder, items, num_files, FactsCache(app.database, app.sandbox.probe), seed)
        files = tuple(ComparedFile(escape_surrogates(item.name), item.kind) for item in chosen)
        answers: tuple[Mapping[str, Answer], ...] = ({},) * len(made)
        return self.store.create(Comparison(0, time.time(), path_text(folder), recursive, seed, made, files, answers))

    def start(self, number: int) -> None:
        """Run a comparison in a thread of its own. Raise JobError while a job or a comparison runs, and StateError."""
        if self._app.events.snapshot().busy:
            raise JobError("a job is running; wait for it to end, or stop it")
        self.store.get(number)
        self._begin(number)
        threading.Thread(target=self._run_quietly, args=(number,), name="comparison", daemon=True).start()

    def run(self, number: int, tell: Told = lambda what, done, total: None) -> Comparison:
        """Have each contender caption the files that it has not tried yet, those with the same model together.

        A contender that cannot go on keeps the reason, and the others go on. Return the comparison, which is not
        complete if it was stopped. Raise JobError, FolderError and StateError.
        """
        self._begin(number)
        return self._run(number, tell)

    def stop(self) -> None:
        """Stop the comparison that runs. Captions that were written stay."""
        with self._lock:
            self._stopping = bool(self._running)
            job = self._job
        if job:
            self._app.jobs.stop(job)

    def delete(self, number: int) -> None:
        """Delete a comparison, which `store.restore` brings back. Raise JobError if it runs or does not exist."""
        with self._lock:
            if number == self._running:
                raise JobError(f"comparison {number} is running; stop it first")
            self.store.delete(number)

    def _begin(self, number: int) -> None:
        self._app.claim()
        with self._lock:
            if self._running:
                raise JobError(f"comparison {self._running} is running; wait for it to end, or stop it")
            self._running, self._stopping, self.doing = number, False, "Waiting for its turn…"

    def _run_quietly(self, number: int) -> None:
        try:
            self._run(number, lambda what, done, total: None)
        except CaptionerError as error:
            self._fail(number, str(error))
        except Exception as error:  # a bug ends this comparison, never without a word
            log.exception("a comparison failed")
            self._fail(number, f"internal error: {type(error).__name__}: {error}")

    def _fail(self, number: int, reason: str) -> None:
        log.warning("comparison %d: %s", number, reason)
        with contextlib.suppress(CaptionerError):  # it is the state folder that fails
            for index in range(len(self.store.get(number).contenders)):
                self._keep_problem(number, index, reason)

    def _run(self, number: int, tell: Told) -> Comparison:
        try:
            comparison = self.store.get(number)
            items = self._find_items(comparison)
            model = None
            for index in _by_model(comparison):
                before, model = model, _model(comparison.contenders[index])
                if not self._run_contender(number, index, items, tell, is_cold=model != before):
                    break
            return self.store.get(number)
        finally:
            with self._lock:
                self._running, self._job = 0, 0

    def _find_items(self, comparison: Comparison) -> dict[str, MediaItem]:
        """Return the items of the sample that are still there, by name in the database."""
        folder = self._app.roots.resolve(comparison.folder_path)
        found = discover(folder, self._app.listing_options(comparison.recursive), self._app.roots.escapes)
        return {escape_surrogates(item.name): item for item in found.items}

    def _run_contender(
        self, number: int, index: int, items: Mapping[str, MediaItem], tell: Told, is_cold: bool
    ) -> bool:
        """Caption the files that a contender has not tried yet; return False if it was stopped.

        is_cold: its model has done nothing yet, so the first file is captioned alone and its time is not counted.
        """
        missing = self.store.get(number).missing(index)
        present = [items[file.name] for file in missing if file.name in items]
        gone = {file.name: Answer(problem=GONE) for file in missing if file.name not in items}
        self.store.change(number, lambda now: now.with_answers(index, gone).with_contender(index, problem=""))
        parts = ((present[:1], len(present) == 1), (present[1:], True)) if is_cold else ((present, True),)
        for some, is_timed in parts:
            if self._stopping:
                return False
            outcome, reason = self._caption(number, index, tuple(some), is_timed, tell) if some else ("done", "")
            if outcome == "failed":
                self._keep_problem(number, index, reason)
                return True
            if outcome == "stopped":
                return False
        return True

    def _caption(
        self, number: int, index: int, items: tuple[MediaItem, ...], is_timed: bool, tell: Told
    ) -> tuple[str, str]:
        """Run a job over these items; return its outcome and the reason. Raise StateError."""
        try:
            cursor = self._app.events.snapshot().cursor
            job = self._app.jobs.start(self._build(number, index, items))
        except CaptionerError as error:
            return "failed", str(error)
        return self._follow(number, index, _Job(job, is_timed), cursor, tell)

    def _follow(self, number: int, index: int, job: _Job, cursor: int, tell: Told) -> tuple[str, str]:
        """Keep the answers of a job until it ends; return its outcome and the reason."""
        with self._lock:
            self._job = job.number
            is_late = self._stopping
        if is_late:
            self._app.jobs.stop(job.number)
        try:
            for event in self._app.jobs.follow(job.number, cursor):
                if isinstance(event, events.ItemEvent) and event.job == job.number:
                    job.add(event)
                    if job.unsaved and time.monotonic() - job.saved_s > SAVE_INTERVAL_S:
                        self._save(number, index, job, tell)
                if isinstance(event, events.JobEnded) and event.job == job.number:
                    return event.outcome, event.reason
        finally:
            self._save(number, index, job, tell)
        return "stopped", ""  # the program closes

    def _save(self, number: int, index: int, job: _Job, tell: Told) -> None:
        new, seconds, num_timed = job.unsaved, job.ended_s - job.started_s, job.num_timed

        def add(now: Comparison) -> Comparison:
            timed = now.contenders[index]
            changed = now.with_answers(index, new)
            if not num_timed or not job.is_timed:
                return changed
            return changed.with_contender(index, seconds=timed.seconds + seconds, num_timed=timed.num_timed + num_timed)

        now = self.store.change(number, add)
        job.started_s, job.num_timed, job.unsaved, job.saved_s = job.ended_s or job.started_s, 0, {}, time.monotonic()
        total = now.num_answered + now.num_left
        self.doing = f"{now.num_answered:,} of {plural(total, 'caption')}"
        tell("captions", now.num_answered, total)

    def _keep_problem(self, number: int, index: int, reason: str) -> None:
        line = printable(reason)
        self.store.change(number, lambda now: now.with_contender(index, problem=line))

    def _build(self, number: int, index: int, items: tuple[MediaItem, ...]) -> Job:
        """Return the job of a contender: its own settings, and the rest as the app has it now."""
        contender, now = self.store.get(number).contenders[index], self._app.settings
        settings = settings_of(contender, now)
        roots = EVERYWHERE if settings.model == now.model else self._app.roots
        preset = choose_model(settings, settings.model, largest_vram_gb(), roots)
        return replace(build_job(items, settings, preset, contender.prompt), save=False)


def _by_model(comparison: Comparison) -> list[int]:
    """Return the contenders in an order in which each model is loaded once."""
    models = [_model(contender) for contender in comparison.contenders]
    return sorted(range(len(models)), key=lambda index: (models.index(models[index]), index))


def _model(contender: Contender) -> tuple[Any, ...]:
    """Return what decides which model is loaded."""
    return tuple(contender.chosen.get(setting) for setting in ("model", "adapter", "quantization", "dtype"))
