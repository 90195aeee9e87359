"""Everything the app owns, built once and closed once. The CLI, the page and a library user all go through here."""

import logging
import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from captioner.captions import CaptionStore
from captioner.cleanup import Decoration
from captioner.database import Database
from captioner.devices import check_quantization, expand_devices
from captioner.dispatch import Job, Model
from captioner.engine.download import find_model
from captioner.errors import CaptionError, JobError, PromptError
from captioner.events import EventLog
from captioner.files import state_folder
from captioner.jobs import JobRunner
from captioner.library import Library
from captioner.plan import PROBE_BUDGET_S, RunPlan, longest_request, plan_run
from captioner.presets import Preset, check_quantizable, choose_preset
from captioner.prompts import PromptLibrary
from captioner.resources import nvidia_gpus
from captioner.runs import RunStore
from captioner.settings import Settings, SettingsStore, generation_options, resolve, sampling_plan
from captioner.values import ExistingPolicy, MediaItem, ModelSpec

log = logging.getLogger(__name__)


class Services:
    """Use as a context manager, or call close(). Safe to use from several threads."""

    def __init__(self, state: Path | None = None, overrides: Mapping[str, Any] | None = None) -> None:
        """`overrides` are settings from the command line. Raises StateError and SettingsError."""
        self.folder = state_folder(state)
        self._settings_store = SettingsStore(self.folder / "settings.json")
        self._settings = resolve(self._settings_store.read(), os.environ, overrides or {})
        self.prompts = PromptLibrary(self.folder / "prompts.json")
        self.database = Database(self.folder / "captioner.sqlite")
        self.captions = CaptionStore(self.database, scratch=self.folder)
        self.events = EventLog()
        self.runs = RunStore(self.database)
        self.jobs = JobRunner(self.events, self.captions, runs=self.runs)
        self.library = Library(self.events, self.captions)

    def __enter__(self) -> "Services":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop what runs and end every process. Captions on disk stay as they are."""
        self.jobs.close()
        self.events.close()
        self.database.close()

    @property
    def settings(self) -> Settings:
        return self._settings

    def change_settings(self, changes: Mapping[str, Any]) -> Settings:
        """Check and keep new values; write down these and no value of the environment or the command line.

        Raises SettingsError and then changes nothing.
        """
        current = {name: value for name, value in self._settings.model_dump().items() if name not in changes}
        changed = resolve({}, {}, {**current, **changes})
        others = {name: value for name, value in self._settings_store.read().items() if name not in changes}
        self._settings_store.save(resolve(others, {}, changes))
        self._settings = changed
        return changed

    def reset_settings(self) -> Settings:
        """Back to the defaults, but for the folder."""
        self._settings = Settings(folder=self._settings.folder)
        self._settings_store.save(self._settings)
        return self._settings

    def open_folder(self, folder: Path, recursive: bool) -> Library:
        """Scan a folder and make it the current one. Raises FolderError."""
        self.library.open(folder, recursive)
        return self.library

    def preset(self, name: str = "") -> Preset:
        """The model of this name, or the chosen one; for "auto" what fits the largest GPU. Raises ModelError."""
        totals = [gpu.vram_total_bytes / 1e9 for gpu in nvidia_gpus() if gpu.vram_total_bytes]
        return choose_preset(name or self._settings.model, max(totals, default=None))

    def prompt_text(self) -> str:
        """The prompt that a job started now would use. Raises PromptError."""
        return self._settings.prompt or self.prompts.get(self._settings.prompt_name).text

    def start(self, names: Collection[str] | None = None, existing: ExistingPolicy | None = None) -> int:
        """Caption the items of the current folder with these names, or all. Returns the job's number.

        existing: what to do with captions that are there, for this job alone; None as the settings say.
        Raises JobError, PromptError, ModelError.
        """
        job = self._job(names)
        return self.jobs.start(replace(job, existing=existing) if existing else job)

    def try_prompt(self, name: str, text: str) -> int:
        """Caption one item of the current folder with this prompt and save nothing; the caption comes as ItemTried.

        Returns the job's number. Raises JobError, PromptError, ModelError.
        """
        if not text.strip():
            raise PromptError("write a prompt to try it")
        job = self._job([name])
        if not job.items:
            raise JobError(f"{name} is not in the open folder; open the folder again")
        return self.jobs.start(replace(job, prompt=text.strip(), save=False))

    def plan(self, names: Collection[str] | None = None, budget_s: float = PROBE_BUDGET_S) -> RunPlan:
        """What `start` would do with these names. Opens some of the files, for about `budget_s`; changes nothing.

        Raises what `start` raises, and StateError.
        """
        job = self._job(names)
        items = [item for item in job.items if self._needs_caption(item, job.existing)]
        measured = self.runs.throughput(job.model.specs, job.plan)
        left_alone = len(job.items) - len(items)
        return plan_run(items, left_alone, job.plan, job.prompt, job.options, measured, budget_s)

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
            return self.captions.needs_caption(item, existing)
        except CaptionError:  # its caption file cannot be read, so it will fail
            return False

    def _job(self, names: Collection[str] | None) -> Job:
        if self.library.folder is None:
            raise JobError("open a folder first")
        chosen = None if names is None else set(names)
        settings, preset = self._settings, self.preset()
        return Job(
            items=tuple(item for item in self.library.items if chosen is None or item.name in chosen),
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
            find=lambda on_bytes: find_model(preset.source, settings.offline, settings.models_folder, on_bytes),
            specs=tuple(replace(spec, device=device) for device in devices),
        )
