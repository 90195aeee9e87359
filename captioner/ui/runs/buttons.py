"""The card of the run on the page: the buttons of a finished run, and of one of before that can go on."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from captioner.errors import JobError
from captioner.formatting import plural
from captioner.jobs.progress import Progress
from captioner.services import Services
from captioner.ui.dialogs import question
from captioner.ui.format import escape, isolated
from captioner.ui.runs import history
from captioner.ui.runs.card import ENDED, Surroundings
from captioner.ui.wiring import KEEP_EVERY_EVENT, errors_as_toasts, in_background, on_action

QUEUE_SHOWN = 20

# Fires `retry`, `dismiss`, `resume`, `drop`, `remove` and `redo` with the number of the job, from buttons with
# `data-run`; `undo` asks first.
RUN_JS = """const fire = {
  retry: job => trigger('retry', {job}), dismiss: job => trigger('dismiss', {job}), drop: job => trigger('drop', {job}),
  resume: job => trigger('resume', {job}), redo: job => trigger('redo', {job}), remove: job => trigger('remove', {job}),
  undo: job => document.querySelector('#run-question [data-question]').question.ask({
    title: 'Undo this run?', answers: [['undo', 'Undo the run', true]], data: job,
    about: 'Every caption that it wrote goes back to what stood there before. Captions that were changed since, or ' +
      'are approved, stay as they are. The undo can be undone.' }),
};
element.addEventListener('click', event => {
  const hit = event.target.closest('[data-run]');
  if (hit) fire[hit.dataset.run](hit.dataset.job);
})"""


class RunButtons:
    """The handlers. Any thread may call."""

    def __init__(self, services: Services, enter: Callable[[Path, bool], None] | None = None) -> None:
        """enter: opens a folder in the page, with or without its subfolders; Services.open_folder if None."""
        self._services, self._enter = services, enter or services.open_folder
        self._starting = threading.Lock()

    @errors_as_toasts
    def retry(self) -> None:
        """Caption again what failed in the open folder."""
        with self._starting:
            self._check_idle()
            names = self._services.library.lookup.with_state("failed")
            if not names:
                raise JobError("the files that failed are not in the open folder; open their folder to try them again")
            self._services.start(names)

    @errors_as_toasts
    def resume(self, event: gr.EventData) -> None:
        """Open the folder of an unfinished job, unless it is open, and go on with it."""
        with self._starting:
            self._check_idle()
            history.resume(self._services, int(event.job), self._enter)

    @errors_as_toasts
    def drop(self, event: gr.EventData) -> None:
        history.dismiss(self._services, int(event.job))

    @errors_as_toasts
    def remove(self, event: gr.EventData) -> None:
        """Take a job out of the queue, and do not offer to go on with it either."""
        number = int(event.job)
        if not self._services.jobs.remove(number):
            raise JobError("this job does not wait any more")
        if number > 0:
            history.dismiss(self._services, number)

    @errors_as_toasts
    def undo(self, event: gr.EventData) -> None:
        gr.Info(escape(history.undo(self._services, int(event.data))) + ".", duration=6)

    @errors_as_toasts
    def redo(self, event: gr.EventData) -> None:
        gr.Info(escape(history.redo(self._services, int(event.job))) + ".", duration=6)

    @staticmethod
    def dismiss(event: gr.EventData) -> int:
        """The number of the job whose summary this viewer has seen."""
        return int(event.job)

    def surroundings(self, progress: Progress) -> Surroundings:
        """For `progress.card`. Asked every second by every viewer, so it looks up little."""
        ended = not progress.queued_jobs and progress.stage in ENDED and progress.job > 0 and progress.done > 0
        idle = not progress.active and not progress.queued_jobs
        return Surroundings(
            undone=history.is_undone(self._services, progress.job) if ended else None,
            unfinished=tuple(self._services.unfinished()) if idle else (),
            queue=tuple((number, self._line(number, total)) for number, total in progress.queue[:QUEUE_SHOWN]),
        )

    def _line(self, number: int, total: int) -> str:
        if number < 0:
            return "a try of a prompt" if total else "loading of a model"
        folder, _ = self._services.jobs.journal.folder_of(number)
        return f"{plural(total, 'file')} of {isolated(str(folder.name or folder))}"

    def _check_idle(self) -> None:
        progress = self._services.events.snapshot()
        if progress.active or progress.queued_jobs:
            raise JobError("a job is running already; wait for it or stop it")


@dataclass(frozen=True)
class RunCard:
    """`html` shows `progress.card(snapshot, now, dismissed, buttons.surroundings(snapshot))`."""

    html: gr.HTML
    dismissed: gr.Number  # job number; an input of the pulse
    refreshing: list[Any]  # events after which everything is rendered anew


def run_card(buttons: RunButtons) -> RunCard:
    """Draw the card and wire its buttons."""
    dismissed = gr.Number(0, precision=0, visible=False)
    card = gr.HTML(apply_default_css=False, js_on_load=RUN_JS, elem_id="run")
    asked = question("run-question")
    refreshing = [
        on_action(card.retry, buttons.retry),
        on_action(card.resume, buttons.resume),
        on_action(card.drop, buttons.drop, mode=KEEP_EVERY_EVENT),
        on_action(card.remove, buttons.remove, mode=KEEP_EVERY_EVENT),
        on_action(card.redo, buttons.redo),
        on_action(asked.answer, buttons.undo),
        in_background(card.dismiss, buttons.dismiss, None, dismissed),
    ]
    return RunCard(card, dismissed, refreshing)
