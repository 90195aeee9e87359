"""The history: a dialog with the latest jobs and bulk edits, to undo, redo or resume them."""

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import gradio as gr
from gradio.events import Dependency

from captioner.captions.operations import OperationInfo, operation_info, undo_of
from captioner.captions.store import Undone
from captioner.errors import CaptionerError, JobError
from captioner.formatting import plural, sendable, sentence
from captioner.services import Services
from captioner.ui import scripts
from captioner.ui.wiring import KEEP_EVERY_EVENT, in_background, on_action

NUM_LISTED = 50
DONE_WORDS = {"job": "captioned", "bulk": "changed"}


def undo(services: Services, operation: int) -> str:
    """Undo a job or a bulk edit. Return the outcome in words; raise CaptionerError."""
    _check_allowed(services, operation)
    return in_words(services.undo(operation))


def redo(services: Services, operation: int) -> str:
    """Undo the undo of a job or a bulk edit. Return the outcome in words; raise CaptionerError."""
    _check_allowed(services, operation)
    number = undo_of(services.database, operation)
    if number is None:
        raise JobError("this was not undone, or was already redone")
    return in_words(services.undo(number), "redo")


def resume(services: Services, operation: int, enter: Callable[[Path, bool], object]) -> str:
    """Resume an unfinished job; `enter` opens its folder if it is not open. Raise CaptionerError."""
    check_idle(services)
    folder, recursive = services.jobs.journal.folder_of(operation)
    scan = services.library.scan
    if (scan.folder, scan.recursive) != (folder, recursive):
        enter(folder, recursive)
    services.resume(operation)
    return "The job was resumed"


def dismiss(services: Services, operation: int) -> None:
    """Stop offering an unfinished job, to every viewer. Raise CaptionerError."""
    _check_allowed(services, operation)
    services.jobs.journal.dismiss(operation)


def check_idle(services: Services) -> None:
    """Raise JobError if a job runs or waits."""
    if services.events.snapshot().busy:
        raise JobError("a job is already running; wait for it or stop it")


def is_undone(services: Services, operation: int) -> bool:
    return undo_of(services.database, operation) is not None


def in_words(undone: Undone, act: Literal["undo", "redo"] = "undo") -> str:
    """Return a phrase such as "198 captions restored, 2 kept: changed since"."""
    if not undone.restored and not undone.kept:
        return f"Nothing to {act}"
    reasons = Counter(reason for _, reason in undone.kept).most_common(3)
    more = len(undone.kept) - sum(count for _, count in reasons)
    parts = [f"{plural(undone.restored, 'caption')} {'restored' if act == 'undo' else 'redone'}"]
    parts += [f"{count:,} kept: {reason}" for reason, count in reasons] + [f"{more:,} more kept"] * bool(more)
    return ", ".join(parts)


class History:
    """The handlers of the dialog. They return its properties; an error is one of them. Any thread may call."""

    def __init__(self, services: Services, enter: Callable[[Path, bool], object]) -> None:
        self._services, self._enter = services, enter
        self._numbers = itertools.count(1)

    def reload(self) -> dict[str, Any]:
        return self._answer("")

    def undo(self, event: gr.EventData) -> dict[str, Any]:
        return self._do(lambda: undo(self._services, int(event.id)))

    def redo(self, event: gr.EventData) -> dict[str, Any]:
        return self._do(lambda: redo(self._services, int(event.id)))

    def resume(self, event: gr.EventData) -> dict[str, Any]:
        return self._do(lambda: resume(self._services, int(event.id), self._enter))

    def rows(self) -> list[dict[str, Any]]:
        """Return a row of plain texts and numbers for each job and bulk edit, the latest first."""
        left = {job.operation: job.left for job in self._services.unfinished()}
        allowed = self._services.roots.allows
        operations = [each for each in self._services.jobs.journal.recent(NUM_LISTED) if allowed(each.folder)]
        return [self._row(each, left.get(each.id, 0)) for each in operations if each.kind != "undo"]

    def _row(self, operation: OperationInfo, left: int) -> dict[str, Any]:
        undone = operation.undone_at_s is not None
        state = "stopped" if operation.state == "dismissed" else operation.state
        can_undo = operation.changed and not undone and operation.state not in ("running", "resumed")
        can_redo = undone and is_undone(self._services, operation.id)
        return {
            "id": operation.id,
            "kind": operation.kind,
            "title": sendable(operation.title),
            "folder": sendable(str(operation.folder)),
            "name": sendable(operation.folder.name or str(operation.folder)),
            "when": operation.created_at_s,
            "counts": counts(operation, left),
            "reason": sendable(operation.reason),
            "state": "undone" if undone else state,
            "changed": operation.changed,
            "act": "redo" if can_redo else "undo" if can_undo else "",
            "left": 0 if undone else left,
        }

    def _do(self, act: Callable[[], str]) -> dict[str, Any]:
        try:
            return self._answer(act())
        except CaptionerError as error:
            return self._answer(str(error), bad=True)

    def _answer(self, text: str, bad: bool = False) -> dict[str, Any]:
        result = {"text": sendable(sentence(text)) if text else "", "bad": bad, "number": next(self._numbers)}
        return gr.update(rows=self.rows(), result=result)


def counts(operation: OperationInfo, left: int = 0) -> str:
    """Return a phrase such as "198 captioned, 2 failed, 8 skipped, 12 left"."""
    done = DONE_WORDS[operation.kind]
    numbers = {done: operation.done, "failed": operation.failed, "skipped": operation.skipped, "left": left}
    return ", ".join(f"{number:,} {word}" for word, number in numbers.items() if number) or "nothing changed"


def _check_allowed(services: Services, operation: int) -> None:
    if not services.roots.allows(operation_info(services.database, operation).folder):
        raise JobError("its folder is outside the allowed folders")


def history_dialog(history: History) -> list[Dependency]:
    """Draw the closed dialog and wire it. Return the events after which the page is refreshed.

    The browser opens it with element.history.open(). The handlers of the events `reload`, and `undo`, `redo` and
    `resume` with an `id`, set the properties `rows` (`History.rows`) and `result`.
    """
    events = ("reload", "undo", "redo", "resume")
    dialog = scripts.component("runs/history", "history", events, {"rows": [], "result": {}}, "aside")
    in_background(dialog.reload, history.reload, None, dialog, mode="always_last")
    acts = [(dialog.undo, history.undo), (dialog.redo, history.redo), (dialog.resume, history.resume)]
    return [on_action(event, handler, None, dialog, mode=KEEP_EVERY_EVENT) for event, handler in acts]
