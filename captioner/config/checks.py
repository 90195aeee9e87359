"""Checks of single settings. They raise ValueError for what is not allowed."""

import re
from typing import Any

from pathspec import GitIgnoreSpec

from captioner.system.clusters import parse_cluster
from captioner.system.endpoints import parse_endpoint

NOT_FOR_FILES = ("punycode", "idna", "unicode_escape", "raw_unicode_escape")

_EXTENSION = re.compile(r"\.?[A-Za-z0-9_]{1,16}")


def check_extension(text: str) -> str:
    """Return the extension with its dot. That it is not one of media is checked by Services."""
    if not _EXTENSION.fullmatch(text.strip()):
        raise ValueError("not an extension")
    return f".{text.strip().removeprefix('.')}"


def check_encoding(name: str) -> str:
    """Return the name of a codec, or "auto". One that holds letters, and that Python has by itself, can be chosen."""
    name = name.strip().lower()
    try:
        if name != "auto" and (name in NOT_FOR_FILES or "a".encode(name).decode(name) != "a"):
            raise ValueError("not an encoding of text")
    except (LookupError, UnicodeError):
        raise ValueError("no such encoding") from None
    return name


def check_patterns(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """Return patterns as in .gitignore. Raises ValueError for one that is none."""
    try:
        GitIgnoreSpec.from_lines(patterns)
    except re.error:
        raise ValueError("no such pattern") from None
    return patterns


def check_endpoints(addresses: tuple[str, ...]) -> tuple[str, ...]:
    """Return the addresses of model servers in their usual form. Raises ValueError for one that is none."""
    return tuple(str(parse_endpoint(address)) for address in addresses)


def check_cluster(address: str) -> str:
    """Return the address of a Ray cluster in its usual form. Raises ValueError for one that is none."""
    return parse_cluster(address)


def check_variable(name: str) -> str:
    """Return the name of an environment variable. Raises ValueError for anything that may be a key instead."""
    if not re.fullmatch(r"([A-Z][A-Z0-9_]{0,63})?", name.strip()):
        raise ValueError("not the name of a variable")
    return name.strip()


def check_windows(value: Any) -> str:
    """Return "none", "scenes" or a number of seconds from 1 to 3600. Raises ValueError for anything else."""
    text = str(value).strip().lower()
    if text in ("none", "scenes"):
        return text
    if not 1 <= float(text) <= 3600:
        raise ValueError("not a length")
    return f"{float(text):g}"


def auto_to_none(value: Any) -> Any:
    """Return None for "auto" in any case, else the value."""
    return None if isinstance(value, str) and value.strip().lower() == "auto" else value


def empty_to_none(value: Any) -> Any:
    """Return None for a blank text, else the value."""
    return None if isinstance(value, str) and not value.strip() else value


def split_list(value: Any) -> Any:
    """Return the parts of a text between commas as a list, or any other value as it is."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
