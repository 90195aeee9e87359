"""The Settings tab: a form made from the fields of Settings, and the model's state."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import gradio as gr

from captioner.errors import CaptionerError
from captioner.events import Progress
from captioner.presets import PRESETS
from captioner.services import Services
from captioner.settings import Settings
from captioner.ui import views
from captioner.ui.gallery import is_busy
from captioner.ui.wiring import ACTION, PLUMBING, shown

GROUPS = {
    "Model": ("model", "dtype", "devices", "batch_size", "attention", "compile"),
    "Captions": ("prompt_name", "prompt", "existing"),
    "Frames": ("fps", "max_frames", "frame_size", "decode_threads"),
    "Generation": ("max_new_tokens", "temperature", "top_p", "top_k", "repetition_penalty", "seed"),
    "Application": ("models_folder", "offline"),  # and every field that is named nowhere
}
ELSEWHERE = ("folder", "recursive")  # in the Gallery tab
LABELS = {
    "dtype": "Number format",
    "fps": "Frames per second",
    "top_p": "Top-p",
    "top_k": "Top-k",
    "prompt_name": "Prompt",
    "prompt": "Prompt text",
    "existing": "Existing captions",
}


def grouped_fields() -> dict[str, list[str]]:
    """Every field that the form shows, by group."""
    groups = {title: list(names) for title, names in GROUPS.items()}
    known = {*ELSEWHERE, *(name for names in groups.values() for name in names)}
    groups["Application"] += [name for name in Settings.model_fields if name not in known]
    return groups


FIELDS = [name for names in grouped_fields().values() for name in names]


def field_kind(name: str) -> tuple[Any, bool]:
    """(bool, int, float, str, Path, tuple, or a Literal; whether None, "the model's own value", is allowed)."""
    annotation = Settings.model_fields[name].annotation
    members = (annotation,) if get_origin(annotation) in (Literal, tuple) else get_args(annotation) or (annotation,)
    kind = next(member for member in members if member is not NoneType)
    return (tuple if get_origin(kind) is tuple else kind), NoneType in members


def to_control(value: Any) -> Any:
    """A setting as its control shows it."""
    if isinstance(value, tuple):
        return ", ".join(value)
    return str(value) if isinstance(value, Path) else value


def draw_control(name: str) -> gr.components.Component:
    kind, optional = field_kind(name)
    common = {
        "label": LABELS.get(name, name.replace("_", " ").capitalize()),
        "info": Settings.model_fields[name].description,
        "elem_id": f"set-{name.replace('_', '-')}",
    }
    if name == "model":
        choices = [("Automatic", "auto"), *((preset.title, preset.key) for preset in PRESETS)]
        return gr.Dropdown(choices, allow_custom_value=True, **common)
    if name == "prompt_name":
        return gr.Dropdown([], allow_custom_value=True, **common)
    if get_origin(kind) is Literal:
        return gr.Dropdown(list(get_args(kind)), **common)
    if kind is bool:
        return gr.Checkbox(**common)
    if kind in (int, float):
        precision, step = (0, 1) if kind is int else (None, 0.05)
        return gr.Number(None, precision=precision, step=step, placeholder="auto" if optional else "", **common)
    return gr.Textbox(lines=2 if name == "prompt" else 1, max_lines=6 if name == "prompt" else 1, **common)


class SettingsForm:
    """The handlers; `values` are those of the controls, in the order of FIELDS."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @shown
    def fill(self, filled: str = "") -> list[Any]:
        """The controls and what they were filled with; leaves them alone if that has not changed."""
        settings = self._services.settings
        names = [prompt.name for prompt in self._services.prompts.list()]
        now = repr((settings.model_dump(exclude=set(ELSEWHERE)), names))
        if now == filled:
            return [gr.skip()] * (len(FIELDS) + 1)
        values = {name: to_control(getattr(settings, name)) for name in FIELDS}
        values["prompt_name"] = gr.Dropdown(choices=names, value=settings.prompt_name)
        return [*values.values(), now]

    @shown
    def save(self, *values: Any) -> None:
        gr.Info("Settings saved." if self._keep(values) else "There was nothing to save.", duration=3)

    @shown
    def reset(self) -> None:
        self._services.reset_settings()
        gr.Info("All settings are back at their defaults.", duration=3)

    @shown
    def load(self, *values: Any) -> None:
        """Save the form and load the model that it names."""
        self._keep(values)
        self._services.load()

    @shown
    def unload(self) -> None:
        self._services.unload()

    def describe_model(self, name: str | None) -> str:
        """The note under the model."""
        try:
            preset = self._services.preset((name or "").strip())
        except CaptionerError as error:
            return views.problem(str(error))
        sampling = f"temperature {preset.temperature:g}, top-p {preset.top_p:g}, top-k {preset.top_k}"
        if preset.repetition_penalty != 1:
            sampling += f", repetition penalty {preset.repetition_penalty:g}"
        return views.model_note(preset, sampling if preset.temperature else "greedy, the same text each time")

    def render(self, progress: Progress) -> list[Any]:
        """The outputs in the order of `SettingsTab.outputs`."""
        busy = is_busy(progress)
        return [
            views.report(progress),
            gr.update(interactive=not busy),
            gr.update(interactive=bool(progress.replicas) and not busy),
        ]

    def _keep(self, values: tuple[Any, ...]) -> Mapping[str, Any]:
        """Save what differs from the settings in force, and so no value of the environment or the command line."""
        settings = self._services.settings
        given = dict(zip(FIELDS, values, strict=True))
        changes = {name: value for name, value in given.items() if value != to_control(getattr(settings, name))}
        empty = {name for name in changes if changes[name] == "" and getattr(settings, name) is None}
        changes = {name: value for name, value in changes.items() if name not in empty}
        if changes:
            self._services.change_settings(changes)
        return changes


@dataclass(frozen=True)
class SettingsTab:
    """Its components that others need."""

    controls: list[gr.components.Component]
    filled: gr.Textbox
    outputs: list[gr.components.Component]
    refreshing: list[Any]


def settings_tab(form: SettingsForm, tab: gr.Tab) -> SettingsTab:
    """Draw the tab and wire it."""
    filled = gr.Textbox("", visible=False)
    controls: dict[str, gr.components.Component] = {}
    note = gr.HTML(apply_default_css=False, render=False)
    with gr.Row(elem_id="settings-bar"):
        gr.HTML('<p class="hint">Settings are used by the next job and kept for the next start.</p>')
        reset = gr.Button("Reset to defaults", size="sm", min_width=140, scale=0)
        save = gr.Button("Save settings", variant="primary", size="sm", min_width=140, scale=0, elem_id="save-settings")
    with gr.Row(elem_id="settings-columns"):
        for titles in (("Model", "Application"), ("Captions", "Frames"), ("Generation",)):
            with gr.Column(min_width=260):
                for title in titles:
                    with gr.Column(elem_classes="card"):
                        gr.HTML(f"<h3>{title}</h3>", apply_default_css=False)
                        for name in grouped_fields()[title]:
                            controls[name] = draw_control(name)
                            if name == "model":
                                note.render()
        with gr.Column(min_width=260, elem_classes="card"):
            gr.HTML("<h3>Loaded model</h3>", apply_default_css=False)
            report = gr.HTML(apply_default_css=False, elem_id="report")
            with gr.Row(elem_id="load-row"):
                load = gr.Button("Load model", size="sm", elem_id="load-model")
                unload = gr.Button("Unload", size="sm", interactive=False)
    ordered = [controls[name] for name in FIELDS]
    gr.on([controls["model"].change], form.describe_model, controls["model"], note, **PLUMBING)
    saving = [
        save.click(form.save, ordered, None, **ACTION),
        reset.click(form.reset, None, None, **ACTION),
        load.click(form.load, ordered, None, **ACTION),
    ]
    tab.select(form.fill, filled, [*ordered, filled], **PLUMBING)
    for done in saving:
        done.success(form.fill, None, [*ordered, filled], **PLUMBING)
    return SettingsTab(
        ordered, filled, [report, load, unload], [*saving, unload.click(form.unload, None, None, **ACTION)]
    )
