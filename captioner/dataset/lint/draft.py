"""A caption as the rules see it: quotes masked, and where its text begins."""

import re
from dataclasses import dataclass
from functools import cached_property

from captioner.captions.forms.base import Form
from captioner.captions.forms.known import form_of
from captioner.values import UNKNOWN_FACTS, MediaFacts

MASK = "\x00"
_QUOTED = re.compile(
    r"<d>.*?(?:</d>|$)|\"[^\"\n]{1,400}\"|“[^”\n]{1,400}[”\"]|„[^“”\n]{1,400}[“”]|«[^»\n]{1,400}»|「[^」]{1,400}」"
    r"|『[^』]{1,400}』|《[^》]{1,400}》|(?<![\w])[‘'](?=\w)[^'’\n]{1,200}(?:['’](?=[a-z])[^'’\n]{1,200}){0,3}['’](?!\w)",
    re.DOTALL,
)
_HEAD = re.compile(r"\s*(?:integrated_multimodal_description:\s*)?(?:\[Shot \d+\]\s*)?")
_SENTENCE_END = re.compile(r"[.!?](?:[\"'”’)\]]*)(?=\s)|[。！？]")
_LABELS = re.compile(r"description|soundscape|music", re.IGNORECASE)  # a part of each label of H3
MAX_TAG_WORDS, MIN_TAGS = 4.0, 4


@dataclass(frozen=True)
class Draft:
    """A caption with what is known of it. flaw: what the job that wrote it has noted; see captions/flaws."""

    text: str
    trigger: str = ""
    facts: MediaFacts = UNKNOWN_FACTS
    flaw: str = ""
    is_tags: bool = False  # its target wants tags

    @cached_property
    def plain(self) -> str:
        """The text of the same length, in which what is quoted or spoken is masked: nobody but the picture says it."""
        if not any(mark in self.text for mark in "\"“„«「『《'‘<"):
            return self.text
        plain = _QUOTED.sub(lambda match: MASK * len(match[0]), self.text)
        return self.text if plain.count(MASK) > 0.8 * len(plain) else plain

    @cached_property
    def lower(self) -> str:
        """The masked text in lower case, to look for words in."""
        return self.plain.lower()

    @cached_property
    def form(self) -> Form | None:
        """The form with fields that the text certainly has, or None."""
        may_have_fields = "{" in self.text or (":" in self.text and _LABELS.search(self.text))
        return form_of(self.text) if may_have_fields else None

    @cached_property
    def head(self) -> int:
        """Where the description begins: behind the label of a field and the mark of the first shot."""
        found = _HEAD.match(self.text)
        return found.end() if found else 0

    @cached_property
    def body(self) -> int:
        """Where the description begins behind the trigger word."""
        start, trigger = self.head, self.trigger.strip()
        if trigger and self.text[start : start + len(trigger)].casefold() == trigger.casefold():
            start += len(trigger)
            while start < len(self.text) and self.text[start] in " ,.:;-":
                start += 1
        return start

    @cached_property
    def has_tags(self) -> bool:
        """True if the text is a list of tags."""
        if self.is_tags:
            return True
        num_tags = 1 + sum(map(self.text.count, ",，、"))
        return num_tags >= MIN_TAGS and len(self.text.split()) / num_tags <= MAX_TAG_WORDS and not self.sentences

    @cached_property
    def sentences(self) -> list[int]:
        """Where each sentence ends that has an end before that of the text."""
        return [match.end() for match in _SENTENCE_END.finditer(self.plain.rstrip())]
