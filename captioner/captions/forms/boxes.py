"""The form of Ideogram 4: a JSON object with a summary, a style, and the elements with their boxes, in one line.

Source: docs/prompting.md and CaptionVerifier of ideogram-ai/ideogram4.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from captioner.captions.forms.base import Edit, Form, Problem, decorate_main
from captioner.captions.text import Decoration, clean_with, is_blank, one_line, remove_special_tokens, remove_thinking
from captioner.errors import CaptionError
from captioner.values import UNKNOWN_FACTS, MediaFacts

SUMMARY, STYLE, LAYOUT = FIELDS = ("high_level_description", "style_description", "compositional_deconstruction")
STYLE_KEYS = ("aesthetics", "lighting", "photo", "medium", "art_style", "color_palette")
ELEMENT_KEYS = ("type", "bbox", "text", "desc", "color_palette")
MAX_COLORS, MAX_ELEMENT_COLORS, GRID = 16, 5, 1000
_COLOR = re.compile(r"#[0-9A-F]{6}")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_TRAILING_COMMA = re.compile(r",(\s*[}\]])")
_NOT_PROSE = re.compile(r"#[0-9A-Fa-f]{6}|obj|text")


class Boxes(Form):
    """A JSON object; its fields are the values of the object, as JSON where they are no text."""

    name: ClassVar[str] = "json"
    title: ClassVar[str] = "A JSON object with boxes"
    fields: ClassVar[tuple[str, ...]] = FIELDS
    reminder: ClassVar[str] = (
        "Answer with one JSON object and nothing else, in this shape:\n"
        '{"high_level_description": "...", "style_description": {"aesthetics": "...", "lighting": "...", '
        '"photo": "...", "medium": "photograph"}, "compositional_deconstruction": {"background": "...", "elements": '
        '[{"type": "obj", "bbox": [y_min, x_min, y_max, x_max], "desc": "..."}]}}\n'
        "Boxes are whole numbers from 0 to 1000. Artwork has art_style instead of photo. "
        "Written words are elements of the type text with their words in text."
    )

    def recognizes(self, text: str) -> bool:
        """Return whether a text is a JSON object with a key of this form."""
        values = _loaded(text) if text.lstrip().startswith("{") else None
        return values is not None and bool({SUMMARY, LAYOUT} & values.keys())

    def parse(self, text: str) -> dict[str, str]:
        """Return the values of the object: text as it is, others as JSON; {} if it is no object."""
        values = _loaded(text) or {}
        return {name: value if isinstance(value, str) else _dumped(value) for name, value in values.items()}

    def render(self, fields: Mapping[str, str]) -> str:
        """Return the object in one line. Raise CaptionError if a field that holds JSON does not."""
        values: dict[str, Any] = {}
        for name, text in fields.items():
            try:
                values[name] = json.loads(text) if name in (STYLE, LAYOUT) else text
            except ValueError as error:
                raise CaptionError(f"{name} is not JSON ({error}); correct it") from None
        return _dumped(_ordered(values, FIELDS))

    def problems(self, text: str, facts: MediaFacts = UNKNOWN_FACTS) -> list[Problem]:
        """Return what Ideogram's own check would find."""
        values = _loaded(text)
        if is_blank(text) or values is None:
            return [Problem("empty", "is empty") if is_blank(text) else Problem("json", "is not a JSON object")]
        found = super().problems(text, facts)
        found += [Problem("field-missing", f"has no {name}") for name in (SUMMARY, LAYOUT) if not values.get(name)]
        if [name for name in values if name in FIELDS] != [name for name in FIELDS if name in values]:
            found.append(Problem("field-order", "has its keys in the wrong order"))
        found += [
            Problem("field", f"has the unknown key {name}") for name in values if name not in (*FIELDS, "aspect_ratio")
        ]
        if SUMMARY in values and not isinstance(values[SUMMARY], str):
            found.append(Problem("field", f"has no text in {SUMMARY}"))
        if STYLE in values:
            found += _style_problems(values[STYLE])
        return [*found, *(_layout_problems(values[LAYOUT]) if values.get(LAYOUT) else ())]

    def clean(self, answer: str, facts: MediaFacts = UNKNOWN_FACTS) -> str:
        """Return the object of an answer in one line, its keys in order, its colors in capitals, its boxes whole."""
        values = _loaded(remove_thinking(answer))  # a text in it may hold the mark of a turn's end
        if values is None:
            return clean_with(answer, remove_special_tokens, one_line)
        return _dumped(_repaired(values))

    def edit(self, text: str, edit: Edit) -> str:
        """Apply an edit to every text of the object, but not to keys, types and colors."""
        return self._edited(text, edit, lambda key, value: not _NOT_PROSE.fullmatch(value))

    def edit_main(self, text: str, edit: Edit) -> str:
        """Apply an edit to the summary."""
        return self._edited(text, edit, lambda key, value: key == SUMMARY)

    def decorate(self, text: str, decoration: Decoration) -> str:
        """Return a caption with the trigger word, prefix and suffix in its summary."""
        return decorate_main(self, text, decoration)

    def merge(self, first: str, second: str) -> str:
        """Return the elements of both; texts are joined. A text that is no JSON belongs to the summary."""
        one, two = (_loaded(text) or {SUMMARY: text} for text in (first, second))
        return _dumped(_ordered(_merged(one, two), FIELDS))

    def _edited(self, text: str, edit: Edit, is_meant: Callable[[str, str], bool]) -> str:
        parts, end, key = [], 0, ""
        for match in _STRING.finditer(text):
            value = json.loads(match[0], strict=False)
            if text[match.end() :].lstrip().startswith(":"):
                key = value
            elif is_meant(key, value) and (new := edit(value)) != value:
                parts += [text[end : match.start()], json.dumps(new, ensure_ascii=False)]
                end = match.end()
        return "".join([*parts, text[end:]])


def _loaded(text: str) -> dict[str, Any] | None:
    """Return the JSON object in a text, also between other words or with a comma too many; None if there is none."""
    start, end = text.find("{"), text.rfind("}") + 1
    for candidate in (text[start:end], _TRAILING_COMMA.sub(r"\1", text[start:end])) if 0 <= start < end else ():
        try:
            values = json.loads(candidate, strict=False)
        except (ValueError, RecursionError):
            continue
        return values if isinstance(values, dict) else None
    return None


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _ordered(values: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {name: values[name] for name in (*keys, *(name for name in values if name not in keys)) if name in values}


def _repaired(value: Any) -> Any:
    """Return the values with keys in order, texts in one line, colors in capitals and whole numbers in boxes."""
    if isinstance(value, str):
        text = one_line(remove_special_tokens(value))
        return text.upper() if re.fullmatch(r"#[0-9a-fA-F]{6}", text) else text
    if isinstance(value, list):
        return [_repaired(each) for each in value]
    if not isinstance(value, dict):
        return value
    values = {name: _repaired(each) for name, each in value.items()}
    box = values.get("bbox")
    if isinstance(box, list) and any(isinstance(each, float) and each > 1 for each in box):
        values["bbox"] = [round(each) if isinstance(each, float) else each for each in box]
    for keys in (FIELDS, ("background", "elements"), ELEMENT_KEYS, STYLE_KEYS):
        if keys[0] in values:
            return _ordered(values, keys)
    return values


def _style_problems(style: Any) -> Iterable[Problem]:
    if not isinstance(style, dict):
        yield Problem("style", f"has no object in {STYLE}")
        return
    if not isinstance(style.get("medium"), str):
        yield Problem("style", f"has no medium in {STYLE}")
    if ("photo" in style) == ("art_style" in style):
        yield Problem("style", f"needs either photo or art_style in {STYLE}")
    yield from _color_problems(style, MAX_COLORS)


def _layout_problems(layout: Any) -> Iterable[Problem]:
    if not isinstance(layout, dict) or not isinstance(layout.get("background"), str):
        yield Problem("background", f"has no background in {LAYOUT}")
    elements = layout.get("elements") if isinstance(layout, dict) else None
    if not isinstance(elements, list):
        yield Problem("elements", f"has no list of elements in {LAYOUT}")
        return
    for number, element in enumerate(elements, start=1):
        name = f"element {number}"
        if not isinstance(element, dict) or element.get("type") not in ("obj", "text"):
            yield Problem("element", f"has no type obj or text in {name}")
            continue
        if not isinstance(element.get("desc"), str) or not element["desc"].strip():
            yield Problem("element", f"has no desc in {name}")
        if element["type"] == "text" and not isinstance(element.get("text"), str):
            yield Problem("element", f"does not say which words are written in {name}")
        if "bbox" in element and not _is_box(element["bbox"]):
            yield Problem("box", f"has a box that is not [y_min, x_min, y_max, x_max] from 0 to 1000 in {name}")
        yield from _color_problems(element, MAX_ELEMENT_COLORS)


def _is_box(box: Any) -> bool:
    if not isinstance(box, list) or len(box) != 4 or not all(type(each) is int and 0 <= each <= GRID for each in box):
        return False
    return box[0] <= box[2] and box[1] <= box[3]


def _color_problems(values: Mapping[str, Any], most: int) -> Iterable[Problem]:
    colors = values.get("color_palette", [])
    if not isinstance(colors, list) or not all(isinstance(each, str) and _COLOR.fullmatch(each) for each in colors):
        yield Problem("color", "has colors that are not written as #1A2B3C")
    elif len(colors) > most:
        yield Problem("color", f"has more than {most} colors in a palette")


def _merged(first: Any, second: Any) -> Any:
    if isinstance(first, dict) and isinstance(second, dict):
        names = dict.fromkeys((*first, *second))
        return {n: _merged(first[n], second[n]) if n in first and n in second else (first | second)[n] for n in names}
    if isinstance(first, list) and isinstance(second, list):
        return first + [each for each in second if each not in first]
    return f"{first} {second}" if isinstance(first, str) and isinstance(second, str) and first != second else second
