"""The Gallery tab: the folder bar, the grid of its files, and the panel of the opened one."""

import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import gradio as gr

from captioner.errors import CaptionerError, JobError
from captioner.formatting import plural
from captioner.jobs.progress import Progress
from captioner.library.file_states import Counts
from captioner.library.recent import RecentFolders
from captioner.services import Services
from captioner.ui.dialogs import question
from captioner.ui.format import escape, file_text
from captioner.ui.gallery import grid as media
from captioner.ui.gallery.estimate import TOOLTIP_JS, Planner
from captioner.ui.gallery.folders import TOP, browse, decode_path, encode_path, nearest, top
from captioner.ui.gallery.panel import Panel, panel, plain
from captioner.ui.wiring import KEEP_EVERY_EVENT, errors_as_toasts, in_background, on_action
from captioner.values import KindFilter

BEGIN_WAIT_S = 0.4


class Gallery:
    """The handlers. Any thread may call."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.panel = Panel(services)
        self.recent = RecentFolders(services.folder / "recent.json")
        if services.library.folder:
            self.recent.add(services.library.folder)
        self._starting, self._entering = threading.Lock(), threading.Lock()
        self._numbers = itertools.count(1)
        self.planner = Planner(services, self._names)

    @errors_as_toasts
    def open_folder(self, event: gr.EventData) -> dict[str, Any]:
        """Open what was typed or chosen; returns properties of the panel. An edit is saved first if it can be."""
        answer = self.panel.keep_if_possible(event.edit)
        kinds = event._data.get("kinds")
        folder = self._services.roots.resolve(_chosen(event) or "")
        self.enter(folder, bool(event.recursive), kinds if kinds in get_args(KindFilter) else None)
        return answer

    def enter(self, folder: Path, recursive: bool, kinds: KindFilter | None = None) -> None:
        """Open a folder and keep it for the next start. kinds: None as the settings say. Raises FolderError.

        One after the other: a folder that is read slowly must not take the place of one that was asked for after it.
        """
        with self._entering:
            library = self._services.open_folder(folder, recursive, kinds)
            self._services.change_settings({"folder": str(folder), "recursive": recursive, "kinds": library.scan.kinds})
            self.recent.add(folder)

    @errors_as_toasts
    def browse(self, event: gr.EventData) -> dict[str, Any]:
        """Look into a folder, which stays closed; returns properties of the folder bar."""
        roots, problem = self._services.roots, ""
        path = _chosen(event) or self._services.library.folder
        try:
            found = top(roots) if event.key == TOP or not path else browse(nearest(path, roots), roots)
        except CaptionerError as error:
            found, problem = top(roots), plain(error)
        above = TOP if found.path and len(roots.folders) > 1 else ""
        listing = {
            "number": event._data.get("number", 0),
            "place": plain(found.path or "Folders that may be opened"),
            "key": encode_path(found.path) if found.path else "",
            "parent": encode_path(found.parent) if found.parent else above,
            "folders": [
                {"name": plain(folder.name if found.path else folder), "key": encode_path(folder)}
                for folder in found.folders
            ],
        }
        return gr.update(listing={**listing, "problem": problem})

    @errors_as_toasts
    def start(self, selection: str) -> dict[str, Any]:
        """Caption what is selected, or with no selection what has no caption; `selection` is the grid's value.

        Where that would replace captions that were changed elsewhere, it returns the question whether it may.
        """
        names, changed = self._names(selection), self._num_elsewhere(selection)
        if changed and self._services.settings.existing != "skip":
            return gr.update(asked=consent_question(changed, selection, next(self._numbers)))
        self._start(names, selection)
        return gr.skip()

    @errors_as_toasts
    def start_with_answer(self, event: gr.EventData) -> None:
        self._start(self._names(event.data), event.data, **({"consent": True} if event.id == "all" else {}))

    @errors_as_toasts
    def approve(self, event: gr.EventData) -> None:
        names = media.selected_names(self._services.library, event.files)
        if names is None:
            raise JobError("the folder has been read again; select the files once more")
        done = self._services.library.edits.approve(names, bool(event.on))
        gr.Info(f"{plural(done, 'caption')} {'approved' if event.on else 'may be changed again'}.", duration=3)

    def _start(self, names: list[str], selection: str, **options: bool) -> None:
        """While a job runs, files that were selected wait for its end."""
        if not names:
            raise JobError("there is nothing to caption")
        with self._starting:
            busy = is_busy(self._services.events.snapshot())
            if busy and not media.selected_names(self._services.library, selection):
                raise JobError("a job is already running; select files to caption next, or wait until it ends")
            number = self._services.start(names, **options)
        if busy:
            gr.Info(f"{plural(len(names), 'file')} will be captioned when the jobs before are done.", duration=4)
            return
        # So that what is rendered next, after the click, says so: the pulse after that is a second away.
        self._services.events.wait(lambda now: now.job == number and now.stage != "loading", BEGIN_WAIT_S)

    def _num_elsewhere(self, selection: str) -> int:
        """How many of the selected captions were changed elsewhere."""
        library = self._services.library
        if not library.counts().changed_outside:
            return 0
        return library.lookup.num_changed_outside(media.selected_names(library, selection) or ())

    def _names(self, selection: str) -> list[str]:
        """What the start button is for. Of 50,000 selected files those with a caption would take a run seconds to skip,
        so they are left out here.
        """
        library = self._services.library
        names = media.selected_names(library, selection)
        if names is None:
            raise JobError("the folder has been read again; select the files once more")
        if not names:
            return library.lookup.with_state("pending") or library.lookup.with_state("failed")
        return library.lookup.without_text(names) if self._services.settings.existing == "skip" else names

    def stop(self) -> None:
        """Stop the job that runs, or is about to; those behind it go on."""
        now = self._services.events.snapshot()
        numbers = [now.job] if now.active else [number for number, _ in now.queue]
        if numbers:
            self._services.jobs.stop(numbers[0])
        if now.active and now.queue:
            gr.Info("Stopped. The next job begins.", duration=4)

    def with_tile(self, act: Callable[[gr.EventData], Any]) -> Callable[[str, gr.EventData], tuple[Any, Any, str]]:
        """A handler of the panel whose answer is for its tile, too: the pulse would be a round trip later."""

        def act_and_tell(seen: str, event: gr.EventData) -> tuple[Any, Any, str]:
            answer = act(event)
            changes, seen = media.grid_changes(self._services.library, seen)
            return answer, gr.update(**changes), seen

        return act_and_tell

    def render(self, progress: Progress, seen: str, opened: str) -> list[Any]:
        """The values of `GalleryTab.outputs`, in their order. `seen` and `opened` are what `GalleryTab.inputs` hold."""
        library, settings = self._services.library, self._services.settings
        changes, seen = media.grid_changes(library, seen)
        counts, busy = library.counts(), is_busy(progress)
        return [
            gr.update(**changes, busy=busy, existing=settings.existing),
            seen,
            gr.update(shown=self._bar(counts)),
            self.panel.render(opened),
            gr.update(interactive=busy),
            self.planner.key(counts, busy),
        ]

    def _bar(self, counts: Counts) -> dict[str, Any]:
        library = self._services.library
        folder = library.folder
        recent = [path for path in self.recent.paths() if path != folder and self._services.roots.allows(path)]
        return {
            "folder": plain(folder or ""),
            "key": encode_path(folder) if folder else "",
            "recursive": library.scan.recursive if folder else self._services.settings.recursive,
            "kinds": library.scan.kinds if folder else self._services.settings.kinds,
            "counts": counts_line(counts, library.scan.warnings) if folder else "",
            "recent": [{"place": plain(path), "key": encode_path(path)} for path in recent],
        }


def is_busy(progress: Progress) -> bool:
    return progress.active or progress.queued_jobs > 0


def consent_question(num_changed: int, selection: str, number: int) -> dict[str, Any]:
    """For `confirm.question`."""
    one = num_changed == 1
    return {
        "number": number,
        "title": f"{plural(num_changed, 'caption')} {'was' if one else 'were'} changed elsewhere",
        "about": "Another program or person has changed them since they were written here. May this run caption them "
        "too? The present texts stay in the history.",
        "answers": [["all", "Caption them too", True], ["rest", "Leave them alone", False]],
        "data": selection,
    }


def counts_line(counts: Counts, warnings: Sequence[str]) -> str:
    """HTML: how many files are in which state, and what the scan of the folder had to say."""
    parts = [plural(counts.total, "file"), f"{counts.done:,} done", f"{counts.pending:,} pending"]
    failed = [f"{counts.failed:,} failed"] * bool(counts.failed)
    bold = [f'<b class="bad">{part}</b>' for part in failed]
    notes = ""
    if warnings:
        rows = "".join(f"<li>{escape(warning)}</li>" for warning in warnings)
        label = plural(len(warnings), "note")
        notes = (
            f'<button type="button" class="folder-notes" popovertarget="warnings">{label}</button>'
            f'<div popover id="warnings" class="folder-warnings"><h4>Notes on this folder</h4><ul>{rows}</ul></div>'
        )
    whole = " · ".join(parts + failed)  # where there is no room for all of it
    return f'<span title="{whole}">{" · ".join(parts + bold)}</span>{notes}'


def _chosen(event: gr.EventData) -> Path | None:
    """The folder of an event of the folder bar: named by us, or typed by a person."""
    if event.key:
        return decode_path(str(event.key))
    text = str(event.typed).strip()
    return Path(text) if text else None


@dataclass(frozen=True)
class GalleryTab:
    """Its components that others need.

    The pulse calls `Gallery.render(progress, *values of inputs)` and sets `outputs` to what that returns.
    """

    grid: gr.HTML
    start: gr.Button
    stop: gr.Button
    inputs: list[gr.components.Component]  # seen: a cursor of each browser's own; panel: which file it shows
    outputs: list[gr.components.Component]  # grid, seen, folder bar, panel, stop, plan key
    refreshing: list[Any]  # events after which everything is rendered anew


def gallery_tab(gallery: Gallery) -> GalleryTab:
    """Draw the tab and wire it."""
    seen = gr.Textbox("", visible="hidden")
    plan_key, tooltip = gr.Textbox("", visible="hidden"), gr.Textbox("", visible="hidden")
    with gr.Row(elem_id="folder-row"):
        bar = folder_bar()
        start = gr.Button("Caption", variant="primary", interactive=False, scale=0, min_width=0, elem_id="start")
        stop = gr.Button("Stop", variant="stop", interactive=False, scale=0, min_width=0, elem_id="stop")
    with gr.Row(elem_id="panes"):
        grid = media.media_grid()
        side = panel()
    in_background(grid.relabel, None, None, start, js=media.START_JS)
    selecting = [plan_key.change, grid.change]
    in_background(selecting, gallery.planner.plan, [plan_key, grid], tooltip, mode="always_last")
    in_background(tooltip.change, None, tooltip, js=TOOLTIP_JS)
    in_background(grid.open, gallery.panel.open, None, side, mode=KEEP_EVERY_EVENT)
    asked = question("start-question")
    in_background(bar.browse, gallery.browse, None, bar, mode=KEEP_EVERY_EVENT)
    opened, act_on = [side, grid, seen], gallery.panel
    acting = [
        on_action(bar.open, gallery.open_folder, None, side, mode=KEEP_EVERY_EVENT),
        on_action(start.click, gallery.start, grid, asked),
        on_action(asked.answer, gallery.start_with_answer),
        on_action(grid.approve, gallery.approve, mode=KEEP_EVERY_EVENT),
        on_action(stop.click, gallery.stop),
        on_action(side.save, gallery.with_tile(act_on.save), seen, opened, mode=KEEP_EVERY_EVENT),
        on_action(side.restore, gallery.with_tile(act_on.restore), seen, opened, mode=KEEP_EVERY_EVENT),
        on_action(side.remove, gallery.with_tile(act_on.remove), seen, opened),
        on_action(side.again, gallery.with_tile(act_on.again), seen, opened),
        on_action(side.approve, gallery.with_tile(act_on.approve), seen, opened, mode=KEEP_EVERY_EVENT),
    ]
    return GalleryTab(grid, start, stop, [seen, side], [grid, seen, bar, side, stop, plan_key], acting)


def folder_bar() -> gr.HTML:
    """A component with

    shown: `Gallery._bar`; listing: the folder that the user looks into, its place, key, parent's key, folders, problem;
    events: `open` and `browse`, with `typed` by a person or a `key` that Python gave, and `number` of the look.
    """
    nothing = {"number": 0, "place": "", "key": "", "parent": "", "folders": [], "problem": ""}
    return gr.HTML(
        "",
        html_template=file_text("gallery/folders.html"),
        js_on_load=file_text("gallery/folders.js"),
        apply_default_css=False,
        elem_id="folder-bar",
        shown={"folder": "", "key": "", "recursive": False, "kinds": "all", "counts": "", "recent": []},
        listing=nothing,
    )
