"""The Gallery tab: the toolbar, the grid of the files of a folder, and the panel of the opened one."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.events import Dependency

from captioner.captions.file_marks import MARKS
from captioner.formatting import plural
from captioner.jobs.progress import Progress
from captioner.library.counts import Counts
from captioner.services import Services
from captioner.ui import scripts
from captioner.ui.dialogs import question
from captioner.ui.gallery.caption import CaptionBar, caption_bar
from captioner.ui.gallery.estimate import Estimator
from captioner.ui.gallery.folders import FolderBar, Samples, counts_line, folder_bar
from captioner.ui.gallery.grid import grid_changes, media_grid, selected_names
from captioner.ui.gallery.panel import Panel, panel
from captioner.ui.gallery.trash import TrashHandlers, trash_buttons
from captioner.ui.wiring import KEEP_EVERY_EVENT, Trigger, TriggerMode, errors_as_toasts, in_background, on_action


class Gallery:
    """The handlers of the tab; its parts have their own. Any thread may call."""

    def __init__(self, services: Services, samples: Samples | None = None, allow_delete: bool = False) -> None:
        """samples: writes sample clips into a new folder, for those who have none."""
        self._services, self.has_samples = services, samples is not None
        self._numbers = itertools.count(1)
        self.panel = Panel(services)
        self.bar = FolderBar(services, self.panel, samples)
        self.trash = TrashHandlers(services) if allow_delete else None
        self.caption = CaptionBar(services)
        self.estimator = Estimator(services, self.caption.names)

    @errors_as_toasts
    def approve(self, event: gr.EventData) -> dict[str, Any]:
        """Approve the captions of a selection, or unapprove them. Return what the grid says about it."""
        names = selected_names(self._services.library, event.files)
        count = self._services.library.edits.approve(names, bool(event.on))
        text = f"{'Approved' if event.on else 'Unapproved'} {plural(count, 'caption')}"
        return gr.update(said={"number": next(self._numbers), "text": text})

    @errors_as_toasts
    def mark(self, event: gr.EventData) -> None:
        names = selected_names(self._services.library, event.files)
        self._services.library.edits.mark(names, event.mark if event.mark in MARKS else None)

    def show_estimate(self, key: str, selection: str) -> dict[str, Any]:
        return gr.update(estimate=self.estimator.estimate(key, selection))

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
            gr.update(shown=self.bar.view()),
            gr.update(shown=self._caption_bar(progress, counts)),
            self.panel.render(opened),
            self.estimator.key(counts, progress.busy),
        ]

    def _caption_bar(self, progress: Progress, counts: Counts) -> dict[str, Any]:
        scan = self._services.library.scan
        shown = self.caption.view(progress, counts_line(counts, scan.warnings) if scan.folder else "")
        return shown | {"deleted": self.trash.num_deleted() if self.trash else 0}


@dataclass(frozen=True)
class GalleryTab:
    """The components that the page needs: every refresh sets `outputs` to `Gallery.render(progress, *inputs)`."""

    inputs: list[gr.components.Component]  # seen (the cursor of this browser), panel (the file it shows)
    outputs: list[gr.components.Component]  # grid, seen, folder bar, Caption, panel, estimate key
    refreshing: list[Dependency]  # events after which the page is refreshed


def gallery_tab(gallery: Gallery) -> GalleryTab:
    """Draw the tab and wire it."""
    seen = gr.Textbox("", visible="hidden")
    estimate_key = gr.Textbox("", visible="hidden")
    with gr.Column(elem_id="gallery"):
        welcome = scripts.component("gallery/welcome", "welcome", ("samples",), {"samples": gallery.has_samples})
        caption = caption_bar()
        with gr.Row(elem_id="toolbar"):
            bar = folder_bar()
            scripts.component("gallery/toolbar", "toolbar-rest", (), {})
        with gr.Row(elem_id="panes"):
            grid = media_grid()
            side = panel()
    selecting = [estimate_key.change, grid.change]
    in_background(selecting, gallery.show_estimate, [estimate_key, grid], caption, mode="always_last")
    in_background(grid.open, gallery.panel.open, None, side, mode=KEEP_EVERY_EVENT)
    asked = question("start-question")
    question("unsaved-question")  # answered in the browser

    def change(event: Trigger, handler: Callable[[gr.EventData], Any], mode: TriggerMode | None = None) -> Dependency:
        return on_action(event, gallery.with_tile(handler), seen, [side, grid, seen], mode=mode)

    in_background(bar.browse, gallery.bar.browse, None, bar, mode=KEEP_EVERY_EVENT)
    acting = [
        on_action(bar.open, gallery.bar.open, None, [side, bar], mode=KEEP_EVERY_EVENT),
        on_action(welcome.samples, gallery.bar.open_samples),
        on_action(caption.start, gallery.caption.start, None, [asked, caption], mode=KEEP_EVERY_EVENT),
        on_action(caption.score, gallery.caption.score, None, caption, mode=KEEP_EVERY_EVENT),
        on_action(caption.choose, gallery.caption.choose, mode=KEEP_EVERY_EVENT),
        on_action(asked.answer, gallery.caption.start_with_answer, None, caption),
        on_action(grid.approve, gallery.approve, None, grid, mode=KEEP_EVERY_EVENT),
        on_action(grid.mark, gallery.mark, mode=KEEP_EVERY_EVENT),
        change(side.save, gallery.panel.save, KEEP_EVERY_EVENT),
        change(side.restore, gallery.panel.restore, KEEP_EVERY_EVENT),
        change(side.remove, gallery.panel.remove),
        change(side.again, gallery.panel.again),
        change(side.approve, gallery.panel.approve, KEEP_EVERY_EVENT),
    ]
    acting += trash_buttons(gallery.trash)
    return GalleryTab([seen, side], [grid, seen, bar, caption, side, estimate_key], acting)
