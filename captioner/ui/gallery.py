"""The Gallery tab: a folder, its files page by page, and the chosen file with its caption."""

import html
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from captioner.errors import JobError
from captioner.events import Progress
from captioner.services import Services
from captioner.ui import views
from captioner.ui.pictures import PREFIX, current_plan
from captioner.ui.shelf import FILTERS, Counts, Shelf, Shown
from captioner.ui.wiring import ACTION, PICK_JS, PLUMBING, shown

# What the server knows of the chosen file comes as `fresh`: its id, a line end, its caption. It goes into the box here,
# in the browser, unless the user has changed the box since the last time (`loaded`): then that stays.
MERGE_JS = """(fresh, loaded, box) => {
  const id = fresh.split('\\n', 1)[0], text = fresh.slice(id.length + 1);
  const oldId = loaded.split('\\n', 1)[0], oldText = loaded.slice(oldId.length + 1);
  return id === oldId && box !== oldText ? [loaded, box] : [fresh, text];
}"""


class Gallery:
    """The handlers. Any thread may call."""

    def __init__(self, services: Services, shelf: Shelf) -> None:
        self._services, self._shelf = services, shelf
        self._starting = threading.Lock()

    @shown
    def open_folder(self, folder: str, recursive: bool, loaded: str = "", caption: str = "") -> None:
        self._keep_edit(loaded, caption)
        if not folder.strip():
            gr.Warning("Give the path of a folder.")
            return
        num_files = self._shelf.open(Path(folder.strip()), recursive)
        self._services.change_settings({"folder": str(self._shelf.folder), "recursive": recursive})
        if not num_files:
            gr.Warning("There are no videos or images in this folder.")

    @shown
    def start(self) -> None:
        """Caption what has no caption, or everything if the user chose to change existing captions."""
        with self._starting:
            if is_busy(self._services.events.snapshot()):
                raise JobError("a job is running already; wait for it or stop it")
            skipping = self._services.settings.existing == "skip"
            self._services.start(self._shelf.uncaptioned() if skipping else None)

    def stop(self) -> None:
        self._services.jobs.stop()

    @shown
    def pick(self, loaded: str, caption: str, event: gr.EventData) -> tuple[str, str]:
        """Choose another file; returns its id and what is now loaded. An edit that was not saved yet is saved."""
        return str(event.id), self._keep_edit(loaded, caption)

    @shown
    def save_caption(self, loaded: str, caption: str) -> tuple[str, str]:
        """Write the box to the file it belongs to; returns what is now loaded and shown."""
        tile = self._shelf.find(loaded.partition("\n")[0])
        if tile is None:
            raise JobError("the folder of this file is no longer open; open it again to save the caption")
        saved = self._shelf.save(tile.id, caption)
        gr.Info(f"Saved the caption of {html.escape(tile.item.name)}.", duration=3)
        return f"{tile.id}\n{saved}", saved

    def _keep_edit(self, loaded: str, caption: str) -> str:
        """Save the box if it was changed; returns what is now loaded."""
        before, _, text = loaded.partition("\n")
        return self.save_caption(loaded, caption)[0] if before and caption != text else loaded

    def render(self, progress: Progress, picked: str, wanted: str, page: int) -> tuple[Shown, list[Any]]:
        """The page of files, and the outputs in the order of `GalleryTab.outputs`."""
        page_shown = self._shelf.show(wanted, page)
        counts = self._shelf.counts() if self._shelf.folder else None
        tile = self._shelf.find(picked)
        settings = self._services.settings
        empty = views.NOTHING_HERE if self._shelf.folder else views.NOTHING_OPEN
        prefix = PREFIX.lstrip("/")  # relative to the page, which may stand below a path of a proxy
        return page_shown, [
            gr.update(**start_button(counts, is_busy(progress), settings.existing)),
            gr.update(interactive=is_busy(progress)),
            str(self._shelf.folder or ""),
            self._shelf.recursive,
            views.counts(counts, self._shelf.warnings),
            views.tiles(page_shown.tiles, prefix, picked, empty),
            gr.update(interactive=page_shown.page > 0),
            views.page_label(page_shown.page, page_shown.num_pages),
            gr.update(interactive=page_shown.page < page_shown.num_pages - 1),
            views.details(tile, prefix, plan_key(self._services) if tile else ""),
            f"{tile.id}\n{tile.text}" if tile else "",
            gr.update(visible=tile is not None),
        ]


def is_busy(progress: Progress) -> bool:
    return progress.active or progress.queued_jobs > 0


def plan_key(services: Services) -> str:
    plan = current_plan(services)
    return f"{plan.max_frames}-{plan.fps:g}-{plan.frame_size}"


def start_button(counts: Counts | None, busy: bool, existing: str) -> dict[str, Any]:
    """Properties of the button: what it would do, and whether it can."""
    if counts is None:
        return {"value": "Caption", "interactive": False}
    number = counts.total if existing != "skip" else counts.total - counts.captioned
    if not number:
        return {"value": "Nothing to caption", "interactive": False}
    verb = "Retry" if number == counts.failed else "Caption"
    also = "" if existing == "skip" else f" ({existing})"
    return {"value": f"{verb} {views.plural(number, 'item')}{also}", "interactive": not busy}


@dataclass(frozen=True)
class GalleryTab:
    """Its components that others need."""

    picked: gr.Textbox
    wanted: gr.Radio
    page: gr.Number
    outputs: list[gr.components.Component]
    refreshing: list[Any]  # events after which everything is rendered anew


def gallery_tab(gallery: Gallery, start: gr.Button, stop: gr.Button) -> GalleryTab:
    """Draw the tab and wire it. `start` and `stop` stand in the header."""
    picked, loaded = gr.Textbox("", visible=False), gr.Textbox("", visible="hidden")
    fresh = gr.Textbox("", visible="hidden")
    page = gr.Number(0, precision=0, visible=False)
    with gr.Row(elem_id="folder-row"):
        bare = {"show_label": False, "container": False}
        folder = gr.Textbox(placeholder="Path of a folder", max_lines=1, scale=8, elem_id="folder", **bare)
        recursive = gr.Checkbox(label="Include subfolders", container=False, min_width=150, scale=0)
        open_button = gr.Button("Open folder", min_width=120, scale=0, elem_id="open-folder")
    with gr.Row(elem_id="list-row"):
        counts = gr.HTML(apply_default_css=False, elem_id="counts")
        wanted = gr.Radio(list(FILTERS), value=FILTERS[0], elem_id="filter", **bare)
        previous = gr.Button("‹", size="sm", min_width=36, scale=0, elem_id="previous")
        label = gr.HTML(apply_default_css=False, elem_id="pages")
        following = gr.Button("›", size="sm", min_width=36, scale=0, elem_id="next")
    with gr.Row(elem_id="panes"):
        grid = gr.HTML(apply_default_css=False, js_on_load=PICK_JS, elem_id="grid")
        with gr.Column(elem_id="side", elem_classes="card"):
            head = gr.HTML(apply_default_css=False)
            with gr.Column(visible=False, elem_id="editor") as editor:
                caption = gr.Textbox(label="Caption", lines=4, max_lines=10, elem_id="caption", buttons=["copy"])
                save = gr.Button("Save caption", variant="primary", size="sm", elem_id="save-caption")
    fresh.change(None, [fresh, loaded, caption], [loaded, caption], js=MERGE_JS, **PLUMBING)
    turning = [
        wanted.input(None, None, page, js="() => 0", **PLUMBING),
        previous.click(None, page, page, js="page => page - 1", **PLUMBING),
        following.click(None, page, page, js="page => page + 1", **PLUMBING),
    ]
    edit = [loaded, caption]
    acting = [
        open_button.click(gallery.open_folder, [folder, recursive, *edit], None, **ACTION),
        folder.submit(gallery.open_folder, [folder, recursive, *edit], None, **ACTION),
        save.click(gallery.save_caption, edit, edit, **ACTION),
        caption.submit(gallery.save_caption, edit, edit, **ACTION),
        grid.pick(gallery.pick, edit, [picked, loaded], **ACTION),
        start.click(gallery.start, None, None, **ACTION),
        stop.click(gallery.stop, None, None, **ACTION),
    ]
    outputs = [start, stop, folder, recursive, counts, grid, previous, label, following, head, fresh, editor]
    return GalleryTab(picked, wanted, page, outputs, turning + acting)
