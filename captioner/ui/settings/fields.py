"""The fields of Settings as the form shows them: groups, labels, ranges and controls."""

import html
from collections.abc import Sequence
from pathlib import Path
from types import NoneType
from typing import Any, Literal, TypedDict, get_args, get_origin

import annotated_types
import gradio as gr

from captioner.config.options import FOLDER_SETTINGS, GROUPS
from captioner.config.recommend import Suited, read_machine, suited
from captioner.config.settings import Settings

Control = gr.Dropdown | gr.Radio | gr.Checkbox | gr.Number | gr.Textbox
LABELS = {
    "dtype": "Number format",
    "endpoint": "Model servers",
    "endpoint_key": "Key of the servers",
    "ray": "Ray cluster",
    "ray_workers": "Workers in the cluster",
    "ray_gpus": "GPUs of such a worker",
    "ray_cpus": "CPUs of such a worker",
    "sage_attention": "SageAttention",
    "fps": "Frame rate",
    "max_frames": "Frames per clip",
    "max_new_tokens": "Caption length",
    "top_p": "Top-p",
    "top_k": "Top-k",
    "prompt_name": "Prompt",
    "prompt": "Prompt text",
    "existing": "Existing captions",
    "offline": "Work offline",
}
UNITS = {
    "batch_size": "clips",
    "fps": "per second",
    "max_frames": "frames",
    "frame_size": "px",
    "decode_threads": "threads",
    "max_new_tokens": "tokens",
    "thinking_budget": "tokens",
}
CHOICES: dict[str, dict[str, str]] = {  # few enough for radio buttons
    "quantization": {"none": "None", "8bit": "8-bit", "4bit": "4-bit"},
    "existing": {"skip": "Skip", "overwrite": "Overwrite", "prefix": "Prefix", "append": "Append"},
}
WIDE = ("prompt",)  # the control goes below its text


def grouped_fields() -> dict[str, list[str]]:
    """Return every field that the form shows, by group."""
    groups = {title: list(names) for title, names in GROUPS.items()}
    known = {*FOLDER_SETTINGS, *(name for names in groups.values() for name in names)}
    groups["Application"] += [name for name in Settings.model_fields if name not in known]
    return groups


FIELDS = [name for names in grouped_fields().values() for name in names]


def field_kind(name: str) -> tuple[Any, bool]:
    """Return a field's type (bool, int, float, str, Path, tuple or a Literal), and whether it may be None."""
    annotation = Settings.model_fields[name].annotation
    members = (annotation,) if get_origin(annotation) in (Literal, tuple) else get_args(annotation) or (annotation,)
    kind = next(member for member in members if member is not NoneType)
    return (tuple if get_origin(kind) is tuple else kind), NoneType in members


def to_control(value: Any) -> Any:
    """Return a setting as its control shows it."""
    if isinstance(value, tuple):
        return ", ".join(value)
    return str(value) if isinstance(value, Path) else value


def title(name: str) -> str:
    return LABELS.get(name, name.replace("_", " ").capitalize())


def limits(name: str) -> str:
    """Return the range, unit and default of a field: "0.01 to 120 per second · default 2"."""
    field, parts = Settings.model_fields[name], []
    low, high = None, None
    for rule in field.metadata:
        low = getattr(rule, "ge", getattr(rule, "gt", low))
        high = getattr(rule, "le", high)
        if isinstance(rule, annotated_types.MaxLen):
            parts.append(f"up to {rule.max_length:,} characters")
    if low is not None:
        parts.append(f"{low:g} to {high:,} {UNITS.get(name, '')}".strip())
    default = to_control(field.default)
    if name in CHOICES:
        default = CHOICES[name][default]
    words = {None: "auto" if field_kind(name)[0] in (int, float) else "", True: "on", False: "off"}
    if default is None or isinstance(default, bool):
        default = words[default]
    elif isinstance(default, float):
        default = f"{default:g}"
    return " · ".join([*parts, *([f"default {default}"] if default != "" else [])])


def describe(name: str) -> str:
    """Return the text beside a control, as HTML; the page fills in the last two lines."""
    help_text = html.escape(Settings.model_fields[name].description or "")
    return (
        f'<div class="about"><b>{html.escape(title(name))}</b><i class="limits">{html.escape(limits(name))}</i>'
        f'<p class="help">{help_text}</p>'
        f'<p class="wrong" id="wrong-{name}" role="alert"></p><p class="changed-outside"></p></div>'
    )


def _model_label(choice: Suited) -> str:
    group = "Recommended" if choice.is_recommended else "Other"
    return f"{group} · {choice.preset.title} · {choice.preset.vram_gb:g} GB · {choice.why}"


class _Shared(TypedDict):
    label: str
    show_label: bool
    container: bool
    elem_id: str


def draw_control(name: str, devices: Sequence[str]) -> Control:
    """Draw and return the control of a field. devices: the names to choose from; users can type others."""
    kind, optional = field_kind(name)
    shared: _Shared = {
        "label": title(name), "show_label": False, "container": False,
        "elem_id": f"set-{name.replace('_', '-')}",
    }  # fmt: skip
    if name == "model":
        models = [(_model_label(choice), choice.preset.key) for choice in suited(read_machine())]
        return gr.Dropdown([("Automatic", "auto"), *models], allow_custom_value=True, **shared)
    if name in ("prompt_name", "devices"):
        return gr.Dropdown(list(devices) if name == "devices" else [], allow_custom_value=True, **shared)
    if name in CHOICES:
        return gr.Radio([(label, value) for value, label in CHOICES[name].items()], **shared)
    if get_origin(kind) is Literal:
        return gr.Dropdown(list(get_args(kind)), **shared)
    if kind is bool:
        return gr.Checkbox(label=shared["label"], container=False, elem_id=shared["elem_id"])
    if kind in (int, float):
        # No minimum or maximum: errors appear beside the field when it is saved, not in a toast.
        return gr.Number(None, step=1 if kind is int else 0.05, placeholder="auto" if optional else "", **shared)
    lines = 3 if name in WIDE else 1
    placeholder = "Empty: use the prompt from the library" if name == "prompt" else ""
    return gr.Textbox(lines=lines, max_lines=6 if lines > 1 else 1, placeholder=placeholder, **shared)
