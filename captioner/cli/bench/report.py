"""Timing for benchmarks, and their output: a table, printed row by row, or one JSON object at the end."""

import json
import statistics
import sys
from collections.abc import Callable, Sequence
from typing import Any

Cell = str | float | None


class Report:
    """A table whose column names are also the keys of the JSON rows. None is printed as a dash."""

    def __init__(self, columns: tuple[str, ...], as_json: bool) -> None:
        self._columns = columns
        self._as_json = as_json
        self._rows: list[dict[str, Any]] = []
        self._print_row(tuple(column.replace("_", " ") for column in columns))

    def add(self, *values: Cell, **more: Any) -> None:
        """Add a row; `more` appears only in the JSON."""
        self._rows.append(dict(zip(self._columns, values, strict=True)) | more)
        self._print_row(values)

    def note(self, text: str) -> None:
        """Print progress to standard error."""
        print(text, file=sys.stderr, flush=True)

    def end(self, **more: Any) -> None:
        """Print the JSON object, or `more` below the table."""
        if self._as_json:
            print(json.dumps({"rows": self._rows, **more}))
            return
        for name, value in more.items():
            if not value or name == "settings":  # empty, or known from the command line
                continue
            shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
            print(f"{name}: {shown}".replace("_", " "))

    def _print_row(self, values: tuple[Cell, ...]) -> None:
        if self._as_json:
            return
        cells = ["-" if value is None else str(value) for value in values]
        widths = [max(14, len(column) + 2) for column in self._columns]
        print(f"{cells[0]:<20}" + "".join(f"{c:>{w}}" for c, w in zip(cells[1:], widths[1:], strict=True)), flush=True)


def alternate(
    runs: Sequence[Callable[[], object]], repeats: int, clock: Callable[[], float]
) -> tuple[list[float], ...]:
    """Return the seconds of each function in each round. All run in each, so other load slows all of them alike."""
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
