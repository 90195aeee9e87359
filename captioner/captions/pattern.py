"""Find and replace with a person's regular expression, in a process with limits: a short one can take hours or 8 GB."""

from collections.abc import Callable
from functools import lru_cache
from typing import Self

import regex as re

from captioner.errors import CaptionError, JobError
from captioner.system.limited_process import Answer, LimitedProcess, ProcessFailure

MAX_CAPTION_LENGTH = 50_000  # in characters, before and after the edit
CAPTION_LIMIT_S = 0.5  # for matching a pattern to one caption
COMPILE_LIMIT_S = 3.0  # for reading the pattern
MEMORY_BYTES = 300_000_000
TOO_SLOW = f"the pattern takes longer than {CAPTION_LIMIT_S:g} s on one caption; simplify it"


class PatternProcess:
    """Finds and replaces with one pattern of the `regex` package, for one thread. Use it in a `with`."""

    def __init__(self, find: str, replace: str, match_case: bool) -> None:
        """replace: may hold \\1 and \\g<name>."""
        self._edit = find, replace, match_case
        self._process = LimitedProcess("pattern", _answer, MEMORY_BYTES)

    def __enter__(self) -> Self:
        """Start the process. Raises JobError if the pattern or the replacement is wrong, or takes too much."""
        try:
            self._ask(
                None, COMPILE_LIMIT_S, f"the pattern takes longer than {COMPILE_LIMIT_S:g} s to read; simplify it"
            )
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.end()

    def replaced(self, text: str) -> str:
        """Return the text after the replacements. Raises JobError, and CaptionError if it becomes too long."""
        return self._ask(text, 2 * CAPTION_LIMIT_S, TOO_SLOW)

    def _ask(self, text: str | None, limit_s: float, too_slow: str) -> str:
        try:
            answer, _ = self._process.ask(limit_s, *self._edit, text)
        except ProcessFailure as failure:
            raise JobError(_WORDS.get(failure.reason, too_slow)) from None
        if "too long" in answer:
            check_length(MAX_CAPTION_LENGTH + 1)
        if "error" in answer:
            raise JobError(answer["error"])
        return answer["text"]


_WORDS = {
    "large": "the pattern needs too much memory; simplify it",
    "ended": "the pattern ended the process that reads it; simplify it",
    "not started": "the process that reads patterns did not start; see the log",
}


def substitute(pattern: re.Pattern, put_of: Callable[[re.Match], str], text: str) -> str:
    """Replace each match by `put_of(match)`. Raises TimeoutError, and CaptionError if the text becomes too long."""
    length = len(text)

    def replacement(match: re.Match) -> str:
        nonlocal length
        put = put_of(match)
        length += len(put) - len(match[0])
        check_length(length)  # at every step, since the whole result might not fit into memory
        return put

    return pattern.sub(replacement, text, timeout=CAPTION_LIMIT_S)


def check_length(length: int) -> None:
    """Raise CaptionError if a caption of this many characters is too long to edit."""
    if length > MAX_CAPTION_LENGTH:
        raise CaptionError(f"longer than {MAX_CAPTION_LENGTH:,} characters, or it would become so")


# In the process


def _answer(find: str, replace: str, match_case: bool, text: str | None) -> Answer:
    try:
        pattern = _compiled(find, replace, match_case)
        if text is None:
            return {"text": ""}, b""
        return {"text": substitute(pattern, lambda match: match.expand(replace), text)}, b""
    except JobError as error:
        return {"error": str(error)}, b""
    except CaptionError:
        return {"too long": True}, b""
    except TimeoutError:
        return {"error": TOO_SLOW}, b""
    except RecursionError:
        return {"error": "the pattern is nested too deeply; simplify it"}, b""


@lru_cache(maxsize=1)
def _compiled(find: str, replace: str, match_case: bool) -> re.Pattern:
    try:
        pattern = re.compile(find, 0 if match_case else re.IGNORECASE)
    except (re.error, OverflowError) as error:
        raise JobError(f"the pattern is wrong: {error}") from None
    try:  # the empty alternative always matches, so that the replacement is expanded
        re.compile(f"(?:{find}\n)|").sub(replace, "")
    except (re.error, IndexError) as error:
        raise JobError(f"the replacement is wrong: {error}") from None
    return pattern
