"""Splits captions into the words that are counted."""

import functools
import re
import tomllib
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from importlib.resources import files

import regex

from captioner.dataset.lint.draft import Draft

BREAK = 0  # the number of what no phrase goes across: punctuation and the end of a caption
_SHOT = re.compile(r"\[Shot \d+\]")
_ASCII = re.compile(r"\w+(?:'\w+)*|[^\w\s'-]|\s-+\s|--+|\n")
_CHARACTER = r"[\p{Han}\p{Hiragana}]"
_PART = r"(?:(?![\p{Han}\p{Hiragana}\p{Katakana}ー])[\p{L}\p{N}_][\p{M}\u200c\u200d]*)+"
_ANY = regex.compile(rf"{_CHARACTER}|[\p{{Katakana}}ー]+|{_PART}(?:'{_PART})*|[^\w\s'\p{{M}}\p{{Cf}}-]|\s-+\s|--+|\n")


def split(text: str) -> list[str]:
    """Return the words of a caption in lower case, and among them one item for each mark that ends a phrase.

    Letters, digits and underscores make a word, with apostrophes inside; a hyphen separates two. Each Chinese character
    and each hiragana is a word, a run of katakana is one, so phrases of two and three are the words of those languages.
    Names and labels of the fields of a form are no words.
    """
    form = Draft(text).form
    if form:
        text = "\n".join(_SHOT.sub("\n", field) for field in form.parse(text).values())
    if text.isascii():
        return _ASCII.findall(text.lower())
    plain = unicodedata.normalize("NFC", text.replace("’", "'").lower())
    return _ANY.findall(plain)


def words_of(text: str) -> list[str]:
    """Return the words of a caption in lower case."""
    return [word for word in split(text) if is_word(word)]


def is_word(part: str) -> bool:
    """Return whether a part that `split` returns is a word."""
    return part[0].isalnum() or part[0] == "_"


def joined(words: Iterable[str]) -> str:
    """Return a phrase as people write it: no spaces between Chinese or Japanese characters."""
    phrase = ""
    for word in words:
        phrase += f" {word}" if phrase and not _is_joined(phrase[-1], word[0]) else word
    return phrase


def pattern_of(phrase: str) -> str:
    """Return a regular expression that finds a phrase in captions, for a bulk edit."""
    words = words_of(phrase)
    pattern = ""
    for i, word in enumerate(words):
        if i:
            pattern += r"\s*" if _is_joined(words[i - 1][-1], word[0]) else r"[\s-]+"
        pattern += regex.escape(word).replace("'", "['’]")
    if not words:
        return ""
    start, end = ("" if _is_dense(character) else r"\b" for character in (words[0][0], words[-1][-1]))
    return f"{start}{pattern}{end}"


def _is_joined(last: str, first: str) -> bool:
    are_katakana = all("\u30a0" <= character <= "\u30ff" for character in (last, first))
    return _is_dense(last) and _is_dense(first) and not are_katakana


def _is_dense(character: str) -> bool:
    return "\u2e80" <= character <= "\u30ff" or "\u3400" <= character <= "\u9fff" or character >= "\U00020000"


@functools.cache
def stop_words() -> Mapping[str, frozenset[str]]:
    """Return the words that say nothing about a picture, by language."""
    table = tomllib.loads((files(__package__) / "stopwords.toml").read_text(encoding="utf-8"))
    return {language: frozenset(words.split()) for language, words in table.items()}


class Numbers(dict[str, int]):
    """The number of each word, in the order in which they came; BREAK for marks."""

    def __init__(self) -> None:
        super().__init__()
        self.words = [""]

    def __missing__(self, part: str) -> int:
        number = BREAK
        if is_word(part):
            number = len(self.words)
            self.words.append(part)
        self[part] = number
        return number


Show = Callable[[int], None]  # called with how many captions are done
