"""A model server that speaks the OpenAI protocol: what it serves, in which form it takes clips, and its answers."""

import asyncio
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from captioner.replicas.clip_message import (
    FORM_TEXT,
    FORMS,
    MEDIA_OPTIONS,
    ClipMessage,
    Form,
    MessageWriter,
    write_message,
)
from captioner.replicas.server_connection import MAX_LOGPROBS, REQUEST_S, open_client, read_stream
from captioner.replicas.server_errors import Broken, Failing, NoScores, Refused, ServerError, Unusable, explain
from captioner.values import Frames, GenerationOptions, ModelSpec

PROBE_PROMPT, PROBE_SIZE = "What is this?", 64
OPTIONAL = (
    "top_k", "repetition_penalty", "presence_penalty", "chat_template_kwargs", "seed", "stream_options", "top_p",
    "temperature",
)  # fmt: skip
BEYOND_PROTOCOL = ("top_k", "repetition_penalty")  # vLLM and SGLang take them
NO_FLAG = "start vLLM with --trust-request-mm-kwargs to send the times of the frames as well"
LOGPROBS = ("logprobs", "top_logprobs")
NO_LOGPROBS = "the server does not tell how likely its tokens are (logprobs), so it cannot score captions"
MAX_LISTED = 8
OnToken = Callable[[int], None]


@dataclass(frozen=True)
class Reply:
    """A complete answer. Counts are None if the server does not report them."""

    text: str
    thinking: str
    finish_reason: str
    num_tokens: int
    num_prompt_tokens: int | None
    first_token_s: float  # from the request to the first token
    shares: dict[str, float]  # see Read.shares

    @property
    def answers(self) -> tuple[float, float]:
        """The probabilities that it begins with yes and with no; 0 for one that is not among the likeliest tokens."""
        return self.shares.get("yes", 0.0), self.shares.get("no", 0.0)


class ModelServer:
    """The client of one server. Used by one event loop. Methods raise a ServerError."""

    def __init__(self, spec: ModelSpec, key: str) -> None:
        self.url, self._spec, self._key = spec.device, spec, key
        self._client = open_client(spec.device, key)
        self.writer = MessageWriter()
        self.model = self._owner = ""
        self.notes: dict[str, None] = {}  # in order
        self._left_out: set[str] = set()  # fields that the server does not take
        self._length_field = "max_tokens"
        self._counts: dict[tuple[Form, int, int], asyncio.Task[tuple[int, int, int]]] = {}  # see _count

    async def connect(self) -> None:
        """Find the model, and the form in which the server takes clips."""
        self.notes, self._left_out, self._length_field = {}, set(), "max_tokens"
        self._counts.clear()
        self.model = await self._find_model()
        self.writer.form = await self._find_form()

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    def report_rows(self) -> tuple[tuple[str, str], ...]:
        """Return (label, text) rows for the capability report."""
        rows = [("engine", "model server"), ("model", self.model), ("clips", FORM_TEXT[self.writer.form])]
        if self._left_out:
            self.notes[f"the server takes no {', '.join(sorted(self._left_out))}"] = None
        return (*rows, *(("note", note) for note in self.notes))

    async def ask(self, message: ClipMessage, options: GenerationOptions, on_token: OnToken) -> Reply:
        """Ask once and return the answer, once it is known that the server used all frames."""
        reply = await self._ask(message, options, on_token)
        if options.scores and not reply.shares:
            raise NoScores(NO_LOGPROBS)
        await self._check_frames(message, reply.num_prompt_tokens)
        self._note_options(options)
        return reply

    async def ping(self) -> None:
        """Ask for one token without frames, to see whether the server works at all."""
        await self._probe(_text_message(PROBE_PROMPT))

    async def _find_model(self) -> str:
        wanted = self._spec.source
        try:
            served = [model async for model in self._client.models.list() if isinstance(model.id, str)]
        except Exception as error:
            found = explain(error)
            if isinstance(found, Refused) and wanted:  # a server without this list
                return wanted
            raise (
                Unusable(f"the server lists no models ({found}); is this the address of its API?")
                if isinstance(found, Refused | Broken) and not isinstance(found, Failing)
                else found
            ) from None
        ids = [model.id for model in served]
        shown = ", ".join(ids[:MAX_LISTED]) + (" ..." if len(ids) > MAX_LISTED else "")
        self._owner = str(getattr(served[0], "owned_by", "")) if served else ""
        if not wanted and len(ids) == 1:
            return ids[0]
        if not wanted:
            raise Unusable(f"choose a model with --model: the server has {shown}" if ids else "the server has no model")
        for model in served:
            if wanted.lower() in (model.id.lower(), str(getattr(model, "root", "")).lower()):
                return model.id
        if ids:
            raise Unusable(f"the server has no model {wanted}; it has {shown}")
        return wanted

    async def _find_form(self) -> Form:
        refusals: dict[Form, ServerError] = {}
        try:
            blind = await self._probe(_text_message(PROBE_PROMPT))
        except Refused as error:
            raise Unusable(str(error)) from None
        for form in FORMS:
            try:
                if await self._takes(form, blind):
                    return form
            except (Refused, Broken) as error:
                refusals[form] = error
                if form == "frames" and "trust-request-mm-kwargs" in str(error):
                    self.notes[NO_FLAG] = None
        raise Unusable(f"the server's model takes no images ({refusals.get('images', 'it leaves them out')})")

    async def _takes(self, form: Form, blind: int | None) -> bool:
        """Return whether the server uses frames in this form, and their times if they travel beside them.

        blind: the tokens of the same prompt without frames.
        """
        message = write_message(_gray_frames(4, PROBE_SIZE, PROBE_SIZE), PROBE_PROMPT, form)
        seen = await self._probe(message)
        if seen is not None and blind is not None and seen <= blind:
            return False
        if form != "frames":
            return True
        times = message.extra[MEDIA_OPTIONS]["video"]
        wrong = {MEDIA_OPTIONS: {"video": {**times, "frames_indices": times["frames_indices"][:-1]}}}
        try:
            await self._probe(replace(message, extra=wrong))
        except (Refused, Broken):  # one frame has no time, which a server that uses the times cannot accept
            return True
        return False

    async def _probe(self, message: ClipMessage) -> int | None:
        """Return how many tokens the message has on the server."""
        reply = await self._ask(message, GenerationOptions(max_new_tokens=1), lambda count: None)
        return reply.num_prompt_tokens

    async def _ask(self, message: ClipMessage, options: GenerationOptions, on_token: OnToken) -> Reply:
        while True:
            try:
                return await self._ask_once(message, options, on_token)
            except Refused as error:
                if options.scores and _named(str(error), LOGPROBS):
                    raise NoScores(f"{NO_LOGPROBS}: {error}") from None
                if not self._leave_out(str(error)):
                    raise

    async def _ask_once(self, message: ClipMessage, options: GenerationOptions, on_token: OnToken) -> Reply:
        started_s = time.monotonic()
        try:
            async with asyncio.timeout(REQUEST_S):
                stream = await self._client.chat.completions.create(**self._request(message, options))
                read = await read_stream(stream, options.max_tokens, on_token)
        except Exception as error:
            raise (Broken("the answer took too long") if isinstance(error, TimeoutError) else explain(error)) from None
        if self._key and self._key in read.text:
            raise Refused("the server's answer contains its key")
        prompt, new = read.num_prompt_tokens, read.num_tokens
        first_token_s = read.first_token_s - started_s
        return Reply(read.text, read.thinking, read.finish_reason, new, prompt, first_token_s, read.shares)

    def _request(self, message: ClipMessage, options: GenerationOptions) -> dict[str, Any]:
        """Return the arguments of a request. All options are sent, since a server has its own defaults."""
        fields: dict[str, Any] = {
            "temperature": options.temperature,
            "top_p": options.top_p,
            "seed": options.seed,
            "stream_options": {"include_usage": True},
            "top_k": options.top_k or -1,
            "repetition_penalty": options.repetition_penalty,
            "presence_penalty": options.presence_penalty,
            "chat_template_kwargs": {"enable_thinking": options.thinks},
            **message.extra,
        }
        if options.scores:
            fields |= {"logprobs": True, "top_logprobs": MAX_LOGPROBS}
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": message.content}],
            "stream": True,
            "extra_body": {
                **{name: value for name, value in fields.items() if name not in self._left_out},
                self._length_field: options.max_tokens,
            },
        }

    def _leave_out(self, words: str) -> bool:
        """Note which fields the server refuses by name; return whether the request can be sent without them."""
        refused = {name for name in _named(words, OPTIONAL) if name not in self._left_out}
        self._left_out |= refused
        if self._length_field == "max_tokens" and _named(words, ["max_completion_tokens"]):
            self._length_field = "max_completion_tokens"
            return True
        return bool(refused)

    def _note_options(self, options: GenerationOptions) -> None:
        used = [name for name in BEYOND_PROTOCOL if getattr(options, name) != getattr(GenerationOptions(), name)]
        used = [name for name in used if name not in self._left_out]
        if used and self._owner not in ("vllm", "sglang"):
            self.notes[f"not every server uses {' and '.join(used)}; this one may ignore it"] = None
        if options.thinks:
            self.notes["a server limits thinking and caption together, not thinking by itself"] = None
        if "repetition_penalty" in used:
            self.notes["on a server, repetition_penalty counts the words of the prompt as well"] = None

    async def _check_frames(self, message: ClipMessage, num_tokens: int | None) -> None:
        """Raise Refused if the prompt is too short to hold all frames that were sent."""
        num_frames, height, width = message.shape
        if num_tokens is None:
            self.notes["the server reports no token counts, so frames that it drops cannot be noticed"] = None
        if num_tokens is None or num_frames <= 2:
            return
        key = message.form, height, width
        if key not in self._counts:
            self._counts[key] = asyncio.ensure_future(self._count(*key, message.prompt))
        try:
            two, four, prompt_bytes = await asyncio.shield(self._counts[key])
        except ServerError:
            self._counts.pop(key, None)
            raise
        shorter = max(0, prompt_bytes - len(message.prompt.encode()))  # a token has at least one byte
        needed = two + (num_frames - 2) * (four - two) // 2 - shorter
        if num_tokens < needed:
            advice = NO_FLAG if message.form == "video" else "lower max_frames or frame_size"
            counts = f"its prompt has {num_tokens:,} tokens, the frames need {needed:,}"
            raise Refused(f"the server dropped or shrank some of the {num_frames} frames ({counts}); {advice}")

    async def _count(self, form: Form, height: int, width: int, prompt: str) -> tuple[int, int, int]:
        """Return the tokens of this prompt with two and with four frames of this size, and its bytes."""
        messages = [write_message(_gray_frames(n, height, width), prompt, form) for n in (2, 4)]
        two, four = [await self._probe(message) or 0 for message in messages]
        return two, four, len(prompt.encode())


def _gray_frames(count: int, height: int, width: int) -> Frames:
    """Return frames at the start of a clip, two a second."""
    indices = np.arange(count, dtype=np.int64)
    return Frames(np.full((count, height, width, 3), 128, np.uint8), indices / 2, indices, 2.0)


def _text_message(prompt: str) -> ClipMessage:
    return ClipMessage(prompt, "images", (0, 0, 0), [{"type": "text", "text": prompt}])


def _named(words: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if re.search(rf"\b{name}\b", words)]
