"""Every setting as an option of the command line, in groups, with its choices, unit and default."""

import argparse
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from captioner.cli.command import add_folder
from captioner.config.options import FOLDER_SETTINGS, GROUPS
from captioner.config.settings import Settings

METAVARS = {  # the unit, where the kind of value does not say it
    "model": "MODEL", "devices": "DEVICE[,DEVICE]", "batch_size": "CLIPS", "prompt_name": "NAME", "fps": "FPS",
    "max_frames": "FRAMES", "frame_size": "PIXELS", "decode_threads": "THREADS", "max_new_tokens": "TOKENS",
    "thinking_budget": "TOKENS", "top_k": "TOKENS", "endpoint_key": "VARIABLE", "ray": "ADDRESS",
    "ray_workers": "WORKERS", "ray_gpus": "GPUS", "ray_cpus": "CPUS", "caption_extension": "EXTENSION",
    "caption_encoding": "NAME", "target": "TARGET", "token_limit": "TOKENS", "target_fps": "FPS",
    "target_frames": "FRAMES", "windows": "scenes|SECONDS",
}  # fmt: skip
REPEATABLE = {"exclude": "PATTERN", "endpoint": "URL[#N]"}
CAPTIONS_TO_TEXT = "folder that holds the captions, in the same subfolders (default: that of the settings)"
EXTENSION_TEXT = "extension of the caption files (default: that of the settings)"


def add_settings(parser: argparse.ArgumentParser, optional_folder: bool = False) -> None:
    """Add the folder and an option for every other setting."""
    add_folder(parser, optional_folder)
    for title, names in {**GROUPS, "Files": (*FOLDER_SETTINGS, *GROUPS["Files"])}.items():
        group = parser.add_argument_group(title.lower())
        for name in names:
            if name != "folder":
                _add_option(group, name, Settings.model_fields[name])


def given_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that were given on the command line."""
    return {name: value for name in Settings.model_fields if (value := getattr(args, name, None)) is not None}


def _add_option(group: argparse._ArgumentGroup, name: str, field: FieldInfo) -> None:
    text = (field.description or "").removesuffix(".")
    text = f"{text[:1].lower()}{text[1:]} (default: {_shown_default(field)})".replace("%", "%%")
    option = f"--{name.replace('_', '-')}"
    if name in REPEATABLE:
        group.add_argument(option, action="append", metavar=REPEATABLE[name], help=f"{text}; repeatable")
    elif field.annotation is bool:
        group.add_argument(option, action=argparse.BooleanOptionalAction, default=None, help=text)
    else:  # Settings checks the value, so that every source of settings gets the same message
        group.add_argument(option, metavar=METAVARS.get(name) or _metavar(field), help=text)


def _shown_default(field: FieldInfo) -> str:
    """Return the default as a user would write it: "auto", "2.0", "off"."""
    match field.default:
        case bool(value):
            return "on" if value else "off"
        case tuple(values):
            return ",".join(values) or "none"
        case None if {int, float} & {*get_args(field.annotation)}:
            return "auto"
        case None | "":
            return "none"
        case value:
            return str(value)


def _metavar(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return f"{{{','.join(get_args(field.annotation))}}}"
    kinds = [kind for kind in get_args(field.annotation) if kind is not NoneType] or [field.annotation]
    return {int: "N", float: "NUMBER", Path: "DIR"}.get(kinds[0], "TEXT")
