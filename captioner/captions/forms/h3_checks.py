"""Checks of the text in the fields of an H3 caption."""

import re
from collections.abc import Iterable, Sequence
from typing import Protocol

from captioner.captions.forms.base import Problem
from captioner.captions.forms.h3_camera import KNOWN, unknown_movements
from captioner.captions.forms.h3_text import Shot, clock, find_shots
from captioner.values import MediaFacts

NEAR_CUT_S = 0.25
AFTER_END_S = 0.05  # what rounding makes of the end of a clip
SHOWN_CUTS = 8  # of a clip, in a message
NOTHING = "N/A"
_SPEECH = re.compile(r"</?d>")
_LANGUAGE = re.compile(r"\s*\[[^\W\d][\w ()'-]*\]\s*(?=[^\s<])")
_LOOSE_SHOT = re.compile(r"\bshot[ \t]*#?\d+[\])]|[\[(][ \t]*shot[ \t]*#?\d+", re.IGNORECASE)
_AT = re.compile(r"[ \t]*(?:at[ \t]+)?\d{1,2}:\d", re.IGNORECASE)


class FieldSpan(Protocol):
    """A field in a text: its name, and where its own text is."""

    @property
    def name(self) -> str: ...

    @property
    def start(self) -> int: ...

    @property
    def end(self) -> int: ...


def field_problems(text: str, fields: Sequence[FieldSpan], facts: MediaFacts) -> list[Problem]:
    """Return what is wrong with the description, and with the fields of sound for this media file."""
    problems: list[Problem] = []
    for i, field in enumerate(fields):
        if field.start == field.end or field.name in {before.name for before in fields[:i]}:
            continue
        if field.name == "integrated_multimodal_description":
            problems += _shot_problems(text, field, facts)
            problems += _speech_problems(text, field, facts)
            problems += _camera_problems(text, field)
        else:
            problems += _sound_problems(text, field, facts)
    return problems


def _shot_problems(text: str, field: FieldSpan, facts: MediaFacts) -> Iterable[Problem]:
    shots = find_shots(text, field.start, field.end)
    exact = {shot.start for shot in shots}
    loose = [mark for mark in _LOOSE_SHOT.finditer(text, field.start, field.end) if mark.start() not in exact]
    loose = [mark for mark in loose if mark.start() - 1 not in exact]
    yield from (Problem("shot-mark", "has a shot that is not written as [Shot 2]", mark.span()) for mark in loose)
    if not shots and not loose:
        yield Problem("shot-missing", "has no [Shot 1]", (field.start, field.start))
    last_s = 0.0
    for i, shot in enumerate(shots, start=1):
        if shot.number != i and not loose:
            message = f"has [Shot {shot.number}] where [Shot {i}] belongs"
            yield Problem("shot-number", message, (shot.start, shot.end))
        yield from _time_problems(text, shot, i == 1, last_s, facts)
        last_s = max(last_s, shot.time_s or 0.0)
    if facts.is_still and len(shots) > 1:
        yield Problem("shot-still", "has several shots for a still", (shots[1].start, shots[1].end))


def _time_problems(text: str, shot: Shot, is_first: bool, last_s: float, facts: MediaFacts) -> Iterable[Problem]:
    name, span, time_s = f"[Shot {shot.number}]", (shot.start, shot.end), shot.time_s
    if time_s is None and _AT.match(text, shot.end):
        yield Problem("shot-time", f"has a time of {name} that is not written as At 00:03.500,", span)
    elif time_s is None and not is_first:
        yield Problem("shot-time", f"does not say when {name} begins", span)
    elif is_first and time_s:
        yield Problem("shot-time", "lets its first shot begin after the clip does", span)
    if time_s is None or is_first:
        return
    if time_s <= last_s:
        yield Problem("shot-order", f"has times of shots that do not rise at {name}", span)
    if facts.is_still:
        return
    if facts.duration_s is not None and time_s >= facts.duration_s + AFTER_END_S:
        yield Problem("shot-outside", f"lets {name} begin after the end of the clip at {clock(facts.duration_s)}", span)
    elif facts.cuts_s is not None and not any(abs(time_s - cut_s) <= NEAR_CUT_S + 1e-6 for cut_s in facts.cuts_s):
        cuts = ", ".join(map(clock, facts.cuts_s[:SHOWN_CUTS])) or "none"
        yield Problem("shot-cut", f"lets {name} begin where the clip has no cut (measured: {cuts})", span)


def _speech_problems(text: str, field: FieldSpan, facts: MediaFacts) -> Iterable[Problem]:
    opened: re.Match[str] | None = None
    marks = list(_SPEECH.finditer(text, field.start, field.end))
    for mark in marks:
        if mark[0] == "<d>":
            if opened:
                yield Problem("speech-open", "has a <d> without its </d>", opened.span())
            opened = mark
            if not _LANGUAGE.match(text, mark.end(), field.end):
                yield Problem(
                    "speech-language", "has speech without its language, as in <d>[English] ...</d>", mark.span()
                )
        elif opened is None:
            yield Problem("speech-open", "has a </d> without its <d>", mark.span())
        else:
            opened = None
    if opened:
        yield Problem("speech-open", "has a <d> without its </d>", opened.span())
    if marks and facts.is_silent:
        yield Problem("speech-silent", f"has speech for {_silent(facts)}", marks[0].span())


def _camera_problems(text: str, field: FieldSpan) -> Iterable[Problem]:
    for start, end in unknown_movements(text[field.start : field.end]):
        span = (field.start + start, field.start + end)
        yield Problem("camera", f"has the camera word {text[slice(*span)]!r}; H3 knows {KNOWN}", span)


def _sound_problems(text: str, field: FieldSpan, facts: MediaFacts) -> Iterable[Problem]:
    span, sound = (field.start, field.end), text[field.start : field.end]
    if sound != NOTHING and (facts.is_silent or sound.upper().rstrip(".") in ("N/A", "NA", "NONE")):
        what = f"for {_silent(facts)}" if facts.is_silent else "where there is no sound"
        yield Problem("sound", f"does not have {NOTHING} in {field.name} {what}", span)
    elif sound == NOTHING and facts.has_sound and not facts.is_still and field.name == "overall_soundscape":
        yield Problem("sound", f"has {NOTHING} in {field.name} for a clip with sound", span)


def _silent(facts: MediaFacts) -> str:
    return "a still" if facts.is_still else "a clip without sound"
