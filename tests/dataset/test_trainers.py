"""The table of trainers is complete, and says for every rule what happens and where that is known from."""

import pytest

from captioner.dataset.trainers import SEVERITIES, trainer, trainers
from captioner.errors import CaptionerError


def test_all_eight_trainers_are_there():
    assert trainers() == (
        "musubi", "diffusion-pipe", "ai-toolkit", "ltx-trainer", "onetrainer", "sd-scripts", "simpletuner", "diffsynth",
    )  # fmt: skip


def test_an_unknown_trainer_is_answered_with_the_known_ones():
    with pytest.raises(CaptionerError, match="no trainer named fluxgym; give one of musubi, diffusion-pipe"):
        trainer("fluxgym")


@pytest.mark.parametrize("target", ["none", "minimax-h3"])
@pytest.mark.parametrize("name", trainers())
def test_every_rule_says_what_happens_and_has_a_source(name, target):
    chosen = trainer(name, target)
    assert all((chosen.title, chosen.source, chosen.images))
    for code, rule in chosen.rules.items():
        assert all((rule.does, rule.source)), code
        assert rule.severity in ("", *SEVERITIES), code


def test_a_target_can_change_the_rules():
    assert trainer("musubi").shortest == "target"
    assert (trainer("musubi", "minimax-h3").shortest, trainer("musubi", "minimax-h3").rate) == (124, "resampled")
    assert "audio-twice" not in trainer("musubi", "wan2.2").rules


@pytest.mark.parametrize(
    ("name", "filename", "kind"),
    [
        ("musubi", "a.MP4", "video"),
        ("musubi", "a.Mp4", None),
        ("ai-toolkit", "a.Mp4", "video"),
        ("sd-scripts", "a.mp4", None),
        ("diffsynth", "a.gif", "video"),
        ("simpletuner", "a.gif", "image"),
    ],
)
def test_kinds_are_those_of_the_loader(name, filename, kind):
    assert trainer(name).kind_of(filename) == kind
