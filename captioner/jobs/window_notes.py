"""The texts behind the prompt that tell a model about the other windows of a clip."""

from collections.abc import Sequence

from captioner.dataset.subtitles import Cue
from captioner.formatting import clock
from captioner.media.spans import Span
from captioner.values import SamplePlan

CONTEXT_LENGTH = 400  # characters of the caption before
SUMMARY_LENGTH = 8_000  # characters of the captions of all windows, at most
MIN_LENGTH = 60  # characters of one of them; where they would get shorter, some are left out
TIMES_LENGTH = len("0:00:00 to 0:00:00: \n")
NO_MARKS = str.maketrans("<>[]", "()()")  # the special tokens of models are between these, and no prompt may hold them


def longest_windows_note(plan: SamplePlan) -> str:
    """Return a text as long as the longest note."""
    return "x" * (SUMMARY_LENGTH + CONTEXT_LENGTH) if plan.windows != "none" else ""


def part_note(window: Span, before: str) -> str:
    """Return what to tell about a window. before: the caption of the window before."""
    start, end = map(clock, window)
    part = f"This is the part from {start} to {end} of a longer video."
    told = _shorten(before, CONTEXT_LENGTH)
    return f"{part} Just before it: {told}\nDescribe only this part." if told else part


def summary_note(cues: Sequence[Cue]) -> str:
    """Return what to tell about a whole clip: the captions of its windows, evenly shortened."""
    told = [cue for cue in cues if cue.text]
    most = SUMMARY_LENGTH // (MIN_LENGTH + TIMES_LENGTH)
    told = told[:: max(1, -(-len(told) // most))]
    length = SUMMARY_LENGTH // max(1, len(told)) - TIMES_LENGTH
    lines = [f"{clock(cue.start_s)} to {clock(cue.end_s)}: {_shorten(cue.text, length)}" for cue in told]
    return "\n".join(["Captions of the parts of this video, in order:", *lines, "Describe the whole video."])


def _shorten(text: str, length: int) -> str:
    """Return a text in one line, cut to a length, without anything that could be a special token."""
    line = " ".join(text.split()).translate(NO_MARKS)
    return line if len(line) <= length else f"{line[: length - 1].rstrip()}…"
