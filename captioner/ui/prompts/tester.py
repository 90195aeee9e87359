"""The pane beside the prompt editor: previews the prompt for one file, and tries it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from captioner.config.prompts import expand, split_variables
from captioner.errors import CaptionerError, JobError
from captioner.formatting import plural, sendable, sentence
from captioner.jobs import events
from captioner.library.lookup import Entry
from captioner.services import Services
from captioner.ui.format import escape, loading_text
from captioner.ui.gallery.grid import entry_id, find_entry
from captioner.ui.wiring import in_background, on_action

MAX_FILES = 200
THUMBNAILS = "gradio_api/vcs/thumb"  # relative, since a proxy may serve the page below a path
EMPTY = {"trigger": "no trigger word", "existing": "no caption yet"}
PULSE_S = 0.5  # while a trial runs


@dataclass(frozen=True)
class Trial:
    """The state of a trial; `caption` and `problem` are empty while it runs."""

    doing: str = "Waiting for its turn…"
    caption: str = ""
    problem: str = ""
    tokens: int = 0
    seconds: float = 0.0

    @property
    def ended(self) -> bool:
        return bool(self.caption or self.problem)


def follow(emitted: Iterable[events.Event], job: int) -> Trial:
    """Return the state of the job that tries a prompt on one file. emitted: all events since the job was queued."""
    trial = Trial()
    is_running = False  # a loading model belongs to the job that runs
    for event in emitted:
        match event:
            case events.JobStarted():
                is_running = event.job == job
            case events.ModelLoading() if is_running:
                trial = Trial(loading_text(event.model, event.bytes_done, event.bytes_total))
            case events.ItemStarted() if event.job == job:
                trial = Trial("Reading frames…")
            case events.ItemProgress() if event.job == job:
                trial = Trial(f"Writing: {plural(event.tokens, 'token')}…")
            case events.ItemTried() if event.job == job:
                return Trial(caption=event.caption, tokens=event.tokens, seconds=event.seconds)
            case events.ItemFailed() if event.job == job:
                return Trial(problem=event.reason)
            case events.JobEnded() if event.job == job:
                return Trial(problem=event.reason or "The trial was stopped.")
    return trial


def view(trial: Trial | None) -> str:
    """Return a trial as HTML; None before the first one."""
    if trial is None:
        return '<div class="trial empty">Caption the chosen file with this prompt. Nothing is saved.</div>'
    if trial.problem:
        return f'<div class="trial failed"><p>{escape(sentence(trial.problem))}</p></div>'
    if trial.caption:
        words = plural(len(trial.caption.split()), "word")
        facts = f"{plural(trial.tokens, 'token')} · {words} · {trial.seconds:.1f} s · not saved"
        return f'<div class="trial done"><p>{escape(trial.caption)}</p><i>{facts}</i></div>'
    return f'<div class="trial running"><p>{escape(trial.doing)}</p></div>'


class Tester:
    """The handlers. `file` is an id of the grid, or a typed name, since the list holds only MAX_FILES files."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def refresh(self, file: str | None, text: str) -> Sequence[Any]:
        """Return the list of files, which keeps the chosen one, its picture, and the preview."""
        library = self._services.library
        first = library.items[:MAX_FILES]
        entry = self._entry(file) or (library.lookup.entry(first[0]) if first else None)
        choices = [(sendable(item.name), entry_id(library, item)) for item in first]
        chosen = entry_id(library, entry.item) if entry else ""
        if entry and chosen not in dict(choices).values():
            choices.append((sendable(entry.item.name), chosen))
        files = gr.update(choices=choices, value=chosen or None, interactive=bool(choices))
        return [files, self.picture(chosen), self.preview(text, chosen)]

    def preview(self, text: str, file: str | None) -> str:
        """Return the prompt as the model would read it for this file, as HTML."""
        entry = self._entry(file)
        if entry is None:
            return f'<p class="preview none">{self._advice()}</p>'
        parts = split_variables(text.strip())
        parts[1::2] = [self._mark(name, entry) for name in parts[1::2]]
        parts[0::2] = [escape(part) for part in parts[0::2]]
        return f'<p class="preview">{"".join(parts)}</p>'

    def picture(self, file: str | None) -> str:
        """Return the file's thumbnail as HTML."""
        entry = self._entry(file)
        if entry is None:
            return ""
        address = f"{THUMBNAILS}/{entry_id(self._services.library, entry.item)}.jpg?v={int(entry.item.modified_s)}"
        return f'<img src="{address}" alt="">'

    def try_it(self, text: str, file: str | None) -> Sequence[Any]:
        """Caption the file. Return the trial as "<job> <cursor>", its view, the timer, and the button."""
        try:
            entry = self._entry(file)
            if entry is None:
                raise JobError(self._advice())
            snapshot = self._services.events.snapshot()
            if snapshot.busy:
                raise JobError("a job is running; wait for it to end, or stop it")
            job = self._services.try_prompt(entry.item.name, text)
        except CaptionerError as error:
            return ["", view(Trial(problem=str(error))), gr.Timer(active=False), gr.update(interactive=True)]
        return [f"{job} {snapshot.cursor}", view(Trial()), gr.Timer(active=True), gr.update(interactive=False)]

    def watch(self, running: str) -> Sequence[Any]:
        """Return the view of the running trial, the timer, and the button."""
        job, cursor = (int(number) for number in running.split())
        if cursor > self._services.events.snapshot().cursor:
            trial = Trial(problem="The app was restarted. Try again.")
        else:
            trial = follow(self._services.events.since(cursor), job)
        return [view(trial), gr.Timer(active=not trial.ended), gr.update(interactive=trial.ended)]

    def _advice(self) -> str:
        if self._services.library.items:
            return "Choose a file from the list, or type its name."
        return "Open a folder in the Gallery to preview the prompt for a file and to try it."

    def _entry(self, file: str | None) -> Entry | None:
        library, text = self._services.library, file or ""
        return find_entry(library, text) or library.lookup.find(text.strip())

    def _mark(self, variable: str, entry: Entry) -> str:
        item, trigger = entry.item, self._services.settings.trigger_word
        name, folder = Path(item.filename).stem, item.folder.name
        value = expand(f"{{{variable}}}", name=name, folder=folder, trigger=trigger, existing=lambda: entry.text)
        if not value:
            return f'<mark class="no">{EMPTY.get(variable, "nothing")}</mark>'
        return f'<mark title="{{{variable}}}">{escape(value)}</mark>'


def tester_pane(tester: Tester, text: gr.Textbox, tab: gr.Tab) -> None:
    """Draw the pane and wire it. text: the editor's box."""
    running, timer = gr.Textbox("", visible=False), gr.Timer(PULSE_S, active=False)
    with gr.Column(elem_id="prompt-tester", elem_classes="card"):
        gr.HTML("<h3>On one file<small>Choose a file, or type its name</small></h3>", apply_default_css=False)
        file = gr.Dropdown(
            [], allow_custom_value=True, show_label=False, container=False, label="File", elem_id="try-file"
        )
        picture = gr.HTML(apply_default_css=False, elem_id="try-picture")
        preview = gr.HTML(apply_default_css=False, elem_id="prompt-preview")
        start = gr.Button("Try it", size="sm", elem_id="try-prompt")
        result = gr.HTML(view(None), apply_default_css=False, elem_id="try-result")
    in_background([text.change, file.change], tester.preview, [text, file], preview, mode="always_last")
    in_background(file.change, tester.picture, file, picture)
    in_background(tab.select, tester.refresh, [file, text], [file, picture, preview])
    outputs = [result, timer, start]
    on_action(start.click, tester.try_it, [text, file], [running, *outputs])
    in_background(timer.tick, tester.watch, running, outputs)
