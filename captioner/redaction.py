"""Keeps tokens and passwords out of logs, events and the page: every text that may contain one is cleaned here."""

import functools
import html
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

HIDDEN = "[hidden]"
MIN_LENGTH = 8  # a shorter secret would also match ordinary words
MIN_LINE_LENGTH = 16  # of one line of a longer secret, such as a private key

# Anywhere in a name, as in HFTOKEN and DBPASSWORD, but not in TOKENIZERS, AUTHOR and KEYBOARD.
_NAMES = re.compile(
    r"KEY(?!BOARD)|TOKEN(?!IZ)|SECRET|PASS|PWD|AUTH(?!OR(?!I[SZ]))|CREDENTIAL|(^|_)LOGIN", re.IGNORECASE
)
_NOT_SECRET = ("PWD", "OLDPWD")  # the shell's folders
_SHAPES = re.compile(
    r"\b(?:hf|api_org|gh[pousr])_[A-Za-z0-9]{16,}"
    r"|\bsk-[\w-]{20,}"
    r"|(?<=bearer )[\w.~+/=-]{8,}"
    r"|(?<=basic )[\w+/=-]{8,}"
    r"|(?<=://)[^\s/@:]+:[^\s/@]+(?=@)"
    r"|(?<=[?&])(?:[\w.-]*(?:signature|token|credential|policy|key-pair-id|api_?key|__sign)[\w-]*)=[^\s&\"')]+",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """Return the text without tokens, signatures in URLs, and values of environment variables named as secrets."""
    known = _pattern(_known_secrets())
    return _SHAPES.sub(HIDDEN, known.sub(HIDDEN, text) if known else text)


def secret_values(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the values of the variables named as secrets, the longest first because one may contain another."""
    named = (v.strip() for name, v in environment.items() if _NAMES.search(name) and name not in _NOT_SECRET)
    found = {value for value in named if not _is_path(value)}
    login = environment.get("CAPTIONER_LOGIN", "").partition(":")[2]
    return tuple(sorted((value for value in {*found, login} if len(value) >= MIN_LENGTH), key=len, reverse=True))


def _is_path(value: str) -> bool:
    """Return whether the value is the path of a file that exists, as in SSH_AUTH_SOCK; messages need it."""
    return os.path.isabs(value) and "\0" not in value and os.path.lexists(value)  # noqa: PTH117


@functools.lru_cache(maxsize=8)
def _pattern(values: tuple[str, ...]) -> re.Pattern[str] | None:
    """Return what finds the values in all their spellings, the longest first, or None if there are none."""
    spellings = {spelling for value in values for spelling in _spellings(value)}
    return re.compile("|".join(map(re.escape, sorted(spellings, key=len, reverse=True)))) if spellings else None


def _spellings(value: str) -> Iterator[str]:
    """Yield a value as it is, and as it stands in URLs, HTML, JSON and Python's texts; also its single lines."""
    lines = [line.strip() for line in value.splitlines()]
    for text in (value, *(line for line in lines if len(lines) > 1 and len(line) >= MIN_LINE_LENGTH)):
        encoded = text.encode("utf-8", "surrogateescape")
        for url in (quote(encoded), quote(encoded, safe=""), quote_plus(encoded)):
            yield from (url, re.sub("%..", lambda code: code[0].lower(), url))
        escaped = html.escape(text)
        yield from (text, html.escape(text, quote=False), escaped)
        decimal = escaped.replace("&#x27;", "&#39;")
        yield from (decimal, decimal.replace("&quot;", "&#34;"))
        yield from (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1])


class _CleanRecord(logging.LogRecord):
    """A log record whose message, arguments and traceback contain no secrets, for every handler."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.exc_info and self.exc_info[0]:
            self.exc_text = redact(logging.Formatter().formatException(self.exc_info))
        self.stack_info = self.stack_info and redact(self.stack_info)

    def getMessage(self) -> str:
        return redact(super().getMessage())


def hide_secrets() -> None:
    """Keep the secrets that are known now out of everything this process logs, also through handlers of libraries."""
    _known_secrets()
    logging.setLogRecordFactory(_CleanRecord)


@functools.cache
def _known_secrets() -> tuple[str, ...]:
    return secret_values({**os.environ, "_TOKEN": _saved_token()})


def _saved_token() -> str:
    """Return the token that `hf auth login` saved, or ""."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    try:
        return Path(os.environ.get("HF_TOKEN_PATH") or Path(home, "token")).expanduser().read_text("utf-8").strip()
    except (OSError, ValueError, RuntimeError):
        return ""
