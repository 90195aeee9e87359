"""The pane beside the prompt editor: the prompt as one file would fill it in, and what the model makes of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from captioner.config.prompts import expand, split_variables
from captioner.errors import CaptionerError, JobError
from captioner.library.lookup import Entry
from captioner.services import Services
from captioner.ui.format import escape
from captioner.ui.gallery.grid import entry_id, find_entry
from captioner.ui.prompts import trial as tries
from captioner.ui.prompts.trial import Trial
from captioner.ui.wiring import in_background, on_action

FILES_SHOWN = 200
PICTURES = "gradio_api/vcs/thumb"  # relative to the page, which may stand below a path of a proxy
EMPTY = {"trigger": "no trigger word", "existing": "no caption yet"}
PULSE_S = 0.5  # while a try goes on


class Tester:
    """The handlers. `file` is an id of the library, or a name that was typed: the list holds the first files alone."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def refresh(self, file: str | None, text: str) -> Sequence[Any]:
        """The files to choose from, of which the chosen one stays chosen, its picture, and the preview."""
        library = self._services.library
        first = library.items[:FILES_SHOWN]
        entry = self._entry(file) or (library.lookup.entry(first[0]) if first else None)
        choices = [(shown_name(item.name), entry_id(library, item)) for item in first]
        chosen = entry_id(library, entry.item) if entry else None
        if entry and chosen not in dict(choices).values():
            choices.append((shown_name(entry.item.name), chosen))
        files = gr.update(choices=choices, value=chosen, interactive=bool(choices))
        return [files, self.picture(chosen), self.preview(text, chosen)]

    def preview(self, text: str, file: str | None) -> str:
        """The prompt as the model would read it for this file."""
        entry = self._entry(file)
        if entry is None:
            return f'<p class="preview none">{self._advice()}</p>'
        parts = split_variables(text.strip())
        parts[1::2] = [self._mark(name, entry) for name in parts[1::2]]
        parts[0::2] = [escape(part) for part in parts[0::2]]
        return f'<p class="preview">{"".join(parts)}</p>'

    def picture(self, file: str | None) -> str:
        entry = self._entry(file)
        if entry is None:
            return ""
        address = f"{PICTURES}/{entry_id(self._services.library, entry.item)}.jpg?v={int(entry.item.modified_s)}"
        return f'<img src="{address}" alt="">'

    def try_it(self, text: str, file: str | None) -> Sequence[Any]:
        """Caption the file with this text. Returns the try as "<job> <cursor>", the result, and the timer."""
        try:
            entry = self._entry(file)
            if entry is None:
                raise JobError(self._advice())
            if tries.is_busy(self._services.events.snapshot()):
                raise JobError("a job is running; try the prompt when it has ended, or stop it")
            cursor = self._services.events.snapshot().cursor
            job = self._services.try_prompt(entry.item.name, text)
        except CaptionerError as error:
            problem = f"{str(error)[0].upper()}{str(error)[1:]}"
            return ["", tries.view(Trial(problem=problem)), gr.Timer(active=False), gr.update(interactive=True)]
        return [f"{job} {cursor}", tries.view(Trial()), gr.Timer(active=True), gr.update(interactive=False)]

    def watch(self, trying: str) -> Sequence[Any]:
        """How the try goes on: the result, the timer, the button."""
        job, cursor = (int(number) for number in trying.split())
        if cursor > self._services.events.snapshot().cursor:
            trial = Trial(problem="The app was started anew; try it again.")
        else:
            trial = tries.follow(self._services.events.since(cursor), job)
        return [tries.view(trial), gr.Timer(active=not trial.ended), gr.update(interactive=trial.ended)]

    def _advice(self) -> str:
        if self._services.library.items:
            return "Choose a file from the list, or type the name of one."
        return "Open a folder in the Gallery to see the prompt filled in for a file, and to try it."

    def _entry(self, file: str | None) -> Entry | None:
        library, text = self._services.library, file or ""
        return find_entry(library, text) or library.lookup.find(text.strip())

    def _mark(self, variable: str, entry: Entry) -> str:
        item, trigger = entry.item, self._services.settings.trigger_word
        path = Path(item.filename)
        value = expand(
            f"{{{variable}}}", name=path.stem, folder=item.folder.name, trigger=trigger, existing=lambda: entry.text
        )
        if not value:
            return f'<mark class="no">{EMPTY.get(variable, "nothing")}</mark>'
        return f'<mark title="{{{variable}}}">{escape(value)}</mark>'


def shown_name(name: str) -> str:
    """A file name as text that can be sent."""
    return name.encode("utf-8", "replace").decode()


def tester_pane(tester: Tester, text: gr.Textbox, tab: gr.Tab) -> None:
    """Draw the pane and wire it. `text` is the box with the prompt."""
    trying, timer = gr.Textbox("", visible=False), gr.Timer(PULSE_S, active=False)
    with gr.Column(elem_id="prompt-tester", elem_classes="card"):
        gr.HTML("<h3>On one file<small>Choose it, or type its name</small></h3>", apply_default_css=False)
        file = gr.Dropdown(
            [], allow_custom_value=True, label="File", show_label=False, container=False, elem_id="try-file"
        )
        picture = gr.HTML(apply_default_css=False, elem_id="try-picture")
        preview = gr.HTML(apply_default_css=False, elem_id="prompt-preview")
        start = gr.Button("Try it", size="sm", elem_id="try-prompt")
        result = gr.HTML(tries.view(None), apply_default_css=False, elem_id="try-result")
    in_background([text.change, file.change], tester.preview, [text, file], preview, mode="always_last")
    in_background(file.change, tester.picture, file, picture)
    in_background(tab.select, tester.refresh, [file, text], [file, picture, preview])
    moving = [result, timer, start]
    on_action(start.click, tester.try_it, [text, file], [trying, *moving])
    in_background(timer.tick, tester.watch, trying, moving)
