"""Thinking within a budget: where a model's thinking begins and ends, and how it is made to end."""

from functools import lru_cache

from transformers import ProcessorMixin

from captioner.engine.chat import generation_prompt
from captioner.marks import after_opening, closes_thinking, closing_mark, opens_thinking

NUM_CACHED = 100_000


class ThinkingMarks:
    """How one model opens and closes its thinking. Only the thread that runs the model uses it after its creation."""

    def __init__(self, processor: ProcessorMixin) -> None:
        """Render the chat template to learn whether it opens the thinking, and how it closes one that is empty."""
        off, on = (generation_prompt(processor, budget) for budget in (0, 1))
        self._tokenizer = processor.tokenizer
        self._opened = {False: closing_mark(off), True: closing_mark(on)}  # by whether thinking is turned on
        closing = after_opening(off) if off != on and not opens_thinking(off) else ""
        line_break = "\n" if closing.startswith("\n") else ""
        self._own_closing = line_break + closing.lstrip()  # "\n</think>\n\n", or "" if the template has none
        self.may_close = lru_cache(NUM_CACHED)(self._may_close)

    def opened_by_prompt(self, thinks: bool) -> str:
        """Return the text that closes the thinking if the prompt opens it, or ""."""
        return self._closing(self._opened[thinks])

    def opened_by(self, tokens: list[int]) -> str:
        """Return the text that closes the thinking if these tokens open it, or ""."""
        return self._closing(closing_mark(self.text(tokens)))

    def text(self, tokens: list[int]) -> str:
        """Return the text of tokens with all marks in it."""
        return self._tokenizer.decode(tokens, skip_special_tokens=False)

    def tokens(self, text: str) -> list[int]:
        """Return the tokens of a text; a mark that is a token of the model stays one."""
        return self._tokenizer(text, add_special_tokens=False).input_ids

    def closed_by(self, tokens: list[int]) -> bool:
        """Return True if the tokens end the thinking."""
        return closes_thinking(self.text(tokens))

    def _may_close(self, token: int) -> bool:
        """Return True if a closing mark may end with this token."""
        return any(end in self.text([token]) for end in ">]▷")

    def _closing(self, mark: str) -> str:
        return self._own_closing if mark and mark.strip() in self._own_closing else mark
