"""Edits leave everything as it is that they are not about: line breaks, white space, and every other character."""

import pytest

from captioner.captions.edit import BulkEdit
from captioner.captions.lines import retype
from captioner.captions.store import CaptionStore
from captioner.errors import JobError
from captioner.values import MediaItem
from tests.support.captions import CAPTION

LINES = b"a cat, red\na feline in crimson\nphoto of a tabby\n"
ODD = {  # each holds "red" once
    "windows": b"a red cat\r\na dog\r\n",
    "old mac": b"a red cat\ra dog\r",
    "mixed": b"a red cat\r\na dog\na hen\ra fox\r\n\r\n",
    "blank lines": b"\n\n a red cat\n\n\n a dog\t\n\n",
    "tabs and spaces": b"\ta  red\tcat   ",
    "no-break and wide spaces": "\u3000a red\u00a0cat\u2003".encode(),
    "joiners": "a red 👩\u200d👩\u200d👧 می\u200cخواهم \u2060x".encode(),
    "right to left": "\u202bולד red ילדה\u202c \u200f".encode(),
    "combining": "cafe\u0301 red café A\u030a\u0323".encode(),
    "separators": "a red\u2028cat\u2029\x85 dog\x0b\x0c".encode(),
    "controls": b"a red\x00 cat\x07 \x1b[0m\x7f",
    "zero width": "\u200ba red\ufeff cat\u200b".encode(),
    "was damaged before": "a red caf\ufffd".encode(),
    "long": b"a red cat\n" + b"x\r\n" * 16_000,
}


@pytest.mark.parametrize("data", ODD.values(), ids=ODD)
def test_replacement_changes_nothing_else(store: CaptionStore, item: MediaItem, job: int, data: bytes) -> None:
    path = item.caption_path
    path.write_bytes(data)
    for regex in (False, True):
        edit = BulkEdit("red", "blue" if regex else "green", regex=regex)
        assert store.rewrite([path], edit.apply, job) == {path: "changed"}
        assert path.read_bytes() == data.replace(b"red", edit.replace.encode())
        store.restore(path, store.last_change(path))
        assert path.read_bytes() == data


@pytest.mark.parametrize("data", ODD.values(), ids=ODD)
def test_text_box_changes_only_what_is_typed(store: CaptionStore, item: MediaItem, data: bytes) -> None:
    path = item.caption_path
    path.write_bytes(data)
    box = store.read(path).replace("\r\n", "\n").replace("\r", "\n")
    store.save(path, box.replace("red", "green"))
    assert path.read_bytes() == data.replace(b"red", b"green")
    store.save(path, box)
    assert path.read_bytes() == data


@pytest.mark.parametrize(
    ("before", "typed", "after"),
    [
        ("a\r\nb", "a\nb\nc", "a\r\nb\r\nc"),
        ("a\r\nb\nc\rd", "a\nb\nx\nd", "a\r\nb\nx\rd"),
        ("a\rb", "b", "b"),
        ("a\r\n\r\nb", "a\nb", "a\r\nb"),
        ("aa\r\naa", "aa", "aa"),
        ("a\nb", "a\nc\n", "a\nc\n"),
        ("a\r\nb", "a\rb", "a\rb"),
    ],
)
def test_line_breaks_of_a_text_survive_a_text_box(before, typed, after):
    assert retype(before, typed) == after


@pytest.mark.parametrize(
    ("edit", "after"),
    [
        (BulkEdit(prefix="sks,"), b"sks, a cat, red\nsks, a feline in crimson\nsks, photo of a tabby\n"),
        (BulkEdit(suffix=", 4k"), b"a cat, red, 4k\na feline in crimson, 4k\nphoto of a tabby, 4k\n"),
        (BulkEdit("a feline in crimson\n"), b"a cat, red\nphoto of a tabby\n"),
        (BulkEdit(r"\n", " ", regex=True), b"a cat, red a feline in crimson photo of a tabby\n"),
        (BulkEdit(", ", "\n"), b"a cat\nred\na feline in crimson\nphoto of a tabby\n"),
        (BulkEdit(r"tabby$", "cat", regex=True), b"a cat, red\na feline in crimson\nphoto of a cat\n"),
    ],
)
@pytest.mark.parametrize("line_break", [b"\n", b"\r\n", b"\r"])
def test_alternatives_on_lines_stay_lines(
    store: CaptionStore, item: MediaItem, job: int, edit, after, line_break
) -> None:
    path = item.caption_path
    path.write_bytes(LINES.replace(b"\n", line_break))
    assert store.rewrite([path], edit.apply, job) == {path: "changed"}
    assert path.read_bytes() == after.replace(b"\n", line_break)


def test_openers_are_trimmed_on_each_line_and_blank_lines_get_nothing():
    edit = BulkEdit(trim_openers=True, prefix="sks,")
    assert edit.apply("The video shows a dog\n\n  we see a cat ") == "sks, A dog\n\n  sks, a cat "


@pytest.mark.parametrize(
    ("policy", "after"),
    [
        ("append", LINES.rstrip() + b" A red ball.\n"),
        ("prefix", b"A red ball. " + LINES),
        ("overwrite", b"A red ball."),
    ],
)
def test_text_of_a_model_is_one_line_and_leaves_the_other_lines(
    store: CaptionStore, item: MediaItem, policy, after
) -> None:
    item.caption_path.write_bytes(LINES)
    store.write(item, CAPTION, policy)
    assert item.caption_path.read_bytes() == after


def test_caption_too_long_for_an_edit_does_not_stop_the_others(store: CaptionStore, item: MediaItem, job: int) -> None:
    long, short = item.folder / "long.txt", item.folder / "short.txt"
    long.write_bytes(b"a red cat\n" + b"x" * 900_000)
    short.write_bytes(b"a red cat")
    outcome = store.rewrite([long, short], BulkEdit("red", "blue").apply, job)
    assert outcome == {long: "longer than 50,000 characters, or it would become so", short: "changed"}
    assert short.read_bytes() == b"a blue cat"


@pytest.mark.parametrize("text", ["caf\udce9", "\ufffd"])
def test_edit_that_would_write_half_or_lost_characters_is_refused(text):
    for values in ({"prefix": text}, {"suffix": text}, {"find": "a", "replace": text}):
        with pytest.raises(JobError, match=r"^the text holds"):
            BulkEdit(**values)
    assert BulkEdit("\ufffd", "é").apply("caf\ufffd") == "café"
