"""The handlers of the Prompts tab, and its list as HTML."""

import json
from collections.abc import Sequence
from typing import Any

import gradio as gr

from captioner.config.prompts import Prompt
from captioner.config.settings import Settings
from captioner.errors import PromptError
from captioner.formatting import plural
from captioner.services import Services
from captioner.ui.format import escape
from captioner.ui.wiring import errors_as_toasts

REASONS_SHOWN = 5
SNIPPET_LENGTH = 90


class PromptHandlers:
    """The handlers; those that fill the editor return the values of `PromptsTab.outputs`.

    chosen: the prompt in the editor, "" for a new one. before: the JSON of what the editor was filled with.
    """

    def __init__(self, services: Services) -> None:
        self.services = services

    @errors_as_toasts
    def choose(self, chosen: str, search: str = "") -> Sequence[Any]:
        """Fill the editor with a prompt, or with the current one if it does not exist."""
        prompt = self._find(chosen or self.services.prompt_name) or self.services.prompts.list()[0]
        return self._fill(prompt, search)

    @errors_as_toasts
    def restore(self, kept: str) -> Sequence[Any]:
        """Return the search and fill the editor, both as they were when the page was left, with what was not saved.

        kept: JSON text of tab.js, or "" for the current prompt.
        """
        try:
            was = json.loads(kept)
            search, edit = str(was["search"]), (str(was["name"]), str(was["text"]))
            before = str(was["filled"]["name"]), str(was["filled"]["text"])
        except (ValueError, TypeError, KeyError):
            return ["", *self.choose("")]
        prompt = self._find(before[0])
        if edit == before and before[0]:
            return [search, *self.choose(before[0], search)]
        filled = [*self._fill(prompt or Prompt("", ""), search)]
        if prompt is None or not prompt.builtin:
            filled[1] = json.dumps({"name": before[0], "text": before[1]})
            filled[3:5] = ({**box, "value": value} for box, value in zip(filled[3:5], edit, strict=True))
        return [search, *filled]

    @errors_as_toasts
    def pick(self, search: str, event: gr.EventData) -> Sequence[Any]:
        """Fill the editor with the prompt that was clicked, or empty it for a new one."""
        name = str(event.id)
        return self.choose(name, search) if name else self._fill(Prompt("", ""), search)

    def list_prompts(self, chosen: str, search: str = "") -> str:
        """Return the list as HTML, or the error: it runs every second, and toasts would pile up."""
        try:
            return prompt_list(_matching(self.services.prompts.list(), search), chosen, self._current())
        except PromptError as error:
            return f"<p>{escape(error)}</p>"

    @errors_as_toasts
    def save(self, chosen: str, before: str, name: str, text: str, search: str = "") -> Sequence[Any]:
        """Create a prompt, or change its name and text."""
        return self._show("Saved", self._store(chosen, before, name, text), search)

    @errors_as_toasts
    def use(self, chosen: str, before: str, name: str, text: str, search: str = "") -> Sequence[Any]:
        """Save the prompt in the editor if it was changed, and make it current (the setting `prompt` is cleared)."""
        if self._find(chosen) is None or _loaded(before) != (name, text):
            chosen = self._store(chosen, before, name, text)
        name = self.services.prompts.get(chosen).name
        self.services.change_settings({"prompt_name": name, "prompt": ""})
        return self._show("The next job uses", name, search)

    @errors_as_toasts
    def duplicate(self, chosen: str, before: str, text: str, search: str = "") -> Sequence[Any]:
        """Copy the prompt with the editor's text; the prompt itself keeps its saved text."""
        if not chosen:
            raise PromptError("save the new prompt before you duplicate it")
        copy = self.services.prompts.duplicate(chosen)
        if text != _loaded(before)[1] and text.strip():
            copy = self.services.prompts.replace(copy.name, None, text)
        return self._show("Created", copy.name, search)

    @errors_as_toasts
    def delete(self, chosen: str, search: str = "") -> Sequence[Any]:
        """Delete a prompt and show the current one, which becomes the default if it was the deleted one."""
        self.services.prompts.delete(chosen)
        if chosen.casefold() == self.services.settings.prompt_name.casefold():
            self.services.change_settings({"prompt_name": Settings.model_fields["prompt_name"].default})
        _notify("Deleted", chosen)
        return self.choose("", search)

    @errors_as_toasts
    def import_file(self, data: bytes | None, chosen: str, search: str) -> str:
        """Add the prompts of a JSON file and return the list."""
        added, skipped = self.services.prompts.import_json(data or b"")
        names = _some([f"“{prompt.name}”" for prompt in added])
        gr.Info(f"{plural(len(added), 'prompt')} added{': ' + ', '.join(names) if names else ''}.", duration=8)
        if skipped:
            gr.Warning("Not imported: " + "<br>".join(_some(skipped)), duration=10)
        return self.list_prompts(chosen, search)

    @errors_as_toasts
    def export(self) -> str:
        """Return the user's own prompts as JSON, "" if there are none."""
        if all(prompt.builtin for prompt in self.services.prompts.list()):
            gr.Warning("There are no prompts of your own to export yet.", duration=4)
            return ""
        return self.services.prompts.export_json()

    def _fill(self, prompt: Prompt, search: str) -> Sequence[Any]:
        own = not prompt.builtin
        before = json.dumps({"name": prompt.name, "text": prompt.text})
        current = prompt.name.casefold() == self._current().casefold()
        return [
            prompt.name,
            before,
            self.list_prompts(prompt.name, search),
            gr.update(value=prompt.name, interactive=own),
            gr.update(value=prompt.text, interactive=own),
            gr.update(visible=prompt.builtin),
            gr.update(visible=own),
            gr.update(interactive=bool(prompt.name)),
            gr.update(value="Current" if current else "Set as current", interactive=not current),
            gr.update(visible=own and bool(prompt.name), about=prompt.name),
        ]

    def _current(self) -> str:
        return (
            "" if self.services.settings.prompt else self.services.prompt_name
        )  # a text in `prompt` wins over the library

    def _store(self, chosen: str, before: str, name: str, text: str) -> str:
        """Save the prompt and return its name. Create it again if another browser deleted or renamed it."""
        library, (_, old_text), stored = self.services.prompts, _loaded(before), self._find(chosen)
        if stored is None:
            return library.create(name, text).name
        if stored.text != old_text.strip():
            raise PromptError("the prompt was changed in another browser; click Duplicate to keep your text as a copy")
        if (name, text) == (chosen, old_text):
            return name
        renamed = library.replace(chosen, None if name == chosen else name, None if text == old_text else text).name
        if chosen.casefold() == self.services.settings.prompt_name.casefold():
            self.services.change_settings({"prompt_name": renamed})
        return renamed

    def _find(self, name: str) -> Prompt | None:
        return next((p for p in self.services.prompts.list() if p.name.casefold() == name.casefold()), None)

    def _show(self, action: str, name: str, search: str) -> Sequence[Any]:
        _notify(action, name)
        return self.choose(name, search)


def _some(texts: Sequence[str]) -> list[str]:
    """Return the first texts as HTML, and how many more there are."""
    more = len(texts) - REASONS_SHOWN
    return [escape(text) for text in texts[:REASONS_SHOWN]] + [f"and {more:,} more"] * (more > 0)


def _notify(action: str, name: str) -> None:
    gr.Info(f"{action} the prompt “{escape(name)}”.", duration=3)


def _loaded(before: str) -> tuple[str, str]:
    values = json.loads(before or "{}")
    return values.get("name", ""), values.get("text", "")


def _matching(prompts: Sequence[Prompt], search: str) -> Sequence[Prompt]:
    words, own_first = search.casefold().split(), sorted(prompts, key=lambda prompt: prompt.builtin)
    return [p for p in own_first if all(word in f"{p.name}\n{p.text}".casefold() for word in words)]


def prompt_list(prompts: Sequence[Prompt], chosen: str, current: str) -> str:
    """Return the list to choose from as HTML; names are compared regardless of case."""
    rows = []
    for prompt in prompts:
        name = prompt.name.casefold()
        badge = "current" if name == current.casefold() else "built in" if prompt.builtin else ""
        rows.append(
            f'<button type="button" data-pick="{escape(prompt.name)}" '
            f'aria-pressed="{str(name == chosen.casefold()).lower()}"><b>{escape(prompt.name)}</b>'
            f'<em data-badge="{badge}">{badge}</em><span>{escape(prompt.text[:SNIPPET_LENGTH])}</span></button>'
        )
    return "".join(rows) or "<p>No matching prompts</p>"
