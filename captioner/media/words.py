"""Words for what was measured in a clip, for people and for prompts."""

import re

from captioner.formatting import plural
from captioner.media.contact_sheet import clock_text
from captioner.values import LATER, MEASURED_VARIABLES, Measured, MediaFacts

MAX_MOVES = 3  # of the camera in a prompt
_VERBS = {"pan": "pans", "tilt": "tilts", "zoom": "zooms", "roll": "rolls"}
_LATER = re.compile(LATER.format(f"({'|'.join(MEASURED_VARIABLES)})"))
_LONGEST = {
    "camera": "the camera pans right, then tilts down, then zooms out and is handheld",
    "shots": "an unknown number of shots",
    "duration": "12345.6 seconds",
}
_OF_STILLS = {"camera": "it is a still image", "shots": "a single image", "duration": "no length"}
_UNKNOWN = {
    "camera": "the motion of the camera is not known",
    "shots": "an unknown number of shots",
    "duration": "unknown length",
}


def fill_measured(prompt: str, facts: MediaFacts) -> str:
    """Return a prompt with the variables that had to wait for the frames, see `config.prompts.expand`."""
    return _LATER.sub(lambda match: measured_words(match[1], facts), prompt)


def measured_words(variable: str, facts: MediaFacts) -> str:
    """Return what a prompt says for a variable: "the camera pans left", "3 shots", "7.5 seconds"."""
    if facts.is_still:
        return _OF_STILLS[variable]
    words, measured = "", facts.measured
    if variable == "duration" and facts.duration_s is not None:
        words = f"{facts.duration_s:.1f}".removesuffix(".0")
        words += " second" if words == "1" else " seconds"
    elif variable == "camera" and measured and measured.camera:
        words = f"the camera {_moves(measured)}"
    elif variable == "shots" and measured:
        words = "one shot" if measured.num_shots == 1 else plural(measured.num_shots, "shot")
    return words or _UNKNOWN[variable]


def longest_filled(prompt: str) -> str:
    """Return a prompt whose measured variables are as long as they can become."""
    for variable, words in _LONGEST.items():
        prompt = prompt.replace(f"{{{variable}}}", words)
    return prompt


def _moves(measured: Measured) -> str:
    """Return such as "pans left, then zooms in and is handheld"."""
    moves = [name for name in measured.camera if name.split()[0] in _VERBS][:MAX_MOVES]
    verbs = [" ".join([_VERBS[first], *rest]) for first, *rest in map(str.split, moves)]
    stays = [f"is {name}" for name in measured.camera if name.split()[0] not in _VERBS]
    return " and ".join(filter(None, [", then ".join(verbs), *stays]))


def describe(measured: Measured) -> str:
    """Return one line, such as "camera: pan left, then zoom in; 2 cuts; no sound"."""
    letterbox, pillarbox = measured.bars
    parts = [
        f"camera: {', then '.join(measured.camera)}" if measured.camera else "",
        plural(len(measured.cuts_s), "cut") if measured.cuts_s else "",
        *(f"frozen from {clock_text(start_s)} to {clock_text(end_s)}" for start_s, end_s in measured.freezes_s),
        *(f"black from {clock_text(start_s)} to {clock_text(end_s)}" for start_s, end_s in measured.black_s),
        measured.light,
        "bars above and below" if letterbox else "",
        "bars at the sides" if pillarbox else "",
        "no sound" if measured.has_sound is False else "",
    ]
    return "; ".join(filter(None, parts))
