"""The table of targets, and what a person can choose instead."""

import json

import pytest

from captioner.cli.main import main
from captioner.config.prompts import BUILTIN_PROMPTS
from captioner.config.settings import Settings
from captioner.dataset.targets import FrameRule, chosen_target, prompt_name, target, targets
from captioner.errors import SettingsError
from captioner.services import Services

NAMES = [
    "none",
    "wan2.1",
    "wan2.2",
    "wan2.2-5b",
    "hunyuanvideo1.5",
    "ltx2",
    "ltx2.3",
    "ltx2.5",
    "minimax-h3",
    "minimax-h3-still",
    "qwen-image",
    "qwen-image-edit",
    "flux2",
    "krea2",
    "z-image",
    "sdxl",
    "anima",
    "ideogram4",
]


def test_every_target_is_there_with_a_source_and_a_prompt_that_exists():
    assert list(targets()) == NAMES
    for each in targets().values():
        assert each.source
        assert each.caption_form.name == each.form
        assert each.prompt in {"", *(prompt.name for prompt in BUILTIN_PROMPTS)}
        assert (each.kind == "video") >= bool(each.frames)
        assert each.frames is None or each.frames.allows(each.frames.default)


@pytest.mark.parametrize(
    ("name", "fps", "counts", "others", "limit", "form"),
    [
        ("wan2.1", 16, (1, 5, 81), (2, 80, 82), 512, "paragraph"),
        ("wan2.2-5b", 24, (1, 81, 121), (120,), 512, "paragraph"),
        ("hunyuanvideo1.5", 24, (129,), (128,), 256, "paragraph"),
        ("ltx2", 24, (1, 9, 121), (8, 120), 1024, "paragraph"),
        ("minimax-h3", 24, (124, 141, 345), (107, 125, 362), 512, "h3"),
        ("ideogram4", None, (), (), 3072, "json"),
        ("sdxl", None, (), (), 75, "tags"),
    ],
)
def test_numbers_of_a_target(name, fps, counts, others, limit, form):
    found = target(name)
    assert (found.fps, found.token_limit, found.form) == (fps, limit, form)
    assert [count for count in (*counts, *others) if found.frames and found.frames.allows(count)] == list(counts)


def test_longest_count_that_a_clip_fills():
    rule = FrameRule(17, 5, 124, 124, 345)
    assert [rule.fit(count) for count in (123, 124, 140, 141, 1000)] == [None, 124, 124, 141, 345]
    assert [FrameRule(4, 1, 81).fit(count) for count in (0, 1, 4, 5)] == [None, 1, 1, 5]
    for count in range(1, 400):
        fit = rule.fit(count)
        assert fit == max((each for each in range(1, count + 1) if rule.allows(each)), default=None)


def test_everything_can_be_chosen_otherwise():
    chosen = chosen_target(
        Settings(target="MiniMax-H3", caption_form="free", token_limit=0, target_fps=12, target_frames=90)
    )
    assert (chosen.form, chosen.token_limit, chosen.fps, chosen.frames.default) == ("free", None, 12, 90)
    assert prompt_name(Settings(target="minimax-h3")) == "MiniMax-H3"
    assert prompt_name(Settings(target="minimax-h3", prompt_name="Detailed")) == "Detailed"
    assert prompt_name(Settings()) == prompt_name(Settings(prompt_name="AUTO")) == "Detailed"


def test_unknown_target_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(SettingsError, match=r"there is no target 'wan22'; did you mean wan2\.2"):
        target("wan22")
    with pytest.raises(SettingsError, match=r"there are none, wan2\.1"):
        Services(tmp_path / "state", {"target": "x"})
    with Services(tmp_path / "state") as services:
        with pytest.raises(SettingsError, match="there is no target"):
            services.change_settings({"target": "x"})
        assert services.settings.target == "none"
        services.change_settings({"target": "wan2.2"})
        assert services.prompt_text() == next(prompt.text for prompt in BUILTIN_PROMPTS if prompt.name == "Wan")


def test_command_lists_targets_for_people_and_programs(capsys):
    assert main(["targets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == NAMES
    assert main(["targets", "minimax-h3"]) == 0
    assert "multiples of 32 pixels" in capsys.readouterr().out
    assert main(["targets", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["name"] for row in rows] == NAMES
    assert rows[8]["frames"] == {"step": 17, "remainder": 5, "default": 124, "minimum": 124, "maximum": 345}
    assert main(["targets", "nonsense"]) == 2
