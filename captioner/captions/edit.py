"""One edit of many captions, as pure text: find and replace, prefix, suffix, trimmed openers, deletion."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import regex as re

from captioner.captions.encoding import encode
from captioner.captions.forms.base import Form
from captioner.captions.forms.known import form_of
from captioner.captions.lines import on_each_line, with_one_break
from captioner.captions.pattern import PatternProcess, check_length, substitute
from captioner.captions.text import surround
from captioner.errors import CaptionError, JobError

# In characters; the fields of the page have the same limits.
MAX_LENGTHS = {"text to find": 1000, "replacement": 2000, "prefix": 2000, "suffix": 2000}
TOTAL_LIMIT_S = 20.0  # for all captions together

_MEDIUM = (
    r"(?:(?:short|brief|given|provided|entire|whole|first|opening|video|image|film|animated)[ -]+){0,2}"
    r"(?:video|clip|footage|film|movie|animation|gif|image|picture|photo|photograph|frame|scene|shot)"
    r"(?: clip| frame| footage| sequence)?"
)
_THE = rf"(?:the|this) {_MEDIUM}"
_VERB = (
    r"(?:shows|depicts|features|displays|captures|presents|portrays|illustrates|showcases|highlights|contains"
    r"|(?:begins|opens|starts) (?:with|by showing|on)|is (?:showing|depicting|of))"
)
_SEEN = r"(?:we (?:can )?see|you (?:can )?see|there (?:is|are))"
_OPENER = re.compile(
    rf"(?:{_THE} {_VERB}|(?:in|throughout) {_THE}(?:,? {_SEEN}|,)|this is an? {_MEDIUM} (?:of|showing|depicting)"
    r"|an? (?:short |brief )?(?:video|clip|image)(?: clip)? (?:of|showing|depicting)|we (?:can )?see)"
    r"(?: us| that)? (?=\S)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class BulkEdit:
    """An edit of captions: trim the opener, replace text, add prefix and suffix, in this order; or delete the caption.

    find: plain text, or with `regex` a pattern of the `regex` package; `replace` may then hold \\1 and \\g<name>.
    Case is ignored unless `match_case` is set. The constructor raises JobError if there is nothing to do, or a text is
    too long.
    """

    find: str = ""
    replace: str = ""
    regex: bool = False
    match_case: bool = False
    prefix: str = ""
    suffix: str = ""
    trim_openers: bool = False
    delete: bool = False

    def __post_init__(self) -> None:
        edits = bool(self.find or self.prefix or self.suffix or self.trim_openers)
        if self.replace and not self.find:
            raise JobError("enter the text to find")
        if not edits and not self.delete:
            raise JobError("choose what to change: find and replace, a prefix, a suffix, openers, or delete")
        if edits and self.delete:
            raise JobError("captions can be edited or deleted, but not both at once")
        texts = (self.find, self.replace, self.prefix, self.suffix)
        for (name, longest), text in zip(MAX_LENGTHS.items(), texts, strict=True):
            if len(text) > longest:
                raise JobError(f"the {name} is longer than {longest:,} characters; shorten it")
        try:
            encode(self.replace + self.prefix + self.suffix)
        except CaptionError as error:
            raise JobError(str(error)) from None

    @contextmanager
    def ready(self) -> Iterator[Callable[[str], str | None]]:
        """Prepare the edit for many captions: yield a function with the arguments and errors of `apply`.

        It also raises JobError once all its calls together took longer than TOTAL_LIMIT_S.
        """
        if not self.regex or not self.find:
            yield partial(self._apply, self._replace_plain)
            return
        with PatternProcess(self.find, self.replace, self.match_case) as process:
            yield _within_total_limit(partial(self._apply, process.replaced))

    def apply(self, text: str) -> str | None:
        """Return the edited caption, or None to delete it. What the edit is not about stays as it is.

        Openers are trimmed, and prefix and suffix added, on each line: see `on_each_line`. A caption with fields keeps
        its fields, and only their texts are edited: see captions/forms. Raises JobError if the
        pattern is wrong or takes too long, and CaptionError if the caption is or becomes too long.
        """
        with self.ready() as apply:
            return apply(text)

    def _apply(self, replaced: Callable[[str], str], text: str) -> str | None:
        if self.delete:
            return None
        check_length(len(text))
        form = form_of(text)
        return self._apply_to_fields(form, replaced, text) if form else self._apply_to_lines(replaced, text)

    def _apply_to_fields(self, form: Form, replaced: Callable[[str], str], text: str) -> str:
        """Edit the texts of the fields; openers, prefix and suffix are those of the text that describes the picture."""
        before = form.parse(text).keys()
        check_length(len(text) + len(self.prefix + self.suffix))
        text = form.edit_main(text, trim_opener) if self.trim_openers else text
        text = form.edit(text, lambda part: with_one_break(part, replaced)) if self.find else text
        text = form.edit_main(text, lambda part: surround(part, self.prefix, self.suffix))
        check_length(len(text))
        if form.parse(text).keys() != before:
            raise CaptionError("the edit would break the fields of the caption")
        return text

    def _apply_to_lines(self, replaced: Callable[[str], str], text: str) -> str:
        text = on_each_line(text, trim_opener) if self.trim_openers else text
        text = with_one_break(text, replaced) if self.find else text
        if self.prefix or self.suffix:
            num_breaks = text.count("\n") + text.count("\r")
            check_length(len(text) + (num_breaks + 1) * len(self.prefix + self.suffix))
            text = on_each_line(text, lambda line: surround(line, self.prefix, self.suffix))
        return text

    def title(self) -> str:
        """Return a title for the history, such as "Replace 'red' by 'blue', prefix 'sks'"."""
        if self.delete:
            return "Delete captions"
        parts = ["trim openers"] if self.trim_openers else []
        parts += [f"replace {_short(self.find)} by {_short(self.replace)}"] if self.find else []
        parts += [f"{name} {_short(text)}" for name, text in (("prefix", self.prefix), ("suffix", self.suffix)) if text]
        text = ", ".join(parts)
        return text[0].upper() + text[1:]

    def _replace_plain(self, text: str) -> str:
        pattern = re.compile(re.escape(self.find), 0 if self.match_case else re.IGNORECASE)
        return substitute(pattern, lambda match: self.replace, text)


def trim_opener(text: str) -> str:
    """Return the text without an English opener such as "The video shows", capitalized if it was before."""
    match = _OPENER.match(text)
    if not match:
        return text
    rest = text[match.end() :]
    return rest[0].upper() + rest[1:] if text[0].isupper() else rest


def _within_total_limit(edit: Callable[[str], str | None]) -> Callable[[str], str | None]:
    spent_s = 0.0

    def apply(text: str) -> str | None:
        nonlocal spent_s
        started_s = time.perf_counter()
        after = edit(text)
        spent_s += time.perf_counter() - started_s
        if spent_s > TOTAL_LIMIT_S:
            raise JobError(f"the pattern takes longer than {TOTAL_LIMIT_S:g} s on these captions; simplify it")
        return after

    return apply


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:39]}…")
