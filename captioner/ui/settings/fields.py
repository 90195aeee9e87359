"""The fields of Settings as the form shows them, as HTML: groups, labels, ranges and controls."""

import html
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import annotated_types

from captioner.config.options import FOLDER_SETTINGS, GROUPS
from captioner.config.recommend import Suited, read_machine, suited
from captioner.config.settings import AUTO, Settings
from captioner.dataset.targets import Target, targets
from captioner.formatting import sentence

LABELS = {
    "dtype": "Number format",
    "endpoint": "Model servers",
    "endpoint_key": "Key of the servers",
    "ray": "Ray cluster",
    "ray_workers": "Workers in the cluster",
    "ray_gpus": "GPUs of such a worker",
    "ray_cpus": "CPUs of such a worker",
    "sage_attention": "SageAttention",
    "span": "Captioned part",
    "windows_beside": "Subtitles beside clips",
    "fps": "Frame rate",
    "max_frames": "Frames per clip",
    "max_new_tokens": "Caption length",
    "top_p": "Top-p",
    "top_k": "Top-k",
    "prompt_name": "Prompt",
    "target_fps": "Trained frame rate",
    "target_frames": "Trained frames",
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
    "token_limit": "tokens",
    "target_fps": "per second",
    "target_frames": "frames",
}
CHOICES: dict[str, dict[str, str]] = {  # few enough for radio buttons
    "quantization": {"none": "None", "8bit": "8-bit", "4bit": "4-bit"},
    "existing": {"skip": "Skip", "overwrite": "Overwrite", "prefix": "Prefix", "append": "Append"},
}
BASICS = (
    "model",
    "target",
    "prompt_name",
    "trigger_word",
    "max_new_tokens",
    "fps",
    "max_frames",
)  # on top; others are folded
WIDE = ("prompt",)  # the control goes below its text
OTHER = "other"  # as in tab.js
ControlKind = Literal["choice", "select", "model", "switch", "number", "text", "lines"]


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


def default_of(name: str) -> Any:
    """Return the default of a field as its control shows it."""
    return to_control(Settings.model_fields[name].default)


def control_kind(name: str) -> ControlKind:
    """Return which control a field has."""
    kind, _ = field_kind(name)
    if name in CHOICES:
        return "choice"
    if name == "model":
        return "model"
    if name in ("prompt_name", "target") or get_origin(kind) is Literal:
        return "select"
    if kind is bool:
        return "switch"
    if kind in (int, float):
        return "number"
    return "lines" if name in WIDE else "text"


def draw_field(name: str, devices: Sequence[str] = ()) -> str:
    """Return a field as HTML; tab.js fills in its value. devices: the names to choose from; users can type others."""
    label, text = html.escape(title(name)), html.escape(Settings.model_fields[name].description or "")
    default = html.escape(json.dumps(default_of(name)))
    if name == "target":  # tab.js shows what follows from the chosen one
        follows = {each.name: f"{sentence(each.summary)} {_prompt_of(each)}" for each in targets().values()}
        text += f'</p><p class="help" id="follows" data-all="{html.escape(json.dumps(follows))}">'
    kept = f'data-name="{name}" data-kind="{control_kind(name)}" data-default="{default}"'
    return (
        f'<div class="field{" wide" if name in WIDE else ""}" id="field-{name}" {kept}><div class="about">'
        f'<label for="input-{name}" id="label-{name}">{label}</label><i class="limits">{html.escape(limits(name))}</i>'
        f'<button type="button" class="field-reset" aria-label="Reset {label}" hidden>Reset</button>'
        f'<p class="help" id="help-{name}">{text}</p><p class="wrong" id="wrong-{name}" role="alert"></p>'
        f'<p class="changed-outside"></p></div>'
        f'<div class="control" id="set-{name.replace("_", "-")}">{_draw_control(name, devices)}</div></div>'
    )


def _draw_control(name: str, devices: Sequence[str]) -> str:
    kind, (value_type, optional) = control_kind(name), field_kind(name)
    shared = f'id="input-{name}" aria-describedby="help-{name} wrong-{name}"'
    if kind == "choice":
        radios = "".join(
            f'<label><input type="radio" name="{name}" value="{value}"><span>{label}</span></label>'
            for value, label in CHOICES[name].items()
        )
        return f'<div {shared} class="choices" role="radiogroup" aria-labelledby="label-{name}">{radios}</div>'
    if kind == "model":
        other = f'<input type="text" hidden aria-labelledby="label-{name}" placeholder="owner/name, or a folder">'
        return f"<select {shared}>{_model_options()}</select>{other}"
    if kind == "select":
        return f"<select {shared}>{_options(_choices(name, value_type))}</select>"
    if kind == "switch":
        return f'<input type="checkbox" role="switch" {shared}>'
    if kind == "number":
        return f'<input type="number" step="{1 if value_type is int else "any"}" {shared}{_auto(optional)}>'
    if kind == "lines":
        return f'<textarea rows="3" {shared} placeholder="Empty: use the prompt from the library"></textarea>'
    known = f' list="list-{name}"' if name == "devices" else ""
    listed = f'<datalist id="list-{name}">{_options((value, value) for value in devices)}</datalist>' if known else ""
    return f'<input type="text" autocomplete="off" spellcheck="false" {shared}{known}>{listed}'


def _prompt_of(chosen: Target) -> str:
    return f"Prompt {chosen.prompt}." if chosen.prompt else ""


def _choices(name: str, value_type: Any) -> Iterable[tuple[str, str]]:
    if name == "target":
        return [(each.name, each.title) for each in targets().values()]
    if name == "prompt_name":  # tab.js adds those of the library
        return [(AUTO, "Automatic")]
    return [(value, value) for value in get_args(value_type)]


def _auto(optional: bool) -> str:
    return ' placeholder="auto"' if optional else ""


def _options(choices: Iterable[tuple[str, str]]) -> str:
    return "".join(f'<option value="{html.escape(value)}">{html.escape(label)}</option>' for value, label in choices)


def _model_options() -> str:
    """Return the presets in their groups, those that suit this machine first, between "Automatic" and one's own."""
    choices = suited(read_machine())
    groups = [("Recommended here", True), ("Others", False)]
    parts = [
        f'<optgroup label="{label}">{_options(_model_choice(each) for each in choices if each.is_recommended is good)}'
        "</optgroup>"
        for label, good in groups
    ]
    return _options([("auto", "Automatic")]) + "".join(parts) + _options([(OTHER, "Another model…")])


def _model_choice(choice: Suited) -> tuple[str, str]:
    return choice.preset.key, f"{choice.preset.title} · {choice.preset.vram_gb:g} GB · {choice.why}"
