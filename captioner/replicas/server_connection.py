"""The connection to a model server: an openai client that follows no redirects and limits what it reads."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2  # the HTTP library of the openai client
import openai

from captioner.replicas.server_errors import Broken, Refused

CONNECT_S = 10.0
FIRST_TOKEN_S = 600.0  # the server may have many requests waiting
STALL_S = 120.0  # between two tokens
REQUEST_S = 3600.0
MAX_BYTES = 32_000_000  # of one answer; a chunk for each of 16,384 tokens takes about 6 MB
MAX_LOGPROBS = 20  # of a token: servers give no more
WORD_SPACES = " \t\n\u0120\u2581"  # also those that tokenizers write for a space
MAX_CHARACTERS = 10_000  # of an answer, beside 100 for each token
ABORTED = {"abort", "aborted", "cancelled", "error", "insufficient_system_resource", "network_error", "timeout"}


@dataclass
class Read:
    """The part of an answer that a stream has brought so far."""

    text: str = ""
    thinking: str = ""
    finish_reason: str = ""
    num_tokens: int = 0
    num_prompt_tokens: int | None = None
    first_token_s: float = 0.0  # monotonic
    shares: dict[str, float] = field(default_factory=dict)  # word -> how likely it is the first, if that was asked for


def open_client(url: str, key: str) -> openai.AsyncOpenAI:
    """Return a client without tries of its own. Without a key it sends none."""
    private = ["OpenAI-Organization", "OpenAI-Project", *([] if key else ["Authorization"])]

    async def keep_private(request: httpx2.Request) -> None:
        for name in private:  # the client sends what the environment holds for OpenAI to every server
            request.headers.pop(name, None)

    timeout = httpx2.Timeout(FIRST_TOKEN_S, connect=CONNECT_S)
    http = openai.DefaultAsyncHttpxClient(
        follow_redirects=False,  # another host would get the key and the frames
        timeout=timeout,
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),  # servers close idle ones any time
        event_hooks={"request": [keep_private], "response": [_limit]},
    )
    return openai.AsyncOpenAI(
        base_url=url,
        api_key=key or "none",
        max_retries=0,
        http_client=http,
        timeout=timeout,
        default_headers={"Accept-Encoding": "identity"},
    )


async def _limit(response: httpx2.Response) -> None:
    """Limit the bytes of an answer, which must not be compressed: it could unpack to any size."""
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise Broken("the server's answer is compressed, although it was asked not to")
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    response.stream = _Limited(response.stream)


class _Limited(httpx2.AsyncByteStream):
    """A stream of bytes that raises Refused after too many."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        num_bytes = 0
        async for part in self._stream:
            num_bytes += len(part)
            if num_bytes > MAX_BYTES:
                raise Refused(f"the server's answer is larger than {MAX_BYTES // 10**6} MB")
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


async def read_stream(stream: Any, max_tokens: int, on_token: Callable[[int], None]) -> Read:
    """Read a streamed answer to its end; `on_token` gets the number of tokens so far.

    Raises Broken if it stalls or ends too early, Refused if it is too long, and what the client raises.
    """
    read, chunks = Read(), aiter(stream)
    async with stream:
        while True:
            try:
                async with asyncio.timeout(STALL_S if read.num_tokens else FIRST_TOKEN_S):
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                break
            except TimeoutError:
                raise Broken("the server stopped in the middle of an answer") from None
            if _add(read, chunk):
                on_token(read.num_tokens)
            if len(read.text) + len(read.thinking) > MAX_CHARACTERS + 100 * max_tokens:
                raise Refused("the server sent much more text than max_new_tokens allows")
    if not read.finish_reason or read.finish_reason.lower() in ABORTED:  # vLLM that goes to sleep says so, with [DONE]
        raise Broken("the server's answer ends in the middle")
    if read.finish_reason == "content_filter":
        raise Refused("the server's content filter withheld the caption")
    return read


def _add(read: Read, chunk: Any) -> bool:
    """Add a chunk to what was read; return whether it brought a token."""
    usage = getattr(chunk, "usage", None)
    if usage:
        prompt, new = getattr(usage, "prompt_tokens", None), getattr(usage, "completion_tokens", None)
        read.num_prompt_tokens = prompt if isinstance(prompt, int) and prompt > 0 else None
        read.num_tokens = new if isinstance(new, int) and new > 0 else read.num_tokens
    choices = getattr(chunk, "choices", None)  # not every server sends all fields
    if not choices:
        return False
    choice, delta = choices[0], getattr(choices[0], "delta", None)
    read.shares = read.shares or _shares(getattr(choice, "logprobs", None))
    text = "" if delta is None else delta.content or ""
    thinking = getattr(delta, "reasoning_content", None) or getattr(delta, "reasoning", None) or ""
    read.text, read.thinking = read.text + text, read.thinking + thinking
    read.finish_reason = str(getattr(choice, "finish_reason", None) or read.finish_reason)
    if not (text or thinking):
        return False
    read.num_tokens += not usage
    read.first_token_s = read.first_token_s or time.monotonic()
    return True


def _shares(logprobs: Any) -> dict[str, float]:
    """Return the probabilities of the likeliest first tokens by their words, {} if the server does not tell."""
    first = next(iter(getattr(logprobs, "content", None) or ()), None)
    likeliest = [*(getattr(first, "top_logprobs", None) or ())[:MAX_LOGPROBS], first]  # not all list the one they chose
    known: dict[str, float] = {}  # by token
    for each in likeliest:
        token, logprob = getattr(each, "token", None), getattr(each, "logprob", None)
        if isinstance(token, str) and isinstance(logprob, int | float) and not math.isnan(logprob):
            known.setdefault(token, math.exp(min(0.0, logprob)))
    shares: dict[str, float] = {}
    for token, share in known.items():
        word = token.strip(WORD_SPACES).lower()
        shares[word] = min(1.0, shares.get(word, 0.0) + share)
    return shares
