"""The number of words that a prompt asks for."""

import re
from typing import NamedTuple

_WORDS = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16, "seventeen": 17,
    "eighteen": 18, "nineteen": 19, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70,
    "eighty": 80, "ninety": 90, "a hundred": 100, "one hundred": 100, "two hundred": 200,
}  # fmt: skip
_NUMBER = rf"(\d[\d,]*|{'|'.join(sorted(_WORDS, key=len, reverse=True))})"
_UNIT = r"[\s-]*words?\b"
_MOST = r"(?:at most|no more than|not more than|up to|under|below|fewer than|less than|within|maximum(?: of)?|max\.?)"
_LEAST = r"(?:at least|no fewer than|no less than|more than|over|minimum(?: of)?)"
ABOUT = 0.2  # "about 100 words" are 80 to 120


class TargetLength(NamedTuple):
    """The fewest and the most words of a caption; 0: no limit."""

    least: int
    most: int


def target_length(prompt: str) -> TargetLength | None:
    """Return the first number of words that a prompt names, or None: "80 to 120 words", "at most fifteen words"."""
    for pattern, read in (
        (rf"{_NUMBER}\s*(?:to|and|or|-|–|—)\s*{_NUMBER}{_UNIT}", lambda low, high: (low, high)),
        (rf"{_MOST}\s+{_NUMBER}{_UNIT}", lambda most: (0, most)),
        (rf"{_LEAST}\s+{_NUMBER}{_UNIT}", lambda least: (least, 0)),
        (rf"{_NUMBER}{_UNIT}\s+(?:or less|or fewer|at most|maximum|max)\b", lambda most: (0, most)),
        (rf"{_NUMBER}{_UNIT}", lambda about: (round(about * (1 - ABOUT)), round(about * (1 + ABOUT)))),
    ):
        if match := re.search(rf"\b{pattern}", prompt, re.IGNORECASE):
            least, most = read(*map(_value, match.groups()))
            return TargetLength(*sorted((least, most))) if least and most else TargetLength(least, most)
    return None


def _value(text: str) -> int:
    return _WORDS[text.lower()] if text.lower() in _WORDS else int(text.replace(",", "")[:6])
