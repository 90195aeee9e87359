"""The Caption button with its menu, beside the model and the prompt that it uses."""

import functools
import itertools
import threading
from typing import Any, get_args

import gradio as gr

from captioner.config.recommend import read_machine, suited
from captioner.errors import CaptionerError, JobError, ModelError, PromptError
from captioner.formatting import plural, sendable, sentence
from captioner.jobs.progress import Progress
from captioner.library.scoring import score_captions
from captioner.services import Services
from captioner.ui import scripts
from captioner.ui.gallery.grid import selected_names
from captioner.ui.model_status import ModelWatch
from captioner.ui.wiring import errors_as_toasts
from captioner.values import ExistingPolicy

START_WAIT_S = 0.4
REPAIR = "repair"  # instead of what to do with existing captions
OWN_PROMPT = "Text of the settings"
FIELDS_OF = {ModelError: "model", PromptError: "prompt_name"}  # the setting to change after an error


class CaptionBar:
    """The handlers of the button. `files` is a selection, as the grid's value. Any thread may call."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._starting = threading.Lock()
        self._numbers = itertools.count(1)
        self._model = ModelWatch(services)

    def view(self, progress: Progress, counts: str) -> dict[str, Any]:
        """Return the property `shown` of the bar. counts: HTML about the files of the folder."""
        settings, status = self._services.settings, self._model.status(progress)
        model = {"title": self._model.chosen().title, "key": settings.model, "state": status.state, "text": status.text}
        return {"counts": counts, "model": model, "models": known_models(), "prompt": self._prompt()}

    def _prompt(self) -> dict[str, Any]:
        settings, names, problem = self._services.settings, [], ""
        try:
            names = [prompt.name for prompt in self._services.prompts.list()]
        except CaptionerError as error:
            problem = str(error)
        chosen = self._services.prompt_name
        if not settings.prompt and chosen not in names:
            problem = problem or "The library has no prompt of this name. Choose another one."
        name = OWN_PROMPT if settings.prompt else chosen
        return {"name": sendable(name), "names": [sendable(each) for each in names], "problem": sendable(problem)}

    @errors_as_toasts
    def choose(self, event: gr.EventData) -> None:
        """Use another model or prompt from now on, in all browsers."""
        name = str(event.name)
        changes = {"model": name} if event.what == "model" else {"prompt_name": name, "prompt": ""}
        self._services.change_settings(changes)

    def start(self, event: gr.EventData) -> tuple[Any, Any]:
        """Caption as `ask_or_start` does, or repair. Return its question, and the properties of the bar with what went
        wrong.
        """
        try:
            if event.existing == REPAIR:
                self._repair(str(event.files))
                return gr.skip(), gr.skip()
            return self.ask_or_start(event), gr.skip()
        except CaptionerError as error:
            return gr.skip(), self._problem(error)

    def start_with_answer(self, event: gr.EventData) -> Any:
        """Start the job after the question. Return the properties of the bar with what went wrong."""
        files, existing = str(event.data["files"]), known_policy(event.data["existing"])
        try:
            self._start(self.names(files, existing), files, existing, consent=event.id == "all")
        except CaptionerError as error:
            return self._problem(error)
        return gr.skip()

    def score(self, event: gr.EventData) -> Any:
        """Score the captions of a selection, or all. Return the properties of the bar with what went wrong."""
        services = self._services
        try:
            names = selected_names(services.library, str(event.files)) or None
            busy = services.events.snapshot().busy
            number = score_captions(services.library, services.jobs, services.settings, services.preset(), names)
        except CaptionerError as error:
            return self._problem(error)
        if number is None:
            gr.Info("These captions have scores already. Sort by Least agreement to see the worst.", duration=6)
        elif busy:
            gr.Info("The captions will be scored after the current jobs.", duration=4)
        else:
            services.events.wait(lambda now: now.job == number and now.stage != "loading", START_WAIT_S)
        return gr.skip()

    def _problem(self, error: CaptionerError) -> dict[str, Any]:
        field = next((name for kind, name in FIELDS_OF.items() if isinstance(error, kind)), "")
        return gr.update(
            problem={"number": next(self._numbers), "text": sendable(sentence(str(error))), "field": field}
        )

    def ask_or_start(self, event: gr.EventData) -> dict[str, Any]:
        """Caption the files of the event, or without a selection those that have no caption.

        `existing` is what to do with captions in this job alone; "" takes the setting. Return a question to the user if
        the job would replace captions that were changed outside. Raise CaptionerError.
        """
        files, existing = str(event.files), known_policy(event.existing)
        names, changed = self.names(files, existing), self._num_changed_outside(files)
        if changed and (existing or self._services.settings.existing) != "skip":
            asked = {"files": files, "existing": existing or ""}
            return gr.update(asked=consent_question(changed, asked, next(self._numbers)))
        self._start(names, files, existing)
        return gr.skip()

    def names(self, files: str, existing: ExistingPolicy | None = None) -> list[str]:
        """Return the files that a job captions, without those that it would need seconds to skip."""
        lookup = self._services.library.lookup
        names = selected_names(self._services.library, files)
        if not names:
            return lookup.with_state("pending") or lookup.with_state("failed")
        skips = (existing or self._services.settings.existing) == "skip"
        return lookup.without_text(names) if skips else names

    def _start(self, names: list[str], files: str, existing: ExistingPolicy | None, consent: bool = False) -> None:
        if not names:
            raise JobError("there is nothing to caption")
        with self._starting:
            busy = self._services.events.snapshot().busy
            if busy and not selected_names(self._services.library, files):
                raise JobError("a job is already running; select files to caption next, or wait until it ends")
            number = self._services.start(names, existing, consent=consent)
        self._show_started(number, len(names), busy)

    def _repair(self, files: str) -> None:
        """Repair captions of a selection that are faulty."""
        names = set(selected_names(self._services.library, files))
        repair = self._services.find_repair()[0].of(names)
        if not repair.found:
            raise JobError("these captions fail no rule of the linter now; check them by eye")
        with self._starting:
            busy = self._services.events.snapshot().busy
            number = self._services.repair(repair)
        self._show_started(number, len(repair.found), busy)

    def _show_started(self, number: int, num_files: int, busy: bool) -> None:
        if busy:
            gr.Info(f"{plural(num_files, 'file')} will be captioned after the current jobs.", duration=4)
            return
        # The refresh after this click should show the job already; the next one is a second away.
        self._services.events.wait(lambda now: now.job == number and now.stage != "loading", START_WAIT_S)

    def _num_changed_outside(self, files: str) -> int:
        library = self._services.library
        if not library.counts().changed_outside:
            return 0
        return library.lookup.num_changed_outside(selected_names(library, files))


def known_policy(value: object) -> ExistingPolicy | None:
    """Return what to do with existing captions, or None for the setting."""
    return next((policy for policy in get_args(ExistingPolicy) if policy == value), None)


def consent_question(num_changed: int, asked: dict[str, str], number: int) -> dict[str, Any]:
    """Return the question, for the dialog of `dialogs.question`, whether captions changed outside may be replaced."""
    was, them = ("was", "it") if num_changed == 1 else ("were", "them")
    return {
        "number": number,
        "title": f"{plural(num_changed, 'caption')} {was} changed outside",
        "about": f"Another program edited {them} after this app. Caption {them} too? The history keeps the text.",
        "answers": [["all", "Caption anyway", True], ["rest", "Skip", False]],
        "data": asked,
    }


@functools.cache
def known_models() -> list[tuple[str, str]]:
    """Return the keys and the labels of the models to choose from; the settings know more."""
    fitting = [(each.preset.key, each.preset.title) for each in suited(read_machine()) if each.is_recommended]
    return [("auto", "Automatic"), *fitting]


def caption_bar() -> gr.HTML:
    """Return the component.

    Properties: `shown` (`CaptionBar.view`), `estimate`, the tooltip of the button, and `problem`, why no job started.
    Events: `start` with `files`, a selection, and `existing`, or REPAIR; `score` with `files`; `choose` with `what`
    ("model", "prompt") and a `name`.
    """
    shown = {"counts": "", "model": {"title": "", "key": "", "state": "none", "text": ""}, "models": [], "deleted": 0}
    shown["prompt"] = {"name": "", "names": [], "problem": ""}
    empty = {"shown": shown, "estimate": "", "problem": {"number": 0, "text": "", "field": ""}}
    return scripts.component("gallery/caption", "caption-bar", ("start", "score", "choose"), empty)
