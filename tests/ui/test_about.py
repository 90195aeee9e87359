"""Two texts side by side, as the caption panel shows them."""

import re

import pytest

from captioner.ui.gallery.about import comparison


def plain(html: str) -> str:
    return re.sub(r"</?(del|ins)>", "", html)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("A red ball.", "A blue ball.", ("A <del>red</del> ball.", "A <ins>blue</ins> ball.")),
        ("A ball.", "A ball rolls.", ("A ball.", "A ball<ins> rolls</ins>.")),
        ("", "New.", ("", "<ins>New.</ins>")),
        ("Same.", "Same.", ("Same.", "Same.")),
        ("一只红狗", "一只蓝狗", ("一只<del>红</del>狗", "一只<ins>蓝</ins>狗")),
    ],
)
def test_words_of_one_text_alone_are_marked(before, after, expected):
    assert comparison(before, after) == expected


@pytest.mark.parametrize("text", ["<b>&", "a\n\nb", "'\"", "x<del>y"])
def test_texts_are_escaped_and_complete(text):
    before, after = comparison(text, f"{text} more")
    assert "<b>" not in before
    assert plain(after) == f"{plain(before)} more"


def test_very_long_texts_are_shown_without_marks_at_once():
    assert comparison("a " * 20_000, "b " * 20_000) == ("a " * 20_000, "b " * 20_000)
