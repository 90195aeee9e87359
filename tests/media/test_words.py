"""Words for what was measured: in prompts they must be true, or say that nothing is known."""

import pytest

from captioner.config.prompts import VARIABLES, expand
from captioner.media.words import fill_measured, longest_filled
from captioner.values import Measured, MediaFacts

ITEM = {"name": "clip 1", "folder": "set", "trigger": "sks"}
TEXT = "{shots}, {duration}: {camera}."


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (MediaFacts(7.5, measured=Measured(("pan left",))), "one shot, 7.5 seconds: the camera pans left."),
        (
            MediaFacts(60.0, measured=Measured(("pan left", "zoom in", "handheld"), (1.0, 2.0))),
            "3 shots, 60 seconds: the camera pans left, then zooms in and is handheld.",
        ),
        (MediaFacts(1.0, measured=Measured(("static",))), "one shot, 1 second: the camera is static."),
        (MediaFacts(2.0, measured=Measured(("roll",))), "one shot, 2 seconds: the camera rolls."),
        (
            MediaFacts(2.0, measured=Measured()),
            "one shot, 2 seconds: the motion of the camera is not known.",
        ),
        (MediaFacts(), "an unknown number of shots, unknown length: the motion of the camera is not known."),
        (MediaFacts(is_still=True), "a single image, no length: it is a still image."),
    ],
)
def test_variables_say_what_was_measured(facts, expected):
    assert fill_measured(expand(TEXT, **ITEM, existing=str), facts) == expected


def test_braces_in_values_and_unknown_variables_stay():
    prompt = expand(
        "{existing} {trigger} {lens}", **ITEM | {"trigger": "{shots}"}, existing=lambda: "\ufdd0camera\ufdd1"
    )
    assert fill_measured(prompt, MediaFacts(is_still=True)) == "camera {shots} {lens}"


def test_estimate_has_room_for_the_longest_words():
    moves = ("tilt down", "pan right", "zoom out", "tilt up", "roll", "handheld")
    facts = MediaFacts(12345.6, measured=Measured(moves, tuple(range(1000))))
    text = " ".join(f"{{{name}}}" for name in VARIABLES)
    filled = fill_measured(expand(TEXT, **ITEM, existing=str), facts)
    assert len(filled) <= len(longest_filled(TEXT)) < len(longest_filled(text))
    assert "{camera}" not in longest_filled(text)
