"""Tokens and passwords never reach a log, an event or the page: every text that may hold one is cleaned here."""

import functools
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path

HIDDEN = "[hidden]"
MIN_LENGTH = 8  # a shorter value would be found in words, too

_NAMES = re.compile(r"(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?|API_?KEY|ACCESS_?KEY|LOGIN)(_|$)", re.IGNORECASE)
_SHAPES = re.compile(
    r"\b(?:hf|api_org)_[A-Za-z0-9]{16,}"
    r"|(?<=bearer )[\w.~+/=-]{8,}"
    r"|(?<=basic )[\w+/=-]{8,}"
    r"|(?<=://)[^\s/@:]+:[^\s/@]+(?=@)"
    r"|(?<=[?&])(?:[\w.-]*(?:signature|token|credential|policy|key-pair-id|api_?key|__sign)[\w-]*)=[^\s&\"')]+",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """The text without tokens, signed parts of addresses, and the values of variables that are called a secret."""
    for value in _values():
        text = text.replace(value, HIDDEN)
    return _SHAPES.sub(HIDDEN, text)


def secret_values(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The longest first, as one may hold another."""
    found = {value.strip() for name, value in environment.items() if _NAMES.search(name)}
    login = environment.get("CAPTIONER_LOGIN", "").partition(":")[2]
    return tuple(sorted((value for value in {*found, login} if len(value) >= MIN_LENGTH), key=len, reverse=True))


class _Redactor(logging.Formatter):
    """Another formatter's text, cleaned as a whole: message, arguments and traceback."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        return redact(self._inner.format(record))


def hide_secrets() -> None:
    """Clean all that the root logger's handlers write from now on, for secrets as they are now."""
    _values()
    for handler in logging.getLogger().handlers:
        if not isinstance(handler.formatter, _Redactor):
            handler.setFormatter(_Redactor(handler.formatter or logging.Formatter()))


@functools.cache
def _values() -> tuple[str, ...]:
    return secret_values({**os.environ, "_TOKEN": _saved_token()})


def _saved_token() -> str:
    """That of `hf auth login`."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    try:
        return Path(os.environ.get("HF_TOKEN_PATH") or Path(home, "token")).expanduser().read_text("utf-8").strip()
    except (OSError, ValueError, RuntimeError):
        return ""
