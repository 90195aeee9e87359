"""The Settings tab: a form over the fields of Settings, shared by all browsers, and the state of the model."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.events import Dependency

from captioner.config.settings import problems
from captioner.errors import CaptionerError
from captioner.formatting import sentence
from captioner.jobs.progress import Progress
from captioner.services import Services
from captioner.system.resources import largest_vram_gb, nvidia_gpus
from captioner.ui import scripts
from captioner.ui.dialogs import confirm_button
from captioner.ui.settings.fields import FIELDS, WIDE, Control, describe, draw_control, grouped_fields, to_control
from captioner.ui.settings.model import model_note, model_report, model_state
from captioner.ui.wiring import KEEP_EVERY_EVENT, Trigger, TriggerMode, errors_as_toasts, in_background, on_action

COLUMNS = (("Model", "Frames"), ("Generation", "Output", "Files", "Application"))
SAMPLING = ("temperature", "top_p", "top_k", "repetition_penalty")  # empty means the model's own value
ELSEWHERE = ("endpoint", "endpoint_key", "ray")
AT_THE_START = "This can be changed only at the machine itself, with CAPTIONER_{} when the app starts."
MODEL_HINT = "Choose a preset, or enter a Hub id such as owner/name or a model folder."


def script(function: str) -> str:
    """Return the `js` of an event that calls a function of tab.js, which gets the names of the fields first."""
    return scripts.call("settings/tab.js", function, FIELDS)


class SettingsForm:
    """The handlers. `values` are the values of the controls, in the order of FIELDS.

    Browsers merge: saved settings arrive as `fresh`, and fill every field that was not changed since `filled`.
    """

    def __init__(self, services: Services, remote: bool = False) -> None:
        """remote: browsers are on other machines, so they may not choose where frames and keys are sent."""
        self._services, self._remote = services, remote

    def values(self) -> dict[str, Any]:
        """Return the settings as their controls show them, in the order of FIELDS."""
        return {name: to_control(getattr(self._services.settings, name)) for name in FIELDS}

    @errors_as_toasts
    def list_prompts(self) -> Any:
        """Return the prompts to choose from."""
        return gr.update(choices=[prompt.name for prompt in self._services.prompts.list()])

    @errors_as_toasts
    def save(self, filled: str, *values: Any) -> tuple[Any, str]:
        """Save the changed fields, or nothing if any is wrong. Return `fresh`, and what is wrong as {name: hint}."""
        before = _parse(filled) or self.values()
        given = zip(FIELDS, values, strict=True)
        changes = {name: value for name, value in given if not _same(value, before.get(name))}
        wrong = self._problems(changes)
        if wrong:
            gr.Warning("Correct the marked fields, then save again.", title="Not saved", duration=5)
            return gr.skip(), json.dumps(wrong)
        if changes:
            self._services.change_settings(changes)
            gr.Info("Settings saved. The next job uses them.", duration=3)
        return json.dumps({"now": self.values(), "sent": changes}), "{}"

    @errors_as_toasts
    def reset(self) -> tuple[str, str]:
        """Reset all settings. Return `fresh`, and an empty `filled` so that changed fields are overwritten, too."""
        self._services.reset_settings()
        gr.Info("All settings are back at their defaults.", duration=3)
        return json.dumps({"now": self.values()}), ""

    @errors_as_toasts
    def load(self, wrong: str) -> None:
        """Load the model, unless the form could not be saved."""
        if wrong == "{}":
            self._services.load()

    @errors_as_toasts
    def unload(self) -> None:
        self._services.unload()

    def describe_model(self, name: str | None, quantization: str | None) -> Sequence[Any]:
        """Return the note below the model, and the model's sampling values as placeholders."""
        try:
            preset = self._services.preset((name or "").strip())
        except CaptionerError:
            return ['<p class="note">Unknown model</p>', *[gr.skip() for _ in SAMPLING]]
        note = model_note(preset, quantization or "none", largest_vram_gb(), automatic=name == "auto")
        return [note, *(gr.update(placeholder=f"auto ({getattr(preset, field):g})") for field in SAMPLING)]

    def render(self, progress: Progress) -> Sequence[Any]:
        """Return the values of `SettingsTab.outputs`, in their order."""
        return [
            json.dumps({"now": self.values()}),
            model_state(progress),
            model_report(progress),
            gr.update(interactive=not progress.busy),
            gr.update(interactive=bool(progress.replicas) and not progress.busy),
        ]

    def _problems(self, changes: Mapping[str, Any]) -> dict[str, str]:
        wrong = {name: sentence(text) for name, text in problems(changes).items()}
        if self._remote:
            wrong |= {name: AT_THE_START.format(name.upper()) for name in ELSEWHERE if name in changes}
        if changes.get("model") and "model" not in wrong:
            try:
                self._services.preset(str(changes["model"]))
            except CaptionerError:
                wrong["model"] = MODEL_HINT
        if changes.get("prompt_name") and "prompt_name" not in wrong:
            try:
                self._services.prompts.get(str(changes["prompt_name"]))
            except CaptionerError:
                wrong["prompt_name"] = "The library has no prompt of this name."
        return wrong


def _parse(filled: str) -> dict[str, Any]:
    try:
        values = json.loads(filled)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _same(value: Any, other: Any) -> bool:
    return ("" if value is None else value) == ("" if other is None else other)


@dataclass(frozen=True)
class SettingsTab:
    """The components of the tab that the page needs."""

    outputs: Sequence[gr.components.Component]  # see SettingsForm.render
    refreshing: Sequence[Dependency]  # the page is to be refreshed after these events


@dataclass(frozen=True)
class _Model:
    """The components about the model, drawn where the form has them."""

    note: gr.HTML
    state: gr.HTML
    report: gr.HTML
    load: gr.Button
    unload: gr.Button


def settings_tab(form: SettingsForm, tab: gr.Tab) -> SettingsTab:
    """Draw the tab and wire it."""
    fresh, filled, wrong = (gr.Textbox("", visible="hidden") for _ in range(3))
    model = _Model(
        note=gr.HTML(apply_default_css=False, elem_id="model-note", render=False),
        state=gr.HTML(apply_default_css=False, elem_id="model-state", render=False),
        report=gr.HTML(apply_default_css=False, elem_id="model-report", render=False),
        load=gr.Button("Load model", size="sm", scale=0, min_width=110, elem_id="load-model", render=False),
        unload=gr.Button("Unload", size="sm", scale=0, min_width=90, interactive=False, render=False),
    )
    with gr.Column(elem_id="settings"):
        with gr.Row(elem_id="settings-bar"):
            gr.HTML('<p><b class="state">Everything is saved</b> All browsers share these settings.</p>')
            discard = gr.Button("Discard", size="sm", scale=0, min_width=90, elem_id="discard-settings")
            reset = confirm_button("Reset", "Reset all settings to their defaults?", "Reset", elem_id="reset-settings")
            save = gr.Button("Save", variant="primary", size="sm", scale=0, min_width=110, elem_id="save-settings")
        controls = _draw_columns(model)
    ordered = [controls[name] for name in FIELDS]
    _wire_hints(form, tab, model.note, controls)

    def merge(event: Trigger | Sequence[Trigger], mode: TriggerMode | None = None) -> Dependency:
        inputs, outputs = [fresh, filled, *ordered], [filled, *ordered]
        return in_background(event, None, inputs, outputs, js=script("merge"), mode=mode)

    def save_by(button: gr.Button) -> Dependency:
        saved = on_action(button.click, form.save, [filled, *ordered], [fresh, wrong])
        return in_background(merge(saved.success).then, None, [wrong, *ordered], js=script("showProblems"))

    merge([fresh.change, tab.select], KEEP_EVERY_EVENT)
    in_background([c.change for c in ordered], None, [filled, *ordered], js=script("mark"), mode=KEEP_EVERY_EVENT)
    in_background(discard.click, None, [filled, *ordered], ordered, js=script("discard"))
    saved, saved_to_load = save_by(save), save_by(model.load)
    was_reset = merge(on_action(reset.confirm, form.reset, None, [fresh, filled]).success)
    loading = on_action(saved_to_load.then, form.load, wrong)
    unloading = on_action(model.unload.click, form.unload)
    outputs = [fresh, model.state, model.report, model.load, model.unload]
    return SettingsTab(outputs, [saved, loading, was_reset, unloading])


def _wire_hints(form: SettingsForm, tab: gr.Tab, note: gr.HTML, controls: Mapping[str, Control]) -> None:
    sources = [controls["model"], controls["quantization"]]
    described = [note, *(controls[name] for name in SAMPLING)]
    in_background([source.change for source in sources], form.describe_model, sources, described, mode="always_last")
    in_background(tab.select, form.list_prompts, None, controls["prompt_name"])


def _draw_columns(model: _Model) -> dict[str, Control]:
    controls: dict[str, Control] = {}
    devices = ["auto", "cpu", *(f"cuda:{index}" for index in range(len(nvidia_gpus())))]
    with gr.Row(elem_id="settings-columns"):
        for titles in COLUMNS:
            with gr.Column(min_width=420):
                for title in titles:
                    with gr.Column(elem_classes="card"):
                        _draw_heading(title, model)
                        for name in grouped_fields()[title]:
                            controls[name] = _draw_field(name, devices)
                            if name == "model":
                                model.note.render()
                if "Model" in titles:
                    with gr.Column(elem_id="loaded-model", elem_classes="card"):
                        gr.HTML("<h3>Loaded model</h3>", apply_default_css=False)
                        model.report.render()
    return controls


def _draw_heading(title: str, model: _Model) -> None:
    if title != "Model":
        gr.HTML(f"<h3>{title}</h3>", apply_default_css=False)
        return
    with gr.Row(elem_classes="heading"):
        gr.HTML(f"<h3>{title}</h3>", apply_default_css=False)
        model.load.render()
        model.unload.render()
    model.state.render()


def _draw_field(name: str, devices: Sequence[str]) -> Control:
    with gr.Row(elem_id=f"field-{name}", elem_classes=["field", "wide"] if name in WIDE else ["field"]):
        gr.HTML(describe(name), apply_default_css=False)
        return draw_control(name, devices)
