"""Discovery of media files."""

import os
from pathlib import Path

import pytest

from captioner.errors import FolderError, MediaError
from captioner.media import discover as media
from captioner.media.discover import ListingOptions, discover, find_item
from captioner.media.kinds import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS

as_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def names(found: media.Discovery) -> list[str]:
    return [item.name for item in found.items]


def captions(found: media.Discovery) -> dict[str, str]:
    return {item.name: item.caption_name for item in found.items}


def test_all_media_extensions_are_found_in_any_case(tmp_path):
    extensions = [*VIDEO_EXTENSIONS, *IMAGE_EXTENSIONS]
    touch(tmp_path, *(f"{number}.{extension}" for number, extension in enumerate(extensions)))
    touch(tmp_path, "upper.MP4", "mixed.JpEg", "notes.txt", "a.xyz", "mp4", "archive.mp4.zip", "no extension")
    found = discover(tmp_path)
    assert len(found.items) == len(extensions) + 2
    assert {item.kind for item in found.items[: len(VIDEO_EXTENSIONS)]} == {"video"}
    assert {item.kind for item in found.items if item.filename.endswith((".png", ".JpEg"))} == {"image"}
    assert found.warnings == ()


def test_item_has_path_size_and_time(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.mp4").write_bytes(b"12345")
    os.utime(tmp_path / "sub" / "a.mp4", (5, 1234.5))
    (item,) = discover(tmp_path, ListingOptions(recursive=True)).items
    assert (item.name, item.filename, item.size_bytes, item.modified_s) == ("sub/a.mp4", "a.mp4", 5, 1234.5)
    assert item.path == tmp_path / "sub" / "a.mp4"
    assert item.caption_path == tmp_path / "sub" / "a.txt"


def test_find_item_returns_the_item_that_discover_finds(tmp_path):
    touch(tmp_path, "a.mp4", "a.txt", "b.png")
    assert tuple(find_item(tmp_path / name) for name in ("a.mp4", "b.png")) == discover(tmp_path).items
    for name, reason in (("none.mp4", "no such file"), ("a.txt", "not a video or image")):
        with pytest.raises(MediaError, match=f"^{tmp_path / name}: {reason}"):
            find_item(tmp_path / name)


def test_caption_state_is_found_without_opening_a_file(tmp_path):
    touch(tmp_path, "a.mp4", "a.txt", "b.mp4", "B.txt", "c.mp4", "c.TXT", "d.mp4", "d.mp4.txt")
    (tmp_path / "e.mp4").touch()
    (tmp_path / "e.txt").mkdir()
    has_caption = {item.name: item.has_caption for item in discover(tmp_path).items}
    assert has_caption == {"a.mp4": True, "b.mp4": False, "c.mp4": False, "d.mp4": False, "e.mp4": False}


@pytest.mark.parametrize(
    "ordered",
    [
        ["clip1.mp4", "clip2.mp4", "clip10.mp4", "clip100.mp4"],
        ["a.mp4", "B.mp4", "c.mp4"],
        ["01.mp4", "2.mp4", "03.mp4", "10.mp4"],
        ["s1e2.mp4", "s1e10.mp4", "s2e1.mp4", "s10e1.mp4"],
        ["a.mp4", "a 2.mp4", "a-1.mp4", "a1.mp4", "ab.mp4"],
        ["001.mp4", "01.mp4", "1.mp4", "2.mp4"],
        ["9" * 40 + ".mp4", "1" + "0" * 40 + ".mp4"],
        ["clip.mp4", "clip 1.mp4"],
        ["ä1.mp4", "ä2.mp4", "ä10.mp4"],
    ],
)
def test_order_is_natural(tmp_path, ordered):
    touch(tmp_path, *reversed(ordered))
    assert names(discover(tmp_path)) == ordered


def test_folders_are_grouped_after_the_files_before_them(tmp_path):
    ordered = ["x.mp4", "a/2.mp4", "a/10.mp4", "a/deep/1.mp4", "b2/1.mp4", "b10/1.mp4"]
    touch(tmp_path, *reversed(ordered))
    assert names(discover(tmp_path, ListingOptions(recursive=True))) == ordered
    assert names(discover(tmp_path)) == ["x.mp4"]


def test_hidden_files_and_folders_are_skipped(tmp_path):
    touch(tmp_path, ".a.mp4", ".cache/b.mp4", "c.mp4", "sub/.d.mp4", "._c.mp4")
    assert names(discover(tmp_path, ListingOptions(recursive=True))) == ["c.mp4"]


# Captions of files with the same stem


def test_second_file_of_a_stem_has_its_own_caption(tmp_path):
    touch(tmp_path, "a.mp4", "a.jpg", "a.png", "b.mp4", "a.jpg.txt")
    found = discover(tmp_path)
    assert captions(found) == {"a.mp4": "a.txt", "a.jpg": "a.jpg.txt", "a.png": "a.png.txt", "b.mp4": "b.txt"}
    assert [item.has_caption for item in found.items] == [False, True, False, False]
    assert found.warnings == (
        "a.jpg: a.txt belongs to a.mp4, so its caption is a.jpg.txt",
        "a.png: a.txt belongs to a.mp4, so its caption is a.png.txt",
    )


def test_same_stem_in_two_folders_does_not_clash(tmp_path):
    touch(tmp_path, "one/a.mp4", "two/a.jpg")
    found = discover(tmp_path, ListingOptions(recursive=True))
    assert captions(found) == {"one/a.mp4": "a.txt", "two/a.jpg": "a.txt"}
    assert found.warnings == ()


def test_longer_name_that_is_taken_is_not_used_again(tmp_path):
    touch(tmp_path, "a.mp4", "a.jpg", "a.jpg.mp4", "a.jpg.png")
    found = discover(tmp_path)
    assert captions(found) == {
        "a.mp4": "a.txt",
        "a.jpg": "a.jpg.2.txt",
        "a.jpg.mp4": "a.jpg.txt",
        "a.jpg.png": "a.jpg.png.txt",
    }
    assert len(found.warnings) == 2


def test_case_matters_only_if_the_file_system_distinguishes_it(tmp_path, monkeypatch):
    touch(tmp_path, "A.mp4", "a.jpg", "B.mp4", "b.TXT")
    assert captions(discover(tmp_path)) == {"A.mp4": "A.txt", "a.jpg": "a.txt", "B.mp4": "B.txt"}
    monkeypatch.setattr(os.path, "normcase", str.lower)
    found = discover(tmp_path)
    assert captions(found) == {"A.mp4": "A.txt", "a.jpg": "a.jpg.txt", "B.mp4": "B.txt"}
    assert [item.has_caption for item in found.items] == [False, False, True]


# What is in the way


def test_links_to_files_count_and_links_to_folders_do_not(tmp_path):
    touch(tmp_path, "real/a.mp4")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "real" / "a.mp4")
    (tmp_path / "real" / "round").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "dir.mp4").symlink_to(tmp_path / "real", target_is_directory=True)
    found = discover(tmp_path, ListingOptions(recursive=True))
    assert names(found) == ["link.mp4", "real/a.mp4"]
    assert found.items[0].size_bytes == 1
    assert found.warnings == ()


def test_broken_links_are_reported(tmp_path):
    touch(tmp_path, "a.mp4")
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "missing.mp4")
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    (tmp_path / "text.txt").symlink_to(tmp_path / "missing.txt")
    found = discover(tmp_path)
    assert names(found) == ["a.mp4"]
    assert sorted(found.warnings) == [
        "gone.mp4: cannot be read (No such file or directory); skipped",
        "loop.mp4: cannot be read (Too many levels of symbolic links); skipped",
    ]


def test_pipes_and_folders_are_not_media(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    touch(tmp_path, "folder.mp4/b.mp4")
    assert names(discover(tmp_path, ListingOptions(recursive=True))) == ["folder.mp4/b.mp4"]


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_names_that_are_not_utf8_survive(tmp_path):
    raw = os.fsencode(tmp_path) + b"/caf\xe9 2.mp4"
    with open(raw, "wb") as file:
        file.write(b"x")
    touch(tmp_path, "café 10.mp4", "日本.mp4", "50% #1 'x'.mp4")
    found = discover(tmp_path)
    assert len(found.items) == 4
    (item,) = (item for item in found.items if "\udce9" in item.name)
    assert os.fsencode(item.path) == raw
    assert item.path.read_bytes() == b"x"
    assert os.fsencode(item.caption_name) == b"caf\xe9 2.txt"


@as_root
def test_unreadable_subfolder_is_reported_and_the_rest_found(tmp_path):
    touch(tmp_path, "a/x.mp4", "closed/x.mp4", "z/x.mp4")
    (tmp_path / "closed").chmod(0)
    found = discover(tmp_path, ListingOptions(recursive=True))
    (tmp_path / "closed").chmod(0o700)
    assert names(found) == ["a/x.mp4", "z/x.mp4"]
    assert found.warnings == ("closed: this folder cannot be read (Permission denied); skipped",)


def test_subfolder_that_fails_is_reported_and_the_rest_found(tmp_path, monkeypatch):
    touch(tmp_path, "a/x.mp4", "closed/x.mp4", "z/x.mp4")
    listing = media._open_listing

    def failing(folder, escapes):
        if folder.name == "closed":
            raise PermissionError(13, "Permission denied")
        return listing(folder, escapes)

    monkeypatch.setattr(media, "_open_listing", failing)
    found = discover(tmp_path, ListingOptions(recursive=True))
    assert names(found) == ["a/x.mp4", "z/x.mp4"]
    assert found.warnings == ("closed: this folder cannot be read (Permission denied); skipped",)
    with pytest.raises(FolderError, match=r"^cannot read the folder .*/closed: Permission denied$"):
        discover(tmp_path / "closed")


def test_path_that_is_not_a_folder_is_refused(tmp_path):
    touch(tmp_path, "a.mp4")
    os.mkfifo(tmp_path / "pipe")
    for name, message in [("missing", "no such folder: "), ("a.mp4", "not a folder: "), ("pipe", "not a folder: ")]:
        with pytest.raises(FolderError) as caught:
            discover(tmp_path / name)
        assert str(caught.value) == f"{message}{tmp_path / name}"


def test_empty_folder_has_no_items(tmp_path):
    assert discover(tmp_path, ListingOptions(recursive=True)) == media.Discovery((), ())


class TestLeftOut:
    def test_junk_is_left_out_in_silence(self, tmp_path):
        for name in ("a.mp4", "@eaDir/b.mp4", "#recycle/b.mp4", "$RECYCLE.BIN/b.png", "__MACOSX/._b.png", "._c.mp4"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(b"x")
        found = discover(tmp_path, ListingOptions(recursive=True))
        assert (names(found), found.warnings) == (["a.mp4"], ())

    def test_masks_are_left_out_with_a_note_and_come_back(self, tmp_path):
        for name in ("a.png", "a-masklabel.png", "a-condlabel.png", "masks/a.png", "_control/a.png"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(b"x")
        found = discover(tmp_path, ListingOptions(recursive=True))
        assert names(found) == ["a.png"]
        assert found.warnings[0].startswith("2 files and 2 folders are left out: masks")
        found = discover(tmp_path, ListingOptions(recursive=True, exclude=("!masks/", "!*-masklabel.png")))
        assert names(found) == ["a.png", "a-masklabel.png", "masks/a.png"]
        assert names(discover(tmp_path / "masks")) == ["a.png"]

    def test_patterns_leave_out_files_and_folders(self, tmp_path):
        for name in ("a.mp4", "b.gif", "drafts/c.mp4", "keep/d.gif", "keep/e.mp4"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(b"x")
        found = discover(tmp_path, ListingOptions(recursive=True, exclude=("*.gif", "drafts/", "!keep/d.gif")))
        assert names(found) == ["a.mp4", "keep/d.gif", "keep/e.mp4"]
        assert found.warnings == ("1 file and 1 folder are left out: by the setting exclude",)

    def test_what_cannot_be_read_is_one_note(self, tmp_path):
        for name in ("a.mp4", "b.cr2", "c.CR2", "d.svg", "e.psd", "f.json", "g.safetensors"):
            (tmp_path / name).write_bytes(b"x")
        (note,) = discover(tmp_path).warnings
        assert note == (
            "4 files cannot be read and are left out: "
            "2 .cr2 (camera raw), 1 .psd (image editor), 1 .svg (vector graphics)"
        )
