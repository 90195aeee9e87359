"""Captions in a folder of their own: they are written and read there, and the media folder stays as it was."""

from dataclasses import replace
from pathlib import Path

import pytest

from captioner.errors import CaptionError, FolderError, JobError
from captioner.media.discover import ListingOptions, discover
from captioner.services import Services
from captioner.system.roots import Roots
from captioner.ui.server.routes import make_zip
from tests.support.captions import CAPTION


@pytest.fixture
def media(tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    (folder / "more").mkdir(parents=True)
    for name in ("a.mp4", "a.jpg", "more/a.mp4"):
        (folder / name).write_bytes(b"x")
    return folder


def test_captions_are_written_and_read_in_the_same_subfolders(tmp_path: Path, media: Path) -> None:
    captions = tmp_path / "new" / "captions"
    with Services(overrides={"captions_to": captions}) as services:
        library = services.open_folder(media, True)
        captions.mkdir(parents=True)
        for item in library.items:
            services.captions.write(item, CAPTION, "skip")
        library = services.open_folder(media, True)
        assert [item.has_caption for item in library.items] == [True] * 3
        library.edits.save(library.items[0], "By hand.")
        assert library.edits.approve(["more/a.mp4"]) == 1
        assert (library.counts().edited, library.counts().approved, library.counts().done) == (1, 1, 3)
        assert {services.captions.skip_reason(item, "skip") for item in library.items} == {"has a caption", "approved"}
        assert make_zip(library.items, services.captions)
    found = sorted(str(path.relative_to(captions)) for path in captions.rglob("*.txt"))
    assert found == ["a.jpg.txt", "a.txt", "more/a.txt"]
    assert len(list(media.rglob("*"))) == 4


def test_same_folder_means_beside_the_media_and_one_around_it_is_refused(tmp_path: Path, media: Path) -> None:
    assert discover(media, ListingOptions(captions_to=media)).items[0].caption_name == "a.txt"
    inside = discover(media, ListingOptions(captions_to=media / "captions")).items[0]
    assert inside.caption_path == media / "captions" / "a.txt"
    with pytest.raises(FolderError, match="holds the media folder"):
        discover(media, ListingOptions(captions_to=tmp_path))


def test_two_folders_do_not_share_captions_in_silence(tmp_path: Path, media: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.mp4").write_bytes(b"y")
    captions = tmp_path / "captions"
    captions.mkdir()
    with Services(overrides={"captions_to": captions, "model": "demo"}) as services:
        services.captions.write(services.open_folder(media, False).items[0], CAPTION, "skip")
        library = services.open_folder(other, False)
        assert library.scan.warnings == (f"1 file would share a caption with other media, such as {media / 'a.mp4'}",)
        with pytest.raises(JobError, match="choose another folder"):
            services.start()


def test_folder_that_cannot_be_made_and_one_outside_the_roots_are_refused(tmp_path: Path, media: Path) -> None:
    (tmp_path / "file").touch()
    with Services(overrides={"captions_to": tmp_path / "file" / "x", "model": "demo"}) as services:
        services.open_folder(media, False)
        with pytest.raises(CaptionError, match="cannot make the folder"):
            services.start()
    with Services(roots=Roots([media])) as services:
        for outside in (tmp_path / "new", media / ".." / "new", media / "missing" / ".." / ".." / "new"):
            with pytest.raises(FolderError, match="outside the allowed folders"):
                services.change_settings({"captions_to": str(outside)})
        assert services.change_settings({"captions_to": str(media / "new")}).captions_to == media / "new"


def test_mark_of_a_cut_off_caption_survives_a_restart_and_goes_with_an_edit(media: Path) -> None:
    for _ in range(2):
        with Services() as services:
            library = services.open_folder(media, False)
            cut = replace(CAPTION, finish_reason="length")
            services.captions.write(library.items[0], cut, "skip")
            library = services.open_folder(media, False)
            assert library.lookup.rows(["a.mp4"])[0]["flaw"] == "was cut off at 64 tokens"
            assert [row["flags"] for row in library.lookup.rows(["a.mp4", "a.jpg"])] == [4, 0]
    with Services() as services:
        library = services.open_folder(media, False)
        library.edits.save(library.items[0], "Edited.")
        assert services.open_folder(media, False).lookup.rows(["a.mp4"])[0]["flags"] == 0
