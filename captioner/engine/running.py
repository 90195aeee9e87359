"""The requests that have a slot: how much of their prompt is read, and the tokens they have."""

from dataclasses import dataclass, field

from torch import Tensor

from captioner.engine.prepare import Prepared


@dataclass(eq=False)
class Prompt:
    """A prompt on its way into a slot."""

    request: Prepared
    slot: int
    num_read: int = 0  # tokens in the slot
    embeds: Tensor | None = None  # (L, hidden), once its first piece is read
    deepstack: list[Tensor] = field(default_factory=list)  # by level, (V, hidden) for its V visual tokens

    @property
    def num_tokens(self) -> int:
        return self.request.num_prompt_tokens

    @property
    def is_visual(self) -> Tensor:  # bool (L,) on the host
        return self.request.inputs["mm_token_type_ids"][0] > 0

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
    length: int = 0  # tokens whose keys and values are in the slot
    tokens: list[int] = field(default_factory=list)

    @property
    def request(self) -> Prepared:
        return self.prompt.request

    @property
    def slot(self) -> int:
        return self.prompt.slot

    @property
    def is_reading(self) -> bool:
        """True until the last piece of the prompt is read."""
        return self.prompt.num_read < self.prompt.num_tokens

    def row(self) -> tuple[int, int, int, int]:
        """Return its column for PackedModel.decode: token, position, slot, tokens in the slot."""
        position = self.length + int(self.request.layout["offset"])
        return self.tokens[-1], position, self.slot, self.length
