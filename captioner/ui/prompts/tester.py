"""The pane beside the prompt editor: previews the prompt for one file, and tries it."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from captioner.config.prompts import expand, split_braces, split_variables, unknown_variables
from captioner.errors import CaptionerError, JobError
from captioner.formatting import plural, sendable, sentence
from captioner.jobs import events
from captioner.library.lookup import Entry
from captioner.media.words import fill_measured
from captioner.services import Services
from captioner.ui.compare.dialog import compare_dialog
from captioner.ui.format import escape, loading_text
from captioner.ui.gallery.grid import entry_id, find_entry
from captioner.ui.wiring import in_background, on_action
from captioner.values import MEASURED_VARIABLES, MediaFacts

MAX_FILES = 200
THUMBNAILS = "gradio_api/vcs/thumb"  # relative, since a proxy may serve the page below a path
NOTHING = "Compare with another prompt"
MEASURED_LATER = dict.fromkeys(MEASURED_VARIABLES, "measured when it is captioned")
EMPTY = {"trigger": "no trigger word", "existing": "no caption yet", **MEASURED_LATER}
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


def view_beside(trials: Sequence[Trial], other: str) -> str:
    """Return a trial, or two side by side as HTML. other: the name of the second one's prompt."""
    if len(trials) < 2:
        return view(trials[0])
    titles = ("This prompt", other)
    parts = (f"<div><h4>{escape(title)}</h4>{view(trial)}</div>" for title, trial in zip(titles, trials, strict=True))
    return f'<div class="beside">{"".join(parts)}</div>'


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
        parts[0::2] = [_mark_braces(part) for part in parts[0::2]]
        notes = "".join(f'<p class="preview-note">{escape(line)}</p>' for line in unknown_variables(text))
        return f'<p class="preview">{"".join(parts)}</p>{notes}'

    def picture(self, file: str | None) -> str:
        """Return the file's thumbnail as HTML."""
        entry = self._entry(file)
        if entry is None:
            return ""
        address = f"{THUMBNAILS}/{entry_id(self._services.library, entry.item)}.jpg?v={int(entry.item.modified_s)}"
        return f'<img src="{address}" alt="">'

    def list_others(self) -> dict[str, Any]:
        """Return the prompts to compare with, the user's own first."""
        prompts = sorted(self._services.prompts.list(), key=lambda prompt: prompt.builtin)
        return gr.update(choices=[(NOTHING, ""), *((prompt.name, prompt.name) for prompt in prompts)])

    def try_it(self, text: str, file: str | None, other: str | None = "") -> Sequence[Any]:
        """Caption the file with the text, and with the prompt of the name `other` if one is given.

        Return the trials as JSON text, their view, the timer, and the button.
        """
        try:
            entry = self._entry(file)
            if entry is None:
                raise JobError(self._advice())
            snapshot = self._services.events.snapshot()
            if snapshot.busy:
                raise JobError("a job is running; wait for it to end, or stop it")
            texts = [text, *([self._services.prompts.get(other).text] if other else [])]
            jobs = [self._services.try_prompt(entry.item.name, each) for each in texts]
        except CaptionerError as error:
            return ["", view(Trial(problem=str(error))), gr.Timer(active=False), gr.update(interactive=True)]
        running = json.dumps({"jobs": jobs, "cursor": snapshot.cursor, "other": other or ""})
        waiting = view_beside([Trial()] * len(jobs), other or "")
        return [running, waiting, gr.Timer(active=True), gr.update(interactive=False)]

    def watch(self, running: str) -> Sequence[Any]:
        """Return the view of the running trials, the timer, and the button."""
        was = json.loads(running)
        jobs, cursor = [int(job) for job in was["jobs"]], int(was["cursor"])
        if cursor > self._services.events.snapshot().cursor:
            trials = [Trial(problem="The app was restarted. Try again.")] * len(jobs)
        else:
            emitted = list(self._services.events.since(cursor))
            trials = [follow(emitted, job) for job in jobs]
        ended = all(trial.ended for trial in trials)
        return [view_beside(trials, str(was["other"])), gr.Timer(active=not ended), gr.update(interactive=ended)]

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
        if variable in MEASURED_VARIABLES:
            is_known = item.kind == "image" or (entry.duration_s if variable == "duration" else entry.measured)
            facts = MediaFacts(entry.duration_s or None, is_still=item.kind == "image", measured=entry.measured)
            value = fill_measured(value, facts) if is_known else ""
        if not value:
            return f'<mark class="no">{EMPTY.get(variable, "nothing")}</mark>'
        return f'<mark title="{{{variable}}}">{escape(value)}</mark>'


def _mark_braces(text: str) -> str:
    """Return text without variables as HTML, with words in braces marked."""
    parts = [escape(part) for part in split_braces(text)]
    parts[1::2] = [f'<mark class="unknown" title="Not a variable">{part}</mark>' for part in parts[1::2]]
    return "".join(parts)


def tester_pane(services: Services, text: gr.Textbox, tab: gr.Tab) -> None:
    """Draw the pane and wire it. text: the editor's box."""
    tester = Tester(services)
    running, timer = gr.Textbox("", visible=False), gr.Timer(PULSE_S, active=False)
    with gr.Column(elem_id="prompt-tester", elem_classes="card"):
        gr.HTML("<h3>On one file<small>Choose a file, or type its name</small></h3>", apply_default_css=False)
        file = gr.Dropdown(
            [], allow_custom_value=True, show_label=False, container=False, label="File", elem_id="try-file"
        )
        picture = gr.HTML(apply_default_css=False, elem_id="try-picture")
        preview = gr.HTML(apply_default_css=False, elem_id="prompt-preview")
        other = gr.Dropdown(
            [(NOTHING, "")], value="", allow_custom_value=True, show_label=False, container=False,
            label="Compare with", elem_id="try-other",
        )  # fmt: skip
        start = gr.Button("Try it", size="sm", elem_id="try-prompt")
        result = gr.HTML(view(None), apply_default_css=False, elem_id="try-result")
        compare_dialog(services)
    in_background([text.change, file.change], tester.preview, [text, file], preview, mode="always_last")
    in_background(file.change, tester.picture, file, picture)
    in_background(tab.select, tester.refresh, [file, text], [file, picture, preview])
    outputs = [result, timer, start]
    in_background(tab.select, tester.list_others, None, other)
    on_action(start.click, tester.try_it, [text, file, other], [running, *outputs])
    in_background(timer.tick, tester.watch, running, outputs)
