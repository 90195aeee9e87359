"""The Prompts tab: the library as a list, and the chosen prompt to use, edit or copy."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from captioner.errors import PromptError
from captioner.services import Services
from captioner.settings import Settings
from captioner.ui import views
from captioner.ui.wiring import ACTION, PICK_JS, PLUMBING, shown

CONFIRM_JS = "name => [name, confirm(`Delete the prompt “${name}”?`) ? name : '']"


class PromptDesk:
    """The handlers. `chosen` is the name of the prompt in the editor, "" for a new one."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @shown
    def choose(self, chosen: str) -> Sequence[Any]:
        """Everything in the tab, in the order of its outputs. For a prompt that is gone, the one in use."""
        prompts, used = self._services.prompts.list(), self._services.settings.prompt_name
        prompt = next((p for p in prompts if p.name.casefold() == (chosen or used).casefold()), prompts[0])
        own = not prompt.builtin
        return [
            prompt.name,
            self.list(prompt.name),
            gr.update(value=prompt.name, interactive=own),
            gr.update(value=prompt.text, interactive=own),
            gr.update(interactive=own),
            gr.update(interactive=own),
        ]

    @shown
    def list(self, chosen: str) -> str:
        """The list alone. No prompt of it is in use while the setting `prompt` holds a text."""
        settings = self._services.settings
        return views.prompts(self._services.prompts.list(), chosen, "" if settings.prompt else settings.prompt_name)

    @shown
    def pick(self, event: gr.EventData) -> str:
        return str(event.id)

    @shown
    def begin(self) -> Sequence[Any]:
        """An empty editor for a new prompt."""
        empty = gr.update(value="", interactive=True)
        on, off = gr.update(interactive=True), gr.update(interactive=False)
        return ["", self.list(""), empty, empty, on, off]

    @shown
    def save(self, chosen: str, name: str, text: str) -> str:
        """Create or change a prompt, its name included; returns its name."""
        if not chosen:
            return self._say(self._services.prompts.create(name, text).name, "Saved")
        self._services.prompts.update(chosen, text)
        renamed = self._services.prompts.rename(chosen, name).name
        if chosen.casefold() == self._services.settings.prompt_name.casefold():
            self._services.change_settings({"prompt_name": renamed})
        return self._say(renamed, "Saved")

    @shown
    def duplicate(self, chosen: str) -> str:
        if not chosen:
            raise PromptError("save the new prompt before you duplicate it")
        return self._say(self._services.prompts.duplicate(chosen).name, "Made")

    @shown
    def delete(self, chosen: str, confirmed: str) -> str:
        """Returns the name of the prompt to show instead: the one in use, which becomes the default if it was this."""
        if not confirmed:
            return chosen
        self._services.prompts.delete(chosen)
        if chosen.casefold() == self._services.settings.prompt_name.casefold():
            self._services.change_settings({"prompt_name": Settings.model_fields["prompt_name"].default})
        self._say(chosen, "Deleted")
        return self._services.settings.prompt_name

    @shown
    def use(self, chosen: str) -> str:
        """Make it the prompt of the next job; the setting `prompt` would win over it, so that is cleared."""
        name = self._services.prompts.get(chosen).name
        self._services.change_settings({"prompt_name": name, "prompt": ""})
        return self._say(name, "The next job uses")

    def _say(self, name: str, what: str) -> str:
        gr.Info(f"{what} the prompt “{html.escape(name)}”.", duration=3)
        return name


@dataclass(frozen=True)
class PromptsTab:
    """Its components that others need."""

    chosen: gr.Textbox
    outputs: list[gr.components.Component]


def prompts_tab(desk: PromptDesk, tab: gr.Tab) -> PromptsTab:
    """Draw the tab and wire it."""
    chosen = gr.Textbox("", visible=False)
    with gr.Row(elem_id="prompt-panes"):
        with gr.Column(min_width=260, scale=1, elem_id="prompt-side", elem_classes="card"):
            listing = gr.HTML(apply_default_css=False, js_on_load=PICK_JS, elem_id="prompt-list")
            new = gr.Button("New prompt", size="sm", elem_id="new-prompt")
        with gr.Column(min_width=400, scale=3, elem_classes="card"):
            name = gr.Textbox(label="Name", max_lines=1, elem_id="prompt-name")
            text = gr.Textbox(label="Instruction to the model", lines=9, max_lines=18, elem_id="prompt-text")
            with gr.Row(elem_id="prompt-buttons"):
                use = gr.Button("Use this prompt", variant="primary", size="sm", elem_id="use-prompt")
                save = gr.Button("Save", size="sm", elem_id="save-prompt")
                duplicate = gr.Button("Duplicate", size="sm", elem_id="duplicate-prompt")
                delete = gr.Button("Delete", size="sm", variant="stop", elem_id="delete-prompt")
            gr.HTML(
                '<p class="hint">Built-in prompts stay as they are: duplicate one to change it. Save also renames.</p>',
                apply_default_css=False,
            )
    outputs = [chosen, listing, name, text, save, delete]
    new.click(desk.begin, None, outputs, **ACTION)
    acting = (
        listing.pick(desk.pick, None, chosen, **ACTION),
        save.click(desk.save, [chosen, name, text], chosen, **ACTION),
        duplicate.click(desk.duplicate, chosen, chosen, **ACTION),
        delete.click(desk.delete, [chosen, chosen], chosen, js=CONFIRM_JS, **ACTION),
        use.click(desk.use, chosen, chosen, **ACTION),
    )
    for event in acting:
        event.success(desk.choose, chosen, outputs, **PLUMBING)
    tab.select(desk.list, chosen, listing, **PLUMBING)  # not the editor: it may hold what is not saved yet
    return PromptsTab(chosen, outputs)
