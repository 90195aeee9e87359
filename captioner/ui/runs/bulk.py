"""The dialog that edits many captions at once, with a preview while typing, and undo."""

import difflib
import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
from gradio.events import Dependency

from captioner.captions.edit import BulkEdit
from captioner.errors import CaptionerError
from captioner.formatting import plural, sendable, sentence
from captioner.library.bulk import BulkDone, preview
from captioner.services import Services
from captioner.ui import scripts
from captioner.ui.gallery.grid import selected_names
from captioner.ui.runs import history
from captioner.ui.wiring import KEEP_EVERY_EVENT, in_background, on_action

NUM_SHOWN = 30  # changed captions in the preview
CONTEXT = 60  # unchanged characters shown around a change
SHORTEST = 2  # changes with at most so many characters between them are shown as one, which is easier to read
MAX_COMPARED = 400  # words; of longer captions everything between the first and the last change is shown as changed

Part = tuple[str, str]  # ("", "del" or "ins", text)

_WORD = re.compile(r"\w+|\s+|[^\w\s]")


class Bulk:
    """The handlers of the dialog. `event.files` is a selection, as the grid's value. Any thread may call."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._numbers = itertools.count(1)

    def preview(self, event: gr.EventData) -> dict[str, Any]:
        """Return what an edit would do; `number` is that of the request."""
        nothing = {"number": event.number, "counts": "", "problem": "", "changed": [], "num_changed": 0}
        try:
            names = self._names(event.files)
            found = preview(self._services.library, names, _edit(event.edit), NUM_SHOWN)
        except CaptionerError as error:
            return gr.update(preview=nothing | {"problem": _message(error)})
        changed = [
            {
                "name": sendable(name),
                "changed_outside": name in found.changed_outside,
                "parts": [(kind, sendable(text)) for kind, text in marks(before, after)],
            }
            for name, before, after in found.changed
        ]
        what = f"{found.num_changed:,} of {len(names):,} change"
        if found.changed_outside:
            what += f", {len(found.changed_outside):,} of them changed outside"
        about = {
            "counts": outcome(what, found.skipped),
            "changed": changed,
            "num_changed": found.num_changed,
            "total_with_text": len(names) - found.skipped.get("no caption", 0),
        }
        return gr.update(preview=nothing | about)

    def apply(self, event: gr.EventData) -> dict[str, Any]:
        def act() -> tuple[str, int]:
            edit = _edit(event.edit)
            done: BulkDone = self._services.bulk_edit(self._names(event.files), edit)
            verb = "deleted" if edit.delete else "changed"
            return outcome(f"{plural(done.num_changed, 'caption')} {verb}", done.skipped), done.operation

        return self._do(act)

    def undo(self, event: gr.EventData) -> dict[str, Any]:
        return self._do(lambda: (history.undo(self._services, int(event.id)), int(event.id)), undone=True)

    def redo(self, event: gr.EventData) -> dict[str, Any]:
        return self._do(lambda: (history.redo(self._services, int(event.id)), int(event.id)))

    def _names(self, files: str) -> list[str]:
        return selected_names(self._services.library, files)

    def _do(self, act: Callable[[], tuple[str, int]], undone: bool = False) -> dict[str, Any]:
        done: dict[str, Any] = {"number": next(self._numbers), "bad": False, "undone": undone}
        try:
            text, operation = act()
            return gr.update(done=done | {"text": sendable(sentence(text)), "operation": operation})
        except CaptionerError as error:
            return gr.update(done=done | {"text": _message(error), "bad": True})


def _edit(data: dict[str, Any]) -> BulkEdit:
    texts: dict[str, Any] = {name: str(data.get(name, "")) for name in ("find", "replace", "prefix", "suffix")}
    flags: dict[str, Any] = {name: bool(data.get(name)) for name in ("regex", "match_case", "trim_openers", "delete")}
    return BulkEdit(**texts, **flags)


def outcome(what: str, skipped: dict[str, int]) -> str:
    """Return a phrase such as "212 of 300 change, 3 approved are skipped, 20 have no caption"."""
    parts = [what]
    for reason, count in skipped.items():
        one = count == 1
        parts.append(
            {
                "approved": f"{count:,} approved {'is' if one else 'are'} skipped",
                "no caption": f"{count:,} {'has' if one else 'have'} no caption",
                "would be empty": f"{count:,} would become empty and {'is' if one else 'are'} skipped",
            }.get(reason, f"{count:,} not written: {reason}")
        )
    return ", ".join(parts)


def marks(before: str, after: str | None) -> list[Part]:
    """Return both texts as one: removed parts marked "del", added ones "ins". Long unchanged parts are shortened."""
    if after is None:
        return [("del", before)]
    old, new = _WORD.findall(before), _WORD.findall(after)
    stretches = [("".join(old[i:j]), "".join(new[k:m])) for _, i, j, k, m in _compare(old, new)]
    parts: list[Part] = []
    for removed, added in _joined(stretches):
        if removed == added:
            parts.append(("", removed))
            continue
        parts += [(mark, text) for mark, text in (("del", removed), ("ins", added)) if text]
    return [_cut(part, i == 0, i == len(parts) - 1) for i, part in enumerate(parts)]


def _joined(stretches: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    joined: list[tuple[str, str]] = []
    for i, (removed, added) in enumerate(stretches):
        inside = 0 < i < len(stretches) - 1 and removed == added and len(removed.strip()) <= SHORTEST
        if joined and joined[-1][0] != joined[-1][1] and (inside or removed != added):
            joined[-1] = (joined[-1][0] + removed, joined[-1][1] + added)
        else:
            joined.append((removed, added))
    return joined


def _compare(old: Sequence[str], new: Sequence[str]) -> Sequence[tuple[str, int, int, int, int]]:
    if max(len(old), len(new)) <= 2 * MAX_COMPARED:  # words and the spaces between them
        return difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    start = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    most = min(len(old), len(new)) - start
    ends = zip(reversed(old), reversed(new), strict=False)
    end = next((i for i, (a, b) in enumerate(ends) if a != b or i == most), most)
    middle = ("replace", start, len(old) - end, start, len(new) - end)
    tail = ("equal", len(old) - end, len(old), len(new) - end, len(new))
    return [("equal", 0, start, 0, start), middle, tail]


def _cut(part: Part, first: bool, last: bool) -> Part:
    kind, text = part
    if kind or len(text) <= 2 * CONTEXT + 3:
        return part
    if first:
        return kind, f"…{text[-CONTEXT:]}"
    return kind, f"{text[:CONTEXT]}…" if last else f"{text[:CONTEXT]} … {text[-CONTEXT:]}"


def _message(error: CaptionerError) -> str:
    return sendable(sentence(str(error)))


def bulk_dialog(bulk: Bulk) -> list[Dependency]:
    """Draw the closed dialog and wire it. Return the events after which the page is refreshed.

    The browser opens it with element.bulk.open(files, scope). The handler of the event `preview` sets the property
    `preview`, those of `apply`, `undo` and `redo` set `done`.
    """
    events = ("preview", "apply", "undo", "redo")
    dialog = scripts.component("runs/bulk", "bulk", events, {"preview": {}, "done": {}}, "aside")
    in_background(dialog.preview, bulk.preview, None, dialog, mode=KEEP_EVERY_EVENT)
    acts = [(dialog.apply, bulk.apply), (dialog.undo, bulk.undo), (dialog.redo, bulk.redo)]
    return [on_action(event, handler, None, dialog) for event, handler in acts]
