"""The extension of caption files: read and written everywhere, and told where files have another one."""

import io
import zipfile

import pytest

from captioner.captions.edit import BulkEdit
from captioner.cli.main import main
from captioner.errors import SettingsError
from captioner.media.discover import ListingOptions, discover, find_item
from captioner.services import Services
from captioner.ui.server.routes import make_zip
from tests.support.media_maker import make_picture


@pytest.fixture
def folder(tmp_path):
    """Three pictures: a and b have a .caption, a has a .txt too, c has neither; d.caption belongs to no picture."""
    folder = tmp_path / "media"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.png", "b.png", "sub/c.png"):
        make_picture(folder / name)
    for name in ("a.caption", "b.caption", "d.caption", "a.txt"):
        (folder / name).write_text(name)
    return folder


@pytest.mark.parametrize(
    ("extension", "captioned", "note"),
    [
        (".txt", [True, False, False], ["2 files have a .caption file", ".caption"]),
        (".caption", [True, True, False], ["1 file has a .txt file", ".txt"]),
        (".cap", [False, False, False], ["2 files have a .caption file", ".caption"]),
    ],
)
def test_captions_have_the_chosen_extension_and_others_are_told_once(folder, extension, captioned, note):
    found = discover(folder, ListingOptions(recursive=True, caption_extension=extension))
    assert [item.caption_name for item in found.items] == [f"{stem}{extension}" for stem in "abc"]
    assert [item.has_caption for item in found.items] == captioned
    [warning, *others] = sorted(found.warnings, reverse=extension == ".cap")
    assert warning == f"{note[0]} beside them that is not read; to use them, set caption_extension to {note[1]}"
    assert len(others) == (extension == ".cap")
    assert find_item(folder / "a.png", ListingOptions(caption_extension=extension)).has_caption == captioned[0]


def test_files_with_the_same_stem_keep_their_own_captions(folder):
    make_picture(folder / "a.jpg")
    found = discover(folder, ListingOptions(caption_extension=".caption"))
    assert [item.caption_name for item in found.items] == ["a.caption", "a.png.caption", "b.caption"]
    assert found.warnings[0] == "a.png: a.caption belongs to a.jpg, so its caption is a.png.caption"


def test_everything_reads_and_writes_the_chosen_extension(folder):
    with Services(overrides={"caption_extension": "caption"}) as services:
        library = services.open_folder(folder, recursive=True)
        assert library.lookup.find("b.png").text == "b.caption"
        done = services.bulk_edit(["a.png", "b.png"], BulkEdit(prefix="x"))
        assert (folder / "b.caption").read_text() == "x b.caption"
        services.undo(done.operation)
        assert (folder / "b.caption").read_text() == "b.caption"
        library.edits.save(library.lookup.find("sub/c.png").item, "new")
        assert (folder / "sub/c.caption").read_text() == "new"
        with make_zip(library.items, services.captions) as file:
            assert zipfile.ZipFile(io.BytesIO(file.seek(0) or file.read())).namelist() == [
                "a.caption",
                "b.caption",
                "sub/c.caption",
            ]
    assert (folder / "a.txt").read_text() == "a.txt"


def test_change_of_the_setting_shows_the_other_captions_of_the_open_folder(folder):
    with Services() as services:
        library = services.open_folder(folder, recursive=False)
        assert library.lookup.find("b.png").text == ""
        assert services.change_settings({"caption_extension": ".caption"}).caption_extension == ".caption"
        assert library.lookup.find("b.png").text == "b.caption"
        services.reset_settings()
        assert library.lookup.find("a.png").text == "a.txt"


@pytest.mark.parametrize("extension", [".png", "MP4", "../x", "a.b", "", "x" * 17, ".t xt", ".tx/t", "."])
def test_extension_of_media_and_what_is_none_are_refused(folder, extension):
    with Services() as services:
        services.open_folder(folder, recursive=False)
        with pytest.raises(SettingsError, match="caption_extension"):
            services.change_settings({"caption_extension": extension})
        assert services.settings.caption_extension == ".txt"
    with pytest.raises(SettingsError, match="caption_extension"):
        Services(overrides={"caption_extension": extension})


def test_commands_take_the_extension(folder, capsys):
    assert main(["list", str(folder), "--caption-extension", ".caption"]) == 0
    printed = capsys.readouterr()
    assert printed.out.count("captioned") == 2
    assert printed.err.startswith("note: 1 file has a .txt file beside")
    edit = ["edit", str(folder), "b.png", "--caption-extension", "caption", "--prefix", "x", "--yes"]
    assert main(edit) == 0
    assert (folder / "b.caption").read_text() == "x b.caption"
