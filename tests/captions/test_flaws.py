"""Captions that repeat themselves are found, and normal ones are not."""

from dataclasses import replace

import pytest

from captioner.captions.flaws import flaw_of, is_of_length, loops, may_stutter, of_several
from captioner.values import GenerationOptions
from tests.support.captions import CAPTION

WORDS = "one man in red walks down a long empty street while two dogs run after him and bark at every car that passes"
FORMS = ("left", "right", "slowly", "quickly", "again", "away")
LOOPS = {
    "one word": "The ball is red. " + "the " * 30,
    "two words": "a red, a red, a red",
    "a clause": "A dog runs. " + "it runs and jumps " * 6,
    "24 words": f"{WORDS}. {WORDS}. {WORDS[:40]}",
    "40 words": " ".join(f"{WORDS} and {WORDS[::-1]}. " for _ in range(3)),
    "a sentence, cut off in its third round": "The man in the red shirt walks slowly down the street. " * 2
    + "The man in",
    "a list that counts on": "\n".join(f"{n}. A red ball on grass." for n in range(1, 9)),
    "lines": "- red\n" * 12,
    "Chinese": "画面中，一个人在走路，一个人在走路，一个人在走路，",
    "Chinese without marks": "红色的球" * 5,
    "Japanese": "男性が歩いています。" * 4,
    "Korean": "남자가 걷고 있다 " * 5,
    "Thai": "แดงมาก" * 8,
    "Cyrillic": "красный мяч, " * 6,
    "one long word": "ha" * 40,
    "marks": "A ball!" + "!" * 30,
    "in the middle": "A scene. " + "the car drives on. " * 20 + "Finally it stops at a house.",
    "the same sentence with other words": " ".join(f"The tall man in red walks {w} down a long street." for w in FORMS),
}
NORMAL = [
    "",
    " ",
    "A dog and a cat.",
    "A very very very big dog",
    "The train goes on and on and on.",
    "The dancer moves left, right, left, right.",
    "He sways left, right, left, right, left, right.",
    "They stand side by side by side",
    "New York, New York",
    "The sign says HA HA HA HA.",
    "1, 2, 3, 4, 5, 6, 7, 8, 9, 10",
    "A ruler from " + " ".join(map(str, range(1, 31))),
    "A clock shows 10:10:10, the score 0 0 0 0 0 0.",
    "1girl, red hair, red eyes, red dress, red shoes, red hat, red lips",
    "1. A dog.\n2. A cat.\n3. A bird.\n4. A fish.\n5. A dog.",
    "From 0:00 to 0:05 a man walks. From 0:05 to 0:10 a man runs. From 0:10 to 0:15 a man sits.",
    " ".join(
        f"The {n} panel shows a {c} apple."
        for n, c in zip(FORMS[:5], ("red", "green", "blue", "pink", "black"), strict=True)
    ),
    "红红绿绿，高高兴兴，哈哈哈",
    "看看，再看看，又看看",
    "...",
]


@pytest.mark.parametrize("text", LOOPS.values(), ids=LOOPS)
def test_loops_are_found(text: str) -> None:
    assert loops(text)


@pytest.mark.parametrize("text", NORMAL, ids=range(len(NORMAL)))
def test_normal_captions_are_not(text: str) -> None:
    assert not loops(text)


@pytest.mark.parametrize("period", [1, 2, 3, 5, 8, 13, 21, 34, 40])
def test_units_of_up_to_40_words_are_found_when_they_fill_the_budget(period: int) -> None:
    unit = [f"word{chr(97 + number % 26)}{chr(97 + number // 26)}" for number in range(period)]
    assert loops("It begins well. " + " ".join(unit * (4 + 12 // period)))


@pytest.mark.parametrize("before", range(0, 40, 3))
@pytest.mark.parametrize("period", [1, 2, 3, 5, 17, 40])
def test_units_in_the_middle_are_found_wherever_they_stand(before: int, period: int) -> None:
    words = [f"{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(200)]
    unit = words[:period] * max(6, -(-24 // period))
    assert loops(" ".join([*words[60 : 60 + before], *unit, *words[110:180]]))
    assert not loops(" ".join([*words[60 : 60 + before], *unit[: 5 * period], *words[110:180]]))


@pytest.mark.parametrize(
    "text", ["red " * 7, "A fox, " + "no, " * 7 + "it runs", "x " + "Red red " * 4, "ein rötes " * 3]
)
def test_words_seven_times_in_a_row_are_possible(text: str) -> None:
    assert may_stutter(text)
    assert not may_stutter("A red, red, red fox runs over the hill and then away from the red house.")


def test_flaw_says_where_a_caption_was_cut_off_and_a_loop_outweighs_it() -> None:
    cut = replace(CAPTION, finish_reason="length", options=GenerationOptions(max_new_tokens=512))
    assert flaw_of(cut) == "was cut off at 512 tokens"
    assert (
        flaw_of(replace(cut, text="a red, " * 20)) == flaw_of(replace(CAPTION, text="a red, " * 20)) == "repeats itself"
    )
    assert flaw_of(CAPTION) == ""


@pytest.mark.parametrize(
    ("flaw", "several"),
    [
        ("repeats itself", "repeat themselves"),
        ("was cut off at 512 tokens", "were cut off at 512 tokens"),
        ("exceeds the 512 tokens of Wan 2.1", "exceed the 512 tokens of Wan 2.1"),
        ("breaks its form: it has no [Shot 1]", "break their form: the first has no [Shot 1]"),
    ],
)
def test_a_flaw_of_several_captions_is_told_in_the_plural(flaw, several):
    assert of_several(flaw) == several
    assert is_of_length(flaw) == (flaw[0] in "rw")
