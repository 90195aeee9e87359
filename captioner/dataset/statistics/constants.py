"""Finds the constants of a set: words and phrases of nearly all captions, which fuse with the trigger word."""

from typing import NamedTuple

import numpy as np

from captioner.dataset.statistics.corpus import Corpus
from captioner.dataset.statistics.grams import Term
from captioner.dataset.statistics.words import words_of

SHARE = 0.85
LONGEST = 16  # words of a phrase
MOST = 200  # constants of each length, and in all; only long captions that are all alike have more
MARGIN = 0.02  # a part of a longer constant is one by itself if it is in so many more of the captions


class _Level(NamedTuple):
    """The constants of n words. which: the one at each place of the set, or -1, int64 (N,)."""

    words: list[tuple[int, ...]]
    captions: list[int]
    which: np.ndarray


def find_constants(corpus: Corpus, share: float = SHARE, trigger: str = "") -> list[Term]:
    """Return what more than `share` of the captions say, the longest phrases, the most frequent first.

    The trigger word by itself is meant to be in all of them, so it is left out, as are phrases of stop words alone.
    """
    least, levels = share * corpus.num_captions, list[_Level]()
    level = _first(corpus, least)
    while level.words and len(levels) < LONGEST:
        levels.append(level)
        level = _longer(corpus, level, least)
    own = {corpus.numbers.get(word, -1) for word in words_of(trigger)}
    found: list[tuple[tuple[int, ...], int, np.ndarray]] = []
    for each in reversed(levels):
        for number, (words, captions) in enumerate(zip(each.words, each.captions, strict=True)):
            is_said = not all(corpus.is_stop[word] or word in own for word in words)
            is_edge = len(words) > 1 and corpus.is_stop[[words[0], words[-1]]].any()
            is_part = any(
                _is_part(words, longer) and captions - most <= MARGIN * corpus.num_captions for longer, most, _ in found
            )
            if is_said and not is_edge and not is_part and len(found) < MOST:
                found.append((words, captions, each.which == number))
    terms = [Term(corpus.text(words), int(there.sum()), captions) for words, captions, there in found]
    return sorted(terms, key=lambda term: -term.captions)


def _first(corpus: Corpus, least: float) -> _Level:
    numbers = _most(np.flatnonzero(corpus.captions_with > least), corpus.captions_with)
    renumbered = np.full(len(corpus.words), -1, dtype=np.int64)
    renumbered[numbers] = np.arange(len(numbers))
    words: list[tuple[int, ...]] = [(int(number),) for number in numbers]
    return _Level(words, corpus.captions_with[numbers].tolist(), renumbered[corpus.ids])


def _longer(corpus: Corpus, level: _Level, least: float) -> _Level:
    """Return the constants of one word more: both parts of such a phrase are constants."""
    which, size = level.which, len(level.words)
    places = np.flatnonzero((which[:-1] >= 0) & (which[1:] >= 0))
    keys, number, counts = np.unique(which[places] * size + which[places + 1], return_inverse=True, return_counts=True)
    is_often = counts > least
    candidates = np.flatnonzero(is_often[number])
    captions = corpus.captions_of(number[candidates], corpus.captions[places[candidates]], len(keys))
    chosen = _most(np.flatnonzero(captions > least), captions)
    renumbered = np.full(len(keys), -1, dtype=np.int64)
    renumbered[chosen] = np.arange(len(chosen))
    longer = np.full(len(which), -1, dtype=np.int64)
    longer[places] = renumbered[number]
    words = [(*level.words[keys[i] // size], level.words[keys[i] % size][-1]) for i in chosen]
    return _Level(words, captions[chosen].tolist(), longer)


def _most(numbers: np.ndarray, captions: np.ndarray) -> np.ndarray:
    return np.sort(numbers[np.argsort(-captions[numbers], kind="stable")[:MOST]])


def _is_part(words: tuple[int, ...], longer: tuple[int, ...]) -> bool:
    last = len(longer) - len(words)
    return any(longer[i : i + len(words)] == words for i in range(last + 1))
