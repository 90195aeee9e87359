"""JSON from people and other programs, with limits of size and depth that are checked before it is parsed."""

import json
import re
from pathlib import Path
from typing import Any

from captioner.system.regular_file import read_regular

MAX_BYTES = 1_000_000
MAX_DEPTH = 20
# A text, of which the end may be missing, or one bracket.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', re.DOTALL)


def parse_json(data: str | bytes, max_bytes: int = MAX_BYTES) -> Any:
    """Return the value of JSON text in UTF-8. Raise ValueError with one line, also if it is too large or too deep."""
    if len(data) > max_bytes:
        raise ValueError(f"it is larger than {max_bytes // 1_000_000} MB")
    text = data.decode("utf-8-sig") if isinstance(data, bytes) else data
    depth = 0
    for match in _TOKEN.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(match[0], 0)
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")
    return json.loads(text)


def read_json(path: Path, max_bytes: int = MAX_BYTES) -> Any:
    """Return the value of a JSON file. Raise OSError, and ValueError as `parse_json` does and for a pipe or device."""
    return parse_json(read_regular(path, max_bytes), max_bytes)
