"""Keeps tokens and passwords out of logs, events and the page: every text that may contain one is cleaned here."""

import functools
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HIDDEN = "[hidden]"
MIN_LENGTH = 8  # a shorter secret would also match ordinary words

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
    """Return the text without tokens, signatures in URLs, and values of environment variables named as secrets."""
    for value in _known_secrets():
        text = text.replace(value, HIDDEN)
    return _SHAPES.sub(HIDDEN, text)


def secret_values(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the values of the variables named as secrets, the longest first because one may contain another."""
    found = {value.strip() for name, value in environment.items() if _NAMES.search(name)}
    login = environment.get("CAPTIONER_LOGIN", "").partition(":")[2]
    return tuple(sorted((value for value in {*found, login} if len(value) >= MIN_LENGTH), key=len, reverse=True))


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
