"""Paths as people write and paste them."""

import os
import re
from pathlib import Path
from urllib.parse import unquote_to_bytes
from urllib.request import url2pathname

QUOTES = (('"', '"'), ("'", "'"), ("“", "”"), ("‘", "’"))
_FILE_URL = re.compile(r"file:(?://(?P<host>[^/]*))?(?P<path>/.*)", re.IGNORECASE | re.DOTALL)


def plain_path(text: str) -> str:
    """Return the path in a text that was copied elsewhere: quoted, as a file:// address, or with a terminal's escapes.

    `~` becomes the home folder. A path that exists as it is written stays. Any text can be given.
    """
    expanded = expand_user(text)
    if text.startswith(("\\\\", "//")) or _exists(expanded):  # accessing a share of Windows would log in to it
        return expanded
    text = _unquoted(text.strip())
    url = _FILE_URL.fullmatch(text)
    if url:
        text = _path_of_url(url["host"] or "", url["path"]) or text
    elif os.name != "nt" and "\\" in text and not _exists(expand_user(text)):
        text = re.sub(r"\\(.)", r"\1", text)
    return expand_user(text)


def expand_user(text: str) -> str:
    """Replace `~` at the start of any text by the home folder; `~nobody` and invalid names stay as they are."""
    try:
        return os.path.expanduser(text)  # noqa: PTH111
    except ValueError:  # NUL in the name after `~`
        return text


def lacks_home(text: str) -> bool:
    """Return whether a path as `plain_path` returns it starts with the `~` of a user without a home folder."""
    return text.startswith("~") and not _exists(text)


def absolute_path(path: str | os.PathLike[str]) -> Path:
    """Return the absolute path, with the home folder for `~`.

    A relative one in a working folder that was deleted stays as it is, and opening it says that it does not exist.
    """
    expanded = Path(expand_user(os.fspath(path)))
    try:
        return expanded.absolute()
    except OSError:
        return expanded


def real_path(path: str | os.PathLike[str]) -> Path:
    """Return `absolute_path` without links; what does not exist may be part of it."""
    absolute = absolute_path(path)
    return Path(os.path.realpath(absolute)) if absolute.is_absolute() else absolute


def _exists(text: str) -> bool:
    try:
        return os.path.lexists(text)
    except ValueError:
        return False


def _unquoted(text: str) -> str:
    """Return the text without quotes around it, or at its end: `"C:\\clips\\"` arrives as `C:\\clips"`."""
    for first, last in QUOTES:
        if len(text) > 1 and text.startswith(first) and text.endswith(last):
            return text[1:-1].strip()
    return text.removesuffix('"')


def _path_of_url(host: str, path: str) -> str | None:
    """Return the path of a file:// address, or None if it is on another machine or cannot be a path."""
    if os.name == "nt":
        return url2pathname(f"//{host}{path}" if host.lower() not in ("", "localhost") else path)
    if host.lower() not in ("", "localhost"):
        return None
    try:
        return os.fsdecode(unquote_to_bytes(os.fsencode(path)))
    except UnicodeEncodeError:  # half of a surrogate pair, which no path contains
        return None
