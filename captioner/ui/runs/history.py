"""The history: the latest jobs and bulk edits in a dialog, to undo, redo or go on with."""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from captioner.captions.operations import OperationInfo, operation_info, undo_of
from captioner.captions.store import Undone
from captioner.errors import CaptionerError, JobError
from captioner.formatting import plural
from captioner.services import Services
from captioner.ui.format import file_text
from captioner.ui.gallery.panel import plain
from captioner.ui.wiring import KEEP_EVERY_EVENT, in_background, on_action

NUM_LISTED = 50
STATES = {"resumed": "continued", "dismissed": "stopped"}  # the others are called what they are
KIND_WORDS = {"job": ("captioned", "failed", "left alone"), "bulk": ("changed", "failed", "left alone")}


def undo(services: Services, operation: int) -> str:
    """Undo an operation; returns in words what came of it. Raises CaptionerError."""
    _check_allowed(services, operation)
    return in_words(services.undo(operation))


def redo(services: Services, operation: int) -> str:
    """Undo its undo, which brings back what the operation had made. As `undo`."""
    _check_allowed(services, operation)
    number = undo_of(services.database, operation)
    if number is None:
        raise JobError("this was not undone, or it was redone already")
    return in_words(services.undo(number), "changed again")


def resume(services: Services, operation: int, enter: Callable[[Path, bool], None]) -> None:
    """Go on with an unfinished job, in its folder. enter: opens that if it is not open. Raises CaptionerError."""
    folder, recursive = services.jobs.journal.folder_of(operation)
    scan = services.library.scan
    if (scan.folder, scan.recursive) != (folder, recursive):
        enter(folder, recursive)
    services.resume(operation)


def dismiss(services: Services, operation: int) -> None:
    """Offer an unfinished job no more, to nobody. Raises CaptionerError."""
    _check_allowed(services, operation)
    services.jobs.journal.dismiss(operation)


def is_undone(services: Services, operation: int) -> bool:
    return undo_of(services.database, operation) is not None


def in_words(undone: Undone, verb: str = "put back") -> str:
    """Such as "198 captions put back, 2 kept: changed since"."""
    if not undone.restored and not undone.kept:
        return f"Nothing is left to be {verb}"
    reasons = Counter(reason for _, reason in undone.kept)
    kept = [f"{count:,} kept: {reason}" for reason, count in reasons.most_common(3)]
    more = len(undone.kept) - sum(count for _, count in reasons.most_common(3))
    kept += [f"{more:,} more kept"] * bool(more)
    return ", ".join([f"{plural(undone.restored, 'caption')} {verb}", *kept])


class History:
    """The handlers. They return properties of the dialog, and errors as one of them. Any thread may call."""

    def __init__(self, services: Services, enter: Callable[[Path, bool], None]) -> None:
        """enter: opens a folder in the page, with or without its subfolders."""
        self._services, self._enter = services, enter
        self._numbers = itertools.count(1)

    def look(self) -> dict[str, Any]:
        return self._answer("")

    def undo(self, event: gr.EventData) -> dict[str, Any]:
        return self._do(lambda: undo(self._services, int(event.id)))

    def redo(self, event: gr.EventData) -> dict[str, Any]:
        return self._do(lambda: redo(self._services, int(event.id)))

    def resume(self, event: gr.EventData) -> dict[str, Any]:
        def go_on() -> str:
            progress = self._services.events.snapshot()
            if progress.active or progress.queued_jobs:
                raise JobError("a job is running already; wait for it or stop it")
            resume(self._services, int(event.id), self._enter)
            return "The run goes on"

        return self._do(go_on)

    def rows(self) -> list[dict[str, Any]]:
        """Plain texts and numbers, the latest first; undos are told with what they have undone."""
        left = {job.operation: job.left for job in self._services.unfinished()}
        allowed = self._services.roots.allows
        operations = [each for each in self._services.jobs.journal.recent(NUM_LISTED) if allowed(each.folder)]
        return [self._row(each, left.get(each.id, 0)) for each in operations if each.kind != "undo"]

    def _row(self, operation: OperationInfo, left: int) -> dict[str, Any]:
        undone = operation.undone_at_s is not None
        running = operation.state == "running"
        can_redo = undone and is_undone(self._services, operation.id)
        return {
            "id": operation.id,
            "kind": operation.kind,
            "title": plain(operation.title),
            "folder": plain(operation.folder),
            "name": plain(operation.folder.name or operation.folder),
            "when": operation.created_at_s,
            "counts": counts(operation, left),
            "reason": plain(operation.reason),
            "state": "undone" if undone else STATES.get(operation.state, operation.state),
            "changed": operation.changed,
            "act": "redo" if can_redo else "undo" if operation.changed and not running and not undone else "",
            "left": 0 if undone else left,
        }

    def _do(self, act: Callable[[], str]) -> dict[str, Any]:
        try:
            return self._answer(act() + ".")
        except CaptionerError as error:
            text = str(error)
            return self._answer(text[:1].upper() + text[1:] + ".", bad=True)

    def _answer(self, text: str, bad: bool = False) -> dict[str, Any]:
        said = {"text": plain(text), "bad": bad, "number": next(self._numbers)}
        return gr.update(rows=self.rows(), said=said)


def counts(operation: OperationInfo, left: int = 0) -> str:
    """Such as "198 captioned, 2 failed, 8 left alone, 12 to go"."""
    numbers: Sequence[int] = (operation.done, operation.failed, operation.skipped)
    parts = [f"{n:,} {word}" for n, word in zip(numbers, KIND_WORDS[operation.kind], strict=True) if n]
    parts += [f"{left:,} left"] * bool(left)
    return ", ".join(parts) or "nothing changed"


def _check_allowed(services: Services, operation: int) -> None:
    if not services.roots.allows(operation_info(services.database, operation).folder):
        raise JobError("its folder is outside the allowed folders")


def history_dialog(history: History) -> list[Any]:
    """Draw the dialog, closed, and wire it; returns the events after which everything is rendered anew.

    The browser opens it with element.history.open().

    rows: `History.rows`; said: what came of the last act; events: `look`, `undo`, `redo`, `resume` with an `id`.
    """
    dialog = gr.HTML(
        "",
        html_template=file_text("runs/history.html"),
        js_on_load=file_text("runs/history.js"),
        apply_default_css=False,
        elem_id="history",
        elem_classes="aside",
        rows=[],
        said={},
    )
    in_background(dialog.look, history.look, None, dialog, mode="always_last")
    acts = [(dialog.undo, history.undo), (dialog.redo, history.redo), (dialog.resume, history.resume)]
    return [on_action(event, handler, None, dialog, mode=KEEP_EVERY_EVENT) for event, handler in acts]
