"""One edit of many captions, as pure text: find and replace, prefix, suffix, trimmed openers, deletion."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import regex as re

from captioner.captions.encoding import encode
from captioner.captions.lines import on_each_line, with_one_break
from captioner.captions.text import surround
from captioner.errors import CaptionError, JobError

# In characters; the fields of the page have the same limits.
MAX_LENGTHS = {"text to find": 1000, "replacement": 2000, "prefix": 2000, "suffix": 2000}
MAX_CAPTION_LENGTH = 50_000  # in characters, before and after the edit
CAPTION_LIMIT_S = 0.5  # for matching a pattern to one caption
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
    Case is ignored unless `match_case` is set. The constructor raises JobError if there is nothing to do, a text is too
    long or the pattern is wrong.
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
        if self.regex:
            self._check_pattern()

    def apply(self, text: str) -> str | None:
        """Return the edited caption, or None to delete it. What the edit is not about stays as it is.

        Openers are trimmed, and prefix and suffix added, on each line: see `on_each_line`. Raises JobError if the
        pattern takes too long, and CaptionError if the caption is or becomes too long.
        """
        if self.delete:
            return None
        _check_length(len(text))
        text = on_each_line(text, trim_opener) if self.trim_openers else text
        text = with_one_break(text, self._replaced) if self.find else text
        if self.prefix or self.suffix:
            num_breaks = text.count("\n") + text.count("\r")
            _check_length(len(text) + (num_breaks + 1) * len(self.prefix + self.suffix))
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

    @cached_property
    def _pattern(self) -> re.Pattern:
        return re.compile(self.find if self.regex else re.escape(self.find), 0 if self.match_case else re.IGNORECASE)

    def _replaced(self, text: str) -> str:
        length = len(text)

        def replacement(match: re.Match) -> str:
            nonlocal length
            put = match.expand(self.replace) if self.regex else self.replace
            length += len(put) - len(match[0])
            _check_length(length)  # at every step, since the whole result might not fit into memory
            return put

        try:
            return self._pattern.sub(replacement, text, timeout=CAPTION_LIMIT_S)
        except TimeoutError:
            raise JobError(f"the pattern takes longer than {CAPTION_LIMIT_S:g} s on one caption; simplify it") from None

    def _check_pattern(self) -> None:
        try:
            _ = self._pattern
        except (re.error, RecursionError, OverflowError) as error:
            raise JobError(f"the pattern is wrong: {error}") from None
        try:  # the empty alternative always matches, so that the replacement is expanded
            re.compile(f"(?:{self.find}\n)|").sub(self.replace, "")
        except (re.error, IndexError) as error:
            raise JobError(f"the replacement is wrong: {error}") from None


def trim_opener(text: str) -> str:
    """Return the text without an English opener such as "The video shows", capitalized if it was before."""
    match = _OPENER.match(text)
    if not match:
        return text
    rest = text[match.end() :]
    return rest[0].upper() + rest[1:] if text[0].isupper() else rest


def within_limits(edit: BulkEdit) -> Callable[[str], str | None]:
    """Return `edit.apply`, which raises JobError once all calls together took longer than TOTAL_LIMIT_S."""
    spent_s = 0.0

    def apply(text: str) -> str | None:
        nonlocal spent_s
        started_s = time.perf_counter()
        after = edit.apply(text)
        spent_s += time.perf_counter() - started_s
        if spent_s > TOTAL_LIMIT_S:
            raise JobError(f"the pattern takes longer than {TOTAL_LIMIT_S:g} s on these captions; simplify it")
        return after

    return apply


def _check_length(length: int) -> None:
    if length > MAX_CAPTION_LENGTH:
        raise CaptionError(f"longer than {MAX_CAPTION_LENGTH:,} characters, or it would become so")


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:39]}…")
