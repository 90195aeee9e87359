"""Groups captions: by length, by folder, by the time of their files, and by the job that wrote them."""

import time
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from captioner.dataset.statistics.folder import CaptionText

MAX_DAYS = 62  # more are shown as months
MAX_BARS = 24
_STEPS = (1, 2, 5)


class Group(NamedTuple):
    """Captions that have something in common. captions: their numbers. Lengths are means."""

    title: str
    captions: np.ndarray
    num_words: float
    num_tokens: float


def by_length(lengths: np.ndarray, tokens: np.ndarray) -> list[Group]:
    """Return the captions by their number of words, in at most MAX_BARS equal steps; empty steps are kept."""
    if not len(lengths):
        return []
    width = _width(int(lengths.max()))
    steps = lengths // width
    titles = {step: _range(step * width, width) for step in range(int(steps.min()), int(steps.max()) + 1)}
    return [_group(titles[step], np.flatnonzero(steps == step), lengths, tokens) for step in titles]


def by_folder(captions: Sequence[CaptionText], lengths: np.ndarray, tokens: np.ndarray) -> list[Group]:
    """Return the captions by their folder, in its order."""
    keys = [each.name.rpartition("/")[0] for each in captions]
    return [_group(key or "(top)", found, lengths, tokens) for key, found in _grouped(keys)]


def by_time(captions: Sequence[CaptionText], lengths: np.ndarray, tokens: np.ndarray) -> list[Group]:
    """Return the captions by the day on which their files changed last, or by month if there are many days."""
    days = [_day(each.modified_s) for each in captions]
    keys = [day[:7] for day in days] if len(set(days)) > MAX_DAYS else days
    return [_group(key, found, lengths, tokens) for key, found in _grouped(keys)]


def by_job(captions: Sequence[CaptionText], lengths: np.ndarray, tokens: np.ndarray) -> list[Group]:
    """Return the captions by the job that wrote them last; nothing if no job wrote any."""
    if not any(each.job for each in captions):
        return []
    groups = _grouped([each.job for each in captions])
    return [_group(f"job {key}" if key else "no job", found, lengths, tokens) for key, found in groups]


def _grouped(keys: Iterable[Hashable]) -> list[tuple[Hashable, np.ndarray]]:
    found = defaultdict(list)
    for number, key in enumerate(keys):
        found[key].append(number)
    return [(key, np.array(found[key])) for key in sorted(found)]  # type: ignore[type-var]


def _group(title: object, found: np.ndarray, lengths: np.ndarray, tokens: np.ndarray) -> Group:
    means = (float(each[found].mean()) if len(found) else 0.0 for each in (lengths, tokens))
    return Group(str(title), found, *means)


def _width(longest: int) -> int:
    power = 1
    while True:
        for step in _STEPS:
            if longest // (step * power) < MAX_BARS:
                return step * power
        power *= 10


def _range(start: int, width: int) -> str:
    return str(start) if width == 1 else f"{start}-{start + width - 1}"


def _day(time_s: float) -> str:
    try:
        return time.strftime("%Y-%m-%d", time.localtime(time_s))
    except (OverflowError, OSError, ValueError):  # of a damaged file system
        return "unknown"
