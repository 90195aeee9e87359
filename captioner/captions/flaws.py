"""The flaws of a caption as a model wrote it: it was cut off, it repeats itself, or its target cannot take it."""

import functools
import operator
import re
from collections.abc import Sequence
from itertools import pairwise

from captioner.marks import ALL_THINKING
from captioner.values import Caption

REPEATS = "repeats itself"
EMPTY = "is empty"
BREAKS_FORM, TOO_LONG = "breaks its form", "exceeds"  # how the flaws of a caption for a target begin
NO_TEXT = "the model returned an empty caption"
MAX_PERIOD = 40  # words of the longest unit that is looked for; characters in scripts without spaces: twice as many
MAX_CHARACTERS = 40_000  # only the end of a longer text is searched
MIN_CHARACTERS = 12  # that a loop in a script without spaces covers
MIN_REPEATED = 24  # words that a loop in the middle covers
MIN_TIMES = 6  # that a unit in the middle stands in a row
SHORTEST_RUN = MIN_REPEATED * (MIN_TIMES - 1) // MIN_TIMES  # of words there that equal the one a period before
SAMPLED = 8  # words of such a run that are looked at first
MIN_MARKS = 16  # the same one in a row
MIN_SIMILAR = 5  # sentences in a row that differ in almost nothing
LONG_WORD = 24  # longer ones are taken apart: Thai and other scripts have no spaces, and "hahaha" is a loop, too

_WORD = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]|[^\W\d_]+|\d+")
_ASCII_WORD = re.compile(r"[a-z]+|[0-9]+")  # finds the same in such a text, in half the time
_MARKS = re.compile(
    rf"([^\w\s])(?:\s*\1){{{MIN_MARKS - 1},}}\s*$"
)  # such as the "!!!!" of a model whose numbers overflow
_SENTENCE = re.compile(r"[.!?。！？\n]+\s*")
_SPACED = re.compile(r"[a-z\u00c0-\u024f\u0370-\u052f]")  # scripts that put spaces between words


def flaw_of(caption: Caption) -> str:
    """Return "repeats itself", "was cut off at 512 tokens" or "", for the caption as the model wrote it."""
    if loops(caption.text):
        return REPEATS
    return f"was cut off at {caption.options.max_new_tokens} tokens" if caption.finish_reason == "length" else ""


def flaw_of_failure(reason: str) -> str:
    """Return EMPTY if an item failed because the model wrote nothing but its thinking, or nothing at all, else ""."""
    return EMPTY if ALL_THINKING in reason or NO_TEXT in reason else ""


def is_of_length(flaw: str) -> bool:
    """Return whether a flaw is one that the setting retry_cut tries to mend."""
    return not flaw.startswith((BREAKS_FORM, TOO_LONG))


def of_several(flaw: str) -> str:
    """Return a flaw as one of several captions: "were cut off at 512 tokens", "exceed the 512 tokens of Wan 2.2"."""
    first, _, rest = flaw.partition(" ")
    if flaw == REPEATS:
        return "repeat themselves"
    verb = "were" if first == "was" else first.removesuffix("s")
    return f"{verb} {rest}".replace("its form: it", "their form: the first")


@functools.lru_cache(maxsize=16)  # an answer is judged several times in a row
def loops(text: str) -> bool:
    """Return whether a text repeats a phrase over and over at its end, or many times anywhere.

    Case, punctuation and the numbers of a list that counts on make no difference. Two equal phrases are normal, and so
    are lists, alliterations and a row of numbers.
    """
    text = text[-MAX_CHARACTERS:].casefold().rstrip()
    raw = _words(text)
    words = ["0" if word.isdecimal() else word for word in raw] if any(map(str.isdecimal, raw)) else raw
    is_open = not _SENTENCE.fullmatch(text[-1:])
    return (
        (text.count(text[-1:]) >= MIN_MARKS and bool(_MARKS.search(text)))
        or _loops_at_end(words, raw, is_open)
        or (is_open and _loops_at_end(words[:-1], raw[:-1], is_open))  # the last may be cut off, too
        or (_may_loop_anywhere(words) and _loops_anywhere(words))
        or _has_similar_sentences(text)
    )


def may_stutter(text: str) -> bool:
    """Return False only if no word stands seven times in a row in a text."""
    found = _runs(text.casefold())
    return not text.isascii() or any(map(operator.eq, found[::3], found[1::3]))


@functools.lru_cache(maxsize=2)
def _runs(text: str) -> Sequence[str]:
    """Return the words and numbers of a text in lower case; `loops` and `may_stutter` ask for the same one."""
    return (_ASCII_WORD if text.isascii() else _WORD).findall(text)


def _words(text: str) -> Sequence[str]:
    found = _runs(text)
    if max(map(len, found), default=0) <= LONG_WORD:
        return found
    return [part for word in found for part in (word if len(word) > LONG_WORD else (word,))]


def _loops_at_end(words: Sequence[str], raw: Sequence[str], is_open: bool) -> bool:
    """Return whether the last words are a unit, once more the same, and so on. is_open: no full stop follows."""
    for period in range(1, min(2 * MAX_PERIOD, len(words) // 2) + 1):
        if words[-1] != words[-1 - period]:
            continue
        run = 0  # of words at the end that equal the one a period before
        while run < len(words) - period and words[-1 - run] == words[-1 - run - period]:
            run += 1
        if run < period:
            continue
        unit, covered, repeats = words[-period:], run + period, (run + period) / period
        is_exact = raw[-run:] == raw[-covered:-period]
        is_spaced = any(_SPACED.match(word) and len(word) > 1 for word in unit)
        if (not is_exact and unit.count("0") > period / 3) or (not is_spaced and covered < MIN_CHARACTERS):
            continue  # the picture may show a row of numbers
        if (is_exact and MAX_PERIOD >= period >= 10 and is_spaced) or (is_exact and period >= 16 and not is_spaced):
            return True
        if repeats >= (6 if period == 1 else 3 if is_open or period >= 4 else 4):
            return True
    return False


def _may_loop_anywhere(words: Sequence[str]) -> bool:
    """Return False only if `_loops_anywhere` would, but sooner: wherever SHORTEST_RUN words return, SAMPLED do."""
    for place in range(0, len(words) - SAMPLED, SHORTEST_RUN - SAMPLED + 1):
        unit, end = words[place : place + SAMPLED], place + 1 + MAX_PERIOD
        if unit[0] in words[place + 1 : end]:
            returns = (i for i, word in enumerate(words[place + 1 : end], place + 1) if word == unit[0])
            if any(words[i : i + SAMPLED] == unit for i in returns):
                return True
    return False


def _loops_anywhere(words: Sequence[str]) -> bool:
    """Return whether a unit stands at least MIN_TIMES in a row, and makes up at least MIN_REPEATED words."""
    for period in range(1, min(MAX_PERIOD, len(words) // MIN_TIMES) + 1):
        run, wanted = 0, max(SHORTEST_RUN, (MIN_TIMES - 1) * period)
        for before, word in zip(words, words[period:], strict=False):
            run = run + 1 if before == word != "0" else 0
            if run >= wanted:
                return True
    return False


def _has_similar_sentences(text: str) -> bool:
    """Return whether the text ends with long sentences that differ in hardly a word."""
    sentences = list(filter(None, _SENTENCE.split(text)))[-MIN_SIMILAR:]
    return len(sentences) == MIN_SIMILAR and all(
        min(len(before), len(after)) > 9 and len(before & after) > 0.85 * max(len(before), len(after))
        for before, after in pairwise(set(sentence.split()) for sentence in sentences)
    )
