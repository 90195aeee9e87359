"""The number of tokens of a caption for its target, which is cut off behind a limit."""

import functools
import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from captioner.captions.flaws import TOO_LONG
from captioner.dataset.targets import Target
from captioner.engine.tokenizers_here import count_tokens

_KINDS = {
    "word": r"[A-Za-z]+(?![^\W\d_])",
    "digit": r" ?\d",
    "character": r"[\uac00-\ud7af\u2e80-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]",  # Hangul and ideographs
    "letters": r"[^\W\d_]+",
    "marks": r"(?:[^\w\s]|_)+",
    "lines": r"\n+",
}
_PIECE = re.compile("|".join(_KINDS.values()))
_KIND = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in _KINDS.items()))
_ACCENTED = re.compile(r"[\u00c0-\u024f]")  # so that the text is probably not English


class TokenCount(NamedTuple):
    """How many tokens a text has. is_exact: they were counted with the target's own tokenizer."""

    number: int
    is_exact: bool


def estimate_tokens(text: str) -> int:
    """Return about how many tokens a text has for the encoders of today's targets.

    The weights are fitted to Qwen's, LLaMA 3's and Mistral's (Tekken) vocabularies; measured on the texts of
    tests/dataset/test_token_limit.py. English prose, tags and H3 captions are within 10 % of each of the three, and of
    CLIP; JSON and captions with many numbers within 20 %; other languages within 35 %, where the three differ as much
    among themselves. CLIP cuts other scripts than Latin into up to three times as many tokens.
    """
    is_foreign = itertools.repeat(bool(_ACCENTED.search(text)))
    return round(sum(map(_weight, _PIECE.findall(text), is_foreign)))


@functools.lru_cache(maxsize=100_000)
def _weight(piece: str, is_foreign: bool) -> float:
    length, kind = len(piece), _KIND.match(piece)
    match kind and kind.lastgroup:
        case "word":
            return max(1.0, length / 3.6) if is_foreign else 1 + max(0, length - 7) / 5
        case "letters":
            return max(1.0, length / 2.8) if is_foreign else length / 2.4
        case "digit":
            return 1.6 if length == 2 else 1.0
        case "character":
            return 0.8
        case "marks":
            return max(1.0, length / 2.5)
    return 0.5


@dataclass(frozen=True)
class TokenLimit:
    """The limit of a target. tokenizer: the file that counts exactly; None: the tokens are estimated."""

    target: Target
    tokenizer: Path | None = None

    def count(self, text: str) -> TokenCount:
        """Return how many tokens a caption has for the target."""
        counted = count_tokens(self.tokenizer, text) if self.tokenizer else None
        return TokenCount(estimate_tokens(text), False) if counted is None else TokenCount(counted, True)

    def flaw(self, text: str) -> str:
        """Return "exceeds the 512 tokens of MiniMax-H3", with "by estimate" if it is one, or ""."""
        limit = self.target.token_limit
        if limit is None:
            return ""
        number, is_exact = self.count(text)
        of = f" of {self.target.title}" if self.target.name != "none" else ""
        return f"{TOO_LONG} the {limit:,} tokens{of}{'' if is_exact else ' by estimate'}" if number > limit else ""
