"""Finds captions that do not tell of something: the camera, motion, framing, light (coverage.toml)."""

import functools
import re
import tomllib
from collections.abc import Sequence
from importlib.resources import files
from typing import NamedTuple

import numpy as np

from captioner.dataset.statistics.corpus import Corpus


class Gap(NamedTuple):
    """Captions without any word about something. num_asked: the captions that should have one."""

    title: str
    captions: np.ndarray
    num_asked: int


class Subject(NamedTuple):
    title: str
    clips_only: bool
    pattern: re.Pattern[str]


@functools.cache
def subjects() -> tuple[Subject, ...]:
    """Return what captions should tell of."""
    table = tomllib.loads((files(__package__) / "coverage.toml").read_text(encoding="utf-8"))
    return tuple(Subject(row["title"], row["clips"], _pattern(row["words"])) for row in table.values())


def find_gaps(corpus: Corpus, is_clip: Sequence[bool]) -> list[Gap]:
    """Return the captions that lack each subject. is_clip: whether each caption is one of a clip."""
    found, clips = [], np.array(is_clip, dtype=bool)
    for subject in subjects():
        is_wanted = np.array([bool(subject.pattern.fullmatch(word)) for word in corpus.words], dtype=bool)
        asked = clips if subject.clips_only else np.ones(corpus.num_captions, dtype=bool)
        missing = np.flatnonzero(asked & ~corpus.having(is_wanted))
        found.append(Gap(subject.title, missing, int(asked.sum())))
    return found


def _pattern(words: str) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(word).replace(r"\*", ".*") for word in words.split()))
