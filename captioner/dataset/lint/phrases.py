"""The phrases that tell of a fault, by rule and language (phrases.toml)."""

import functools
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import NamedTuple

import numpy as np

from captioner.dataset.lint.draft import Draft
from captioner.dataset.lint.finding import Hit

WHY = {
    "refusal": "the model refuses or answers the user",
    "thinking": "the model thinks aloud",
    "prompt-echo": "it repeats an instruction",
    "preamble": "it talks about the caption",
    "opener": "it says that there is a picture instead of what is in it",
    "hedging": "it guesses",
    "negative": "it names what is not there",
    "sound": "it speaks of sound, and the file has none",
}
GROUP = 4  # bytes of a word by which it is looked up
SHORT = 0  # the group of shorter words
_SENTENCE = r"(?:^|(?<=[.!?…。！？:\n])|(?<=[.!?…:\n] )|(?<=[.!?…:\n]  ))"


class Phrase(NamedTuple):
    """One row. words: one of them is in every text that matches, which is quick to see."""

    words: tuple[str, ...]
    pattern: re.Pattern[str]
    is_start: bool


@functools.cache
def phrases() -> Mapping[str, tuple[Phrase, ...]]:
    """Return the phrases of each rule."""
    table = tomllib.loads((files("captioner.dataset.lint") / "phrases.toml").read_text(encoding="utf-8"))
    macros = table.pop("macros")
    return {rule: tuple(_phrase(row, macros) for row in rows) for rule, rows in table.items()}


def phrase_hits(draft: Draft, rule: str) -> Iterator[Hit]:
    """Yield where phrases of a rule stand in a caption, each place once."""
    if rule not in _possible(draft.lower):
        return  # so in nearly all captions
    end = -1
    for match in sorted(_matches(draft, rule), key=lambda match: match.start()):
        if match.start() >= end:
            end = match.end()
            yield Hit(rule, match.start(), end, WHY[rule])


def has_phrase(draft: Draft, rule: str) -> bool:
    """Return whether a phrase of a rule stands in a caption."""
    return next(_matches(draft, rule), None) is not None


def _matches(draft: Draft, rule: str) -> Iterator[re.Match[str]]:
    chosen = _possible(draft.lower).get(rule)
    if not chosen:
        return
    start = draft.body
    plain = "\n" * start + draft.plain[start:]  # the trigger word begins no sentence
    is_shouting = plain.isupper()  # else capitals are those of a sign
    for number in sorted(chosen):
        _, pattern, is_start = phrases()[rule][number]
        if not is_start:
            yield from (match for match in pattern.finditer(plain) if is_shouting or not match[0].isupper())
        elif match := pattern.match(plain, start):
            yield match


@functools.lru_cache(maxsize=4)
def _possible(lower: str) -> Mapping[str, set[int]]:
    """Return the numbers of the phrases with a word in a text, by rule: few groups of bytes are in most texts."""
    data = lower.encode(errors="surrogatepass")
    groups = np.ndarray((max(0, len(data) - GROUP + 1),), np.uint32, data, strides=(1,))  # at each byte, the next four
    found: dict[str, set[int]] = {}
    for group in {*groups[_is_group()[_bucket(groups)]].tolist(), SHORT}:
        for word, rule, number in _words().get(group, ()):
            if word in lower:
                found.setdefault(rule, set()).add(number)
    return found


@functools.cache
def _words() -> Mapping[int, Sequence[tuple[str, str, int]]]:
    """Return the words of all phrases by their last bytes as a number: (word, rule, number of the phrase)."""
    found: dict[int, list[tuple[str, str, int]]] = {}
    for rule, rows in phrases().items():
        for number, row in enumerate(rows):
            for word in row.words:
                data = word.encode()
                group = int(np.frombuffer(data[-GROUP:], np.uint32)[0]) if len(data) >= GROUP else SHORT
                found.setdefault(group, []).append((word, rule, number))
    return found


@functools.cache
def _is_group() -> np.ndarray:
    """Return for each bucket whether bytes of a word are in it, bool (65536,)."""
    buckets = np.zeros(1 << 16, dtype=bool)
    buckets[_bucket(np.array(list(_words()), dtype=np.uint32))] = True
    return buckets


def _bucket(groups: np.ndarray) -> np.ndarray:
    return (groups * np.uint32(0x9E3779B1)) >> np.uint32(16)


def _phrase(row: dict[str, str], macros: Mapping[str, str]) -> Phrase:
    pattern = row["pattern"]
    for name, text in macros.items():
        pattern = pattern.replace(f"{{{name}}}", text)
    if row.get("at") == "sentence":
        pattern = f"{_SENTENCE}(?:{pattern})"
    words = tuple(row["words"].split("|"))
    return Phrase(words, re.compile(pattern, re.IGNORECASE), row.get("at") == "start")
