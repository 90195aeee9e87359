"""Counts words, phrases of several words, and which words come together more often than by chance (PMI)."""

from typing import NamedTuple

import numpy as np

from captioner.dataset.statistics.corpus import Corpus
from captioner.dataset.statistics.words import BREAK

MAX_PAIRED = 1000  # the most frequent words, of which pairs are formed
ROWS_AT_ONCE = 4000


class Term(NamedTuple):
    """A word or phrase. times: how often it stands in the set; captions: in how many. pmi: of two words."""

    text: str
    times: int
    captions: int
    pmi: float | None = None


class Grams(NamedTuple):
    """All phrases of n words. words: int64 (K, n). counts: int64 (K,). at: where each phrase stands first (K,).

    places: where a phrase stands, int64 (P,). which: the phrase at each place, int64 (P,).
    """

    words: np.ndarray
    counts: np.ndarray
    places: np.ndarray
    which: np.ndarray


def grams(corpus: Corpus, n: int) -> Grams:
    """Count the phrases of n words. None goes across punctuation, or from one caption to the next."""
    num_places = max(0, len(corpus.ids) - n + 1)
    is_inside = np.ones(num_places, dtype=bool)
    for i in range(n):
        is_inside &= corpus.ids[i : i + num_places] != BREAK
    places = np.flatnonzero(is_inside)
    which = corpus.ids[places].astype(np.int64)
    size = len(corpus.words)
    for i in range(1, n):  # numbered again each time, so that the numbers stay small
        _, which = np.unique(which * size + corpus.ids[places + i], return_inverse=True)
    _, first, which, counts = np.unique(which, return_index=True, return_inverse=True, return_counts=True)
    words = corpus.ids[places[first][:, None] + np.arange(n)].astype(np.int64)
    return Grams(words, counts, places, which)


def top_words(corpus: Corpus, most: int, stop_words: bool = False) -> list[Term]:
    """Return the most frequent words. stop_words: also those that say nothing about a picture."""
    wanted = corpus.counts > 0 if stop_words else (corpus.counts > 0) & ~corpus.is_stop
    found = np.flatnonzero(wanted)
    best = _most_frequent(found, corpus.counts[found], most)
    return [Term(corpus.words[i], int(corpus.counts[i]), int(corpus.captions_with[i])) for i in best]


def top_phrases(corpus: Corpus, n: int, most: int, stop_words: bool = False) -> list[Term]:
    """Return the most frequent phrases of n words; those of two with their PMI.

    stop_words: also phrases that begin or end with a word that says nothing about a picture.
    """
    found = grams(corpus, n)
    edge = corpus.is_stop[found.words[:, 0]] | corpus.is_stop[found.words[:, -1]] if len(found.words) else np.empty(0)
    wanted = np.arange(len(found.counts)) if stop_words else np.flatnonzero(edge == 0)
    best = _most_frequent(wanted, found.counts[wanted], most)
    captions = captions_of(corpus, found, best)
    pmis = adjacent_pmi(found)[best].tolist() if n == 2 else [None] * len(best)
    return [
        Term(corpus.text(found.words[i]), int(found.counts[i]), num, pmi)
        for i, num, pmi in zip(best, captions, pmis, strict=True)
    ]


def captions_of(corpus: Corpus, found: Grams, chosen: np.ndarray) -> list[int]:
    """Return in how many captions each of the chosen phrases stands."""
    ranks = np.full(len(found.counts), -1)
    ranks[chosen] = np.arange(len(chosen))
    rank = ranks[found.which]
    return corpus.captions_of(rank[rank >= 0], corpus.captions[found.places[rank >= 0]], len(chosen)).tolist()


def adjacent_pmi(pairs: Grams) -> np.ndarray:
    """Return the PMI of each phrase of two words, in bits: log2 p(x y) / (p(x .) p(. y)) over all such phrases."""
    if not len(pairs.counts):
        return np.empty(0)
    first = np.bincount(pairs.words[:, 0], weights=pairs.counts)
    second = np.bincount(pairs.words[:, 1], weights=pairs.counts)
    chance = first[pairs.words[:, 0]] * second[pairs.words[:, 1]] / pairs.counts.sum()
    return np.log2(pairs.counts / chance)


def top_pairs(corpus: Corpus, most: int, min_count: int, max_words: int = MAX_PAIRED) -> list[Term]:
    """Return the pairs of words that share captions more often than by chance, by PMI in bits, the highest first.

    log2 p(x, y) / (p(x) p(y)), where p is the part of the captions that has a word or both. Pairs that stand in fewer
    than `min_count` captions are left out, since PMI is high for what is rare; so are pairs with a PMI of 0 or less.
    """
    num = corpus.captions_with
    frequent = np.flatnonzero((num >= min_count) & ~corpus.is_stop)
    chosen = _most_frequent(frequent, num[frequent], max_words)
    both = _together(corpus, chosen)
    rows, columns = np.triu_indices(len(chosen), 1)
    counts = both[rows, columns]
    is_often = counts >= max(1, min_count)
    rows, columns, counts = rows[is_often], columns[is_often], counts[is_often]
    pmis = np.log2(counts * corpus.num_captions / (num[chosen[rows]].astype(float) * num[chosen[columns]]))
    order = [i for i in np.lexsort((-counts, -pmis))[:most] if pmis[i] > 1e-9]
    words = [sorted((corpus.words[chosen[rows[i]]], corpus.words[chosen[columns[i]]])) for i in order]
    return [
        Term(f"{x} + {y}", int(counts[i]), int(counts[i]), float(pmis[i]))
        for i, (x, y) in zip(order, words, strict=True)
    ]


def _together(corpus: Corpus, chosen: np.ndarray) -> np.ndarray:
    """Return in how many captions each two of the chosen words stand, int64 (K, K)."""
    column = np.full(len(corpus.words), -1, dtype=np.int32)
    column[chosen] = np.arange(len(chosen))
    columns = column[corpus.ids]
    is_chosen = columns >= 0
    columns, captions = columns[is_chosen], corpus.captions[is_chosen]
    both = np.zeros((len(chosen), len(chosen)), dtype=np.int64)
    for start in range(0, corpus.num_captions, ROWS_AT_ONCE):
        first, end = np.searchsorted(captions, (start, start + ROWS_AT_ONCE))
        there = np.zeros((min(ROWS_AT_ONCE, corpus.num_captions - start), len(chosen)), dtype=np.float32)
        there[captions[first:end] - start, columns[first:end]] = 1  # whole numbers stay exact
        both += (there.T @ there).astype(np.int64)
    return both


def _most_frequent(numbers: np.ndarray, counts: np.ndarray, most: int) -> np.ndarray:
    """Return the numbers with the highest counts; what came first in the set wins a tie."""
    return numbers[np.argsort(-counts, kind="stable")[:most]]
