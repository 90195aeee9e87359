"""The linter's rules one by one, for what the corpus does not show: whole sets, tuning, waivers, large sets."""

import random

import pytest

from captioner.dataset.lint.finding import LintOptions, chosen_rules, rules, tuned_values
from captioner.dataset.lint.lint import CHECKS, Linted, lint_set, lint_text
from captioner.dataset.lint.near import near_duplicates, similarity
from captioner.dataset.lint.phrases import WHY, phrases
from captioner.dataset.lint.swapped import swapped
from captioner.dataset.lint.target_rules import distance
from captioner.dataset.lint.waivers import Waiver, not_waived, read_waivers
from captioner.errors import CaptionerError

WORDS = [
    f"{a}{b}" for a in ("ba", "ke", "lo", "mi", "nu", "po", "ra", "su") for b in ("den", "fir", "gol", "hap", "jit")
]


def found(texts, options=LintOptions()):
    captions = [Linted(f"{i}.mp4", text, lint_text(text, options)) for i, text in enumerate(texts)]
    return [(each.file, each.rule) for each in lint_set(captions, options)]


def test_every_rule_has_a_check():
    assert set(rules()) == {*CHECKS, "near-duplicate", "swapped"}
    assert set(phrases()) == set(WHY) <= set(rules())


def test_caption_in_another_script_than_the_set():
    texts = [f"A red ball number {word} rolls over a table." for word in WORDS[:20]]
    assert found([*texts, "一只猫在窗台上睡觉。"], LintOptions(chosen=frozenset({"script"}))) == [("20.mp4", "script")]
    assert found([*texts[:5], "一只猫在窗台上睡觉。"]) == []


def test_last_letter_of_a_caption():
    named = [
        "A bus waits at gate a",
        "A jar of vitamin a",
        "The arrow turns from x to y",
        "1girl, blue hair, cup, size a",
    ]
    assert found(named, LintOptions(chosen=frozenset({"cut"}))) == []
    cut = ["A man picks up a", "Una mujer abre la puerta y", "Кошка прыгает с", "A train, seen from a"]
    assert [file for file, _ in found(cut, LintOptions(chosen=frozenset({"cut"})))] == [f"{i}.mp4" for i in range(4)]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("long hair, " + "white, black, " * 12 + "white,", "loop"),  # bghira/SimpleTuner#283
        ("1girl, white dress, " + "white star, white bow, " * 7 + "white star", "loop"),  # the same
        ("1 girl, 1 girl , 1 girl, 1 girl , 1 girl , 1 girl, 1 girl", "loop"),  # jabberjabberjabber/LLMOCR#1
        ("A woman at a window. She is wearing a long red dress with", "cut"),  # jhc13/taggui#324
        ("Okay, so I need to describe this image for a LoRA. A cat sleeps.", "thinking"),  # atomantic/PortOS#1238
    ],
)
def test_captions_of_public_reports(text, rule):
    assert rule in {rule for _, rule in found([text])}


def test_script_can_be_chosen():
    assert found(["A cat sleeps.", "Кошка спит."], LintOptions(script="Cyrillic")) == [("0.mp4", "script")]


def test_near_duplicates_are_those_of_a_plain_comparison():
    chance = random.Random(5)
    texts = []
    for _ in range(150):
        words = chance.choices(WORDS, k=30)
        texts.append(" ".join(words))
        for _ in range(chance.randrange(3)):
            changed = [word if chance.random() > 0.05 else "other" for word in words]
            texts.append(" ".join(changed))
    pairs = {i: (other, share) for i, other, share in near_duplicates(texts, 0.7)}

    def groups(text):
        words = text.split()
        return set(zip(words, words[1:], words[2:], strict=False))

    alone = []
    expected = set()
    for i, text in enumerate(texts):
        mine = groups(text)
        if any(len(mine & groups(texts[j])) >= 0.7 * len(mine | groups(texts[j])) for j in alone):
            expected.add(i)
        else:
            alone.append(i)
    assert len(expected) > 80
    assert len(expected ^ set(pairs)) <= 1
    for i, (other, share) in pairs.items():
        both = groups(texts[i]), groups(texts[other])
        assert share == pytest.approx(len(both[0] & both[1]) / len(both[0] | both[1]))


def test_many_equal_captions_are_told_from_the_first():
    pairs = list(near_duplicates(["the same old story here"] * 5000, 0.7))
    assert [(i, other) for i, other, _ in pairs] == [(i, 0) for i in range(1, 5000)]


def test_texts_without_words_are_no_duplicates():
    assert list(near_duplicates(["", "...", "", "!"], 0.7)) == []
    assert lint_set([], LintOptions()) == []


def test_captions_that_moved_on_by_one():
    names = ["cat.png", "dog.png", "bird.png", "IMG_4.png"]
    texts = ["A bird on a wire.", "A cat on a sofa.", "A dog on a lawn.", "A lake."]
    assert list(swapped(names, texts)) == [(0, 1), (1, 2), (2, 0)]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [("ohwx", "ohwx", 0), ("ohwx", "ohxw", 1), ("ohwx", "ohw", 1), ("kitten", "sitting", 3), ("", "ab", 2)],
)
def test_distance_of_words(first, second, expected):
    assert distance(first, second) == expected


def test_rules_are_switched():
    text = "The video shows a man. There are no other people."
    assert {rule for _, rule in found([text])} == {"opener", "negative"}
    assert found([text], LintOptions(chosen=chosen_rules(["negative"], ()))) == [("0.mp4", "negative")]
    assert found([text], LintOptions(chosen=chosen_rules((), ["negative"]))) == [("0.mp4", "opener")]
    with pytest.raises(CaptionerError, match="there is no rule 'nothing'; there are loop, cut"):
        chosen_rules(["nothing"], ())


def test_rules_are_tuned():
    texts = [" ".join(WORDS[:30]), " ".join([*WORDS[:28], "xo", "yo"])]
    assert found(texts) == [("1.mp4", "near-duplicate")]
    assert found(texts, LintOptions(values=tuned_values(["near-duplicate=0.95"]))) == []
    late = "In a park, sks dog runs."
    assert found([late], LintOptions(trigger="sks")) == [("0.mp4", "trigger-position")]
    assert found([late], LintOptions(trigger="sks", values={"trigger-position": 3})) == []
    for wrong, message in (
        ("loop=3", "cannot be tuned"),
        ("near-duplicate=x", "has no number"),
        ("script=-1", "range"),
    ):
        with pytest.raises(CaptionerError, match=message):
            tuned_values([wrong])


def test_waivers_need_a_reason_and_cover_the_same_finding(tmp_path):
    path = tmp_path / "waivers.jsonl"
    path.write_text('{"file": "a/*", "rule": "negative", "text": "no text", "reason": "a sign"}\n\n', encoding="utf-8")
    [waiver] = read_waivers(path)
    assert waiver == Waiver("a/*", "negative", "no text", "a sign")
    text = "A wall with no text."
    captions = [Linted(name, text, lint_text(text, LintOptions())) for name in ("a/1.mp4", "b/1.mp4")]
    left = not_waived(lint_set(captions, LintOptions(chosen=frozenset({"negative"}))), [waiver])
    assert [each.file for each in left] == ["b/1.mp4"]
    for line, message in (
        ('{"file": "a", "rule": "negative"}', "line 1: it has no reason"),
        ('{"file": "a", "rule": "no", "reason": "x"}', "there is no rule 'no'"),
        ("[1]", "it is not an object"),
        ("{", "it is not an object"),
    ):
        path.write_text(line, encoding="utf-8")
        with pytest.raises(CaptionerError, match=message):
            read_waivers(path)
    with pytest.raises(CaptionerError, match="cannot read the waivers"):
        read_waivers(tmp_path / "none")


def test_similarity_of_hashes():
    assert similarity({1, 2, 3}, {2, 3, 4}) == 0.5


def test_of_several_texts_that_are_as_like_the_first_is_named():
    first = WORDS[:36]
    texts = [" ".join([*first[:8], f"x{i}", *first[9:]]) + f" {i} and {i}" for i in range(3)]
    assert [other for _, other, _ in near_duplicates([*texts, " ".join(first)], 0.7)] == [0, 0, 0]
    leaders = [" ".join(WORDS[i : i + 12] + WORDS[20:36]) for i in (0, 8)]
    assert [other for _, other, _ in near_duplicates([*leaders, " ".join(WORDS[20:36])], 0.5)] == [0]
