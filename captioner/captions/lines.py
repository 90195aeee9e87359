"""Edits that leave line breaks, and the white space around the text and around each line, as they are."""

import re
from collections.abc import Callable

from captioner.captions.text import is_blank

_BREAK = re.compile(r"(\r\n|\r|\n)")


def on_each_line(text: str, edit: Callable[[str], str]) -> str:
    """Apply an edit to each line that is not blank, without the white space around it.

    OneTrainer, SimpleTuner and, with wildcards, kohya's sd-scripts take each line as a caption of its own, and
    sd-scripts takes the first one otherwise. So each line gets what is added to a caption.
    """
    return "".join(part if is_blank(part) else on_core(part, edit) for part in _BREAK.split(text))


def on_core(text: str, edit: Callable[[str], str]) -> str:
    """Apply an edit to the text without the white space around it."""
    core = text.strip()
    start = text.index(core)
    return text[:start] + edit(core) + text[start + len(core) :]


def with_line_feeds(text: str) -> str:
    """Return the text with "\n" for all line breaks, as a text box holds it."""
    return _BREAK.sub("\n", text)


def with_one_break(text: str, edit: Callable[[str], str]) -> str:
    """Apply an edit that expects "\n" for line breaks; if they are of several kinds, it gets them as they are."""
    kinds = set(_BREAK.findall(text))
    if len(kinds) != 1:
        return edit(text)
    return with_line_feeds(edit(with_line_feeds(text))).replace("\n", kinds.pop())


def retype(before: str, typed: str) -> str:
    """Return a text typed in a box, which knows only "\n", with the line breaks of the text before.

    All characters before the first change and after the last one stay as they were. New line breaks are like the first
    one of `before`. A text with "\r" does not come from a box and is returned as it is.
    """
    if "\r" in typed or "\r" not in before:
        return typed
    units = re.findall(r"\r\n|.", before, re.DOTALL)
    old = "".join("\n" if unit[0] == "\r" else unit for unit in units)
    num_first = _num_same(old, typed)
    most = min(len(old), len(typed)) - num_first
    num_last = _num_same(old[::-1][:most], typed[::-1][:most])
    middle = typed[num_first : len(typed) - num_last].replace("\n", _BREAK.findall(before)[0])
    return "".join(units[:num_first]) + middle + "".join(units[len(units) - num_last :])


def _num_same(first: str, second: str) -> int:
    """Return how many characters at the start of two texts are the same."""
    pairs = zip(first, second, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))
