"""The number of words that a prompt asks for."""

import pytest

from captioner.config.builtin_prompts import BUILTIN_TEXTS
from captioner.config.target_length import target_length


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("One paragraph of 80 to 120 words in the present tense.", (80, 120)),
        ("Write 80-120 words.", (80, 120)),
        ("between 30 and 50 words", (30, 50)),
        ("Fifty to one hundred words", (50, 100)),
        ("120 to 80 words", (80, 120)),
        ("a caption of at most fifteen words: the subject", (0, 15)),
        ("under 200 words", (0, 200)),
        ("Use no more than 1,000 words.", (0, 1000)),
        ("75 words or less", (0, 75)),
        ("a 50-word caption", (40, 60)),
        ("Use at least forty words", (40, 0)),
        ("about 100 words", (80, 120)),
        ("Use 2 sentences. Then at most 20 words on the light.", (0, 20)),
        ("Describe this video in one detailed paragraph.", None),
        ("Ten to twenty-five tags, no sentences. Start with the subject, not with words such as 'The video'.", None),
        ("In other words, be brief. Two words: be brief.", (2, 2)),
        ("Use everyday words, 99999999999999999999 words", (799999, 1199999)),
        ("", None),
    ],
)
def test_words_that_a_prompt_asks_for(prompt, expected):
    assert target_length(prompt) == expected


def test_builtin_prompts_that_name_a_length_have_it_as_the_target():
    found = {name: target_length(text) for name, text in BUILTIN_TEXTS.items()}
    assert {name: target for name, target in found.items() if target} == {
        "Short": (0, 15),
        "Wan": (80, 120),
        "LTX": (0, 200),
        "LTX-2": (0, 200),
        "Still image": (60, 120),
    }
