"""The Settings tab: a form over the fields of Settings, shared by all browsers, and the state of the model."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.events import Dependency

from captioner.config.presets import Preset, vram_gb
from captioner.config.settings import problems
from captioner.errors import CaptionerError
from captioner.formatting import size
from captioner.jobs.progress import Progress
from captioner.services import Services
from captioner.system.resources import largest_vram_gb, nvidia_gpus
from captioner.ui.dialogs import confirm_button
from captioner.ui.format import escape, file_text
from captioner.ui.settings.fields import CHOICES, FIELDS, WIDE, describe, draw_control, grouped_fields, to_control
from captioner.ui.wiring import KEEP_EVERY_EVENT, Trigger, TriggerMode, errors_as_toasts, in_background, on_action

COLUMNS = (("Model", "Frames"), ("Generation", "Output", "Application"))
SAMPLING = ("temperature", "top_p", "top_k", "repetition_penalty")  # where empty is the model's own value
RESET_QUESTION = "Set everything back to its default?"
MODEL_HINT = "Choose a preset, or give a Hub id such as owner/name or the folder of a model."
_JS = file_text("settings/tab.js")


def script(function: str) -> str:
    """One function of settings.js, as Gradio runs it."""
    return f"(...values) => {{ const FIELDS = {json.dumps(FIELDS)};\n{_JS}\nreturn {function}(...values); }}"


class SettingsForm:
    """The handlers. `values` are those of the controls, in the order of FIELDS.

    What a tab shows is merged in the browser: settings that any browser saves come as `fresh` and go into every field
    that was not changed since `filled`, the settings that this tab was told before.
    """

    def __init__(self, services: Services) -> None:
        self._services = services

    def values(self) -> dict[str, Any]:
        """The settings as their controls show them, in the order of FIELDS."""
        return {name: to_control(getattr(self._services.settings, name)) for name in FIELDS}

    @errors_as_toasts
    def names(self) -> Any:
        """The prompts to choose from."""
        return gr.update(choices=[prompt.name for prompt in self._services.prompts.list()])

    @errors_as_toasts
    def save(self, filled: str, *values: Any) -> tuple[Any, str]:
        """Save what was changed here; returns what is `fresh`, and what is wrong as {name: what is allowed}.

        Nothing is saved while anything is wrong.
        """
        given = dict(zip(FIELDS, values, strict=True))
        before = _filled(filled) or self.values()
        changes = {name: value for name, value in given.items() if not _same(value, before.get(name))}
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
        """Returns what is `fresh`, and nothing as filled in: so every field takes the new value, changed or not."""
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

    def describe_model(self, name: str | None, quantization: str | None) -> list[Any]:
        """The note under the model, and the model's own sampling as placeholders."""
        try:
            preset = self._services.preset((name or "").strip())
        except CaptionerError:
            return ['<p class="note">Nothing is known of this model.</p>', *[gr.skip()] * len(SAMPLING)]
        note = model_note(preset, quantization or "none", largest_vram_gb(), automatic=name == "auto")
        return [note, *(gr.update(placeholder=f"auto ({getattr(preset, field):g})") for field in SAMPLING)]

    def render(self, progress: Progress) -> list[Any]:
        """The outputs in the order of `SettingsTab.outputs`."""
        busy = progress.active or bool(progress.queued_jobs)
        return [
            json.dumps({"now": self.values()}),
            model_state(progress),
            model_report(progress),
            gr.update(interactive=not busy),
            gr.update(interactive=bool(progress.replicas) and not busy),
        ]

    def _problems(self, changes: Mapping[str, Any]) -> dict[str, str]:
        """In words for the page. What is right by itself can still name a model or a prompt that is not there."""
        wrong = {name: f"{text[0].upper()}{text[1:]}." for name, text in problems(changes).items()}
        checks = {
            "model": (self._services.preset, MODEL_HINT),
            "prompt_name": (self._services.prompts.get, "There is no prompt of this name in the library."),
        }
        for name, (check, hint) in checks.items():
            if changes.get(name) and name not in wrong:
                try:
                    check(str(changes[name]))
                except CaptionerError:
                    wrong[name] = hint
        return wrong


def _filled(text: str) -> dict[str, Any]:
    """What the browser says that it was filled with."""
    try:
        values = json.loads(text)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _same(value: Any, other: Any) -> bool:
    return ("" if value is None else value) == ("" if other is None else other)


def model_note(preset: Preset, quantization: str, gpu_gb: float | None, automatic: bool) -> str:
    """What to know of a model before it is loaded: memory by quantization, what it is good for."""
    chips = []
    for value, label in CHOICES["quantization"].items():
        needs = vram_gb(preset, value)
        if needs is None:
            continue
        label = "16-bit" if value == "none" else label
        over = gpu_gb is not None and needs > gpu_gb
        tip = f' title="more than the {gpu_gb:.0f} GB of the largest GPU here"' if over else ""
        chips.append(
            f'<i data-on="{str(value == quantization).lower()}" data-over="{str(over).lower()}"{tip}>'
            f"{label} <b>{needs:g} GB</b></i>"
        )
    memory = "".join(chips) or "<i>memory need unknown</i>"
    chosen = f"Automatic takes <b>{escape(preset.title)}</b> here. " if automatic else ""
    return f'<div class="note"><div class="chips">{memory}</div><p>{chosen}{escape(preset.notes)}</p></div>'


def model_state(progress: Progress) -> str:
    """One line on the model, of the same height in every state, and a bar while it is downloaded."""
    word, text, full = "none", "No model is loaded. It loads by itself when captioning starts.", 0.0
    ready = [replica for replica in progress.replicas if replica.state == "ready"]
    if progress.stage == "loading":
        word, text = "loading", f"Loading {progress.model}…"
        if progress.bytes_total:
            full = 100 * progress.bytes_done / progress.bytes_total
            speed = f" · {size(progress.bytes_per_s)}/s" if progress.bytes_per_s else ""
            text = f"Downloading {progress.model}: {size(progress.bytes_done)} of {size(progress.bytes_total)}{speed}"
    elif ready:
        word = "ready"
        text = f"{progress.model} is loaded on {', '.join(replica.name for replica in ready)}."
    elif progress.stage == "failed" and progress.reason:
        word, text = "failed", progress.reason
    bar = f'<div class="bar"><i style="width:{full:.1f}%"></i></div>'
    return f'<div class="model-state" data-state="{word}"><p title="{escape(text)}">{escape(text)}</p>{bar}</div>'


def model_report(progress: Progress) -> str:
    """What each loaded model runs on and with; nothing while none is loaded."""
    return "".join(
        f'<h4>{escape(replica.name)} <em data-state="{replica.state}">{replica.state}</em></h4>'
        + (f'<p class="note bad">{escape(replica.detail)}</p>' if replica.detail else "")
        + '<dl class="capabilities">'
        + "".join(f"<div><dt>{escape(label)}</dt><dd>{escape(text)}</dd></div>" for label, text in replica.report)
        + "</dl>"
        for replica in progress.replicas
    )


@dataclass(frozen=True)
class SettingsTab:
    """Its components that others need."""

    outputs: list[gr.components.Component]
    refreshing: list[Any]


def settings_tab(form: SettingsForm, tab: gr.Tab) -> SettingsTab:
    """Draw the tab and wire it."""
    fresh, filled, wrong = (gr.Textbox("", visible="hidden") for _ in range(3))
    controls: dict[str, gr.components.Component] = {}
    note = gr.HTML(apply_default_css=False, elem_id="model-note", render=False)
    state = gr.HTML(apply_default_css=False, elem_id="model-state", render=False)
    report = gr.HTML(apply_default_css=False, elem_id="model-report", render=False)
    load = gr.Button("Load model", size="sm", scale=0, min_width=110, elem_id="load-model", render=False)
    unload = gr.Button("Unload", size="sm", scale=0, min_width=90, interactive=False, render=False)
    devices = ["auto", "cpu", *(f"cuda:{index}" for index in range(len(nvidia_gpus())))]
    with gr.Column(elem_id="settings"):
        with gr.Row(elem_id="settings-bar"):
            gr.HTML('<p><b class="state">Everything is saved</b> Settings are shared by all browsers and kept.</p>')
            discard = gr.Button("Discard", size="sm", scale=0, min_width=90, elem_id="discard-settings")
            reset = confirm_button("Reset", RESET_QUESTION, "Reset", elem_id="reset-settings")
            save = gr.Button("Save", variant="primary", size="sm", scale=0, min_width=110, elem_id="save-settings")
        with gr.Row(elem_id="settings-columns"):
            for titles in COLUMNS:
                with gr.Column(min_width=420):
                    for title in titles:
                        with gr.Column(elem_classes="card"):
                            _heading(title, [load, unload] if title == "Model" else [], state)
                            for name in grouped_fields()[title]:
                                controls[name] = _field(name, devices)
                                if name == "model":
                                    note.render()
                    if "Model" in titles:
                        with gr.Column(elem_id="loaded-model", elem_classes="card"):
                            gr.HTML("<h3>Loaded model</h3>", apply_default_css=False)
                            report.render()
    ordered = [controls[name] for name in FIELDS]
    described = [note, *(controls[name] for name in SAMPLING)]
    sources = [controls["model"], controls["quantization"]]
    in_background([source.change for source in sources], form.describe_model, sources, described, mode="always_last")

    def merge(event: Trigger | Sequence[Trigger], mode: TriggerMode | None = None) -> Dependency:
        inputs, outputs = [fresh, filled, *ordered], [filled, *ordered]
        return in_background(event, None, inputs, outputs, js=script("merge"), mode=mode)

    def save_by(button: gr.Button) -> Dependency:
        saved = on_action(button.click, form.save, [filled, *ordered], [fresh, wrong])
        return in_background(merge(saved.success).then, None, [wrong, *ordered], js=script("complain"))

    merge([fresh.change, tab.select], KEEP_EVERY_EVENT)
    in_background(tab.select, form.names, None, controls["prompt_name"])
    in_background([c.change for c in ordered], None, [filled, *ordered], js=script("mark"), mode=KEEP_EVERY_EVENT)
    in_background(discard.click, None, [filled, *ordered], ordered, js=script("discard"))
    saved, saved_to_load = save_by(save), save_by(load)
    back = merge(on_action(reset.confirm, form.reset, None, [fresh, filled]).success)
    loading = on_action(saved_to_load.then, form.load, wrong)
    refreshing = [saved, loading, back, on_action(unload.click, form.unload)]
    return SettingsTab([fresh, state, report, load, unload], refreshing)


def _heading(title: str, buttons: Sequence[gr.Button], state: gr.HTML) -> None:
    if not buttons:
        gr.HTML(f"<h3>{title}</h3>", apply_default_css=False)
        return
    with gr.Row(elem_classes="heading"):
        gr.HTML(f"<h3>{title}</h3>", apply_default_css=False)
        for button in buttons:
            button.render()
    state.render()


def _field(name: str, devices: Sequence[str]) -> gr.components.Component:
    classes = ["field", "wide"] if name in WIDE else ["field"]
    with gr.Row(elem_id=f"field-{name}", elem_classes=classes):
        gr.HTML(describe(name), apply_default_css=False)
        return draw_control(name, devices)
