"""The buttons that move media files to the trash and back, if the app was started with --allow-delete."""

import threading

import gradio as gr
from gradio.events import Dependency

from captioner.errors import JobError
from captioner.formatting import plural
from captioner.library.trash import Moved, Trash
from captioner.services import Services
from captioner.ui import scripts
from captioner.ui.dialogs import question
from captioner.ui.format import escape, isolated
from captioner.ui.gallery.grid import selected_names
from captioner.ui.wiring import errors_as_toasts, on_action


class TrashHandlers:
    """The handlers. Any thread may call."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._trash = Trash(services.folder / "trash", services.roots)
        self._moving = threading.Lock()

    @errors_as_toasts
    def delete_media(self, event: gr.EventData) -> None:
        """Move the selected files to the trash."""
        if self._services.events.snapshot().busy:
            raise JobError("a job is running; delete files when it has ended")
        library = self._services.library
        found = [library.lookup.find(name) for name in selected_names(library, str(event.files))]
        with self._moving:
            _tell(self._trash.delete([entry.item for entry in found if entry]), "moved to the trash")
        self._refresh()

    @errors_as_toasts
    def restore_media(self) -> None:
        """Move the files of the latest deletion back."""
        with self._moving:
            _tell(self._trash.restore(), "restored")
        self._refresh()

    def num_deleted(self) -> int:
        """Return how many files can be restored."""
        return self._trash.latest()

    def _refresh(self) -> None:
        scan = self._services.library.scan
        if scan.folder:
            self._services.open_folder(scan.folder, scan.recursive, scan.kinds)


def _tell(moved: Moved, what: str) -> None:
    if moved.count:
        gr.Info(f"{plural(moved.count, 'file')} {what}.", duration=4)
    if moved.kept:
        name, reason = moved.kept[0]
        more = f", and {len(moved.kept) - 1} more" if len(moved.kept) > 1 else ""
        gr.Warning(f"Not {what}: {escape(isolated(name))} ({escape(reason)}){more}.", duration=8)


def trash_buttons(handlers: TrashHandlers | None) -> list[Dependency]:
    """Wire the buttons; without handlers they stay hidden. Return the events after which the page is refreshed."""
    if handlers is None:
        return []
    question("trash-question")  # answered in the browser
    events = ("delete_media", "restore_media")
    buttons = scripts.component("gallery/trash", "trash", events, {"allowed": True}, "aside")
    deleting = on_action(buttons.delete_media, handlers.delete_media)
    return [deleting, on_action(buttons.restore_media, handlers.restore_media)]
