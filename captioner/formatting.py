"""Text for people: plurals, sizes, durations, sentences, and names that can be sent to a browser."""

import math
import re

# Control characters, line separators, and the characters that turn the direction of writing.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def plural(count: int, noun: str) -> str:
    """Return the count with its noun: "1 file", "1,234 files"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def sentence(text: str) -> str:
    """Return the text with a capital first letter and a full stop, unless it ends with a mark of its own."""
    return with_full_stop(text[:1].upper() + text[1:])


def with_full_stop(text: str) -> str:
    """Return the text with a full stop, unless it ends with a mark of its own."""
    return text if text.endswith((".", "!", "?", "…", ":")) else f"{text}."


def first_line(error: Exception, max_characters: int = 300) -> str:
    """Return the error's type and the first line of its message."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:max_characters]}"


def size(num_bytes: float) -> str:
    """Return a size in decimal units: "532 B", "1.2 MB"."""
    if num_bytes < 1000:
        return f"{num_bytes:.0f} B"
    power = min(3, int(math.log10(num_bytes)) // 3)
    return f"{num_bytes / 1000**power:.1f} {('KB', 'MB', 'GB')[power - 1]}"


def duration(seconds: float) -> str:
    """Return a rough duration: "45 s", "12 min", "3 h 5 min", "2.1 days"."""
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{max(1, round(seconds))} s"
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes < 48 * 60 else f"{minutes / 1440:.1f} days"


def clock(seconds: float) -> str:
    """Return a time as on a player: "1:05" or "1:02:03"."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def sendable(text: str) -> str:
    """Return the text with "?" for each lone surrogate, such as in a file name that is not UTF-8.

    Neither JSON nor HTML can carry those.
    """
    return text.encode("utf-8", "replace").decode()


def printable(text: str, keep: str = "") -> str:
    """Return the text as one line for a terminal, with control characters as escapes such as "\\x1b" and "\\n".

    keep: control characters that stay as they are.
    """
    return _CONTROL.sub(lambda m: m[0] if m[0] in keep else m[0].encode("unicode_escape").decode(), text)
