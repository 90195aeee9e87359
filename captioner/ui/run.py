"""The card of the run on the page: the buttons of a finished run."""

import threading
from dataclasses import dataclass
from typing import Any

import gradio as gr

from captioner.errors import JobError
from captioner.services import Services
from captioner.ui.wiring import ACTION, PLUMBING, shown

# Fires `retry` and `dismiss` with the number of the job, from buttons with `data-run`.
RUN_JS = """element.addEventListener('click', event => {
  const hit = event.target.closest('[data-run]');
  if (hit?.dataset.run === 'retry') trigger('retry', {job: hit.dataset.job});
  if (hit?.dataset.run === 'dismiss') trigger('dismiss', {job: hit.dataset.job});
})"""


class RunButtons:
    """The handlers. Any thread may call."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._starting = threading.Lock()

    @shown
    def retry(self) -> None:
        """Caption again what failed in the open folder."""
        with self._starting:
            progress = self._services.events.snapshot()
            if progress.active or progress.queued_jobs:
                raise JobError("a job is running already; wait for it or stop it")
            names = self._services.library.with_state("failed")
            if not names:
                raise JobError("the files that failed are not in the open folder; open their folder to try them again")
            self._services.start(names)

    @staticmethod
    def dismiss(event: gr.EventData) -> int:
        """The number of the job whose summary this viewer has seen."""
        return int(event.job)


@dataclass(frozen=True)
class RunCard:
    """`html` shows `progress.card(snapshot, now, dismissed)`."""

    html: gr.HTML
    dismissed: gr.Number  # job number; an input of the pulse
    refreshing: list[Any]  # events after which everything is rendered anew


def run_card(services: Services) -> RunCard:
    """Draw the card and wire its buttons."""
    buttons = RunButtons(services)
    dismissed = gr.Number(0, precision=0, visible=False)
    card = gr.HTML(apply_default_css=False, js_on_load=RUN_JS, elem_id="run")
    refreshing = [
        card.retry(buttons.retry, None, None, **ACTION),
        card.dismiss(buttons.dismiss, None, dismissed, **PLUMBING),
    ]
    return RunCard(card, dismissed, refreshing)
