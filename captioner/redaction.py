"""Tokens and passwords never reach a log, an event or the page: every text that may hold one is cleaned here."""

import functools
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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


class _CleanRecord(logging.LogRecord):
    """Its message with the arguments, and its traceback, are clean for whatever handler writes them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.exc_info and self.exc_info[0]:
            self.exc_text = redact(logging.Formatter().formatException(self.exc_info))
        self.stack_info = self.stack_info and redact(self.stack_info)

    def getMessage(self) -> str:
        return redact(super().getMessage())


def hide_secrets() -> None:
    """Clean all that is logged in this process from now on, by libraries with handlers of their own as well.

    For secrets as they are now.
    """
    _values()
    logging.setLogRecordFactory(_CleanRecord)


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
