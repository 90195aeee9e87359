"""The requests that have a slot: how much of their prompt is read, and the tokens they have."""

import functools
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from captioner.engine.answer import AnswerTokens
from captioner.engine.prepare import Prepared
from captioner.engine.rows import upload
from captioner.engine.sampling import Sampling

CHUNK = 64  # tokens that linear attention computes at once; pieces are multiples, so that they change no rounding


@dataclass(eq=False)
class Prompt:
    """A prompt on its way into a slot."""

    request: Prepared
    slot: int
    num_read: int = 0  # tokens in the slot
    embeds: Tensor | None = None  # (L, hidden), once its first piece is read
    num_encoded: int = 0  # visual tokens that are in `embeds`
    deepstack: list[Tensor] = field(default_factory=list)  # by level, (V, hidden) for the V visual tokens of those

    def __post_init__(self) -> None:
        self.num_tokens = self.request.num_prompt_tokens

    @functools.cached_property
    def is_visual(self) -> Tensor:  # bool (L,) on the host
        return self.request.inputs["mm_token_type_ids"][0] > 0

    @functools.cached_property
    def frames(self) -> list[tuple[int, int]]:
        """The rows and columns of patches of each part that the vision tower sees as one: a still, or two frames."""
        return [(rows, columns) for num, rows, columns in self.request.layout["grid"].tolist() for _ in range(num)]

    def next_frames(self, end: int, patches_per_token: int) -> tuple[int, list[tuple[int, int]]]:
        """Return the first patch and the sizes of the frames to encode before its tokens up to `end` can be read."""
        first, needed = self.num_encoded * patches_per_token, self.num_visual(end) * patches_per_token
        frames, start = [], 0
        for rows, columns in self.frames:
            if first <= start < needed:
                frames.append((rows, columns))
            start += rows * columns
        return first, frames

    def add_visual(self, first: int, visual: Tensor, deepstack: Sequence[Tensor]) -> None:
        """Put the embeddings (V, hidden) of its visual tokens from number `first` on in their places."""
        assert self.embeds is not None
        places = self.is_visual.nonzero()[first : first + len(visual), 0]
        self.embeds.index_copy_(0, upload(places, visual.device), visual.to(self.embeds.dtype))
        before = self.deepstack or [level[:0] for level in deepstack]
        self.deepstack = [torch.cat(levels) for levels in zip(before, deepstack, strict=True)]
        self.num_encoded += len(visual)

    def ends_with(self, length: int) -> bool:
        """Return whether the prompt ends with the next `length` tokens."""
        return self.num_read + length == self.num_tokens

    def on_read(self, length: int) -> None:
        """Record that so many more tokens are in the slot."""
        self.num_read += length
        if self.num_read == self.num_tokens:
            self.embeds, self.deepstack = None, []

    def num_visual(self, end: int) -> int:
        """Return how many of the first tokens are visual."""
        return int(self.is_visual[:end].sum())


@dataclass(eq=False)
class Running:
    """A request that has a slot."""

    prompt: Prompt
    answer: AnswerTokens  # as far as it is read from the device

    def __post_init__(self) -> None:
        self.request, self.slot = self.prompt.request, self.prompt.slot
        self.kind = Sampling.of(self.request.options)
        self.penalizes = self.kind.penalizes

    @property
    def tokens(self) -> list[int]:
        return self.answer.tokens

    @property
    def is_scored(self) -> bool:
        """True if it ends with the probabilities of answers instead of a text."""
        return self.request.options.scores

    @property
    def is_reading(self) -> bool:
        """True until the last piece of the prompt is read."""
        return self.prompt.num_read < self.prompt.num_tokens


class Picked(NamedTuple):
    """The results of a step, on the device."""

    tokens: Tensor  # int64 (B,), the next one of each request
    probabilities: Tensor | None  # float32 (S, answers), of those that are scored; None without any


class UnreadSteps:
    """Steps whose results are on their way to the host, while it goes on with the next one."""

    def __init__(self) -> None:
        self._steps: deque[tuple[list[Running], Picked, torch.cuda.Event | None]] = deque()

    def add(self, order: list[Running], picked: Picked) -> None:
        """Begin to copy what was picked for these requests."""
        tokens, shares, copied = picked.tokens.to("cpu", non_blocking=True), picked.probabilities, None
        if shares is not None:
            shares = shares.to("cpu", non_blocking=True)
        if picked.tokens.device.type == "cuda":
            copied = torch.cuda.Event()
            copied.record()
        self._steps.append((order, Picked(tokens, shares), copied))

    def read(self, num_left: int) -> Iterator[tuple[Running, int]]:
        """Wait for all steps but the last `num_left`, and yield their tokens. Answers get their probabilities."""
        while len(self._steps) > num_left:
            order, picked, copied = self._steps.popleft()
            if copied is not None:
                copied.synchronize()
            if picked.probabilities is not None:
                scored = (running for running in order if running.is_scored)
                for running, row in zip(scored, picked.probabilities.tolist(), strict=True):
                    running.answer.probabilities = tuple(row)
            yield from zip(order, picked.tokens.tolist(), strict=True)

    def clear(self) -> None:
        """Forget all steps."""
        self._steps.clear()


def share(reading: list[Running], room: int) -> list[tuple[Running, int]]:
    """Share the `room` of a step, in tokens, among the prompts that are being read: first come, first served."""
    pieces = []
    for running in reading:
        left = running.prompt.num_tokens - running.prompt.num_read
        length = left if left <= room else room // CHUNK * CHUNK
        if length:
            pieces.append((running, length))
            room -= length
    return pieces
