"""How the browser names files: positions in the list, as ranges, and ids that belong to one scan."""

import pytest

from captioner.services import Services
from captioner.ui.gallery.grid import entry_id, find_entry, parse_ranges, to_ranges
from tests.support.media_maker import make_picture


@pytest.fixture
def library(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        make_picture(tmp_path / name / "a.png")
    make_picture(tmp_path / "one" / "b.png")
    with Services() as services:
        services.open_folder(tmp_path / "one", recursive=False)
        yield services.library


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("", []),
        ("3", [3]),
        ("0-2,5", [0, 1, 2, 5]),
        ("3,0-2,2", [3, 0, 1, 2]),
        ("8-99", [8, 9]),
        ("x,1,-,2-1,²", [1]),
        ("0-", [0]),
        ("9" * 5000, []),
    ],
)
def test_ranges_are_read(text, numbers):
    assert parse_ranges(text, 10) == numbers


def test_a_short_text_cannot_ask_for_billions_of_numbers():
    assert len(parse_ranges(",".join(["0-49999"] * 1000), 50_000, 400)) == 400
    assert len(parse_ranges(",".join(["0-49998"] * 100_000), 50_000)) == 49_999


def test_ranges_are_written():
    assert to_ranges([]) == ""
    assert to_ranges([0, 1, 2, 5, 7, 8]) == "0-2,5,7-8"


def test_an_id_names_its_file_until_the_folder_is_scanned_again(library, tmp_path):
    item = library.items[1]
    old = entry_id(library, item)
    assert find_entry(library, old).item == item
    library.open(tmp_path / "one")
    assert find_entry(library, old) is None
    assert find_entry(library, entry_id(library, item)).item == item
    library.open(tmp_path / "other")
    assert entry_id(library, item) == ""


def test_text_that_is_not_an_id_names_no_file(library):
    scan = library.scan.id
    for bad in (
        "",
        "x",
        scan,
        f"{scan}-",
        f"{scan}-2",
        f"{scan}--1",
        f"{scan}-0-1",
        f"{scan}-²",
        f"{scan}-{'9' * 5000}",
    ):
        assert find_entry(library, bad) is None
