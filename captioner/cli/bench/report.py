"""How a benchmark speaks: a table row by row, or one JSON object at the end."""

import json
import sys
from typing import Any

Cell = str | float | None


class Report:
    """Columns are the keys of the JSON rows, too. None is a dash in the table."""

    def __init__(self, columns: tuple[str, ...], as_json: bool) -> None:
        self._columns = columns
        self._as_json = as_json
        self._rows: list[dict[str, Any]] = []
        self._print_row(tuple(column.replace("_", " ") for column in columns))

    def add(self, *values: Cell, **more: Any) -> None:
        """A row; `more` is for the JSON alone."""
        self._rows.append(dict(zip(self._columns, values, strict=True)) | more)
        self._print_row(values)

    def note(self, text: str) -> None:
        """Progress, on standard error."""
        print(text, file=sys.stderr, flush=True)

    def end(self, **more: Any) -> None:
        if self._as_json:
            print(json.dumps({"rows": self._rows, **more}))
            return
        for name, value in more.items():
            if not value or name == "settings":  # nothing to say, or what the command line said
                continue
            shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
            print(f"{name}: {shown}".replace("_", " "))

    def _print_row(self, values: tuple[Cell, ...]) -> None:
        if self._as_json:
            return
        cells = ["-" if value is None else str(value) for value in values]
        widths = [max(14, len(column) + 2) for column in self._columns]
        print(f"{cells[0]:<20}" + "".join(f"{c:>{w}}" for c, w in zip(cells[1:], widths[1:], strict=True)), flush=True)
