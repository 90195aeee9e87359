"""The requests that have a slot: how much of their prompt is read, and the tokens they have."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from captioner.engine.answer import AnswerTokens
from captioner.engine.prepare import Prepared
from captioner.engine.sampling import Draw


@dataclass(eq=False)
class Prompt:
    """A prompt on its way into a slot."""

    request: Prepared
    slot: int
    num_read: int = 0  # tokens in the slot
    embeds: Tensor | None = None  # (L, hidden), once its first piece is read
    num_encoded: int = 0  # visual tokens that are in `embeds`
    deepstack: list[Tensor] = field(default_factory=list)  # by level, (V, hidden) for the V visual tokens of those

    @property
    def num_tokens(self) -> int:
        return self.request.num_prompt_tokens

    @property
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
        self.embeds.index_copy_(0, places.to(visual.device, non_blocking=True), visual.to(self.embeds.dtype))
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
    answer: AnswerTokens
    length: int = 0  # tokens whose keys and values are in the slot

    @property
    def request(self) -> Prepared:
        return self.prompt.request

    @property
    def slot(self) -> int:
        return self.prompt.slot

    @property
    def tokens(self) -> list[int]:
        return self.answer.tokens

    @property
    def is_reading(self) -> bool:
        """True until the last piece of the prompt is read."""
        return self.prompt.num_read < self.prompt.num_tokens

    def row(self) -> tuple[int, int, int, int]:
        """Return its column for PackedModel.decode: token, position, slot, tokens in the slot."""
        position = self.length + int(self.request.layout["offset"])
        return self.tokens[-1], position, self.slot, self.length

    def draw(self) -> Draw:
        """Return what determines its next token besides the logits."""
        return Draw(self.request.options, len(self.tokens), self.answer.caption_start)
