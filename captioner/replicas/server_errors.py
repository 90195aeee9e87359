"""Errors between a model server and its client, sorted by what they mean for the work."""

import json
import math
import random
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import openai

from captioner.redaction import redact

MAX_TEXT = 300  # characters of a server's own words
FIRST_DELAY_S, MAX_DELAY_S = 0.5, 30.0
MAX_RETRY_AFTER_S = 600.0


class ServerError(Exception):
    """The base class; its text is one line for users."""

    def __str__(self) -> str:
        return redact(" ".join(super().__str__().split()))


class Unusable(ServerError):
    """The server cannot be used until somebody changes something: a wrong key, an unknown model."""


class NoScores(Unusable):
    """The server does not tell how likely the tokens of its answers are."""


class Refused(ServerError):
    """The server refuses this request and would refuse it again. `status` is its HTTP status."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class Away(ServerError):
    """The server cannot be reached, or does not work for anybody now."""


class Broken(ServerError):
    """An answer that is wrong, incomplete or an error of the server; another try may succeed."""


class Failing(Broken):
    """The server itself failed, or a proxy before it while it is started again."""

    @property
    def is_loading(self) -> bool:
        """True if it says that it will answer once its model is loaded, as llama-server does."""
        return "loading" in str(self).lower()


class Busy(ServerError):
    """The server wants fewer requests. `retry_after_s`: when it may be asked again; 0: it did not say."""

    def __init__(self, text: str, retry_after_s: float = 0.0) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


def explain(error: Exception) -> ServerError:
    """Return what an error of the openai client means."""
    match error:
        case ServerError():
            return error
        case openai.APITimeoutError():
            return Broken("the server did not answer in time")
        case openai.APIConnectionError():
            return Away(f"the server cannot be reached ({_reason(error)})")
        case openai.APIStatusError():
            return _explain_status(error)
        case openai.APIError():  # an error within a stream
            return _explain_body(error.body, error.message)
        case ValueError() | TypeError() | AttributeError() | KeyError() | IndexError():
            return Broken("the server's answer is not in the OpenAI format")
        case _:
            return Away(f"the connection to the server broke ({_reason(error)})")


def _explain_status(error: openai.APIStatusError) -> ServerError:
    status, words = error.status_code, words_of(error.body, error.response.reason_phrase)
    if 300 <= status < 400:
        place = urlsplit(error.response.headers.get("location", "")[:MAX_TEXT])
        target = f"{place.scheme}://{place.netloc}" if place.netloc else "another address"
        return Unusable(f"the server redirects to {target}, which is not followed; use that address if you trust it")
    if status in (401, 403):
        return Unusable(f"the server refuses the key (HTTP {status}: {words})")
    if status == 429 or (status == 503 and "retry-after" in error.response.headers):
        return Busy(f"the server is busy (HTTP {status}: {words})", _retry_after_s(error.response.headers))
    if status == 408 or status >= 500:
        return Failing(f"the server failed (HTTP {status}: {words})")
    if status == 413:
        return Refused("the clip is too large for the server (HTTP 413); lower frame_size or max_frames", status)
    return Refused(f"the server refused the request (HTTP {status}: {words})", status)


def _explain_body(body: object, message: str) -> ServerError:
    """Explain an error that came with the status 200, and may name the status that it should have."""
    words = words_of(body, message)
    code = str(body.get("code", "")) if isinstance(body, Mapping) else ""
    if code == "429":
        return Busy(f"the server is busy ({words})")
    if code.startswith("4") and len(code) == 3 and code != "408":
        return Refused(f"the server refused the request ({code}: {words})", int(code))
    return Broken(f"the server reports an error: {words}")


def words_of(body: object, otherwise: str) -> str:
    """Return what the server says about an error, in whatever form it says it."""
    for _ in range(3):
        if isinstance(body, Mapping):
            body = next((body[name] for name in ("message", "error", "detail") if body.get(name)), str(dict(body)))
        elif isinstance(body, list) and body:
            body = body[0]
    text = body if isinstance(body, str) else json.dumps(body) if body else otherwise
    return " ".join(str(text).split())[:MAX_TEXT]


def _reason(error: Exception) -> str:
    cause = error
    while (inner := cause.__cause__ or cause.__context__) and isinstance(inner, Exception):
        cause = inner
    return " ".join(str(cause).split())[:MAX_TEXT] or type(cause).__name__


def _retry_after_s(headers: Mapping[str, str]) -> float:
    """Return the seconds that the header Retry-After asks for, as a number or a date; 0 without one."""
    text = headers.get("retry-after", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, TypeError, IndexError):
            return 0.0
    return min(max(0.0, seconds), MAX_RETRY_AFTER_S) if math.isfinite(seconds) else 0.0


def delay_s(attempt: int) -> float:
    """Return the seconds to wait before the next try: doubled each time, half of it by chance."""
    most = min(FIRST_DELAY_S * 2**attempt, MAX_DELAY_S)
    return most / 2 + random.uniform(0, most / 2)
