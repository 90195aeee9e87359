"""Finds contradictions: two values for one thing in a caption, or other values than nearly all of the set has."""

import functools
import itertools
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np

from captioner.dataset.camera_words import MOVING, STATIC
from captioner.dataset.statistics.corpus import SHOWN_EVERY, Corpus
from captioner.dataset.statistics.words import Show, split

DOMINANT = 0.8  # of the captions that name one value: so many agree, and the others contradict them
COMMON = 0.2  # of all captions have to name a value, else the thing is no property of the set
MIN_SET = 10  # captions that name a value
_NEGATED = re.compile(  # at most a word before, in the same clause
    r"(?:\b(?:no|not|never|without|neither|nor|than|isn't|aren't|doesn't|don't)|[没无不未])"
    r"(?:[^\w.,!?;\n。，；]+\w+)?[^\w.,!?;\n。，；]*$"
)
_BEFORE = 24  # characters in which a "not" is looked for
_AROUND = 60  # characters around a word of a slot in which its patterns are looked for, and before two values
_AFTER = 25  # characters after two values in which a change is looked for
_AFTERWARDS = re.compile(
    r"\b(?:initially|eventually|finally|again|later|afterwards?|at first)\b"
    r"|\b(?:at|by|in) the (?:start|beginning|outset|end)\b"
)
_TAGS_OF_ONE = re.compile(r"\b1(?:girl|boy|other)\b|\bsolo\b,|, solo\b")  # what tags list belongs to this one
_BESIDE = 60  # characters around each value, in its sentence, in which it may be said of something else
_OWNER = 30  # characters before a value in which its owner is named
_CLAUSE_END = re.compile(r"[.,;:!?\n。，；]|\b(?:while|as)\b")
_SENTENCE_ENDS = ".!?\n"
_NEVER = r"(?!)"
# Where a value can begin: at a word, a Chinese character or the end of a sentence. Elsewhere no pattern is tried.
_BEGINS = r"(?:(?<![a-z])(?=\S)|(?=[.!?\n]))"

Place = tuple[int, int]  # where a value is named in a caption
Said = dict[int, dict[int, Place]]  # caption -> value -> place


class Slot(NamedTuple):
    """A thing that can have one value. name: of the values; the groups of the pattern are v0_0, v1_0 ... by value."""

    title: str
    values: tuple[str, ...]
    in_set: bool
    in_caption: bool
    words: frozenset[str]
    pattern: re.Pattern[str]
    parts: re.Pattern[str]
    unless: re.Pattern[str]
    owned: re.Pattern[str]
    beside: re.Pattern[str]
    change: re.Pattern[str]
    compatible: frozenset[tuple[int, int]]  # in both orders
    why: str

    def excuses(self, text: str, places: Sequence[Place]) -> bool:
        """Return whether values at these places of a caption may all be true."""
        start, end = min(place[0] for place in places), max(place[1] for place in places)
        are_tags = bool(_TAGS_OF_ONE.search(text))
        clause = None if are_tags else _CLAUSE_END.search(text, end)
        if self.parts.search(text) or self.unless.search(text, 0, clause.start() if clause else len(text)):
            return True
        if any(self.beside.search(_in_sentence(text, place)) for place in places):
            return True
        if len(places) < 2:
            return False
        is_owned = are_tags or any(self.owned.search(text[max(0, first - _OWNER) : last]) for first, last in places)
        has_changed = self.change.search(text, max(0, start - _AROUND), end) or _AFTERWARDS.search(
            text, end, end + _AFTER
        )
        return not is_owned or bool(has_changed)


class Contradiction(NamedTuple):
    """Captions that contradict themselves, or the rest of the set.

    values: the two values. text: what most of the captions say, which a bulk edit may replace. captions: numbers.
    """

    slot: str
    values: tuple[str, str]
    scope: str  # "set": the first value is that of the set; "caption": both are in each of the captions
    text: str
    captions: np.ndarray
    num_others: int  # captions with the first value, if that is the set's
    why: str


@functools.cache
def slots() -> tuple[Slot, ...]:
    """Return the things that captions can contradict themselves about (slots.toml)."""
    table = tomllib.loads((files(__package__) / "slots.toml").read_text(encoding="utf-8"))
    macros = table["macros"] | {"camera_stands": STATIC, "camera_moves": MOVING}
    return tuple(_slot(row, macros) for row in table["slot"])


def find_contradictions(texts: Sequence[str], corpus: Corpus, show: Show = lambda done: None) -> list[Contradiction]:
    """Return the contradictions of a set. corpus: of the same texts. show: called with how many captions are done."""
    present = [[word for word in slot.words if word in corpus.numbers] for slot in slots()]
    candidates = [_captions_with(words, corpus) for words in present]
    total, before = sum(map(len, candidates)), 0
    found: list[Contradiction] = []
    texts = [text.lower() for text in texts]
    for slot, words, numbers in zip(slots(), present, candidates, strict=True):
        said: Said = {}
        for done, number in enumerate(numbers):
            if done % SHOWN_EVERY == 0:
                show((before + done) * corpus.num_captions // max(1, total))
            if values := _values(slot, words, texts[number]):
                said[number] = values
        before += len(numbers)
        found += _in_caption(slot, said, texts) if slot.in_caption else []
        found += _in_set(slot, said, texts, corpus.num_captions) if slot.in_set else []
    return sorted(found, key=lambda each: -len(each.captions))


def _captions_with(words: Sequence[str], corpus: Corpus) -> list[int]:
    is_wanted = np.zeros(len(corpus.words), dtype=bool)
    is_wanted[[corpus.numbers[word] for word in words]] = True
    return np.flatnonzero(corpus.having(is_wanted)).tolist() if words else []


def _values(slot: Slot, words: Sequence[str], text: str) -> dict[int, Place]:
    """Return the values that a caption names, by their number, with the place where each is named first."""
    found: dict[int, Place] = {}
    for start, end in _windows(words, text):
        for match in slot.pattern.finditer(text, start, end):
            value = int((match.lastgroup or "v0_0")[1:].partition("_")[0])
            if value not in found and not _NEGATED.search(text[max(0, match.start() - _BEFORE) : match.start()]):
                found[value] = match.span()
    return found


def _in_sentence(text: str, place: Place) -> str:
    """Return the words around a place, within its sentence."""
    start = max(place[0] - _BESIDE, *(text.rfind(mark, 0, place[0]) + 1 for mark in _SENTENCE_ENDS))
    ends = [end for mark in _SENTENCE_ENDS if (end := text.find(mark, place[1])) >= 0]
    return text[start : min(place[1] + _BESIDE, *ends, len(text))]


def _windows(words: Sequence[str], text: str) -> list[tuple[int, int]]:
    """Return the parts of a text around these words, which is quicker to search than all of it."""
    places = []
    for word in words:
        place = text.find(word)
        while place >= 0:
            places.append(place)
            place = text.find(word, place + len(word))
    windows: list[tuple[int, int]] = []
    for place in sorted(places):
        start, end = max(0, place - _AROUND), place + _AROUND
        if windows and start <= windows[-1][1]:
            windows[-1] = (windows[-1][0], end)
        else:
            windows.append((start, end))
    return windows


def _in_caption(slot: Slot, said: Said, texts: Sequence[str]) -> Iterator[Contradiction]:
    groups: dict[tuple[int, int], list[int]] = {}
    for number, values in said.items():
        for first, second in itertools.combinations(sorted(values), 2):
            is_possible = (first, second) in slot.compatible
            if not is_possible and not slot.excuses(texts[number], [values[first], values[second]]):
                groups.setdefault((first, second), []).append(number)
                break
    for (first, second), numbers in groups.items():
        names = (slot.values[first], slot.values[second])
        text = _most_said(texts, said, numbers, second)
        yield Contradiction(slot.title, names, "caption", text, np.array(numbers), 0, slot.why)


def _in_set(slot: Slot, said: Said, texts: Sequence[str], num_captions: int) -> Iterator[Contradiction]:
    single = {number: next(iter(values.items())) for number, values in said.items() if len(values) == 1}
    least = max(MIN_SET, COMMON * num_captions)
    if len(single) < least or len({value for value, _ in single.values()}) < 2:
        return
    single = {number: named for number, named in single.items() if not slot.excuses(texts[number], [named[1]])}
    counts = Counter(value for value, _ in single.values())
    if len(single) < least:
        return
    main, most = counts.most_common(1)[0]
    others = [value for value in counts if value != main and (main, value) not in slot.compatible]
    if len(single) - sum(counts[value] for value in others) < DOMINANT * len(single):
        return
    for value in others:
        numbers = [number for number, (each, _) in single.items() if each == value]
        text = _most_said(texts, said, numbers, value)
        names = (slot.values[main], slot.values[value])
        yield Contradiction(slot.title, names, "set", text, np.array(numbers), most, slot.why)


def _most_said(texts: Sequence[str], said: Said, numbers: Sequence[int], value: int) -> str:
    places = (said[number][value] for number in numbers)
    found = (texts[number][start:end] for number, (start, end) in zip(numbers, places, strict=True))
    return Counter(found).most_common(1)[0][0]


def _slot(row: dict[str, Any], macros: Mapping[str, str]) -> Slot:
    values = "|".join(f"(?P<v{number}_@>{each})" for number, each in enumerate(row["values"].values()))
    patterns = [
        each.replace("{value}", f"(?:{values})".replace("@", str(number))) for number, each in enumerate(row["pattern"])
    ]
    words = frozenset(word for part in row["words"].split("|") for word in split(part))
    numbers = {name: number for number, name in enumerate(row["values"])}
    pairs = [(numbers[first], numbers[second]) for first, second in row.get("compatible", ())]
    return Slot(
        row["title"],
        tuple(row["values"]),
        "set" in row["scope"],
        "caption" in row["scope"],
        words,
        _compiled(f"{_BEGINS}(?:{'|'.join(patterns)})", macros),
        _compiled("{parts}", macros),
        _compiled(row.get("unless", _NEVER), macros),
        _compiled(row.get("owned", ""), macros),
        _compiled(row.get("beside", _NEVER), macros),
        _compiled(row.get("change", _NEVER), macros),
        frozenset(pairs + [(second, first) for first, second in pairs]),
        row["why"],
    )


def _compiled(pattern: str, macros: Mapping[str, str]) -> re.Pattern[str]:
    while any(f"{{{name}}}" in pattern for name in macros):
        for name, text in macros.items():
            pattern = pattern.replace(f"{{{name}}}", text)
    return re.compile(pattern, re.DOTALL)
