"""The base of all forms of caption."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from captioner.captions.text import Decoration, clean, decorate, holds_word, is_blank, surround
from captioner.values import UNKNOWN_FACTS, MediaFacts

Edit = Callable[[str], str]


@dataclass(frozen=True)
class Problem:
    """Something wrong with a caption. message follows "the caption": "has no overall_soundscape"."""

    code: str
    message: str
    span: tuple[int, int] = (0, 0)  # where in the text


class Form:
    """One paragraph in one line, which is what most trainers take. The other forms are subclasses."""

    name: ClassVar[str] = "paragraph"
    title: ClassVar[str] = "One paragraph"
    fields: ClassVar[tuple[str, ...]] = ("caption",)  # in the order in which they stand in the file
    is_one_line: ClassVar[bool] = True
    has_shots: ClassVar[bool] = False  # with the times at which they begin
    reminder: ClassVar[str] = ""  # what the model is told when it is asked a second time; "": it is not

    def recognizes(self, text: str) -> bool:
        """Return whether a text in a file certainly has this form, so that edits keep its fields."""
        return False

    def parse(self, text: str) -> dict[str, str]:
        """Return the texts of the fields that a caption has, by name. It never raises."""
        return {self.fields[0]: text.strip()}

    def render(self, fields: Mapping[str, str]) -> str:
        """Return the fields as they lie in a file, in their order. Raises CaptionError if they cannot."""
        return fields.get(self.fields[0], "")

    def problems(self, text: str, facts: MediaFacts = UNKNOWN_FACTS) -> list[Problem]:
        """Return what is wrong with a caption as it lies in a file."""
        found = [Problem("empty", "is empty")] if is_blank(text) else []
        if self.is_one_line and (line_break := re.search(r"[\r\n]", text.strip())):
            found.append(Problem("line-break", "has more than one line", line_break.span()))
        return found

    def clean(self, answer: str, facts: MediaFacts = UNKNOWN_FACTS) -> str:
        """Return the caption in a model's answer, repaired where that is safe; "" if there is none."""
        return clean(answer)

    def edit(self, text: str, edit: Edit) -> str:
        """Apply an edit to the texts of the fields, and leave everything around them as it is."""
        return edit(text)

    def edit_main(self, text: str, edit: Edit) -> str:
        """Apply an edit to the text that describes the picture, where prefixes and suffixes belong."""
        return edit(text)

    def decorate(self, text: str, decoration: Decoration) -> str:
        """Return a cleaned caption with the trigger word, prefix and suffix of a job."""
        return decorate(text, decoration)

    def merge(self, first: str, second: str) -> str:
        """Return two captions as one, of which at least one has this form."""
        return f"{first} {second}"


def decorate_main(form: Form, text: str, decoration: Decoration) -> str:
    """Put the trigger word, prefix and suffix around the text that describes the picture."""
    trigger = "" if holds_word(text, decoration.trigger) else decoration.trigger.strip()

    def edit(main: str) -> str:
        main = surround(main, decoration.prefix, decoration.suffix)
        return f"{trigger}, {main}" if trigger else main

    return form.edit_main(text, edit)
