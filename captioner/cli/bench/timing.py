"""Comparing in turns: what else the machine does hits all sides alike."""

import statistics
from collections.abc import Callable, Sequence


def alternate(
    runs: Sequence[Callable[[], object]], repeats: int, clock: Callable[[], float]
) -> tuple[list[float], ...]:
    """Seconds that each of them takes in each of `repeats` rounds."""
    seconds: tuple[list[float], ...] = tuple([] for _ in runs)
    for _ in range(repeats):
        for run, taken in zip(runs, seconds, strict=True):
            start = clock()
            result = run()
            taken.append(clock() - start)
            del result
    return seconds


def ratio(below: Sequence[float], above: Sequence[float]) -> float:
    """Median of above / below, round by round."""
    return statistics.median(b / a for a, b in zip(below, above, strict=True))
