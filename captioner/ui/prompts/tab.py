"""The Prompts tab: the library as a list, the chosen prompt in an editor, and what comes of it on one file."""

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from captioner.config.prompts import VARIABLES, Prompt
from captioner.config.settings import Settings
from captioner.errors import PromptError
from captioner.formatting import plural
from captioner.services import Services
from captioner.ui.dialogs import confirm_button
from captioner.ui.format import escape, file_text
from captioner.ui.prompts.tester import Tester, tester_pane
from captioner.ui.wiring import KEEP_EVERY_EVENT, errors_as_toasts, in_background, on_action

REASONS_SHOWN = 5
SNIPPET_LENGTH = 90
_JS = file_text("prompts/tab.js")
LIST_TEMPLATE = (
    '<button type="button" class="plain new" data-pick="">New prompt</button><div class="list">${value}</div>'
    '<div popover class="question"><h4>Give up what you typed?</h4><p class="about">'
    "The prompt in the editor was changed and not saved.</p>"
    '<div class="answers"><button type="button" class="no plain">Keep editing</button>'
    '<button type="button" class="yes plain danger">Discard</button></div></div>'
)
LIST_JS = f"{_JS}\nlisten(element, trigger); // fires 'pick'"
INSERT_JS = (
    f"{_JS}\nelement.addEventListener('click', event => {{ const hit = event.target.closest('[data-insert]');\n"
    "if (hit) insert(hit.dataset.insert); });"
)


def script(function: str) -> str:
    """One function of prompts.js, as Gradio runs it."""
    return f"(...values) => {{ {_JS}\nreturn {function}(...values); }}"


class PromptHandlers:
    """The handlers. `chosen` is the name of the prompt in the editor, "" for a new one; `before` is the JSON of what
    the editor was filled with. Those that fill the editor return the outputs of the tab, in their order."""

    def __init__(self, services: Services) -> None:
        self.services = services

    @errors_as_toasts
    def choose(self, chosen: str, search: str = "") -> Sequence[Any]:
        """The editor and the list. For a prompt that is gone, the one in use."""
        prompts, used = self.services.prompts.list(), self.services.settings.prompt_name
        prompt = next((p for p in prompts if p.name.casefold() == (chosen or used).casefold()), prompts[0])
        return self._editor(prompt, search)

    @errors_as_toasts
    def pick(self, search: str, event: gr.EventData) -> Sequence[Any]:
        """Another prompt, or an empty editor for a new one."""
        name = str(event.id)
        return self.choose(name, search) if name else self._editor(Prompt("", ""), search)

    def list(self, chosen: str, search: str = "") -> str:
        """The list alone, for the pulse too: what is wrong stands in it, as a toast would come every second.

        No prompt of it is in use while the setting `prompt` holds a text.
        """
        try:
            return prompt_list(_found(self.services.prompts.list(), search), chosen, self._used())
        except PromptError as error:
            return f"<p>{escape(error)}</p>"

    @errors_as_toasts
    def save(self, chosen: str, before: str, name: str, text: str, search: str = "") -> Sequence[Any]:
        """Create or change a prompt, its name included."""
        return self._show(self._keep(chosen, before, name, text), "Saved", search)

    @errors_as_toasts
    def use(self, chosen: str, before: str, name: str, text: str, search: str = "") -> Sequence[Any]:
        """Make it the prompt of the next job; the setting `prompt` would win over it, so that is cleared.

        What the editor holds and the library does not is saved first, be it new, edited or deleted by another browser.
        """
        if self._find(chosen) is None or _was(before) != (name, text):
            chosen = self._keep(chosen, before, name, text)
        name = self.services.prompts.get(chosen).name
        self.services.change_settings({"prompt_name": name, "prompt": ""})
        return self._show(name, "The next job uses", search)

    @errors_as_toasts
    def duplicate(self, chosen: str, before: str, text: str, search: str = "") -> Sequence[Any]:
        """A copy, with the text of the editor if that was changed: the prompt itself keeps the saved one."""
        if not chosen:
            raise PromptError("save the new prompt before you duplicate it")
        copy = self.services.prompts.duplicate(chosen)
        if text != _was(before)[1] and text.strip():
            copy = self.services.prompts.update(copy.name, text)
        return self._show(copy.name, "Made", search)

    @errors_as_toasts
    def delete(self, chosen: str, search: str = "") -> Sequence[Any]:
        """Shows the prompt in use instead, which becomes the default if it was this."""
        self.services.prompts.delete(chosen)
        if chosen.casefold() == self.services.settings.prompt_name.casefold():
            self.services.change_settings({"prompt_name": Settings.model_fields["prompt_name"].default})
        _say(chosen, "Deleted")
        return self.choose("", search)

    @errors_as_toasts
    def import_file(self, data: bytes | None, chosen: str, search: str) -> str:
        """Add the prompts of a file; returns the list."""
        added, skipped = self.services.prompts.import_json(data or b"")
        gr.Info(f"{plural(len(added), 'prompt')} added.", duration=4)
        if skipped:
            reasons = [html.escape(reason) for reason in skipped[:REASONS_SHOWN]]
            more = len(skipped) - len(reasons)
            reasons += [f"and {more:,} more"] * bool(more)
            gr.Warning("Left out: " + "<br>".join(reasons), duration=10)
        return self.list(chosen, search)

    @errors_as_toasts
    def export(self) -> str:
        """The user's own prompts as JSON, "" if there are none."""
        if all(prompt.builtin for prompt in self.services.prompts.list()):
            gr.Warning("There are no prompts of your own to export yet.", duration=4)
            return ""
        return self.services.prompts.export_json()

    def _editor(self, prompt: Prompt, search: str) -> Sequence[Any]:
        own = not prompt.builtin
        before = json.dumps({"name": prompt.name, "text": prompt.text})
        current = prompt.name.casefold() == self._used().casefold()
        return [
            prompt.name,
            before,
            self.list(prompt.name, search),
            gr.update(value=prompt.name, interactive=own),
            gr.update(value=prompt.text, interactive=own),
            gr.update(visible=prompt.builtin),
            gr.update(visible=own),
            gr.update(interactive=bool(prompt.name)),
            gr.update(value="Current" if current else "Set as current", interactive=not current),
            gr.update(visible=own and bool(prompt.name), about=prompt.name),
        ]

    def _used(self) -> str:
        settings = self.services.settings
        return "" if settings.prompt else settings.prompt_name

    def _keep(self, chosen: str, before: str, name: str, text: str) -> str:
        """A prompt that another browser deleted or renamed is made anew."""
        library, was, there = self.services.prompts, _was(before), self._find(chosen)
        if there is None:
            return library.create(name, text).name
        if there.text != was[1].strip():
            raise PromptError("the prompt was changed in another browser; Duplicate keeps your text as a copy")
        if (name, text) == (chosen, was[1]):
            return name
        renamed = library.replace(chosen, None if name == chosen else name, None if text == was[1] else text).name
        if chosen.casefold() == self.services.settings.prompt_name.casefold():
            self.services.change_settings({"prompt_name": renamed})
        return renamed

    def _find(self, name: str) -> Prompt | None:
        return next((p for p in self.services.prompts.list() if p.name.casefold() == name.casefold()), None)

    def _show(self, name: str, what: str, search: str) -> Sequence[Any]:
        _say(name, what)
        return self.choose(name, search)


def _say(name: str, what: str) -> None:
    gr.Info(f"{what} the prompt “{html.escape(name)}”.", duration=3)


def _was(before: str) -> tuple[str, str]:
    values = json.loads(before or "{}")
    return values.get("name", ""), values.get("text", "")


def _found(prompts: Sequence[Prompt], search: str) -> Sequence[Prompt]:
    words = search.casefold().split()
    return [p for p in prompts if all(word in f"{p.name}\n{p.text}".casefold() for word in words)]


def prompt_list(prompts: Sequence[Prompt], chosen: str, used: str) -> str:
    """The list to choose from; names are compared whatever their case."""
    rows = []
    for prompt in prompts:
        name = prompt.name.casefold()
        badge = "current" if name == used.casefold() else "built in" if prompt.builtin else ""
        rows.append(
            f'<button type="button" data-pick="{escape(prompt.name)}" '
            f'aria-pressed="{str(name == chosen.casefold()).lower()}"><b>{escape(prompt.name)}</b>'
            f'<em data-badge="{badge}">{badge}</em><span>{escape(prompt.text[:SNIPPET_LENGTH])}</span></button>'
        )
    return "".join(rows) or "<p>No prompt holds these words.</p>"


@dataclass(frozen=True)
class PromptsTab:
    """Its components that others need."""

    chosen: gr.Textbox
    search: gr.Textbox
    listing: gr.HTML  # the pulse sets it to `handlers.list(chosen, search)`
    outputs: list[gr.components.Component]


def prompts_tab(handlers: PromptHandlers, tab: gr.Tab) -> PromptsTab:
    """Draw the tab and wire it."""
    chosen, before = gr.Textbox("", visible="hidden"), gr.Textbox("", visible="hidden")
    exported = gr.Textbox("", visible="hidden")
    with gr.Row(elem_id="prompts"):
        with gr.Column(elem_id="prompt-side", elem_classes="card"):
            search = gr.Textbox(
                "", placeholder="Search prompts", show_label=False, container=False, elem_id="find-prompt"
            )
            listing = gr.HTML(
                html_template=LIST_TEMPLATE, js_on_load=LIST_JS, apply_default_css=False, elem_id="prompt-list"
            )
            with gr.Row(elem_id="prompt-files"):
                upload = gr.UploadButton("Import", size="sm", type="binary", file_types=[".json"], min_width=60)
                export = gr.Button("Export", size="sm", min_width=60, elem_id="export-prompts")
        with gr.Column(elem_id="prompt-editor", elem_classes="card"):
            with gr.Row(elem_id="prompt-buttons"):
                name = gr.Textbox(
                    "",
                    label="Name",
                    placeholder="Name of the prompt",
                    show_label=False,
                    container=False,
                    max_lines=1,
                    elem_id="prompt-name",
                )
                delete = confirm_button("Delete", "Delete this prompt?", "Delete", elem_id="delete-prompt", danger=True)
                duplicate = gr.Button("Duplicate", size="sm", min_width=80, elem_id="duplicate-prompt")
                use = gr.Button("Set as current", size="sm", min_width=110, elem_id="use-prompt")
                save = gr.Button("Save", variant="primary", size="sm", min_width=70, elem_id="save-prompt")
            hint = gr.HTML(
                '<p class="locked">A built-in prompt stays as it is. Duplicate it to edit the copy.</p>',
                apply_default_css=False,
            )
            text = gr.Textbox(
                "",
                label="Instruction to the model",
                placeholder="Tell the model what to write.",
                lines=14,
                max_lines=14,
                show_label=False,
                container=False,
                elem_id="prompt-text",
            )
            gr.HTML(_variables(), js_on_load=INSERT_JS, apply_default_css=False, elem_id="variables")
        tester_pane(Tester(handlers.services), text, tab)
    outputs = [chosen, before, listing, name, text, hint, save, duplicate, use, delete]
    edited = [before, name, text]
    for event, handler, inputs in (
        (listing.pick, handlers.pick, [search]),
        (save.click, handlers.save, [chosen, *edited, search]),
        (use.click, handlers.use, [chosen, *edited, search]),
        (duplicate.click, handlers.duplicate, [chosen, before, text, search]),
        (delete.confirm, handlers.delete, [chosen, search]),
    ):
        filled = on_action(event, handler, inputs, outputs, js=script("hold"))
        for ended in (filled.success, filled.failure):  # `then` alone does not run after a failure
            in_background(ended, None, js=script("release"))
    in_background(search.change, handlers.list, [chosen, search], listing, mode="always_last")
    in_background([part.change for part in edited], None, edited, js=script("mark"), mode=KEEP_EVERY_EVENT)
    on_action(upload.upload, handlers.import_file, [upload, chosen, search], listing)
    ready = on_action(export.click, handlers.export, None, exported)
    in_background(ready.success, None, exported, js=script("download"))
    return PromptsTab(chosen, search, listing, outputs)


def _variables() -> str:
    rows = "".join(
        f'<button type="button" class="plain" data-insert="{name}" title="Insert it at the cursor">'
        f"{{{name}}}</button><span>{html.escape(meaning)}</span>"
        for name, meaning in VARIABLES.items()
    )
    return f'<div class="variables">{rows}</div>'
