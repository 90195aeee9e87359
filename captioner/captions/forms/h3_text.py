"""Shots, times and speech in the description of an H3 caption: found as models write them, and written as H3 wants."""

import re
from typing import NamedTuple

_SHOT = re.compile(r"\[Shot (\d+)\](?:[ \t]*At (\d{2}):(\d{2})\.(\d{3}),)?")
# As models write them: "(shot 2)" anywhere, "Shot 2:" and "**Shot 2**" at the start of a line.
_LABEL = re.compile(
    r"[\[(][ \t]*shot[ \t]*#?(\d{1,3})[ \t]*[\])]:?[ \t]*|^[*_#> \t]*shot[ \t]*#?(\d{1,3})[*_]*[ \t]*[:.][*_]*[ \t]*",
    re.I | re.M,
)
_CLOCK = r"(?:(\d{1,2}):)?(\d{1,3})(?:[.,](\d{1,3}))?"
_WHEN = re.compile(
    rf"[(\[]?(?:(?:at|from|@)[ \t]+)?{_CLOCK}[ \t]*(s\b|sec\b|seconds?\b)?"
    r"(?:[ \t]*(?:-|–|—|to)[ \t]*[\d:.,]*\d[ \t]*(?:s|sec|seconds?)?\b)?[ \t]*[)\]]?[ \t]*[,:–-]?[ \t]*",
    re.IGNORECASE,
)
_SPEECH_MARK = re.compile(r"<\s*(/?)\s*d\s*>", re.IGNORECASE)


class Shot(NamedTuple):
    """The mark of a shot. time_s: when it begins, None if it says no time."""

    number: int
    time_s: float | None
    start: int
    end: int


def find_shots(text: str, start: int = 0, end: int | None = None) -> list[Shot]:
    """Return the marks of shots that are written exactly: "[Shot 2] At 00:03.500,"."""
    shots = []
    for match in _SHOT.finditer(text, start, len(text) if end is None else end):
        minutes, seconds, thousandths = match.group(2, 3, 4)
        time_s = None if minutes is None else int(minutes) * 60 + int(seconds) + int(thousandths) / 1000
        shots.append(Shot(int(match[1]), time_s, match.start(), match.end()))
    return shots


def clock(time_s: float) -> str:
    """Return a time as H3 writes it: "00:03.500"."""
    thousandths = round(time_s * 1000)
    return f"{thousandths // 60000:02}:{thousandths // 1000 % 60:02}.{thousandths % 1000:03}"


def repair_description(text: str) -> str:
    """Return the text with its shots, times and marks of speech written exactly; no time is made up."""
    text = _SPEECH_MARK.sub(lambda mark: f"<{mark[1]}d>", text)
    parts, end = [], 0
    for label in _LABEL.finditer(text):
        when = _WHEN.match(text, label.end())
        time_s = _time_s(when) if when else None
        parts += [text[end : label.start()], _exact(int(label[1] or label[2]), time_s)]
        end = when.end() if when and time_s is not None else label.end()
    return "".join([*parts, text[end:]]).strip()


def _time_s(when: re.Match[str]) -> float | None:
    """Return the seconds, None for a number that is not a time, as in "[Shot 2] 3 people"."""
    minutes, seconds, fraction, unit = when.groups()
    if minutes is None and fraction is None and unit is None:
        return None
    return int(minutes or 0) * 60 + int(seconds) + float(f"0.{fraction or 0}")


def _exact(number: int, time_s: float | None) -> str:
    mark = f"[Shot {number}]"
    return f"{mark} " if time_s is None or (number == 1 and time_s == 0) else f"{mark} At {clock(time_s)}, "
