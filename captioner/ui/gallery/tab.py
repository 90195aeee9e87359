"""The Gallery tab: the folder bar, the grid of its files, and the panel of the opened one."""

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.events import Dependency

from captioner.errors import JobError
from captioner.formatting import plural
from captioner.jobs.progress import Progress
from captioner.services import Services
from captioner.ui.dialogs import question
from captioner.ui.gallery.estimate import TOOLTIP_JS, Estimator
from captioner.ui.gallery.folders import FolderBar, folder_bar
from captioner.ui.gallery.grid import START_JS, grid_changes, media_grid, selected_names
from captioner.ui.gallery.panel import Panel, panel
from captioner.ui.wiring import KEEP_EVERY_EVENT, Trigger, TriggerMode, errors_as_toasts, in_background, on_action

START_WAIT_S = 0.4


class Gallery:
    """The handlers of the tab; the folder bar and the panel have their own. Any thread may call."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.panel = Panel(services)
        self.bar = FolderBar(services, self.panel)
        self.estimator = Estimator(services, self._names)
        self._starting = threading.Lock()
        self._numbers = itertools.count(1)

    @errors_as_toasts
    def start(self, selection: str) -> dict[str, Any]:
        """Caption the selected files (the grid's value), or without a selection those that have no caption.

        Return a question to the user if that would replace captions that were changed outside.
        """
        names, changed = self._names(selection), self._num_changed_outside(selection)
        if changed and self._services.settings.existing != "skip":
            return gr.update(asked=consent_question(changed, selection, next(self._numbers)))
        self._start(names, selection)
        return gr.skip()

    @errors_as_toasts
    def start_with_answer(self, event: gr.EventData) -> None:
        self._start(self._names(event.data), event.data, consent=event.id == "all")

    @errors_as_toasts
    def approve(self, event: gr.EventData) -> None:
        names = selected_names(self._services.library, event.files)
        count = self._services.library.edits.approve(names, bool(event.on))
        gr.Info(f"{'Approved' if event.on else 'Unapproved'} {plural(count, 'caption')}.", duration=3)

    def _start(self, names: list[str], selection: str, consent: bool = False) -> None:
        if not names:
            raise JobError("there is nothing to caption")
        with self._starting:
            busy = self._services.events.snapshot().busy
            if busy and not selected_names(self._services.library, selection):
                raise JobError("a job is already running; select files to caption next, or wait until it ends")
            number = self._services.start(names, consent=consent)
        if busy:
            gr.Info(f"{plural(len(names), 'file')} will be captioned after the current jobs.", duration=4)
            return
        # The refresh after this click should show the job already; the next one is a second away.
        self._services.events.wait(lambda now: now.job == number and now.stage != "loading", START_WAIT_S)

    def _num_changed_outside(self, selection: str) -> int:
        library = self._services.library
        if not library.counts().changed_outside:
            return 0
        return library.lookup.num_changed_outside(selected_names(library, selection))

    def _names(self, selection: str) -> list[str]:
        """Return the files that the start button captions, without those that the job would need seconds to skip."""
        lookup = self._services.library.lookup
        names = selected_names(self._services.library, selection)
        if not names:
            return lookup.with_state("pending") or lookup.with_state("failed")
        return lookup.without_text(names) if self._services.settings.existing == "skip" else names

    def stop(self) -> None:
        """Stop the job that runs or is about to; the next one in the queue follows."""
        now = self._services.events.snapshot()
        numbers = [now.job] if now.active else [number for number, _ in now.queue]
        if numbers:
            self._services.jobs.stop(numbers[0])
        if now.active and now.queue:
            gr.Info("Stopped. The next job starts.", duration=4)

    def with_tile(self, act: Callable[[gr.EventData], Any]) -> Callable[[str, gr.EventData], tuple[Any, Any, str]]:
        """Return a handler of the panel that also updates the tile, which the next refresh would do a moment later."""

        def act_and_update(seen: str, event: gr.EventData) -> tuple[Any, Any, str]:
            answer = act(event)
            changes, seen = grid_changes(self._services.library, seen)
            return answer, gr.update(**changes), seen

        return act_and_update

    def render(self, progress: Progress, seen: str, opened: str) -> list[Any]:
        """Return the values of `GalleryTab.outputs`. `seen` and `opened` are those of `GalleryTab.inputs`."""
        library, settings = self._services.library, self._services.settings
        changes, seen = grid_changes(library, seen)
        counts = library.counts()
        return [
            gr.update(**changes, busy=progress.busy, existing=settings.existing),
            seen,
            gr.update(shown=self.bar.view(counts)),
            self.panel.render(opened),
            gr.update(interactive=progress.busy),
            self.estimator.key(counts, progress.busy),
        ]


def consent_question(num_changed: int, selection: str, number: int) -> dict[str, Any]:
    """Return the question, for the dialog of `dialogs.question`, whether captions changed outside may be replaced."""
    was, them = ("was", "it") if num_changed == 1 else ("were", "them")
    return {
        "number": number,
        "title": f"{plural(num_changed, 'caption')} {was} changed outside",
        "about": f"Another program edited {them} after this app. Caption {them} too? The history keeps the text.",
        "answers": [["all", "Caption anyway", True], ["rest", "Skip", False]],
        "data": selection,
    }


@dataclass(frozen=True)
class GalleryTab:
    """The components that the page needs: every refresh sets `outputs` to `Gallery.render(progress, *inputs)`."""

    inputs: list[gr.components.Component]  # seen (the cursor of this browser), panel (the file it shows)
    outputs: list[gr.components.Component]  # grid, seen, folder bar, panel, stop, estimate key
    refreshing: list[Dependency]  # events after which the page is refreshed


def gallery_tab(gallery: Gallery) -> GalleryTab:
    """Draw the tab and wire it."""
    seen = gr.Textbox("", visible="hidden")
    estimate_key, tooltip = gr.Textbox("", visible="hidden"), gr.Textbox("", visible="hidden")
    with gr.Row(elem_id="folder-row"):
        bar = folder_bar()
        start = gr.Button("Caption", variant="primary", interactive=False, scale=0, min_width=0, elem_id="start")
        stop = gr.Button("Stop", variant="stop", interactive=False, scale=0, min_width=0, elem_id="stop")
    with gr.Row(elem_id="panes"):
        grid = media_grid()
        side = panel()
    in_background(grid.relabel, None, None, start, js=START_JS)
    selecting = [estimate_key.change, grid.change]
    in_background(selecting, gallery.estimator.estimate, [estimate_key, grid], tooltip, mode="always_last")
    in_background(tooltip.change, None, tooltip, js=TOOLTIP_JS)
    in_background(grid.open, gallery.panel.open, None, side, mode=KEEP_EVERY_EVENT)
    asked = question("start-question")

    def change(event: Trigger, handler: Callable[[gr.EventData], Any], mode: TriggerMode | None = None) -> Dependency:
        return on_action(event, gallery.with_tile(handler), seen, [side, grid, seen], mode=mode)

    in_background(bar.browse, gallery.bar.browse, None, bar, mode=KEEP_EVERY_EVENT)
    acting = [
        on_action(bar.open, gallery.bar.open, None, side, mode=KEEP_EVERY_EVENT),
        on_action(start.click, gallery.start, grid, asked),
        on_action(asked.answer, gallery.start_with_answer),
        on_action(grid.approve, gallery.approve, mode=KEEP_EVERY_EVENT),
        on_action(stop.click, gallery.stop),
        change(side.save, gallery.panel.save, KEEP_EVERY_EVENT),
        change(side.restore, gallery.panel.restore, KEEP_EVERY_EVENT),
        change(side.remove, gallery.panel.remove),
        change(side.again, gallery.panel.again),
        change(side.approve, gallery.panel.approve, KEEP_EVERY_EVENT),
    ]
    return GalleryTab([seen, side], [grid, seen, bar, side, stop, estimate_key], acting)
