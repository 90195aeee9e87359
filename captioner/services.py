"""Everything the app owns, built once and closed once. The CLI, the page and a library user all go through here."""

import functools
import logging
import os
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from captioner.captions.edit import BulkEdit
from captioner.captions.store import CaptionStore, Undone
from captioner.captions.text import Decoration
from captioner.config.presets import Preset, check_quantizable, choose_preset
from captioner.config.prompts import PromptLibrary
from captioner.config.settings import Settings, SettingsStore, generation_options, resolve, sampling_plan
from captioner.engine.download import find_model
from captioner.errors import CaptionError, JobError, PromptError
from captioner.jobs.estimate import PROBE_BUDGET_S, RunEstimate, estimate_run, longest_request
from captioner.jobs.event_log import EventLog
from captioner.jobs.job import FindModel, Job, Model
from captioner.jobs.journal import Unfinished
from captioner.jobs.runner import JobRunner
from captioner.library.bulk import BulkDone, bulk_edit
from captioner.library.library import Library
from captioner.media.discover import find_item
from captioner.media.sandbox import Sandbox
from captioner.system.database import Database
from captioner.system.devices import check_quantization, expand_devices
from captioner.system.files import claim_folder, state_folder
from captioner.system.resources import largest_vram_gb
from captioner.system.roots import EVERYWHERE, Roots
from captioner.values import ExistingPolicy, KindFilter, MediaItem, ModelSpec

log = logging.getLogger(__name__)


class Services:
    """Use as a context manager, or call close(). Safe to use from several threads."""

    def __init__(
        self, state: Path | None = None, overrides: Mapping[str, Any] | None = None, roots: Roots = EVERYWHERE
    ) -> None:
        """`overrides` are settings from the command line; roots: the folders that may be used.

        Raises StateError and SettingsError.
        """
        self.folder = state_folder(state)
        self._settings_store = SettingsStore(self.folder / "settings.json")
        self._settings = resolve(self._settings_store.read(), os.environ, overrides or {})
        self.prompts = PromptLibrary(self.folder / "prompts.json")
        self.database = Database(self.folder / "captioner.sqlite")
        self.captions = CaptionStore(self.database, scratch=self.folder)
        self.events = EventLog()
        self.sandbox = Sandbox()
        self.jobs = JobRunner(self.events, self.captions, self.database)
        self._claiming, self._claimed = threading.Lock(), None
        self.roots = roots
        self.library = Library(self.events, self.captions, roots)

    def __enter__(self) -> "Services":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop what runs and end every process. Captions on disk stay as they are."""
        self.sandbox.close()
        self.jobs.close()
        self.events.close()
        self.database.close()
        if self._claimed:
            self._claimed.release()

    def claim(self) -> None:
        """Be the one program that changes captions and runs jobs on this state folder; settle what the last one left.

        Done by `start` and the like by itself; to be called at the start by a program that will run jobs, to know at
        once. Raises StateError while another program is at work.
        """
        with self._claiming:
            if self._claimed:
                return
            claimed = claim_folder(self.folder)
            try:
                self.captions.settle()
                self.jobs.journal.settle()
            except BaseException:
                claimed.release()
                raise
            self._claimed = claimed

    @property
    def settings(self) -> Settings:
        return self._settings

    def change_settings(self, changes: Mapping[str, Any]) -> Settings:
        """Check and keep new values; write down these and no value of the environment or the command line.

        Raises SettingsError and then changes nothing; FolderError for a folder that may not be used.
        """
        self._check_paths(changes)
        current = {name: value for name, value in self._settings.model_dump().items() if name not in changes}
        changed = resolve({}, {}, {**current, **changes})
        others = {name: value for name, value in self._settings_store.read().items() if name not in changes}
        self._settings_store.save(resolve(others, {}, changes))
        self._settings = changed
        return changed

    def _check_paths(self, changes: Mapping[str, Any]) -> None:
        """Downloads are written to a folder, and a model may be read from one; what is set already may stay."""
        folder = changes.get("models_folder")
        if self.roots.confined and folder and str(folder) != str(self._settings.models_folder):
            self.roots.resolve(str(folder))
        if self.roots.confined and changes.get("model"):
            self.preset(str(changes["model"]))

    def reset_settings(self) -> Settings:
        """Back to the defaults, but for the folder."""
        self._settings = Settings(folder=self._settings.folder)
        self._settings_store.save(self._settings)
        return self._settings

    def open_folder(self, folder: Path, recursive: bool, kinds: KindFilter | None = None) -> Library:
        """Scan a folder and make it the current one. kinds: None as the settings say. Raises FolderError."""
        self.library.open(folder, recursive, kinds or self._settings.kinds)
        return self.library

    def preset(self, name: str = "") -> Preset:
        """The model of this name, or the chosen one; for "auto" what fits the largest GPU.

        Raises ModelError, and FolderError for a folder that may not be used.
        """
        chosen = name or self._settings.model
        roots = EVERYWHERE if chosen == self._settings.model else self.roots  # what is set already may stay
        return choose_preset(chosen, largest_vram_gb(), roots)

    def prompt_text(self) -> str:
        """The prompt that a job started now would use. Raises PromptError."""
        return self._settings.prompt or self.prompts.get(self._settings.prompt_name).text

    def start(
        self, names: Collection[str] | None = None, existing: ExistingPolicy | None = None, consent: bool = False
    ) -> int:
        """Caption the items of the current folder with these names, or all. Returns the job's number.

        existing: what to do with captions that are there, for this job alone; None as the settings say. consent: the
        user chose these very files, also those whose captions were changed outside.
        Raises JobError, PromptError, ModelError.
        """
        job = replace(self._job(self._chosen(names)), consent=consent)
        if existing:
            job = replace(job, existing=existing)
        self.claim()
        scan = self.library.scan
        return self.jobs.start(job, scan.folder, scan.recursive)

    def unfinished(self) -> list[Unfinished]:
        """Jobs with files left, after a crash, a stop or a failure, the newest first; of allowed folders only."""
        return [job for job in self.jobs.journal.unfinished() if self.roots.allows(job.folder)]

    def resume(self, operation: int | None = None) -> int:
        """Go on with an unfinished job as it was asked for, or with the newest; returns the new job's number.

        Captions what is left and nothing else; what leads out of the allowed folders by now is left out.
        Raises JobError, FolderError, StateError.
        """
        self.claim()
        if operation is None:
            operation = next((job.operation for job in self.unfinished()), None)
        if operation is None:
            raise JobError("there is no unfinished job to resume")
        folder, _ = self.jobs.journal.folder_of(operation)
        self.roots.resolve(folder)
        return self.jobs.resume(operation, self._find, self._find_obstacle())

    def _find_obstacle(self) -> Callable[[MediaItem], str]:
        """Why an item that was found earlier may not be captioned, or ""; looks at each folder once."""
        folder_escapes = functools.cache(self.roots.escapes)

        def obstacle(item: MediaItem) -> str:
            out = folder_escapes(item.folder) or any(map(self.roots.escapes, (item.path, item.caption_path)))
            return "it is outside the allowed folders" if out else ""

        return obstacle

    def undo(self, operation: int) -> Undone:
        """Put back all captions that an operation changed, byte for byte; tells which were changed since and stay.

        Raises JobError, FolderError, StateError.
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
        """Edit the captions of these files of the open folder, as one operation that `undo` undoes.

        Raises JobError, StateError.
        """
        self.claim()
        return bulk_edit(self.database, self.library, names, edit)

    def try_prompt(self, name: str, text: str) -> int:
        """Caption one item of the current folder with this prompt and save nothing; the caption comes as ItemTried.

        Returns the job's number. Raises JobError, PromptError, ModelError.
        """
        if not text.strip():
            raise PromptError("write a prompt to try it")
        items = self._chosen([name])
        if not items:
            raise JobError(f"{name} is not in the open folder; open the folder again")
        return self.jobs.start(replace(self._job(items), prompt=text.strip(), save=False))

    def try_file(self, path: Path) -> int:
        """Caption one file of any folder and save nothing; the caption comes as ItemTried.

        Returns the job's number. Raises MediaError, FolderError, PromptError, ModelError.
        """
        if self.roots.escapes(path):
            self.roots.resolve(path)  # raises the reason
        return self.jobs.start(replace(self._job((find_item(path),)), save=False))

    def plan(self, names: Collection[str] | None = None, budget_s: float = PROBE_BUDGET_S) -> RunEstimate:
        """What `start` would do with these names. Opens some of the files, for about `budget_s`; changes nothing.

        Raises what `start` raises, and StateError.
        """
        job = self._job(self._chosen(names))
        items = [item for item in job.items if not item.has_caption or self._needs_caption(item, job.existing)]
        measured = self.jobs.speeds.throughput(job.model.specs, job.plan)
        left_alone = len(job.items) - len(items)
        return estimate_run(
            items, left_alone, job.plan, job.prompt, job.options, measured, budget_s, self.sandbox.probe
        )

    def load(self) -> int:
        """Load the chosen model without captioning anything. Returns the job's number.

        Raises ModelError, and PromptError: how much memory it keeps free depends on the prompt.
        """
        return self.jobs.load(self._model(self.preset()))

    def unload(self) -> None:
        """End all replicas, which frees their memory. Raises JobError while a job runs."""
        if self.events.snapshot().active:
            raise JobError("a job is running; stop it before unloading the model")
        self.jobs.unload()

    def _needs_caption(self, item: MediaItem, existing: ExistingPolicy) -> bool:
        try:
            return self.captions.skip_reason(item, existing) is None
        except CaptionError:  # its caption file cannot be read, so it will fail
            return False

    def _chosen(self, names: Collection[str] | None) -> tuple[MediaItem, ...]:
        """Return the items of the open folder with these names, or all. Raises JobError when no folder is open."""
        if self.library.folder is None:
            raise JobError("open a folder first")
        chosen = None if names is None else set(names)
        return tuple(item for item in self.library.items if chosen is None or item.name in chosen)

    def _job(self, items: tuple[MediaItem, ...]) -> Job:
        settings, preset = self._settings, self.preset()
        return Job(
            items=items,
            model=self._model(preset),
            prompt=self.prompt_text(),
            plan=sampling_plan(settings, preset),
            options=generation_options(settings, preset),
            existing=settings.existing,
            decoration=Decoration(settings.trigger_word, settings.caption_prefix, settings.caption_suffix),
        )

    def _model(self, preset: Preset) -> Model:
        """Raises ModelError for options that cannot go together, as far as can be told before anything is loaded."""
        settings = self._settings
        devices = expand_devices(settings.devices)
        check_quantizable(preset, settings.quantization)
        check_quantization(settings.quantization, settings.dtype, devices)
        plan, options = sampling_plan(settings, preset), generation_options(settings, preset)
        spec = ModelSpec(
            source=preset.source,
            dtype=settings.dtype,
            quantization=settings.quantization,
            attention=settings.attention,
            sage_attention=settings.sage_attention,
            compile=settings.compile,
            batch_size=settings.batch_size,
            decode_threads=settings.decode_threads,
            max_tokens=longest_request(plan, self.prompt_text(), options),
        )
        return Model(
            name=preset.title,
            find=self._find(preset.source),
            specs=tuple(replace(spec, device=device) for device in devices),
        )

    def _find(self, source: str) -> FindModel:
        settings = self._settings
        return lambda on_bytes: find_model(source, settings.offline, settings.models_folder, on_bytes)
