"""The caption panel: one file with its caption in an editor, the earlier texts, and how the caption was made."""

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from captioner.captions.history import HistoryEntry, different
from captioner.captions.provenance import Provenance
from captioner.config.target_length import target_length
from captioner.errors import CaptionerError, JobError, MediaError
from captioner.formatting import sendable
from captioner.jobs.job import job_plan
from captioner.library.lookup import Entry
from captioner.media.content import check_file
from captioner.media.words import describe
from captioner.services import Services
from captioner.system.pinning import Within
from captioner.ui import scripts
from captioner.ui.format import escape, isolated
from captioner.ui.gallery.about import about, comparison, facts, history_list
from captioner.ui.gallery.grid import entry_id, find_entry
from captioner.ui.wiring import errors_as_toasts
from captioner.values import MediaItem, MediaKind, SamplePlan

MAX_HISTORY = 20


class Panel:
    """The handlers of the panel. Any thread may call.

    `event` has the id, folder and name of the file, and perhaps an `edit` to save first. Handlers that change something
    return an `answer`: the text that was `saved`, and the file after the change (`fresh`). The id of a file changes
    with every scan of the folder, its name does not.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._numbers = itertools.count(1)

    @errors_as_toasts
    def open(self, event: gr.EventData) -> dict[str, Any]:
        """Return properties of the panel that show a file."""
        entry = self._locate(event._data)
        if entry is None:
            raise JobError("the folder was refreshed; open the file again")
        return gr.update(entry=self.describe(entry))

    @errors_as_toasts
    def save(self, event: gr.EventData) -> dict[str, Any]:
        """Write a text to its file, unless the file was changed meanwhile. Replacing a guess needs `consent`."""
        return self._answer(event._data, self._save(event._data))

    @errors_as_toasts
    def restore(self, event: gr.EventData) -> dict[str, Any]:
        return self._change(event, lambda item: self._services.library.edits.restore(item, int(event.history)))

    @errors_as_toasts
    def remove(self, event: gr.EventData) -> dict[str, Any]:
        return self._change(event, self._services.library.edits.delete)

    @errors_as_toasts
    def again(self, event: gr.EventData) -> dict[str, Any]:
        """Recaption the file. Replacing a caption that was changed outside needs `consent`."""
        busy, consent = self._services.events.snapshot().busy, bool(event.consent)
        answer = self._change(event, lambda item: self._services.start([item.name], "overwrite", consent))
        if busy:
            gr.Info("This file will be captioned after the current jobs.", duration=4)
        return answer

    @errors_as_toasts
    def approve(self, event: gr.EventData) -> dict[str, Any]:
        """Approve the caption, so that no job or bulk edit changes it, or unapprove it."""
        return self._change(event, lambda item: self._services.library.edits.approve([item.name], bool(event.on)))

    def save_edit_if_possible(self, edit: dict[str, Any] | None) -> dict[str, Any]:
        """Save an edit, but let nothing fail: the browser keeps an unsaved text until its file is open again."""
        if not edit or self._locate(edit) is None:
            return gr.skip()
        try:
            return self._answer(edit, self._save(edit))
        except CaptionerError as error:
            name, reason = escape(isolated(edit["name"])), escape(error)
            gr.Warning(f"Could not save {name}: {reason}. Your text is kept in this tab.", duration=8)
            return gr.skip()

    def render(self, value: str) -> dict[str, Any]:
        """Return the properties of the panel at a refresh. `value` is the value of the panel.

        An answer may arrive after a newer refresh and hide it. So the refresh after each answer is sent again.
        """
        opened = json.loads(value or "{}")
        entry = self._locate(opened)
        closed = {"id": "", "folder": str(opened.get("folder", "")), "name": str(opened.get("name", ""))}
        return gr.update(fresh=(self.describe(entry) if entry else closed) | {"answer": opened.get("answer")})

    def describe(self, entry: Entry) -> dict[str, Any]:
        """Return everything the panel shows of a file. `about` and `history` are HTML, the rest is plain text."""
        library, captions = self._services.library, self._services.captions
        problem, changes, made = entry.problem, [], list[Provenance]()
        try:
            changes = captions.changes(entry.item.caption_path)
            made = captions.provenance(entry.item.caption_path)
        except CaptionerError as error:
            problem = problem or str(error)
        tried = [each for each in made if each.outcome == "tried"]
        made = [each for each in made if each.outcome != "tried"][:1]
        num_frames, kind = num_seen(entry.item, made), shown_kind(entry.item, self._services.roots.within)
        plan = sheet_plan(self._services, entry.item, made)
        return {
            "id": entry_id(library, entry.item),
            "folder": sendable(str(library.folder)),
            "name": sendable(entry.item.name),
            "kind": kind,
            "version": int(entry.item.modified_s),
            "text": entry.text,
            "problem": sendable(problem),
            "tokens": entry.tokens,
            "approved": entry.approved,
            "changed_outside": entry.changed_outside,
            "doubt": entry.doubt,
            "fault": sendable(entry.fault),
            "facts": facts(entry, kind),
            "measured": describe(entry.measured) if entry.measured else "",
            "undo": changes[0].id if changes else 0,
            "versions": [change.id for change in different(changes, entry.text)],
            "history": history_list([change for change in changes if change.text][:MAX_HISTORY]),
            "compare": compared(entry, changes),
            "target": self._target(made),
            "max_tokens": self._services.settings.max_new_tokens,
            "about": about(made[0] if made else None, entry.text, tried),
            "saw": num_frames > 0,
            "plan": f"{plan.max_frames}-{plan.min_frames}-{plan.fps:g}-{plan.frame_size}-{plan.span}-{plan.window_s}",
            "span": made[0].caption.facts.span_s if num_frames else None,
        }

    def _target(self, made: Sequence[Provenance]) -> tuple[int, int] | None:
        """Return the fewest and the most words that the prompt of the caption asks for, or else the chosen prompt."""
        try:
            return target_length(made[0].caption.prompt if made else self._services.prompt_text())
        except CaptionerError:  # the prompt is gone; the Prompts tab shows the error
            return None

    def _change(self, event: gr.EventData, act: Callable[[MediaItem], object]) -> dict[str, Any]:
        """Call `act` with the file of an event. An edit is saved first, so it stays in the history."""
        data = event._data
        saved = self._save(data["edit"]) if data.get("edit") else None
        act(self._find(data).item)
        return self._answer(data, saved)

    def _save(self, edit: dict[str, Any]) -> dict[str, Any]:
        entry = self._find(edit)
        sent = str(edit["text"])
        expected, consent = str(edit["expected"]), bool(edit.get("consent"))
        text = self._services.library.edits.save(entry.item, sent, expected, consent)
        place = {"folder": sendable(str(self._services.library.folder)), "name": sendable(entry.item.name)}
        return {**place, "sent": sent, "text": text}

    def _answer(self, data: dict[str, Any], saved: dict[str, Any] | None) -> dict[str, Any]:
        entry, number = self._locate(data), next(self._numbers)  # the number makes each answer differ
        return gr.update(answer={"number": number, "saved": saved, "fresh": self.describe(entry) if entry else None})

    def _find(self, data: dict[str, Any]) -> Entry:
        entry = self._locate(data)
        if entry is None:
            raise JobError("the folder of this file is no longer open; open it again")
        return entry

    def _locate(self, data: dict[str, Any]) -> Entry | None:
        library, name = self._services.library, str(data.get("name", ""))
        entry = find_entry(library, str(data.get("id", "")))
        if entry is None and name and data.get("folder") == sendable(str(library.folder)):
            return library.lookup.find(name)  # the folder was scanned again
        return entry


def panel() -> gr.HTML:
    """Return the component.

    Value: the id, folder and name of the file and the number of the last answer as JSON text, or "" if nothing is open.
    Properties: `entry` (`Panel.describe` of the file that was opened), `fresh` (the same for the current state, or only
    the value with an empty id if the folder is closed), `answer` (the outcome of an action).
    Events: `save`, `restore`, `remove`, `again` and `approve`, all with the file and perhaps an edit.
    """
    events = ("save", "restore", "remove", "again", "approve")
    empty = {"entry": {"id": ""}, "fresh": {"id": "", "folder": "", "name": ""}, "answer": {}}
    return scripts.component("gallery/panel", "panel", events, empty)


def shown_kind(item: MediaItem, within: Within) -> MediaKind:
    """Return what a file holds, or what its extension says if it cannot be read."""
    try:
        return check_file(item.path, item.kind, within)
    except MediaError:
        return item.kind


def compared(entry: Entry, changes: Sequence[HistoryEntry]) -> dict[str, Any] | None:
    """Return the texts before and after a job as HTML, if a job was the last to change the caption; else None."""
    last = changes[0] if changes else None
    if last is None or last.origin != "job" or not last.text or last.text == entry.text or entry.approved:
        return None
    before, after = comparison(last.text, entry.text)
    return {"id": last.id, "before": before, "after": after}


def current_plan(services: Services) -> SamplePlan:
    """Return the sampling plan that a job started now would use."""
    try:
        return job_plan(services.settings, services.preset())
    except CaptionerError:  # an unknown model, or no target for the span; the Settings tab shows the error
        return SamplePlan()


def num_seen(item: MediaItem, made: Sequence[Provenance]) -> int:
    """Return how many frames the model saw for its latest caption of this file; 0 if the file changed since."""
    is_seen = made and made[0].outcome != "tried" and made[0].is_of(item)
    return len(made[0].caption.frame_times_s) if is_seen else 0


def sheet_plan(services: Services, item: MediaItem, made: Sequence[Provenance]) -> SamplePlan:
    """Return a plan that samples the frames that the model saw for its latest caption, or else `current_plan`."""
    plan, num_frames = current_plan(services), num_seen(item, made)
    if not num_frames:
        return plan
    span_s = made[0].caption.facts.span_s
    return replace(plan, max_frames=num_frames, min_frames=num_frames, span="none", window_s=span_s)
