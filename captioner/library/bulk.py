"""One edit of many captions: find and replace, prefix, suffix, trimmed openers, deletion. Preview first, undo later."""

import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property

from regex import IGNORECASE, Match, Pattern, escape
from regex import compile as compile_pattern
from regex import error as PatternError

from captioner.captions.operations import begin_operation, end_operation
from captioner.captions.text import Decoration, decorate, one_line
from captioner.errors import CaptionerError, JobError
from captioner.library.library import Library
from captioner.system.database import Database

# In characters; the fields of the page take no more.
MAX_LENGTHS = {"text to find": 1000, "replacement": 2000, "prefix": 2000, "suffix": 2000}
MAX_CAPTION_LENGTH = 50_000  # of what is edited, and of what comes of it
CAPTION_LIMIT_S = 0.5  # of matching a pattern to one caption
TOTAL_LIMIT_S = 20.0
PREVIEWED = 100

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
_OPENER = compile_pattern(
    rf"(?:{_THE} {_VERB}|(?:in|throughout) {_THE}(?:,? {_SEEN}|,)|this is an? {_MEDIUM} (?:of|showing|depicting)"
    r"|an? (?:short |brief )?(?:video|clip|image)(?: clip)? (?:of|showing|depicting)|we (?:can )?see)"
    r"(?: us| that)? (?=\S)",
    IGNORECASE,
)


@dataclass(frozen=True)
class BulkEdit:
    """What to do to each caption, in this order: trim its opener, replace, add prefix and suffix. Or delete it.

    find: plain text, or with `regex` a pattern of the `regex` package; `replace` may then hold \\1 and \\g<name>.
    Letter case is ignored unless `match_case`. Raises JobError when there is nothing to do, a text is too long or the
    pattern is wrong.
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
            raise JobError("write what to find, to replace it")
        if not edits and not self.delete:
            raise JobError("choose what to change: find and replace, a prefix, a suffix, openers, or delete")
        if edits and self.delete:
            raise JobError("delete captions, or edit them, but not both at once")
        texts = (self.find, self.replace, self.prefix, self.suffix)
        for (name, longest), text in zip(MAX_LENGTHS.items(), texts, strict=True):
            if len(text) > longest:
                raise JobError(f"the {name} is longer than {longest:,} characters; write a shorter one")
        if self.regex:
            self._check_pattern()

    def apply(self, text: str) -> str | None:
        """The edited caption, as one line, or `text` itself if nothing changes; None when it is to be deleted.

        Raises JobError when the pattern takes too long, or a caption is or becomes too long.
        """
        if self.delete:
            return None
        _check_length(len(text))
        before = one_line(text)
        after = trim_opener(before) if self.trim_openers else before
        after = self._replaced(after) if self.find else after
        if after and (self.prefix or self.suffix):
            after = decorate(after, Decoration("", self.prefix, self.suffix))
        return text if after == before else after

    def title(self) -> str:
        """For the history."""
        if self.delete:
            return "Delete captions"
        parts = [
            "trim openers" if self.trim_openers else "",
            f"replace {_short(self.find)} by {_short(self.replace)}" if self.find else "",
            f"prefix {_short(self.prefix)}" if self.prefix else "",
            f"suffix {_short(self.suffix)}" if self.suffix else "",
        ]
        text = ", ".join(part for part in parts if part)
        return text[0].upper() + text[1:]

    @cached_property
    def _pattern(self) -> Pattern:
        pattern = self.find if self.regex else escape(self.find)
        return compile_pattern(pattern, 0 if self.match_case else IGNORECASE)

    def _replaced(self, text: str) -> str:
        length = len(text)

        def replacement(match: Match) -> str:
            nonlocal length
            put = match.expand(self.replace) if self.regex else self.replace
            length += len(put) - len(match[0])
            _check_length(length)  # at every step: the whole might not fit into the memory
            return put

        try:
            return one_line(self._pattern.sub(replacement, text, timeout=CAPTION_LIMIT_S))
        except TimeoutError:
            raise JobError(
                f"the pattern takes longer than {CAPTION_LIMIT_S:g} s on one caption; write a simpler one"
            ) from None

    def _check_pattern(self) -> None:
        """The replacement too: with an alternative that always matches, and nothing else does."""
        try:
            _ = self._pattern
        except (PatternError, RecursionError, OverflowError) as error:
            raise JobError(f"the pattern is wrong: {error}") from None
        try:
            compile_pattern(f"(?:{self.find}\n)|").sub(self.replace, "")
        except (PatternError, IndexError) as error:
            raise JobError(f"the replacement is wrong: {error}") from None


@dataclass(frozen=True)
class Preview:
    """What an edit would do. left_alone: reason -> number of captions, such as "approved" or "would be empty"."""

    changed: tuple[tuple[str, str, str], ...]  # name, text before, text after; the first ones
    num_changed: int
    num_same: int
    left_alone: dict[str, int]
    changed_outside: frozenset[str]  # names of those to change whose text another program wrote

    @property
    def num_skipped(self) -> int:
        return sum(self.left_alone.values())


@dataclass(frozen=True)
class BulkDone:
    """What an edit did, as the operation of this number."""

    operation: int
    num_changed: int
    num_same: int
    left_alone: dict[str, int]  # reason -> number of captions; of one that could not be written, its error

    @property
    def num_skipped(self) -> int:
        return sum(self.left_alone.values())


def preview(library: Library, names: Collection[str], edit: BulkEdit, limit: int = PREVIEWED) -> Preview:
    """What the edit would do to the captions of these files; changes nothing. Raises JobError, StateError.

    limit: of the changes to list.
    """
    changed: list[tuple[str, str, str]] = []
    outcomes: Counter[str] = Counter()
    changed_outside: set[str] = set()
    apply = _within_limits(edit)
    for item in library.lookup.items(names):
        outcome = library.captions.rehearse(item.caption_path, apply)
        if isinstance(outcome, str):
            outcomes[outcome] += 1
            continue
        outcomes["changed"] += 1
        before, after, is_changed_outside = outcome
        if is_changed_outside:
            changed_outside.add(item.name)
        if len(changed) < limit:
            changed.append((item.name, before, after))
    return Preview(tuple(changed), *_counts(outcomes), frozenset(changed_outside))


def bulk_edit(database: Database, library: Library, names: Collection[str], edit: BulkEdit) -> BulkDone:
    """Edit the captions of these files, as one operation. What stands in each file now is what is edited.

    Raises JobError and StateError; what was changed by then can be undone all the same.
    """
    items = library.lookup.items(names)
    if not items:
        raise JobError("nothing to change: no file is selected, or its folder is no longer open")
    with database.transaction() as connection:
        folder = library.folder or items[0].folder
        operation = begin_operation(connection, "bulk", edit.title(), folder, len(items))
    paths = [item.caption_path for item in items]
    try:
        outcomes = Counter(library.captions.rewrite(paths, _within_limits(edit), operation).values())
    except CaptionerError as error:
        with database.transaction() as connection:
            end_operation(connection, operation, "failed", str(error))
        raise
    finally:
        library.edits.refresh(paths)
    with database.transaction() as connection:
        end_operation(connection, operation, "done")
    return BulkDone(operation, *_counts(outcomes))


def trim_opener(text: str) -> str:
    """Without "The video shows", "In this image, we see", "This is a photo of" and the like at the start.

    English only. The rest then starts with a capital letter, if the text did.
    """
    match = _OPENER.match(text)
    if not match:
        return text
    rest = text[match.end() :]
    return rest[0].upper() + rest[1:] if text[0].isupper() else rest


def _within_limits(edit: BulkEdit) -> Callable[[str], str | None]:
    """`edit.apply`, until all calls together take too long."""
    spent_s = 0.0

    def apply(text: str) -> str | None:
        nonlocal spent_s
        started_s = time.perf_counter()
        after = edit.apply(text)
        spent_s += time.perf_counter() - started_s
        if spent_s > TOTAL_LIMIT_S:
            raise JobError(f"the pattern takes longer than {TOTAL_LIMIT_S:g} s on these captions; write a simpler one")
        return after

    return apply


def _check_length(length: int) -> None:
    if length > MAX_CAPTION_LENGTH:
        raise JobError(f"a caption is longer than {MAX_CAPTION_LENGTH:,} characters, or would be; leave it out")


def _counts(outcomes: Counter[str]) -> tuple[int, int, dict[str, int]]:
    """(changed, same, the rest)."""
    rest = dict(outcomes)
    return rest.pop("changed", 0), rest.pop("same", 0), rest


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:39]}…")
