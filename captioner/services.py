"""Everything the app owns, built once and closed once. The page, the command line and the Python API all use it."""

import contextlib
import logging
import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from captioner.captions.edit import BulkEdit
from captioner.captions.places import obstacle_finder, prepare_places
from captioner.captions.store import CaptionStore, Undone
from captioner.config.prompts import PromptLibrary
from captioner.config.servers import Preset, choose_model
from captioner.config.settings import Settings, SettingsStore, resolve
from captioner.dataset.lint.by_settings import options_by
from captioner.dataset.lint.folder import FolderLint
from captioner.dataset.targets import chosen_target, prompt_name
from captioner.errors import FolderError, JobError, PromptError
from captioner.jobs.estimate import PROBE_BUDGET_S, RunEstimate, estimate_run
from captioner.jobs.event_log import EventLog
from captioner.jobs.job import Job, build_job, build_model, model_finder
from captioner.jobs.journal import Unfinished
from captioner.jobs.remedies import longest_options
from captioner.jobs.repair import Repair, RepairWish, find_repair
from captioner.jobs.runner import JobRunner
from captioner.library.bulk import BulkDone, bulk_edit
from captioner.library.library import Library
from captioner.media.discover import ListingOptions, find_item
from captioner.media.facts import FactsCache
from captioner.media.facts import Progress as FactsProgress
from captioner.media.mirror import caption_root
from captioner.media.sandbox import Sandbox
from captioner.system.claim import FolderClaim
from captioner.system.database import Database
from captioner.system.files import DATABASE, make_private, state_folder
from captioner.system.resources import largest_vram_gb
from captioner.system.roots import EVERYWHERE, Roots
from captioner.values import ExistingPolicy, KindFilter, MediaItem

log = logging.getLogger(__name__)


class Services:
    """Owns the settings, the open folder, the captions, the jobs and their replicas. Any thread may call.

    Use it as a context manager, or call close().
    """

    def __init__(
        self, state: Path | None = None, overrides: Mapping[str, Any] | None = None, roots: Roots = EVERYWHERE
    ) -> None:
        """Open the state folder; None is the default one. Raise StateError and SettingsError.

        overrides: settings that outrank the settings file and the environment. roots: the folders that may be used.
        """
        self.folder = state_folder(state)
        self._settings_store = SettingsStore(self.folder / "settings.json")
        self._settings = resolve(self._settings_store.read(), os.environ, overrides or {})
        self.prompts = PromptLibrary(self.folder / "prompts.json")
        self.database = Database(self.folder / DATABASE)
        make_private(self.folder)
        self.captions = CaptionStore(self.database, self.folder, roots)
        if self._settings.captions_to:  # chosen before the roots were
            self.captions.files.allow(EVERYWHERE.resolve_missing(self._settings.captions_to))
        self.captions.encoding = self._settings.caption_encoding
        self.listing_options(recursive=False)  # raises for a caption extension that is one of media
        chosen_target(self._settings)  # raises for one that is not known
        self.events = EventLog()
        self.sandbox = Sandbox(roots=roots)
        self.jobs = JobRunner(self.events, self.captions, self.database)
        self._claim = FolderClaim(self.folder, self._settle)
        self.roots = roots
        self.library = Library(self.events, self.captions, roots, lambda: options_by(self._settings, self.prompts))

    def __enter__(self) -> "Services":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the running jobs and end every process."""
        self.sandbox.close()
        self.jobs.close()
        self.events.close()
        self.database.close()
        self._claim.release()

    def claim(self) -> None:
        """Become the only process that runs jobs on this state folder, and settle what the last one left unfinished.

        Methods that need this call it. Raises StateError while another process uses the folder.
        """
        self._claim.take()

    def _settle(self) -> None:
        self.captions.settle()
        self.jobs.journal.settle()

    @property
    def settings(self) -> Settings:
        """The settings in effect, which never change in place."""
        return self._settings

    def change_settings(self, changes: Mapping[str, Any]) -> Settings:
        """Check and apply new values, and save them, but no value of the environment or the command line.

        Raises SettingsError, and FolderError for a folder that may not be used; then nothing changes.
        """
        self._check_paths(changes)
        current = {name: value for name, value in self._settings.model_dump().items() if name not in changes}
        changed = resolve({}, {}, {**current, **changes})
        ListingOptions(caption_extension=changed.caption_extension)  # raises if it is one of media
        chosen_target(changed)  # raises for one that is not known
        if self.library.folder:
            caption_root(self.library.folder, changed.captions_to)  # raises if it is around that folder
        others = {name: value for name, value in self._settings_store.read().items() if name not in changes}
        self._settings_store.save(resolve(others, {}, changes))
        self._use(changed)
        return changed

    def _use(self, settings: Settings) -> None:
        places = [(each.caption_extension, each.captions_to, each.exclude) for each in (settings, self._settings)]
        self._settings, self.captions.encoding = settings, settings.caption_encoding
        scan = self.library.scan
        if places[0] != places[1] and scan.folder:
            with contextlib.suppress(FolderError):  # it is gone, or its disk is
                self.open_folder(scan.folder, scan.recursive, scan.kinds)
        self.library.check_again()

    def _check_paths(self, changes: Mapping[str, Any]) -> None:
        for name in ("models_folder", "adapter", "captions_to"):
            chosen = str(changes.get(name) or "")
            if self.roots.confined and chosen.strip() and chosen != str(getattr(self._settings, name)):
                (self.roots.resolve_missing if name == "captions_to" else self.roots.resolve)(chosen)
        if self.roots.confined and changes.get("model"):
            self.preset(str(changes["model"]))

    def reset_settings(self) -> Settings:
        """Set and save the defaults, except for the folder."""
        self._use(resolve({}, {}, {"folder": self._settings.folder}))
        self._settings_store.save(self._settings)
        return self._settings

    def open_folder(self, folder: Path, recursive: bool, kinds: KindFilter | None = None) -> Library:
        """Scan a folder and make it the open one. kinds: None takes the setting. Raises FolderError."""
        self.library.open(folder, self.listing_options(recursive), kinds or self._settings.kinds)
        return self.library

    def listing_options(self, recursive: bool) -> ListingOptions:
        """Return what a scan lists by the settings. recursive is given apart: the viewer of a folder chooses it."""
        chosen = self._settings
        return ListingOptions(recursive, chosen.exclude, chosen.caption_extension, chosen.captions_to)

    def preset(self, name: str = "") -> Preset:
        """Return the model of this name, or the one of the settings; "auto" is what fits the largest GPU.

        Raises ModelError, and FolderError for a model in a folder that may not be used.
        """
        chosen = name or self._settings.model
        roots = EVERYWHERE if chosen == self._settings.model else self.roots  # a model that is set already may stay
        return choose_model(self._settings, chosen, largest_vram_gb(), roots)

    def prompt_text(self) -> str:
        """Return the prompt that the next job will use. Raises PromptError."""
        return self._settings.prompt or self.prompts.get(self.prompt_name).text

    @property
    def prompt_name(self) -> str:
        """The name of the library's prompt that jobs use, unless the settings hold a text of their own."""
        return prompt_name(self._settings)

    def start(
        self, names: Collection[str] | None = None, existing: ExistingPolicy | None = None, consent: bool = False
    ) -> int:
        """Caption the files of the open folder with these names, or all, and return the job's number.

        existing: what to do with existing captions; None takes the setting. consent: also replace captions that were
        changed outside, since the user agreed to it. Raises JobError, PromptError, ModelError and StateError.
        """
        job = self._job(self._chosen(names))
        return self._start(replace(job, consent=consent, existing=existing or job.existing))

    def _start(self, job: Job) -> int:
        prepare_places(self.captions, job.items, bool(self._settings.captions_to), job.existing == "skip")
        self.claim()
        return self.jobs.start(job, self.library.scan.folder, self.library.scan.recursive)

    def find_repair(
        self, wish: RepairWish = RepairWish(), progress: FactsProgress = lambda what, done, total: None
    ) -> tuple[Repair, FolderLint]:
        """Return what `repair` would repair, and the findings in the open folder. Raise JobError and StateError."""
        options, media = options_by(self._settings, self.prompts), FactsCache(self.database, self.sandbox.probe)
        return find_repair(
            self._chosen(None), self.library.folder or self.folder, wish, options, self.captions, media, progress
        )

    def repair(self, repair: Repair, consent: bool = False) -> int:
        """Caption files of the open folder again whose captions are faulty, and return the job's number.

        A caption is only replaced by a better one. Raise what `start` raises.
        """
        items = self._chosen(repair.found)
        if not items:
            raise JobError("no caption needs a repair")
        return self._start(replace(self._job(items, repair), consent=consent))

    def unfinished(self) -> list[Unfinished]:
        """Return the jobs with files left after a crash, a stop or a failure, in allowed folders, the newest first."""
        return [job for job in self.jobs.journal.unfinished() if self.roots.allows(job.folder)]

    def resume(self, operation: int | None = None) -> int:
        """Resume an unfinished job, or the newest one, with its original settings; return the new job's number.

        Files that lead outside the allowed folders by now are skipped. Raises JobError, FolderError and StateError.
        """
        self.claim()
        if operation is None:
            operation = next((job.operation for job in self.unfinished()), None)
        if operation is None:
            raise JobError("there is no unfinished job to resume")
        folder, _ = self.jobs.journal.folder_of(operation)
        self.roots.resolve(folder)
        return self.jobs.resume(
            operation,
            lambda source: model_finder(source, self._settings),
            obstacle_finder(self.roots, self.captions.files),
        )

    def undo(self, operation: int) -> Undone:
        """Put back all captions that a job or bulk edit changed, byte for byte, except those that changed since.

        Raises JobError, FolderError and StateError.
        """
        self.claim()
        if self.jobs.journal.is_active(operation):
            raise JobError(f"job {operation} is running; stop it before you undo it")
        for folder in {path.parent for path in self.captions.changed_by(operation)}:
            if folder.exists():
                self.roots.resolve(folder)
        undone = self.captions.undo(operation)
        self.library.edits.refresh(self.captions.changed_by(operation))
        return undone

    def bulk_edit(self, names: Collection[str], edit: BulkEdit) -> BulkDone:
        """Edit the captions of these files of the open folder; `undo` can undo it. Raises JobError and StateError."""
        self.claim()
        return bulk_edit(self.database, self.library, names, edit)

    def try_prompt(self, name: str, text: str) -> int:
        """Caption one file of the open folder with this prompt as `try_file` does. Also raises JobError."""
        if not text.strip():
            raise PromptError("write a prompt to try it")
        items = self._chosen([name])
        if not items:
            raise JobError(f"{name} is not in the open folder; open the folder again")
        return self.jobs.start(replace(self._job(items), prompt=text.strip(), save=False))

    def try_file(self, path: Path) -> int:
        """Caption one file of any folder, save nothing, and return the job's number.

        The caption comes as an ItemTried event. Raises MediaError, FolderError, PromptError and ModelError.
        """
        if self.roots.escapes(path):
            self.roots.resolve(path)  # raises the reason
        return self.jobs.start(replace(self._job((find_item(path, self.listing_options(False)),)), save=False))

    def estimate(self, names: Collection[str] | None = None, budget_s: float = PROBE_BUDGET_S) -> RunEstimate:
        """Estimate what `start` would take, by probing some of the files for about `budget_s`. Raise what it raises."""
        job = self._job(self._chosen(names))
        items = [item for item in job.items if not item.has_caption or self.captions.needs(item, job.existing)]
        measured = self.jobs.speeds.throughput(job.model.specs, job.plan)
        num_skipped, probe = len(job.items) - len(items), self.sandbox.probe
        options = longest_options(job.options, job.retry_cut)
        return estimate_run(items, num_skipped, job.plan, job.prompt, options, measured, budget_s, probe)

    def load(self) -> int:
        """Load the model of the settings and return the job's number. Raise ModelError and PromptError."""
        return self.jobs.load(build_model(self._settings, self.preset(), self.prompt_text()))

    def unload(self) -> None:
        """End all replicas to free their memory. Raises JobError while a job runs."""
        if self.events.snapshot().active:
            raise JobError("a job is running; stop it before unloading the model")
        self.jobs.unload()

    def _chosen(self, names: Collection[str] | None) -> tuple[MediaItem, ...]:
        """Return the items of the open folder with these names, or all. Raises JobError if no folder is open."""
        if self.library.folder is None:
            raise JobError("open a folder first")
        chosen = None if names is None else set(names)
        return tuple(item for item in self.library.items if chosen is None or item.name in chosen)

    def _job(self, items: tuple[MediaItem, ...], repair: Repair | None = None) -> Job:
        return build_job(items, self._settings, self.preset(), self.prompt_text(), repair)
