"""The tokens of one answer: which are written, and when it ends."""

from captioner.engine.core import FinishReason
from captioner.engine.prepare import Prepared
from captioner.engine.thinking import ThinkingMarks

MAX_OPENING = 12  # tokens at the start of an answer in which thinking begins, if it does
MAX_CLOSING = 32  # tokens that a closing mark may consist of


class AnswerTokens:
    """The tokens of an answer without its end token.

    chooses: whether choose() may return another token than the one that was picked.
    """

    def __init__(self, request: Prepared, eos: tuple[int, ...]) -> None:
        self.chooses = False
        self.tokens: list[int] = []
        self.caption_start = 0  # index of the first token after the thinking
        self._max_new_tokens, self._eos = request.options.max_new_tokens, eos
        self.probabilities: tuple[float, ...] = ()  # of scoring.ANSWERS

    @property
    def limit(self) -> int:
        """The number of tokens after which the answer ends at the latest."""
        return self.caption_start + self._max_new_tokens

    def choose(self, picked: int) -> int:
        """Return the token to add instead of the one that was picked."""
        return picked

    def add(self, token: int) -> FinishReason | None:
        """Add a token, and return why the answer ends with it, or None."""
        if token in self._eos:
            return "stop"
        self.tokens.append(token)
        return "length" if len(self.tokens) >= self.limit else None


class Score(AnswerTokens):
    """An answer without tokens, which ends as soon as the probabilities of its first one are known."""

    @property
    def limit(self) -> int:
        return 1

    def add(self, token: int) -> FinishReason:
        return "scored"


class ThinkingTokens(AnswerTokens):
    """The tokens of an answer that may begin with thinking, for which it has a budget.

    When the budget is used up, or the model would end its turn while thinking, the tokens of the closing mark are
    written. Thinking and marks do not count as caption.
    """

    def __init__(self, request: Prepared, eos: tuple[int, ...], marks: ThinkingMarks) -> None:
        super().__init__(request, eos)
        self._marks, self._budget = marks, request.options.thinking_budget or 0
        self._max_tokens = request.options.max_tokens
        self._closing = marks.opened_by_prompt(request.options.thinks)  # "": the model is not thinking
        self._is_undecided = not self._closing
        self.chooses = True
        self._start = 0  # index of the first token of thinking
        self._forced: list[int] = []  # tokens to write next

    @property
    def limit(self) -> int:
        return self._max_tokens if self.chooses else super().limit

    def choose(self, picked: int) -> int:
        used_up = len(self.tokens) - self._start >= self._budget
        if self._closing and not self._forced and (used_up or picked in self._eos):
            self._forced = self._marks.tokens(self._closing)
        return self._forced[0] if self._forced else picked

    def add(self, token: int) -> FinishReason | None:
        if not self.chooses:
            return super().add(token)
        if not self._forced and token in self._eos:
            return "stop"
        self.tokens.append(token)
        if self._forced:
            self._forced = self._forced[1:]
            is_closed = not self._forced
        else:
            is_closed = self._watch(token)
        if is_closed:
            self._closing, self.caption_start = "", len(self.tokens)
        self.chooses = bool(self._closing or self._is_undecided)
        return "length" if self._is_full() else None

    def _watch(self, token: int) -> bool:
        """Find out whether thinking has begun; return whether it ends with this token."""
        if self._is_undecided:
            self._closing = self._marks.opened_by(self.tokens)
            may_open = self._marks.text(self.tokens).lstrip()[:1] in ("", "<", "[", "◁")
            self._is_undecided = not self._closing and may_open and len(self.tokens) < MAX_OPENING
            self._start = len(self.tokens)
            return False
        recent = self.tokens[max(self._start, len(self.tokens) - MAX_CLOSING) :]
        return self._marks.may_close(token) and self._marks.closed_by(recent)

    def _is_full(self) -> bool:
        """Return whether the caption, or all that there is room for, is written."""
        num_caption = 0 if self._closing else len(self.tokens) - self.caption_start
        return num_caption >= self._max_new_tokens or len(self.tokens) >= self._max_tokens


def begin_answer(request: Prepared, eos: tuple[int, ...]) -> AnswerTokens:
    """Return the empty answer to a request."""
    if request.options.scores:
        return Score(request, eos)
    if request.marks is None or request.options.thinking_budget is None:
        return AnswerTokens(request, eos)
    return ThinkingTokens(request, eos, request.marks)
