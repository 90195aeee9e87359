"""The windows of a long clip with their captions as SRT, WebVTT and JSONL."""

import html
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_CONTROL = re.compile(r"[\x00-\x09\x0e-\x1b\x7f]")  # the others end lines


@dataclass(frozen=True)
class Cue:
    """One window and its caption. Times are in seconds from the first frame of the clip."""

    start_s: float
    end_s: float
    text: str


def srt(cues: Sequence[Cue]) -> str:
    """Return the cues as SubRip, which has no escapes: an arrow in a text becomes another one."""
    parts = [
        f"{number}\n{_stamp(cue.start_s, ',')} --> {_stamp(cue.end_s, ',')}\n{_lines(cue.text).replace('-->', '→')}\n"
        for number, cue in enumerate(_shown(cues), start=1)
    ]
    return "\n".join(parts)


def vtt(cues: Sequence[Cue]) -> str:
    """Return the cues as WebVTT, with its escapes."""
    parts = [
        f"{_stamp(cue.start_s, '.')} --> {_stamp(cue.end_s, '.')}\n{html.escape(_lines(cue.text), quote=False)}\n"
        for cue in _shown(cues)
    ]
    return "\n".join(["WEBVTT\n", *parts])


def jsonl(cues: Sequence[Cue], file_name: str) -> str:
    """Return one object a line, in ASCII, with the texts as they are."""
    rows = (
        {"file_name": file_name, "start_s": round(cue.start_s, 3), "end_s": round(cue.end_s, 3), "text": cue.text}
        for cue in cues
    )
    return "".join(f"{json.dumps(row)}\n" for row in rows)


FORMATS: dict[str, Callable[[Sequence[Cue], str], str]] = {
    ".srt": lambda cues, name: srt(cues),
    ".vtt": lambda cues, name: vtt(cues),
    ".jsonl": jsonl,
}


def _shown(cues: Sequence[Cue]) -> list[Cue]:
    """Return the cues with anything to read."""
    return [cue for cue in cues if _lines(cue.text)]


def _lines(text: str) -> str:
    """Return the text without blank lines, which would end the cue, and without control characters."""
    lines = (_CONTROL.sub(" ", line).strip() for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def _stamp(seconds: float, point: str) -> str:
    """Return a time as in "00:01:02,345"."""
    rest, milliseconds = divmod(round(max(0.0, seconds) * 1000), 1000)
    rest, seconds = divmod(rest, 60)
    hours, minutes = divmod(rest, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{milliseconds:03}"
