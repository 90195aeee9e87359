"""JSON from people and other programs, with limits of size and depth that are checked before it is parsed."""

import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

from captioner.system.regular_file import read_regular

MAX_BYTES = 1_000_000
MAX_DEPTH = 20
# A text, of which the end may be missing, or one bracket.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', re.DOTALL)


def parse_json(data: str | bytes, max_bytes: int = MAX_BYTES) -> Any:
    """Return the value of JSON text, in bytes in UTF-8 or UTF-16. Raise ValueError with one line.

    Text that is too large or too deep, that gives one name twice, or that holds numbers such as NaN is refused.
    """
    if len(data) > max_bytes:
        raise ValueError(f"it is larger than {max_bytes // 1_000_000} MB")
    text = _decoded(data) if isinstance(data, bytes) else data.removeprefix("\ufeff")
    depth = 0
    for match in _TOKEN.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(match[0], 0)
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse, parse_int=_whole, parse_float=_finite)


def _decoded(data: bytes) -> str:
    encoding = json.detect_encoding(data)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        raise ValueError("it is not text in UTF-8 or UTF-16") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        [(name, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"it gives {name[:40]!r} twice")
    return found


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text[:40]} is not a usable number")


def _whole(text: str) -> int:
    return int(text) if len(text) < 20 else _refuse(text)


def _finite(text: str) -> float:
    return value if math.isfinite(value := float(text)) else _refuse(text)


def read_json(path: Path, max_bytes: int = MAX_BYTES) -> Any:
    """Return the value of a JSON file. Raise OSError, and ValueError as `parse_json` does and for a pipe or device."""
    return parse_json(read_regular(path, max_bytes), max_bytes)
