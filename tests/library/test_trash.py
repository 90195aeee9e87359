"""Deleted media: what is moved, what stays, and what comes back."""

import os
from pathlib import Path

import pytest

from captioner.errors import MediaError
from captioner.library.trash import MANIFEST, Trash
from captioner.media.discover import discover
from captioner.system.roots import EVERYWHERE, Roots


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "media"
    folder.mkdir()
    for name in ("a.mp4", "b.png", os.fsdecode(b"c \xff.png")):
        (folder / name).write_bytes(name.encode(errors="surrogateescape"))
    (folder / "a.txt").write_text("Of a.")
    return folder


def items_of(folder: Path) -> dict:
    return {item.name: item for item in discover(folder).items}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_files_go_with_their_captions_and_come_back_as_they_were(folder, tmp_path):
    before, items, trash = contents(folder), items_of(folder), Trash(tmp_path / "trash", EVERYWHERE)
    assert trash.latest() == 0
    assert trash.delete([items["a.mp4"], items["b.png"]]).count == 2
    assert sorted(contents(folder)) == [os.fsdecode(b"c \xff.png")]
    assert trash.delete([items[os.fsdecode(b"c \xff.png")]]).count == 1
    trash = Trash(tmp_path / "trash", EVERYWHERE)  # after a restart
    assert trash.latest() == 1
    assert trash.restore().count == 1
    assert trash.latest() == 2
    assert (trash.restore().count, trash.latest()) == (2, 0)
    assert contents(folder) == before
    with pytest.raises(MediaError, match="the trash is empty"):
        trash.restore()


def test_nothing_is_replaced_when_files_come_back(folder, tmp_path):
    trash = Trash(tmp_path / "trash", EVERYWHERE)
    trash.delete([items_of(folder)["a.mp4"]])
    (folder / "a.txt").write_text("Another one.")
    moved = trash.restore()
    assert (moved.count, moved.kept) == (1, (("a.txt", "File exists"),))
    assert (folder / "a.txt").read_text() == "Another one."
    assert (folder / "a.mp4").exists()
    (folder / "a.txt").unlink()
    assert trash.restore().kept == ()
    assert (folder / "a.txt").read_text() == "Of a."


def test_a_file_outside_or_gone_stays_and_costs_no_other_one(folder, tmp_path):
    items, outside = items_of(folder), tmp_path / "outside.png"
    (folder / "b.png").rename(outside)
    (folder / "b.png").symlink_to(outside)
    trash = Trash(tmp_path / "trash", Roots([folder]))
    moved = trash.delete(list(items.values())[:2])
    assert (moved.count, moved.kept) == (1, (("b.png", "it is outside the allowed folders"),))
    assert outside.exists()


def test_a_damaged_trash_restores_nothing(folder, tmp_path):
    trash = Trash(tmp_path / "trash", EVERYWHERE)
    trash.delete([items_of(folder)["a.mp4"]])
    next((tmp_path / "trash").glob(f"*/{MANIFEST}")).write_text("{")
    assert trash.latest() == 0
    (tmp_path / "file").write_text("")
    with pytest.raises(MediaError, match="cannot use the trash"):
        Trash(tmp_path / "file", EVERYWHERE).delete([items_of(folder)["b.png"]])
