"""The words of a set of captions as numbers, so that 50,000 captions are counted in a second."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from captioner.dataset.statistics.words import BREAK, Numbers, Show, joined, split, stop_words

SHOWN_EVERY = 500
MAIN_LANGUAGE = 0.5  # a language whose stop words are half as frequent as those of another is one of the set


@dataclass(frozen=True)
class Corpus:
    """The captions of a set one after the other, each with BREAK at its end.

    words: by their number. ids: int32 (N,), the numbers of the words. captions: int32 (N,), the caption of each.
    """

    words: Sequence[str]
    ids: np.ndarray
    captions: np.ndarray
    num_captions: int

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each word."""
        return {word: number for number, word in enumerate(self.words) if number}

    @cached_property
    def counts(self) -> np.ndarray:
        """How often each word stands in the set, int64; 0 for BREAK."""
        counts = np.bincount(self.ids, minlength=len(self.words))
        counts[BREAK] = 0
        return counts

    @cached_property
    def captions_with(self) -> np.ndarray:
        """How many captions have each word, int64; 0 for BREAK."""
        counts = self.captions_of(self.ids, self.captions, len(self.words))
        counts[BREAK] = 0
        return counts

    @cached_property
    def lengths(self) -> np.ndarray:
        """How many words each caption has, int64."""
        return np.bincount(self.captions[self.ids != BREAK], minlength=self.num_captions)

    @cached_property
    def is_stop(self) -> np.ndarray:
        """The words that say nothing about a picture, as bool by their number; BREAK is one of them.

        Only in the languages that the captions seem to be in: "hat" and "die" are stop words of German.
        """
        by_language = [np.array([word in known for word in self.words], dtype=bool) for known in stop_words().values()]
        times = [int(self.counts[each].sum()) for each in by_language]
        is_stop = np.arange(len(self.words)) == BREAK
        for each, num in zip(by_language, times, strict=True):
            if num >= MAIN_LANGUAGE * max(times):
                is_stop |= each
        return is_stop

    def find(self, words: Sequence[str]) -> np.ndarray:
        """Return the captions that have these words side by side, in order."""
        wanted = [self.numbers.get(word, -1) for word in words]
        if not wanted or -1 in wanted:
            return np.empty(0, np.int32)
        places = np.flatnonzero(self.ids == wanted[0])
        for i, number in enumerate(wanted[1:], 1):
            places = places[places < len(self.ids) - i]
            places = places[self.ids[places + i] == number]
        return np.unique(self.captions[places])

    def captions_of(self, numbers: np.ndarray, captions: np.ndarray, size: int) -> np.ndarray:
        """Return in how many captions each number below `size` stands, int64. captions: the one of each number."""
        both = np.sort(numbers * np.int64(max(1, self.num_captions)) + captions)
        is_first = np.ones(len(both), dtype=bool)
        is_first[1:] = both[1:] != both[:-1]
        return np.bincount(both[is_first] // max(1, self.num_captions), minlength=size)

    def having(self, is_wanted: np.ndarray) -> np.ndarray:
        """Return for each caption whether it has one of the wanted words. is_wanted: bool by the number of a word."""
        found = np.zeros(self.num_captions, dtype=bool)
        found[self.captions[is_wanted[self.ids]]] = True
        return found

    def text(self, numbers: Sequence[int]) -> str:
        """Return words by their numbers as a phrase."""
        return joined(self.words[number] for number in numbers)


def build_corpus(texts: Sequence[str], show: Show = lambda done: None) -> Corpus:
    """Return the words of captions. show: called with how many are done."""
    numbers, flat, ends = Numbers(), array("i"), array("q")
    for done, text in enumerate(texts):
        if done % SHOWN_EVERY == 0:
            show(done)
        flat.extend(map(numbers.__getitem__, split(text)))
        flat.append(BREAK)
        ends.append(len(flat))
    ids = np.array(flat, dtype=np.int32)
    sizes = np.diff(np.array([0, *ends]))
    return Corpus(numbers.words, ids, np.repeat(np.arange(len(texts), dtype=np.int32), sizes), len(texts))
