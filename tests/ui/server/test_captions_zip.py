"""The captions of a folder as a zip."""

import io
import logging
import zipfile

from tests.support.own_routes import assert_private, client_of, error_of


def test_it_holds_the_captions_as_in_the_folder(client, services):
    answer = client.get("captions.zip", params={"scan": services.library.scan.id})
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == 'attachment; filename="captions.zip"'
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert_private(answer)
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.testzip() is None
    texts = {name: archive.read(name).decode() for name in archive.namelist()}
    assert texts == {"a.txt": "A cat.", "sub/a.txt": "Ein Kätzchen."}


def test_only_of_the_files_asked_for(client, services):
    answer = client.get("captions.zip", params={"scan": services.library.scan.id, "ids": "1-3"})
    assert zipfile.ZipFile(io.BytesIO(answer.content)).namelist() == ["sub/a.txt"]
    for ids in ("1-2", ""):
        answer = client.get("captions.zip", params={"scan": services.library.scan.id, "ids": ids})
        assert error_of(answer) == (404, "none of these files has a caption yet")


def test_one_that_cannot_be_read_is_left_out_and_logged(client, services, folder, caplog):
    (folder / "a.txt").unlink()
    (folder / "a.txt").mkdir()
    with caplog.at_level(logging.WARNING):
        answer = client.get("captions.zip", params={"scan": services.library.scan.id})
    assert zipfile.ZipFile(io.BytesIO(answer.content)).namelist() == ["sub/a.txt"]
    assert "left out of the zip: cannot read the caption" in caplog.text


def test_captions_of_hostile_names_cannot_leave_the_folder_they_are_unpacked_in(services, hostile_names):
    answer = client_of(services).get("captions.zip", params={"scan": services.library.scan.id})
    names = zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
    assert len(set(names)) == len(hostile_names)
    assert not any("\\" in name or "/" in name for name in names)
    assert "h_udce4lf.txt" in names
