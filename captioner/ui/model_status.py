"""The state of the model in one true sentence: which one is loaded, and what happens with the chosen one."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from captioner.config.servers import uses_this_machine
from captioner.engine.download import is_here
from captioner.errors import CaptionerError
from captioner.formatting import size, with_full_stop
from captioner.jobs.job import build_model
from captioner.jobs.progress import Progress
from captioner.services import Services
from captioner.ui.format import loading_text

KEPT_S = 2.0

State = Literal["none", "loading", "ready", "other", "missing", "failed"]


@dataclass(frozen=True)
class Chosen:
    """The model that the next job uses."""

    title: str
    problem: str = ""  # why it cannot be used
    is_here: bool = True  # its files need no download
    is_loaded: bool = True  # if a model of this title is loaded, it is with these settings


@dataclass(frozen=True)
class ModelStatus:
    """The state, its sentence, and how many percent of a download are done."""

    state: State
    text: str
    percent: float = 0.0


class ModelWatch:
    """Knows the status of the model. What is on the disk is looked at every KEPT_S seconds. Any thread may call."""

    def __init__(self, services: Services, clock: Callable[[], float] = time.monotonic) -> None:
        self._services, self._clock = services, clock
        self._known: tuple[object, object, float, Chosen] | None = None  # settings, loaded specs, time, what they mean

    def chosen(self) -> Chosen:
        """Return the model of the settings."""
        settings, specs, now_s = self._services.settings, self._services.jobs.loaded_specs, self._clock()
        known = self._known
        if known is None or known[0] is not settings or known[1] is not specs or now_s - known[2] > KEPT_S:
            known = self._known = settings, specs, now_s, chosen_model(self._services)
        return known[3]

    def status(self, progress: Progress) -> ModelStatus:
        return model_status(progress, self.chosen(), self._services.settings.offline)


def chosen_model(services: Services) -> Chosen:
    """Return the model of the settings."""
    settings = services.settings
    try:
        preset = services.preset()
        specs = build_model(settings, preset, services.prompt_text()).specs
    except CaptionerError as error:
        return Chosen(settings.model, str(error))
    present = not uses_this_machine(settings) or is_here(preset.source, settings.models_folder)
    return Chosen(preset.title, "", present, services.jobs.loaded_specs == specs)


def model_status(progress: Progress, chosen: Chosen, offline: bool = False) -> ModelStatus:
    """Return what to say about the model."""
    ready = [replica for replica in progress.replicas if replica.state == "ready"]
    if progress.stage == "loading" and not any(replica.model == progress.model for replica in ready):
        return _loading(progress)
    loaded = f"{ready[0].model} is loaded on {', '.join(replica.label for replica in ready)}" if ready else ""
    if chosen.problem:
        problem = f"{chosen.title} cannot be used: {chosen.problem}"
        return ModelStatus("missing", f"{loaded}. {problem}." if loaded else f"{problem}.")
    if loaded and ready[0].model == chosen.title:
        if chosen.is_loaded:
            return ModelStatus("ready", f"{loaded}.")
        return ModelStatus("other", f"{loaded} with other settings. It loads again when captioning starts.")
    if loaded:
        return ModelStatus("other", f"{loaded}. {chosen.title}, which is chosen, {_next(chosen)}.")
    if progress.stage == "failed" and progress.reason and progress.model == chosen.title:
        advice = "Choose another model, or load it again."
        return ModelStatus("failed", f"{chosen.title} failed: {with_full_stop(progress.reason)} {advice}")
    if not chosen.is_here and offline:
        text = f"{chosen.title} is not on this machine, and Work offline is on. Choose another model, or turn it off."
        return ModelStatus("missing", text)
    return ModelStatus("none", f"No model is loaded. {chosen.title} {_next(chosen)}.")


def _next(chosen: Chosen) -> str:
    return f"{'loads' if chosen.is_here else 'is downloaded'} when captioning starts"


def _loading(progress: Progress) -> ModelStatus:
    text, percent = loading_text(progress.model, progress.bytes_done, progress.bytes_total), 0.0
    if progress.bytes_total:
        percent = 100 * progress.bytes_done / progress.bytes_total
        text += f" · {size(progress.bytes_per_s)}/s" if progress.bytes_per_s else ""
    return ModelStatus("loading", text, percent)
