"""Makes all statistics of a set of captions. Reads no disk."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from captioner.dataset.statistics import groups
from captioner.dataset.statistics.constants import SHARE, find_constants
from captioner.dataset.statistics.corpus import SHOWN_EVERY, Corpus, build_corpus
from captioner.dataset.statistics.coverage import Gap, find_gaps
from captioner.dataset.statistics.folder import Captions, CaptionText
from captioner.dataset.statistics.grams import Term, top_pairs, top_phrases, top_words
from captioner.dataset.statistics.groups import Group
from captioner.dataset.statistics.slots import Contradiction, find_contradictions
from captioner.dataset.targets import NO_TARGET, Target
from captioner.dataset.token_limit import TokenLimit
from captioner.media.facts import Progress


@dataclass(frozen=True)
class StatisticsOptions:
    """Choices of a count. share: of the captions that say a constant. min_count: captions that hold a pair of words."""

    limit: TokenLimit = field(default_factory=lambda: TokenLimit(NO_TARGET))
    trigger: str = ""
    share: float = SHARE
    min_count: int = 5
    most: int = 100  # rows of each table
    stop_words: bool = False  # also list words such as "the"


@dataclass(frozen=True)
class Statistics:
    """The statistics of a set. lengths, tokens: int64, of each caption in words and in tokens of the target."""

    captions: Sequence[CaptionText]
    num_empty: int
    options: StatisticsOptions
    corpus: Corpus
    lengths: np.ndarray
    tokens: np.ndarray
    is_exact: bool  # the tokens were counted with the target's own tokenizer
    words: Sequence[Term]
    pairs_of_words: Sequence[Term]  # phrases of two
    triples_of_words: Sequence[Term]  # phrases of three
    together: Sequence[Term]
    constants: Sequence[Term]
    contradictions: Sequence[Contradiction]
    gaps: Sequence[Gap]
    by_length: Sequence[Group]
    by_folder: Sequence[Group]
    by_time: Sequence[Group]
    by_job: Sequence[Group]

    @property
    def target(self) -> Target:
        return self.options.limit.target

    @property
    def over_limit(self) -> np.ndarray:
        """The captions with more tokens than the target takes."""
        limit = self.target.token_limit
        return np.flatnonzero(self.tokens > limit) if limit else np.empty(0, np.int64)


def count_captions(
    captions: Captions, options: StatisticsOptions, progress: Progress = lambda what, done, total: None
) -> Statistics:
    """Return the statistics of captions."""
    found = captions.found
    texts = [each.text for each in found]
    corpus = build_corpus(texts, _show(progress, "words", len(texts)))
    tokens, is_exact = _tokens(texts, options.limit, _show(progress, "tokens", len(texts)))
    contradictions = find_contradictions(texts, corpus, _show(progress, "contradictions", len(texts)))
    most, stop_words, about = options.most, options.stop_words, (found, corpus.lengths, tokens)
    progress("tables", 0, 0)
    return Statistics(
        captions=found,
        num_empty=captions.num_empty,
        options=options,
        corpus=corpus,
        lengths=corpus.lengths,
        tokens=tokens,
        is_exact=is_exact,
        words=top_words(corpus, most, stop_words),
        pairs_of_words=top_phrases(corpus, 2, most, stop_words),
        triples_of_words=top_phrases(corpus, 3, most, stop_words),
        together=top_pairs(corpus, most, options.min_count),
        constants=find_constants(corpus, options.share, options.trigger),
        contradictions=contradictions,
        gaps=find_gaps(corpus, [each.is_clip for each in found]),
        by_length=groups.by_length(corpus.lengths, tokens),
        by_folder=groups.by_folder(*about),
        by_time=groups.by_time(*about),
        by_job=groups.by_job(*about),
    )


def _show(progress: Progress, what: str, total: int) -> Callable[[int], None]:
    return lambda done: progress(what, done, total)


def _tokens(texts: Sequence[str], limit: TokenLimit, show: Callable[[int], None]) -> tuple[np.ndarray, bool]:
    counts, is_exact = np.zeros(len(texts), dtype=np.int64), bool(texts)
    for number, text in enumerate(texts):
        if number % SHOWN_EVERY == 0:
            show(number)
        counted = limit.count(text)
        counts[number] = counted.number
        is_exact &= counted.is_exact
    return counts, is_exact
