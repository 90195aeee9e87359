"""The Settings tab: a form over the fields of Settings, shared by all browsers, and the state of the model."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.events import Dependency

from captioner.config.settings import AUTO, problems
from captioner.dataset.targets import target
from captioner.errors import CaptionerError
from captioner.formatting import sentence
from captioner.jobs.progress import Progress
from captioner.services import Services
from captioner.system.resources import largest_vram_gb, nvidia_gpus
from captioner.ui import scripts
from captioner.ui.model_status import ModelWatch
from captioner.ui.settings.fields import FIELDS, to_control
from captioner.ui.settings.markup import form_markup
from captioner.ui.settings.model import model_note, model_report, model_state
from captioner.ui.wiring import KEEP_EVERY_EVENT, errors_as_toasts, in_background, on_action

SAMPLING = ("temperature", "top_p", "top_k", "repetition_penalty")  # empty means the model's own value
ELSEWHERE = ("endpoint", "endpoint_key", "ray")
AT_THE_START = "This can be changed only at the machine itself, with CAPTIONER_{} when the app starts."
MODEL_HINT = "Choose a preset, or enter a Hub id such as owner/name or a model folder."
EVENTS = ("save", "load_model", "unload_model", "reset", "describe")


class SettingsForm:
    """The handlers. Events bring `changes`, the fields whose values differ from the settings that were sent last.

    The property `now` of the form holds the settings; it fills every field that a person has not changed since.
    """

    def __init__(self, services: Services, remote: bool = False) -> None:
        """remote: browsers are on other machines, so they may not choose where frames and keys are sent."""
        self._services, self._remote, self._model = services, remote, ModelWatch(services)

    def values(self) -> dict[str, Any]:
        """Return the settings as their controls show them, in the order of FIELDS."""
        return {name: to_control(getattr(self._services.settings, name)) for name in FIELDS}

    @errors_as_toasts
    def save(self, event: gr.EventData) -> dict[str, Any]:
        """Save the changed fields, or nothing if any is wrong. Return the new `answer` of the form."""
        return gr.update(answer=self._save(event))

    @errors_as_toasts
    def load(self, event: gr.EventData) -> dict[str, Any]:
        """Save the changed fields and load the model, unless any field is wrong."""
        answer = self._save(event)
        if not answer["wrong"]:
            self._services.load()
        return gr.update(answer=answer)

    @errors_as_toasts
    def unload(self) -> None:
        self._services.unload()

    @errors_as_toasts
    def reset(self, event: gr.EventData) -> dict[str, Any]:
        """Reset all settings. The new `answer` of the form fills changed fields, too."""
        self._services.reset_settings()
        gr.Info("All settings are back at their defaults.", duration=3)
        return gr.update(answer={"number": event.number, "now": self.values(), "wrong": {}, "all": True})

    def describe(self, event: gr.EventData) -> dict[str, Any]:
        """Return the note about the model in the form, its sampling values and the event's key, as the new `about`."""
        name, quantization = str(event.model or "").strip(), event.quantization or "none"
        try:
            preset = self._services.preset(name)
        except CaptionerError:
            return gr.update(about={"key": event.key, "note": '<p class="note">Unknown model</p>', "sampling": {}})
        note = model_note(preset, quantization, largest_vram_gb(), automatic=name == "auto")
        sampling = {field: f"auto ({getattr(preset, field):g})" for field in SAMPLING}
        return gr.update(about={"key": event.key, "note": note, "sampling": sampling})

    def render(self, progress: Progress) -> Sequence[Any]:
        """Return the values of `SettingsTab.outputs`, in their order."""
        try:
            prompts = [prompt.name for prompt in self._services.prompts.list()]
        except CaptionerError:
            prompts = []
        shown: dict[str, Any] = {
            "now": json.dumps(self.values()),
            "prompts": prompts,
            "state": model_state(self._model.status(progress)),
            "report": model_report(progress),
            "may_load": not progress.busy,
            "may_unload": bool(progress.replicas) and not progress.busy,
        }
        return [gr.update(**shown)]

    def _save(self, event: gr.EventData) -> dict[str, Any]:
        changes = {name: value for name, value in dict(event.changes).items() if name in FIELDS}
        wrong = self._problems(changes)
        if changes and not wrong:
            self._services.change_settings(changes)
        sent = {} if wrong else changes
        return {"number": event.number, "now": self.values(), "sent": sent, "wrong": wrong}

    def _problems(self, changes: Mapping[str, Any]) -> dict[str, str]:
        wrong = {name: sentence(text) for name, text in problems(changes).items()}
        if self._remote:
            wrong |= {name: AT_THE_START.format(name.upper()) for name in ELSEWHERE if name in changes}
        if changes.get("model") and "model" not in wrong:
            try:
                self._services.preset(str(changes["model"]))
            except CaptionerError:
                wrong["model"] = MODEL_HINT
        if changes.get("prompt_name") not in (None, AUTO) and "prompt_name" not in wrong:
            try:
                self._services.prompts.get(str(changes["prompt_name"]))
            except CaptionerError:
                wrong["prompt_name"] = "The library has no prompt of this name."
        if changes.get("target") and "target" not in wrong:
            try:
                target(str(changes["target"]))
            except CaptionerError as error:
                wrong["target"] = sentence(str(error))
        return wrong


@dataclass(frozen=True)
class SettingsTab:
    """The components of the tab that the page needs."""

    outputs: Sequence[gr.components.Component]  # see SettingsForm.render
    refreshing: Sequence[Dependency]  # the page is to be refreshed after these events


def settings_tab(form: SettingsForm) -> SettingsTab:
    """Draw the tab, which is one component, and wire it."""
    devices = ["auto", "cpu", *(f"cuda:{index}" for index in range(len(nvidia_gpus())))]
    empty: dict[str, Any] = {"now": "", "prompts": [], "state": "", "report": "", "answer": {}, "about": {}}
    html = gr.HTML(
        "",
        html_template=form_markup(devices),
        js_on_load=scripts.on_load("settings/tab.js", events=EVENTS),
        apply_default_css=False,
        elem_id="settings",
        may_load=False,
        may_unload=False,
        **empty,
    )
    in_background(html.describe, form.describe, None, html, mode="multiple")
    acting = [
        on_action(event, handler, None, html, mode=KEEP_EVERY_EVENT)
        for event, handler in ((html.save, form.save), (html.load_model, form.load), (html.reset, form.reset))
    ]
    return SettingsTab([html], [*acting, on_action(html.unload_model, form.unload)])
