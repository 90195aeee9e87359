"""The form of MiniMax-H3: three labeled fields, with a blank line between them.

Source: docs/VIDEO_PROMPT_WRITING_GUIDE_base_en.md of MiniMaxAI/MiniMax-H3, as ai-toolkit quotes it in
captionOptions.ts.
"""

import json
import re
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

from captioner.captions.forms.base import Edit, Form, Problem, decorate_main
from captioner.captions.forms.h3_checks import field_problems
from captioner.captions.forms.h3_text import repair_description
from captioner.captions.text import Decoration, clean_with, keep_lines, remove_quotes, remove_special_tokens
from captioner.values import UNKNOWN_FACTS, MediaFacts

DESCRIPTION, SOUNDSCAPE, MUSIC = FIELDS = (
    "integrated_multimodal_description",
    "overall_soundscape",
    "non_diegetic_music",
)
NOTHING = "N/A"
_SPACED = [name.replace("_", r"[\s_-]{1,2}") for name in FIELDS]
_EXACT = re.compile(rf"\b({'|'.join(FIELDS)})[ \t]*:[ \t]*")
# As models write labels: "**Overall Soundscape:**", "### overall_soundscape", "2. Non-diegetic music -".
_LOOSE = re.compile(
    rf"^[ \t#>*_\-•]{{0,20}}(?:\d[.)][ \t]*)?[*_`\"'\[]{{0,4}}({'|'.join(_SPACED)})[*_`\"'\]]*[ \t]*"
    rf"(?:[:：=][ \t]*[*_`]*|[-–—]+[ \t]|(?=\r?\n))[ \t]*",
    re.IGNORECASE | re.MULTILINE,
)
_REFERENCE = re.compile(r"\s*(?:For the target video|How the reference pictures align)\b[^\n]*")
_NOTHING = re.compile(
    r"[\s\"'*(\[]*(?:n\s*[/.\\]?\s*a|none|null|nil|nothing|not applicable|-+|—)[\s\"'*.)\]]*", re.IGNORECASE
)
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)[\w-]*[ \t]*$", re.MULTILINE)
_BOLD = re.compile(r"(\*{2,3}|__)(?=\S)([^*\n]+?)(?<=\S)\1")
_FIRST_SHOT = re.compile(r"\s*\[Shot 1\]\s*")


class Found(NamedTuple):
    """A field in a text: where its label and its own text are."""

    name: str
    label: tuple[int, int]
    start: int
    end: int


class H3(Form):
    """Three fields: what is seen, shot by shot, with the speech; what else is heard; the music over it."""

    name: ClassVar[str] = "h3"
    title: ClassVar[str] = "Three fields"
    fields: ClassVar[tuple[str, ...]] = FIELDS
    is_one_line: ClassVar[bool] = False
    has_shots: ClassVar[bool] = True
    reminder: ClassVar[str] = (
        "Answer with exactly these three fields, in this order, each label at the start of a line, and nothing else:\n"
        f"{DESCRIPTION}: [Shot 1] ... [Shot 2] At MM:SS.mmm, the camera cuts to ...\n\n"
        f"{SOUNDSCAPE}: ...\n\n{MUSIC}: ...\n"
        "Times of shots rise and lie inside the clip. Speech stands as <d>[Language] words</d>. "
        "Write N/A for sound only if there is none."
    )

    def recognizes(self, text: str) -> bool:
        """Return whether a text has at least two of the labels, or begins with the first."""
        names = {found.name for found in find_fields(text)}
        return len(names) > 1 or text.lstrip().startswith(f"{DESCRIPTION}:")

    def parse(self, text: str) -> dict[str, str]:
        """Return the fields of a text, also if it is one line or its labels are written as models do."""
        fields: dict[str, str] = {}
        for found in find_fields(text):
            fields.setdefault(found.name, text[found.start : found.end].strip())
        return fields

    def render(self, fields: Mapping[str, str]) -> str:
        """Return the three fields in their order; a missing one is left out."""
        return "\n\n".join(f"{name}: {fields[name]}".strip() for name in FIELDS if name in fields)

    def problems(self, text: str, facts: MediaFacts = UNKNOWN_FACTS) -> list[Problem]:
        """Return what is wrong with the labels, then with the text of each field."""
        found = find_fields(text)
        return super().problems(text) or [*_label_problems(text, found), *field_problems(text, found, facts)]

    def clean(self, answer: str, facts: MediaFacts = UNKNOWN_FACTS) -> str:
        """Return the fields of an answer in order, with exact labels. Without any label, all of it is kept to be asked
        again.
        """
        text = clean_with(answer, _remove_fences, _remove_tokens, remove_quotes, keep_lines)
        fields = _from_json(text) or self.parse(text)
        if not fields:
            return text
        fields = {name: _repair_field(name, value) for name, value in fields.items()}
        if facts.is_silent and DESCRIPTION in fields:
            fields |= dict.fromkeys((SOUNDSCAPE, MUSIC), NOTHING)
        first = find_fields(text)
        reference = _REFERENCE.match(text[: first[0].label[0]]) if first else None
        rendered = self.render(fields)
        return f"{reference[0].strip()}\n\n{rendered}" if reference else rendered

    def edit(self, text: str, edit: Edit) -> str:
        """Apply an edit to the text of each field."""
        for found in reversed(find_fields(text)):
            text = _edit_span(text, found, edit)
        return text

    def edit_main(self, text: str, edit: Edit) -> str:
        """Apply an edit to the description, behind the mark of its first shot."""
        found = next((found for found in find_fields(text) if found.name == DESCRIPTION), None)
        if found is None:
            return text
        shot = _FIRST_SHOT.match(text, found.start, found.end)
        return _edit_span(text, found._replace(start=shot.end()) if shot else found, edit)

    def decorate(self, text: str, decoration: Decoration) -> str:
        """Return a caption with the trigger word, prefix and suffix in its description."""
        return decorate_main(self, text, decoration)

    def merge(self, first: str, second: str) -> str:
        """Return the fields of both. A text without fields belongs to the description."""
        one, two = (self.parse(text) or {DESCRIPTION: text} for text in (first, second))
        return self.render(
            {name: _joined(one.get(name, ""), two.get(name, "")) for name in FIELDS if name in one | two}
        )


def find_fields(text: str) -> list[Found]:
    """Return the fields of a text in the order in which they stand."""
    labels = {match.start(1): match for match in _LOOSE.finditer(text)}
    for match in _EXACT.finditer(text):
        if not any(start <= match.start() < label.end() for start, label in labels.items()):
            labels[match.start()] = match
    found = []
    ordered = sorted(labels.values(), key=lambda match: match.start(1))
    ends = [*(match.start() for match in ordered), len(text)][1:]
    for match, end in zip(ordered, ends, strict=True):
        name = next(name for name, spaced in zip(FIELDS, _SPACED, strict=True) if re.fullmatch(spaced, match[1], re.I))
        length = len(text[match.end() : end].rstrip())
        found.append(Found(name, (match.start(), match.end()), match.end(), match.end() + length))
    return found


def _label_problems(text: str, found: list[Found]) -> list[Problem]:
    problems = [
        Problem("field-missing", f"has no {name}") for name in FIELDS if name not in {each.name for each in found}
    ]
    names = [each.name for each in found]
    if found and text[: found[0].label[0]].strip() and not _REFERENCE.fullmatch(text[: found[0].label[0]].rstrip()):
        problems.append(Problem("text-before", "has text before its first field", (0, found[0].label[0])))
    for i, each in enumerate(found):
        label = text[slice(*each.label)]
        is_exact = label.rstrip() == f"{each.name}:" and (each.label[0] == 0 or text[each.label[0] - 1] == "\n")
        if each.name in names[:i]:
            problems.append(Problem("field-twice", f"has {each.name} twice", each.label))
        elif any(FIELDS.index(before) > FIELDS.index(each.name) for before in names[:i]):
            problems.append(Problem("field-order", f"has {each.name} in the wrong place", each.label))
        if not is_exact:
            problems.append(
                Problem("label", f"does not have the label {each.name}: at the start of a line", each.label)
            )
        if each.start == each.end:
            problems.append(Problem("field-empty", f"has nothing in {each.name}", each.label))
    return problems


def _repair_field(name: str, text: str) -> str:
    text = keep_lines(_BOLD.sub(r"\2", text)).replace("\n\n", "\n").strip(" \n*_")
    if name == DESCRIPTION:
        return repair_description(text)
    return NOTHING if _NOTHING.fullmatch(text) else text


def _from_json(text: str) -> dict[str, str]:
    """Return the fields if the answer is a JSON object of them."""
    try:
        values = json.loads(text[text.index("{") : text.rindex("}") + 1])
    except (ValueError, RecursionError):
        return {}
    return {name: value for name in FIELDS if isinstance(value := values.get(name), str)}


def _remove_fences(text: str) -> str:
    return _FENCE.sub("", text)


def _remove_tokens(text: str) -> str:
    """Remove the tokens of chat templates, but not those that H3 itself knows, such as <|lyrics_start|>."""
    parts = re.split(r"(<\|lyrics_(?:start|end)\|>)", text)
    return "".join(part if i % 2 else remove_special_tokens(part) for i, part in enumerate(parts))


def _edit_span(text: str, found: Found, edit: Edit) -> str:
    return text[: found.start] + edit(text[found.start : found.end]) + text[found.end :]


def _joined(first: str, second: str) -> str:
    said = [part for part in (first, second) if part and part != NOTHING]
    return " ".join(said) or NOTHING
