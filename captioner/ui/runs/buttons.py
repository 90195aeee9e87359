"""The job in the header: a line that opens its card, with buttons to stop, retry, undo, redo, dismiss or resume it."""

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from gradio.events import Dependency

from captioner.errors import CaptionerError, JobError
from captioner.formatting import plural, sentence
from captioner.jobs.progress import Progress, WaitingJob
from captioner.services import Services
from captioner.ui import scripts
from captioner.ui.dialogs import question
from captioner.ui.format import escape, isolated
from captioner.ui.runs import card, history, strip
from captioner.ui.runs.card import ENDED, RunContext
from captioner.ui.wiring import KEEP_EVERY_EVENT, errors_as_toasts, in_background, on_action

QUEUE_SHOWN = 20
EVENTS = ("stop", "retry", "dismiss", "resume", "drop", "remove", "redo")  # with the number of the job


class RunButtons:
    """The handlers of the buttons. Any thread may call."""

    def __init__(self, services: Services, enter: Callable[[Path, bool], object] | None = None) -> None:
        """`enter` opens a folder in the page, with or without its subfolders (default: Services.open_folder)."""
        self._services = services
        self._enter: Callable[[Path, bool], object] = enter or services.open_folder
        self._starting = threading.Lock()
        self._folders: dict[int, Path] = {}  # by job

    @errors_as_toasts
    def retry(self) -> None:
        """Caption the failed files of the open folder again."""
        with self._starting:
            history.check_idle(self._services)
            names = self._services.library.lookup.with_state("failed")
            if not names:
                raise JobError("the failed files are not in the open folder; open their folder to retry them")
            self._services.start(names)

    @errors_as_toasts
    def resume(self, event: gr.EventData) -> None:
        """Resume an unfinished job; its folder is opened if it is not open."""
        with self._starting:
            history.resume(self._services, int(event.job), self._enter)

    @errors_as_toasts
    def drop(self, event: gr.EventData) -> None:
        history.dismiss(self._services, int(event.job))

    @errors_as_toasts
    def remove(self, event: gr.EventData) -> None:
        """Remove a job from the queue, and do not offer to resume it."""
        number = int(event.job)
        if not self._services.jobs.remove(number):
            raise JobError("this job is no longer in the queue")
        if number > 0:
            history.dismiss(self._services, number)

    @errors_as_toasts
    def undo(self, event: gr.EventData) -> None:
        gr.Info(escape(sentence(history.undo(self._services, int(event.data)))), duration=6)

    @errors_as_toasts
    def redo(self, event: gr.EventData) -> None:
        gr.Info(escape(sentence(history.redo(self._services, int(event.job)))), duration=6)

    @errors_as_toasts
    def stop(self) -> None:
        """Stop the job that runs or is about to; the next one in the queue follows."""
        now = self._services.events.snapshot()
        numbers = [now.job] if now.active else [each.job for each in now.queue]
        if numbers:
            self._services.jobs.stop(numbers[0])
        if now.active and now.queue:
            gr.Info("Stopped. The next job starts.", duration=4)

    @staticmethod
    def dismiss(event: gr.EventData) -> str:
        """Return the `card.key` of the job whose outcome this viewer dismisses."""
        return str(event.job)

    def render(self, progress: Progress, now_s: float, dismissed: str = "") -> str:
        """Return the line and the card as HTML. The line stays on the latest job while a prompt is tried."""
        shown = card.without_trials(progress)
        context = self.context(shown)
        return strip.view(shown, dismissed, context) + card.view(shown, now_s, context)

    def context(self, progress: Progress) -> RunContext:
        """Return what is shown besides the progress. Every viewer calls this each second."""
        ended = not progress.queued_jobs and progress.stage in ENDED and progress.job > 0 and progress.done > 0
        return RunContext(
            folder=self._folder(progress.job),
            undone=history.is_undone(self._services, progress.job) if ended else None,
            unfinished=() if progress.busy else tuple(self._services.unfinished()),
            queue=tuple((each.job, self._line(each)) for each in progress.queue[:QUEUE_SHOWN]),
        )

    def _folder(self, number: int) -> Path | None:
        """Return the folder of a job, read once; None for a job outside the journal."""
        if number not in self._folders:
            with contextlib.suppress(CaptionerError):
                self._folders[number] = self._services.jobs.journal.folder_of(number)[0]
        return self._folders.get(number)

    def _line(self, waiting: WaitingJob) -> str:
        folder = self._folder(waiting.job)
        if waiting.scores:
            return f"scores of {plural(waiting.total, 'caption')}"
        if folder is None:
            return "a prompt test" if waiting.total else "loading a model"
        return f"{plural(waiting.total, 'file')} of {isolated(str(folder.name or folder))}"


@dataclass(frozen=True)
class RunCard:
    """The components. `html` shows `RunButtons.render(progress, now_s, dismissed)`."""

    html: gr.HTML
    dismissed: gr.Textbox  # the `card.key` of the job whose outcome is hidden
    refreshing: list[Dependency]  # events after which the page is refreshed


def run_card(buttons: RunButtons) -> RunCard:
    """Draw the line with its card and wire the buttons."""
    dismissed = gr.Textbox("", visible=False)
    job = gr.HTML(apply_default_css=False, js_on_load=scripts.on_load("runs/card.js", events=EVENTS), elem_id="run")
    asked = question("run-question")
    refreshing = [
        on_action(job.stop, buttons.stop),
        on_action(job.retry, buttons.retry),
        on_action(job.resume, buttons.resume),
        on_action(job.drop, buttons.drop, mode=KEEP_EVERY_EVENT),
        on_action(job.remove, buttons.remove, mode=KEEP_EVERY_EVENT),
        on_action(job.redo, buttons.redo),
        on_action(asked.answer, buttons.undo),
        in_background(job.dismiss, buttons.dismiss, None, dismissed),
    ]
    return RunCard(job, dismissed, refreshing)
