"""The Caption button with its menu: starts jobs over the selected files, or over those without a caption."""

import itertools
import threading
from typing import Any, get_args

import gradio as gr

from captioner.errors import JobError
from captioner.formatting import plural
from captioner.services import Services
from captioner.ui import scripts
from captioner.ui.gallery.grid import selected_names
from captioner.ui.wiring import errors_as_toasts
from captioner.values import ExistingPolicy

START_WAIT_S = 0.4


class CaptionBar:
    """The handlers of the button. `files` is a selection, as the grid's value. Any thread may call."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._starting = threading.Lock()
        self._numbers = itertools.count(1)

    @errors_as_toasts
    def start(self, event: gr.EventData) -> dict[str, Any]:
        """Caption the files of the event, or without a selection those that have no caption.

        `existing` is what to do with captions in this job alone; "" takes the setting. Return a question to the user if
        the job would replace captions that were changed outside.
        """
        files, existing = str(event.files), known_policy(event.existing)
        names, changed = self.names(files, existing), self._num_changed_outside(files)
        if changed and (existing or self._services.settings.existing) != "skip":
            asked = {"files": files, "existing": existing or ""}
            return gr.update(asked=consent_question(changed, asked, next(self._numbers)))
        self._start(names, files, existing)
        return gr.skip()

    @errors_as_toasts
    def start_with_answer(self, event: gr.EventData) -> None:
        files, existing = str(event.data["files"]), known_policy(event.data["existing"])
        self._start(self.names(files, existing), files, existing, consent=event.id == "all")

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
        if busy:
            gr.Info(f"{plural(len(names), 'file')} will be captioned after the current jobs.", duration=4)
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


def caption_bar() -> gr.HTML:
    """Return the component.

    Properties: `shown` with the `counts` of the folder as HTML, and `estimate`, the tooltip of the button.
    Event: `start` with `files`, a selection, and `existing`.
    """
    return scripts.component("gallery/caption", "caption-bar", ("start",), {"shown": {"counts": ""}, "estimate": ""})
