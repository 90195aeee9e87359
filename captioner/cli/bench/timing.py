"""Time several functions alternately, so that other load on the machine slows all of them alike."""

import statistics
from collections.abc import Callable, Sequence


def alternate(
    runs: Sequence[Callable[[], object]], repeats: int, clock: Callable[[], float]
) -> tuple[list[float], ...]:
    """Run all functions in each of `repeats` rounds; return the seconds of each function in each round."""
    seconds: tuple[list[float], ...] = tuple([] for _ in runs)
    for _ in range(repeats):
        for run, taken in zip(runs, seconds, strict=True):
            start = clock()
            result = run()
            taken.append(clock() - start)
            del result
    return seconds


def ratio(below: Sequence[float], above: Sequence[float]) -> float:
    """Return the median over all rounds of above / below."""
    return statistics.median(b / a for a, b in zip(below, above, strict=True))
