"""Lists of files and captions as JSONL, CSV, JSON and Parquet, quoted by the libraries of these formats."""

import csv
import importlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any

from captioner.dataset.exports.styles import Style
from captioner.errors import CaptionerError

INSTALL_PARQUET = "pip install 'video-caption-suite[parquet]'"
# What pandas takes for a missing value in a CSV file, and so do trainers that use it.
_MISSING = "#N/A,#N/A N/A,#NA,-1.#IND,-1.#QNAN,-NaN,-nan,1.#IND,1.#QNAN,<NA>,N/A,NA,NULL,NaN,None,n/a,nan,null"
READ_AS_MISSING = frozenset(_MISSING.split(","))
Row = Mapping[str, str]  # column -> text; the first column names the file, the second is the caption


def encode_rows(rows: Sequence[Row], file_format: str, style: Style) -> bytes:
    """Return the content of a list. Raise CaptionerError if the library for the format is not installed.

    JSON has only ASCII characters: some trainers read it in the encoding of the machine, and others break lines at
    U+2028.
    """
    if file_format == "csv":
        return _csv(rows)
    if file_format == "parquet":
        return _parquet(rows)
    if file_format == "json":
        return _json(rows, style)
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


def _json(rows: Sequence[Row], style: Style) -> bytes:
    """Return a JSON file with one file on each line."""
    if style.shape == "rows":
        return _enclosed("[]", (json.dumps(row) for row in rows))
    pairs: dict[str, Any] = {}
    for row in rows:
        name, caption = row.values()
        pairs[name] = [caption] if style.shape == "lists" else {style.caption: caption}
    return _enclosed("{}", (f"{json.dumps(name)}: {json.dumps(value)}" for name, value in pairs.items()))


def _enclosed(brackets: str, lines: Iterable[str]) -> bytes:
    return "\n".join([brackets[0], ",\n".join(lines), brackets[1], ""]).encode()


def columns_of(rows: Sequence[Row]) -> list[str]:
    """Return the names of all columns, in the order in which they appear."""
    return list(dict.fromkeys(name for row in rows for name in row))


def _csv(rows: Sequence[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns_of(rows), restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _parquet(rows: Sequence[Row]) -> bytes:
    arrow, parquet = load_arrow("pyarrow"), load_arrow("pyarrow.parquet")
    names = columns_of(rows)
    table = arrow.table({name: arrow.array([row.get(name) for row in rows], arrow.string()) for name in names})
    data = io.BytesIO()
    parquet.write_table(table, data)
    return data.getvalue()


def load_arrow(module: str) -> ModuleType:
    """Return a module of pyarrow. Raise CaptionerError that says how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise CaptionerError(f"Parquet needs pyarrow; install it with {INSTALL_PARQUET}") from None
