"""Allowed values of settings, in words for users."""

from typing import Literal, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo

ONE_LINE = ("trigger_word", "caption_prefix", "caption_suffix")  # no line breaks or other control characters
_WORDS = {
    "devices": "auto, or a list of cpu, mps, cuda and cuda:N",
    "endpoint": "addresses such as http://localhost:8000 or http://host:8000#4, without user, password and query",
    "endpoint_key": "the name of an environment variable in capitals, such as MY_SERVER_KEY, not the key itself",
    "ray": "auto, local, or the address of the head node such as gpu-lab:6379",
    "windows": "none, scenes, or the seconds of a window from 1 to 3600, such as 10",
    "exclude": "patterns as in .gitignore, such as drafts/ or *.gif",
    "caption_extension": "an extension such as .txt or .caption, but not one of media",
    "caption_encoding": "auto, or an encoding such as cp1252, gb18030 or shift_jis",
}


def describe_allowed(name: str, field: FieldInfo) -> str:
    """Return the allowed values of a setting in words that follow "give": "a number from 0 to 2, or auto"."""
    if name in _WORDS:
        return _WORDS[name]
    kinds = [field.annotation] if get_origin(field.annotation) is Literal else list(get_args(field.annotation))
    kind = kinds[0] if kinds else field.annotation
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    if kind is bool:
        return "true or false"
    if kind in (int, float):
        noun = "a whole number" if kind is int else "a number"
        return f"{noun} {_range(field)}" + (", or auto" if type(None) in kinds else "")
    if kind is str:
        return f"{'one line of text' if name in ONE_LINE else 'a text'} {_range(field)}"
    return "a path; ~ and ~name need a home folder"


def _range(field: FieldInfo) -> str:
    low = high = ""
    for rule in field.metadata:
        if isinstance(rule, annotated_types.Ge):
            low = f"from {rule.ge}"
        elif isinstance(rule, annotated_types.Gt):
            low = f"above {rule.gt}"
        elif isinstance(rule, annotated_types.Le):
            high = f"{'up ' if low.startswith('above') else ''}to {rule.le}"
        elif isinstance(rule, annotated_types.MinLen):
            low = "that is not empty"
        elif isinstance(rule, annotated_types.MaxLen):
            high = f"of at most {rule.max_length} characters"
    return f"{low} {high}".strip()
