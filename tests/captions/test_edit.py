"""The edit of one text, edits that are refused, and limits."""

import time
import tracemalloc

import pytest

from captioner.captions.edit import CAPTION_LIMIT_S, BulkEdit, trim_opener
from captioner.errors import CaptionError, JobError


@pytest.mark.parametrize(
    ("edit", "text", "expected"),
    [
        (BulkEdit("red", "blue"), "A Red ball, red.", "A blue ball, blue."),
        (BulkEdit("red", "blue", match_case=True), "A Red ball, red.", "A Red ball, blue."),
        (BulkEdit("(red", r"\1"), "A (red ball", r"A \1 ball"),
        (BulkEdit(r"\b(red|blue) (\w+)", r"\2 in \1", regex=True), "A Red ball", "A ball in Red"),
        (BulkEdit("r(?P<rest>ed)", r"\g<rest>", regex=True, match_case=True), "Red red", "Red ed"),
        (BulkEdit(" ball", ""), "A red ball", "A red"),
        (BulkEdit("x", "y"), "Two\r\nlines", "Two\r\nlines"),
        (BulkEdit("two", "three"), "Two\r\nlines", "three\r\nlines"),
        (BulkEdit(prefix="sks,", suffix=", 4k"), "A ball", "sks, A ball, 4k"),
        (BulkEdit(trim_openers=True, find="dog", replace="cat", prefix="x"), "The video shows a dog", "x A cat"),
        (BulkEdit("A ball", "", prefix="x"), "A ball", ""),
        (BulkEdit(delete=True), "A ball", None),
        (BulkEdit("e", "E\n\n E"), "red", "rE\n\n Ed"),
    ],
)
def test_edit_changes_one_text_as_expected(edit, text, expected):
    assert edit.apply(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The video shows a man.", "A man."),
        ("This image depicts two dogs", "Two dogs"),
        ("In this video, we can see a cat", "A cat"),
        ("In the image, a dog runs.", "A dog runs."),
        ("the clip captures a bird", "a bird"),
        ("This is a video of Rome.", "Rome."),
        ("A short video of a cat", "A cat"),
        ("The scene opens with a shot of the sea.", "A shot of the sea."),
        ("This short video clip features three men", "Three men"),
        ("The first frame shows us a mug", "A mug"),
        ("The image shows that it rains", "It rains"),
        ("We see a tree", "A tree"),
    ],
)
def test_opener_is_trimmed(text, expected):
    assert trim_opener(text) == expected
    assert trim_opener(expected) == expected


@pytest.mark.parametrize(
    "text",
    [
        "The video game shows a score",
        "The image is blurry.",
        "The video shows",
        "A shot of whisky on a table",
        "There is a dog",
        "A picture frame shows a cat",
        "He holds the video. The video shows a cat",
        "",
    ],
)
def test_text_without_an_opener_stays(text):
    assert trim_opener(text) == text


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "choose what to change"),
        ({"replace": "x"}, "enter the text to find"),
        ({"find": "x", "delete": True}, "but not both at once"),
        ({"find": "(", "regex": True}, "the pattern is wrong: missing )"),
        ({"find": "a{2,1}", "regex": True}, "the pattern is wrong: min repeat"),
        ({"find": "(a)", "replace": r"\2", "regex": True}, "the replacement is wrong: invalid group reference"),
        ({"find": "(a)", "replace": r"\g<x>", "regex": True}, "the replacement is wrong: unknown group"),
        ({"find": "(a)", "replace": "\\", "regex": True}, "the replacement is wrong: bad escape"),
        ({"find": "a" * 1001, "regex": True}, "the text to find is longer than 1,000 characters"),
        ({"find": "a" * 1001}, "the text to find is longer than 1,000 characters"),
        ({"find": "a", "replace": "a" * 2001}, "the replacement is longer than 2,000 characters"),
        ({"prefix": "a" * 2001}, "the prefix is longer than 2,000 characters"),
        ({"suffix": "a" * 4_000_000}, "the suffix is longer than 2,000 characters"),
    ],
)
def test_invalid_edit_is_refused_with_a_one_line_error(values, message):
    with pytest.raises(JobError) as caught:
        BulkEdit(**values)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pattern_with_catastrophic_backtracking_stops_at_the_time_limit():
    edit = BulkEdit(r"^(\w|\w\w|\w+)+(\w|\w\w|x\w)+(?<!a)\d$", "x", regex=True)
    started_s = time.monotonic()
    with pytest.raises(JobError, match=r"takes longer than 0\.5 s on one caption"):
        edit.apply("a" * 5000)
    assert time.monotonic() - started_s < CAPTION_LIMIT_S + 2


@pytest.mark.parametrize(
    ("edit", "length"),
    [
        (BulkEdit("x?", "y" * 1000, regex=True), 1000),
        (BulkEdit("x", "y" * 1000), 1000),
        (BulkEdit("(.*)", r"\1" * 1000, regex=True), 49_000),
        (BulkEdit(prefix="x"), 50_001),
    ],
)
def test_edit_that_would_fill_the_memory_is_refused(edit, length):
    tracemalloc.start()
    with pytest.raises(CaptionError, match=r"^longer than 50,000 characters, or it would become so$"):
        edit.apply("x" * length)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 200e6
    assert BulkEdit("x", "y" * 1000).apply("x" * 50) == "y" * 50_000
    assert BulkEdit(delete=True).apply("x" * length) is None
