"""The edit of one text, edits that are refused, and limits."""

import contextlib
import multiprocessing
import re
import time
import tracemalloc

import psutil
import pytest

from captioner.captions.edit import BulkEdit, trim_opener
from captioner.captions.pattern import CAPTION_LIMIT_S, COMPILE_LIMIT_S
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


@pytest.mark.parametrize(
    ("find", "replace", "message"),
    [
        ("(", "", "the pattern is wrong: missing )"),
        ("a{2,1}", "", "the pattern is wrong: min repeat"),
        ("(a)", r"\2", "the replacement is wrong: invalid group reference"),
        ("(a)", r"\g<x>", "the replacement is wrong: unknown group"),
        ("(a)", "\\", "the replacement is wrong: bad escape"),
    ],
)
def test_wrong_pattern_is_refused_when_it_is_used(find, replace, message):
    with pytest.raises(JobError, match=f"^{re.escape(message)}") as caught:
        BulkEdit(find, replace, regex=True).apply("a")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "find",
    [
        "a{60000000}",
        "a{1000000000}",
        "(?:a{9999}){9999}",
        "(?R)",
        "(a|(?1))*",
        "(" * 499 + ")" * 499,
        "(?:(?:(?:a{1,99}){1,99}){1,99}){1,99}",
    ],
)
def test_pattern_that_would_hold_the_app_costs_a_process_with_limits(find):
    """Such a pattern is refused in one line, or is harmless, within the limits of time and memory."""
    before_bytes, started_s = psutil.Process().memory_info().rss, time.monotonic()
    with contextlib.suppress(JobError):
        BulkEdit(find, "x", regex=True).apply("a" * 5000)
    assert time.monotonic() - started_s < COMPILE_LIMIT_S + 2 * CAPTION_LIMIT_S + 10  # 10 s to start the process
    assert psutil.Process().memory_info().rss - before_bytes < 50e6
    assert not [child for child in multiprocessing.active_children() if child.name == "pattern"]


def test_one_process_serves_all_captions_of_an_edit_and_ends_when_it_fails():
    with contextlib.suppress(ZeroDivisionError), BulkEdit("a", "b", regex=True).ready() as apply:
        assert apply("a cat") == "b cbt"
        assert [child.name for child in multiprocessing.active_children()].count("pattern") == 1
        raise ZeroDivisionError
    assert not [child for child in multiprocessing.active_children() if child.name == "pattern"]


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
