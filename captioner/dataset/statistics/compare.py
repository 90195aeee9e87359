"""Compares two sets of captions: which words and phrases are in more captions of one than of the other."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from captioner.dataset.statistics.corpus import Corpus
from captioner.dataset.statistics.grams import captions_of, grams

CERTAIN = 2.0  # standard deviations that a difference must have


class Difference(NamedTuple):
    """A word or phrase, and in which part of the captions of each set it stands."""

    text: str
    here: float
    there: float


def compare(here: Corpus, there: Corpus, most: int = 100) -> list[Difference]:
    """Return the words and phrases of two words whose shares differ most, without what may be chance."""
    if not here.num_captions or not there.num_captions:
        return []
    found = []
    for first, second in (
        (_words(here), _words(there)),
        (_phrases(here), _phrases(there)),
    ):
        for text in first.keys() | second.keys():
            each = Difference(text, first.get(text, 0) / here.num_captions, second.get(text, 0) / there.num_captions)
            if _deviations(each, here.num_captions, there.num_captions) >= CERTAIN:
                found.append(each)
    return sorted(found, key=lambda each: (-abs(each.here - each.there), each.text))[:most]


def _words(corpus: Corpus) -> Mapping[str, int]:
    numbers = np.flatnonzero((corpus.captions_with > 0) & ~corpus.is_stop)
    return {corpus.words[i]: int(corpus.captions_with[i]) for i in numbers.tolist()}


def _phrases(corpus: Corpus) -> Mapping[str, int]:
    found = grams(corpus, 2)
    edges = corpus.is_stop[found.words[:, 0]] | corpus.is_stop[found.words[:, 1]] if len(found.words) else np.empty(0)
    chosen = np.flatnonzero((edges == 0) & (found.counts > 1)) if len(found.words) else np.empty(0, np.int64)
    counts = captions_of(corpus, found, chosen)
    return {corpus.text(found.words[i]): count for i, count in zip(chosen, counts, strict=True)}


def _deviations(each: Difference, num_here: int, num_there: int) -> float:
    share = (each.here * num_here + each.there * num_there) / (num_here + num_there)
    spread = (share * (1 - share) * (1 / num_here + 1 / num_there)) ** 0.5
    return abs(each.here - each.there) / spread if spread else 0.0
