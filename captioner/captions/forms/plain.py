"""Forms without fields: tags, and text that is left as the model wrote it."""

import re
from typing import ClassVar

from captioner.captions.forms.base import Form, Problem
from captioner.captions.text import (
    Decoration,
    clean,
    clean_with,
    holds_word,
    keep_lines,
    remove_chat,
    remove_markdown,
    remove_quotes,
    remove_special_tokens,
    surround,
)
from captioner.values import UNKNOWN_FACTS, MediaFacts

MAX_TAG_WORDS = 8  # a longer one is a sentence
_BETWEEN = re.compile(r"\s*[,;\n、，]\s*")
_MARK = re.compile(r"^(?:[-*•]|\d+[.)])\s+")


class Tags(Form):
    """Tags in one line, separated by commas."""

    name: ClassVar[str] = "tags"
    title: ClassVar[str] = "Tags"

    def clean(self, answer: str, facts: MediaFacts = UNKNOWN_FACTS) -> str:
        """Return the tags once each, also those of a list with one tag a line."""
        lines = clean_with(answer, remove_special_tokens, remove_markdown, remove_chat, remove_quotes, keep_lines)
        tags = (_MARK.sub("", tag).strip(" .#\"'") for tag in _BETWEEN.split(lines))
        once = {tag.casefold(): tag for tag in reversed([*tags]) if tag}
        return clean(", ".join(reversed(once.values())))

    def problems(self, text: str, facts: MediaFacts = UNKNOWN_FACTS) -> list[Problem]:
        """Return also the tags that are sentences."""
        found, start = super().problems(text), 0
        for part in text.split(","):
            if len(part.split()) > MAX_TAG_WORDS:
                message = "holds sentences instead of tags"
                return [*found, Problem("sentence", message, (start, start + len(part)))]
            start += len(part) + 1
        return found

    def merge(self, first: str, second: str) -> str:
        """Return the tags of both."""
        return f"{first.rstrip(' ,')}, {second}"


class Free(Form):
    """Any text, with its lines."""

    name: ClassVar[str] = "free"
    title: ClassVar[str] = "Free text with its lines"
    is_one_line: ClassVar[bool] = False

    def clean(self, answer: str, facts: MediaFacts = UNKNOWN_FACTS) -> str:
        """Return the text with its lines, lists and headings."""
        return clean_with(answer, remove_special_tokens, remove_chat, remove_quotes, keep_lines)

    def decorate(self, text: str, decoration: Decoration) -> str:
        """Return the text with its lines between prefix and suffix."""
        text = surround(text, decoration.prefix, decoration.suffix)
        trigger = decoration.trigger.strip()
        return text if holds_word(text, trigger) else f"{trigger}, {text}"

    def merge(self, first: str, second: str) -> str:
        """Return both, as paragraphs."""
        return f"{first}\n\n{second}"
