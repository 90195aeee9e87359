"""Rows of similar lengths that attention takes together, so that long ones do not make short ones read as much."""

from collections.abc import Sequence

CALL_BYTES = 100_000  # what a core reads from memory in the time that one more call of attention takes


def cut_rows(lengths: Sequence[int], token_bytes: int) -> list[slice]:
    """Cut rows of these lengths in tokens into runs, each padded to its longest, that cost the least.

    token_bytes: of a token's key and value in one layer. The best cut of the first rows is one run after the best cut
    of fewer.
    """
    call = CALL_BYTES / token_bytes
    if len(lengths) * max(lengths) - sum(lengths) <= call:
        return [slice(len(lengths))]  # no cut saves more than all padding
    costs, starts = [0.0], [0]  # of the best cut of so many rows, and the start of its last run
    for stop in range(1, len(lengths) + 1):
        longest, best, best_start = 0, float("inf"), 0
        for start in range(stop - 1, -1, -1):
            longest = max(longest, lengths[start])
            cost = costs[start] + call + longest * (stop - start)
            if cost < best:
                best, best_start = cost, start
        costs.append(best)
        starts.append(best_start)
    runs: list[slice] = []
    stop = len(lengths)
    while stop:
        runs.append(slice(starts[stop], stop))
        stop = starts[stop]
    return runs[::-1]
