"""The statistics of captions against plain counting, and against sets with planted constants and contradictions."""

import itertools
import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.dataset.statistics.compare import compare
from captioner.dataset.statistics.constants import find_constants
from captioner.dataset.statistics.corpus import build_corpus
from captioner.dataset.statistics.grams import adjacent_pmi, grams, top_pairs, top_phrases, top_words
from captioner.dataset.statistics.report import report
from captioner.dataset.statistics.rows import captions_behind, sections, summary, to_json
from captioner.dataset.statistics.statistics import StatisticsOptions, count_captions
from captioner.dataset.statistics.words import joined, pattern_of, split, words_of
from captioner.dataset.targets import target
from captioner.dataset.token_limit import TokenLimit
from tests.dataset.planted_sets import captions_of, planted_set
from tests.support.hostile import HOSTILE

FEW_WORDS = st.lists(st.sampled_from(["red", "hair", "fox", "Wet", "猫", ",", ". ", "\n"]), max_size=12)
SETS = st.lists(FEW_WORDS.map(" ".join), max_size=8)


def parts_of(text: str) -> list[list[str]]:
    """The words of a text in the parts that no phrase goes across, taken apart by hand."""
    for mark in ".,\n":
        text = text.replace(mark, "|")
    return [part.lower().split() for part in text.split("|")]


def counted(texts: list[str], n: int) -> tuple[Counter, Counter]:
    """How often each phrase of n words stands in a set, and in how many captions."""
    times, captions = Counter(), Counter()
    for text in texts:
        found = [tuple(part[i : i + n]) for part in parts_of(text) for i in range(len(part) - n + 1)]
        times.update(found)
        captions.update(set(found))
    return times, captions


@settings(deadline=None)
@given(SETS)
def test_words_and_phrases_are_those_of_plain_counting(texts):
    corpus = build_corpus(texts)
    for n in (1, 2, 3):
        times, captions = counted(texts, n)
        found = top_words(corpus, 10**6, True) if n == 1 else top_phrases(corpus, n, 10**6, True)
        assert {each.text: each.times for each in found} == {joined(words): num for words, num in times.items()}
        assert {each.text: each.captions for each in found} == {joined(words): num for words, num in captions.items()}
        assert [each.times for each in found] == sorted(times.values(), reverse=True)
        for words, _ in times.items():
            behind = [i for i, text in enumerate(texts) if words in counted([text], n)[0]]
            assert corpus.find(words).tolist() == behind


@settings(deadline=None)
@given(SETS)
def test_pmi_of_neighbors_is_that_of_the_formula(texts):
    corpus = build_corpus(texts)
    times, _ = counted(texts, 2)
    total = sum(times.values())
    first, second = Counter(), Counter()
    for (x, y), num in times.items():
        first[x] += num
        second[y] += num
    expected = {
        words: math.log2((num / total) / ((first[words[0]] / total) * (second[words[1]] / total)))
        for words, num in times.items()
    }
    found = grams(corpus, 2)
    for words, pmi in zip(found.words, adjacent_pmi(found), strict=True):
        assert pmi == pytest.approx(expected.pop(tuple(corpus.words[i] for i in words)))
    assert not expected


@settings(deadline=None)
@given(SETS, st.integers(1, 3))
def test_pmi_of_words_together_is_that_of_the_formula(texts, min_count):
    captions = [{word for part in parts_of(text) for word in part} for text in texts]
    expected = {}
    for x, y in itertools.combinations(sorted(set().union(*captions)), 2):
        both, has_x, has_y = (sum(wanted <= each for each in captions) for wanted in ({x, y}, {x}, {y}))
        if both >= min_count and both * len(texts) > has_x * has_y:
            expected[f"{x} + {y}"] = (
                both,
                math.log2((both / len(texts)) / ((has_x / len(texts)) * (has_y / len(texts)))),
            )
    found = top_pairs(build_corpus(texts), 10**6, min_count)
    assert {each.text: each.captions for each in found} == {text: num for text, (num, _) in expected.items()}
    for each in found:
        assert each.pmi == pytest.approx(expected[each.text][1])
    assert [each.pmi for each in found] == sorted((each.pmi for each in found), reverse=True)


@settings(deadline=None)
@given(SETS)
def test_constants_are_all_phrases_of_most_captions(texts):
    found = {each.text: each for each in find_constants(build_corpus(texts), 0.5)}
    most = {}
    for n in range(1, 13):
        most |= {words: num for words, num in counted(texts, n)[1].items() if num > 0.5 * len(texts)}
    assert found.keys() <= {joined(words) for words in most}
    for words, num in most.items():  # each is there, or is a part of one that is in as many captions
        longer = [
            found[text].captions for text in found if f" {joined(words)} " in f" {text} " or joined(words) in text
        ]
        assert any(num - each <= 0.02 * len(texts) for each in longer), (words, found)


def test_words_of_many_languages():
    assert words_of("It's a close-up: a red_haired woman’s cat, 4k -- don't!") == [
        "it's", "a", "close", "up", "a", "red_haired", "woman's", "cat", "4k", "don't",
    ]  # fmt: skip
    assert words_of("Café ΑΘΗΝΑ Straße नमस्ते สวัสดี ❤️ 🦊") == ["café", "αθηνα", "straße", "नमस्ते", "สวัสดี"]
    assert words_of("Cafe\u0301") == words_of("Café")
    assert words_of("红发女子，在カメラの前") == [*"红发女子在", "カメラ", *"の前"]
    assert words_of("빨간 머리") == ["빨간", "머리"]
    assert [each.text for each in top_phrases(build_corpus(["红发女子。", "红发男子。"]), 2, 2)] == ["红发", "发女"]
    assert "hair dress" not in {each.text for each in top_phrases(build_corpus(["long hair, dress, hair"] * 3), 2, 9)}


def test_labels_of_fields_are_no_words():
    fields = (
        "integrated_multimodal_description: [Shot 1] A fox runs.",
        "overall_soundscape: Wind.",
        "non_diegetic_music: N/A",
    )
    text = "\n\n".join(fields)
    assert words_of(text)[:6] == ["a", "fox", "runs", "wind", "n", "a"]


@pytest.mark.parametrize(
    ("phrase", "text", "is_found"),
    [("red hair", "Red-hair", 1), ("red hair", "covered hair", 0), ("it's", "It’s", 1), ("红发", "一位红发女子", 1)],
)
def test_pattern_of_a_phrase_finds_it_in_captions(phrase, text, is_found):
    import regex

    assert bool(regex.search(pattern_of(phrase), text, regex.IGNORECASE)) == bool(is_found)


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("1girl, solo, black hair, blue eyes, blonde hair, smile", ["Hair color"]),
        ("solo, 1boy, blue eyes, brown eyes, long hair, short hair", ["Eye color", "Hair length"]),
        ("1girl, 1boy, black hair, blonde hair, holding hands", []),
        ("2girls, multiple girls, black hair, red hair", []),
        ("1girl, brown hair, multicolored hair, blonde hair", []),
        ("1girl, blue eyes, brown eyes, heterochromia", []),
    ],
)
def test_tags_of_one_person_contradict_each_other(tags, found):
    stats = count_captions(captions_of([tags]), StatisticsOptions())
    assert sorted(each.slot for each in stats.contradictions) == found


def test_planted_constants_and_contradictions_are_found():
    right, found, planted = Counter(), Counter(), Counter()
    for seed in range(40):
        made = planted_set(seed)
        stats = count_captions(made.captions, StatisticsOptions())
        if made.constants:
            _tally(right, found, planted, "constants", {each.text for each in stats.constants}, made.constants)
        contradictions = {(each.slot, each.scope, int(i)) for each in stats.contradictions for i in each.captions}
        _tally(right, found, planted, "contradictions", contradictions, made.contradictions)
    assert planted["constants"] == 60
    assert planted["contradictions"] > 350
    for what in ("constants", "contradictions"):
        assert right[what] >= 0.95 * planted[what], f"recall of {what}"
        assert right[what] >= 0.95 * found[what], f"precision of {what}"


def _tally(right, found, planted, what, those_found, truth):
    right[what] += len(those_found & truth)
    found[what] += len(those_found)
    planted[what] += len(truth)


def test_trigger_word_is_meant_to_be_constant():
    corpus = build_corpus([f"ohwx woman number {i} is in the rain with a hat" for i in range(20)])
    assert [each.text for each in find_constants(corpus, trigger="ohwx")] == ["rain with a hat", "ohwx woman number"]
    assert "ohwx" not in {
        each.text for each in find_constants(build_corpus(["ohwx", "ohwx cat", "ohwx dog"]), trigger="ohwx")
    }


def test_sections_name_the_captions_behind_each_row():
    texts = ["A red fox runs, static camera."] * 3 + ["A red car.", "Fog over a red sea."]
    stats = count_captions(captions_of(texts), StatisticsOptions(min_count=2))
    behind = {
        (section.name, row.text): captions_behind(stats, row).tolist()
        for section in sections(stats)
        for row in section.rows
    }
    assert behind["constants", "red"] == [0, 1, 2, 3, 4]
    assert behind["phrases-2", "red fox"] == [0, 1, 2]
    assert behind["together", "fox + static"] == [0, 1, 2]
    assert behind["coverage", "No word about: camera"] == [3, 4]
    assert behind["lengths", "3 words"] == [3]
    for section in sections(stats):
        for row in section.rows:
            assert len(captions_behind(stats, row)) == row.captions


def test_lengths_in_words_and_in_tokens_of_the_target():
    texts = ["one two three", "one " * 600]
    stats = count_captions(captions_of(texts), StatisticsOptions(TokenLimit(target("wan2.2"))))
    assert stats.lengths.tolist() == [3, 600]
    assert stats.over_limit.tolist() == [1]
    assert ("over 512 tokens", "1 caption") in summary(stats)


@pytest.mark.parametrize(
    "texts", [[], ["..."], ["", "a"], ["\udc80 lone \ud800"], HOSTILE, ["x" * 10**6], ["word " * 2 * 10**6]]
)
def test_odd_captions_do_no_harm(texts):
    stats = count_captions(captions_of(texts), StatisticsOptions())
    assert stats.corpus.num_captions == len(texts)
    assert all(isinstance(each, dict) for each in to_json(stats))
    shown = report(stats, "<b>set</b>")
    shown.encode()
    assert "<script" not in shown
    assert "<img" not in shown
    assert "\u202e" not in shown


def test_alike_captions_are_one_constant():
    text = " ".join(f"word{i}" for i in range(15))
    assert [each.text for each in find_constants(build_corpus([text] * 12))] == [text]


def test_differences_of_two_sets_leave_chance_out():
    here = build_corpus([f"A red fox {i}" for i in range(50)])
    there = build_corpus([f"A blue fox {i}" for i in range(50)])
    found = compare(here, there)
    assert {(each.text, each.here, each.there) for each in found} == {
        ("red", 1, 0), ("blue", 0, 1), ("red fox", 1, 0), ("blue fox", 0, 1),
    }  # fmt: skip
    assert compare(here, build_corpus([])) == []
    assert split("") == []
