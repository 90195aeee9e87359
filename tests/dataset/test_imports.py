"""An import puts back what an export holds, can be undone, replaces nothing untold, and names each refused row."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from captioner.dataset.exports.export import FORMATS
from captioner.dataset.imports.matching import MediaFinder, match_rows
from captioner.dataset.imports.rows import read_rows
from captioner.errors import CaptionerError
from captioner.library.imports import import_captions
from captioner.services import Services
from tests.support.lists import CAPTIONS, export, make_folder


def load(services: Services, folder: Path, path: Path, overwrite: bool = False) -> tuple[int, dict[str, str], list]:
    """Import a list -> (number of the operation, outcomes by name, refused rows)."""
    library = services.open_folder(folder, recursive=True)
    found, refused = match_rows(read_rows(path), MediaFinder(folder, library.items))
    number, outcomes = import_captions(services.database, library, found, "Import", overwrite)
    return number, outcomes, refused


def texts(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.txt")}


@pytest.mark.parametrize("file_format", [name for name in FORMATS if name != "config"])
def test_round_trip_restores_every_caption(services, tmp_path, file_format):
    if file_format == "parquet":
        pytest.importorskip("pyarrow")
    folder = make_folder(tmp_path / "clips", {**CAPTIONS, "sub folder/x.mp4": "deep\n\ncaption"})
    before = texts(folder)
    to = tmp_path / "out" if file_format in ("hf", "webdataset") else tmp_path / f"captions.{file_format}"
    done = export(services, folder, file_format, folder if file_format == "captions.json" else to)
    for path in folder.rglob("*.txt"):
        path.unlink()
    for written in done.files:
        number, outcomes, refused = load(services, folder, written)
    assert refused == []
    assert set(outcomes.values()) == {"changed"}
    assert texts(folder) == before
    assert services.undo(number).restored == len(before)
    assert texts(folder) == {}


def test_import_replaces_a_caption_only_if_told_and_never_an_approved_one(services, tmp_path):
    folder = make_folder(
        tmp_path / "clips", {"a.mp4": "old a", "b.mp4": "old b", "c.mp4": "same\r\ntext", "d.mp4": " "}
    )
    services.captions.approve([folder / "b.txt"])
    path = tmp_path / "list.jsonl"
    new = {"a": "new a", "b": "new b", "c": "same\ntext", "d": "new d"}
    path.write_text("".join(json.dumps({"file_name": f"{name}.mp4", "text": new[name]}) + "\n" for name in new))
    before = texts(folder)
    number, outcomes, _ = load(services, folder, path)
    assert outcomes == {
        "a.mp4": "it has another caption; add --overwrite to replace it",
        "b.mp4": "approved",
        "c.mp4": "same",
        "d.mp4": "changed",
    }
    services.undo(number)
    number, outcomes, _ = load(services, folder, path, overwrite=True)
    assert outcomes == {"a.mp4": "changed", "b.mp4": "approved", "c.mp4": "same", "d.mp4": "changed"}
    assert (folder / "a.txt").read_text() == "new a"
    services.undo(number)
    assert texts(folder) == before


def test_windows_line_breaks_of_a_file_stay(services, tmp_path):
    folder = make_folder(tmp_path / "clips", {"a.mp4": ""})
    (folder / "a.txt").write_bytes(b"one\r\ntwo\r\n")
    (tmp_path / "x.json").write_text(json.dumps({"a.mp4": ["one\nthree"]}))
    load(services, folder, tmp_path / "x.json", overwrite=True)
    assert (folder / "a.txt").read_bytes() == b"one\r\nthree\r\n"


ROWS = {  # a list by another program -> the captions in it
    "x.jsonl": '\ufeff{"image_path": "a.mp4", "caption": "A"}\n\n{"video_path": "s\\\\b.mp4", "caption": "B\u2028b"}\n',
    "x.json": '[{"media_path": "a.mp4", "caption": "A"}, {"video": "s/b.mp4", "prompt": "B\u2028b"}]',
    "y.json": '{"a.mp4": ["A"], "s/b.mp4": "B\u2028b"}',
    "z.json": '{"a.mp4": {"caption": "A"}, "b.mp4": {"caption": "B\u2028b", "caption_short": "b"}}',
    "x.csv": '\ufefffile_name,text\r\na.mp4,A\r\n./s/../s/b.mp4,"B\u2028b"\r\n',
}


@pytest.mark.parametrize("name", ROWS)
def test_lists_of_other_programs_are_read(services, tmp_path, name):
    folder = make_folder(tmp_path / "clips", {"a.mp4": "", "s/b.mp4": ""})
    (tmp_path / name).write_text(ROWS[name], encoding="utf-8", newline="")
    _, outcomes, refused = load(services, folder, tmp_path / name)
    assert (outcomes, refused) == ({"a.mp4": "changed", "s/b.mp4": "changed"}, [])
    assert (folder / "s/b.txt").read_text(encoding="utf-8") == "B\u2028b"


def test_absolute_paths_are_found(services, tmp_path):
    folder = make_folder(tmp_path / "clips", {"a.mp4": ""})
    (tmp_path / "x.json").write_text(json.dumps({str(folder / "a.mp4"): {"caption": "A"}}))
    assert load(services, folder, tmp_path / "x.json")[1] == {"a.mp4": "changed"}


def test_shards_of_other_programs_are_read_by_the_names_of_their_samples(services, tmp_path):
    folder = make_folder(tmp_path / "clips", {"a.mp4": "", "b.jpg": ""})
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for name, data in {"a.mp4": b"x", "a.txt": b"A", "b.jpg": b"x", "b.txt": b"B"}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    assert load(services, folder, tmp_path / "0.tar")[1] == {"a.mp4": "changed", "b.jpg": "changed"}
    assert (folder / "b.txt").read_text() == "B"


def test_each_refused_row_is_named_with_the_reason(services, tmp_path):
    folder = make_folder(tmp_path / "clips", {"a.mp4": "", "b.mp4": "", "s/c.mp4": "", "t/c.mp4": ""})
    rows = [
        {"file_name": "a.mp4", "text": "A"},
        {"file_name": "a.mp4", "text": "B"},
        {"file_name": "gone.mp4", "text": "A"},
        {"file_name": "../../etc/passwd", "text": "A"},
        {"file_name": "c.mp4", "text": "A"},
        {"file_name": "b.mp4", "text": ["A", "B"]},
        {"file_name": "b.mp4", "text": "  "},
        {"file_name": "b.mp4", "text": 5},
        {"file_name": "b.mp4"},
        {"text": "A"},
        "b.mp4",
    ]
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, outcomes, refused = load(services, folder, path)
    assert outcomes == {"a.mp4": "changed"}
    assert [name for name, _ in refused] == [
        "x.jsonl, line 2: a.mp4",
        "x.jsonl, line 3: gone.mp4",
        "x.jsonl, line 4: ../../etc/passwd",
        "x.jsonl, line 5: c.mp4",
        *[f"x.jsonl, line {number}: b.mp4" for number in (6, 7, 8, 9)],
        "x.jsonl, line 10",
        "x.jsonl, line 11",
    ]
    reasons = [reason.partition(";")[0] for _, reason in refused]
    assert reasons == [
        "an earlier row has another caption for this file",
        "no such file in the folder",
        "no such file in the folder",
        "2 files have this name",
        "2 captions",
        "the caption is empty",
        "the caption is not a text",
        "no caption",
        "no file is named",
        "not an object with a file and a caption",
    ]


DAMAGED = {
    "x.jsonl": b'{"file_name": "a.mp4", "text": "A"}\n{"file_name": ',
    "x.json": b"[1, 2",
    "y.json": b"5",
    "x.csv": b"file_name,text\n\xff\xfe,\xff\n",
    "x.tar": b"not a tar",
    "x.parquet": b"not parquet",
    "x.xlsx": b"PK",
    "gone.csv": None,
    "deep.json": b"[" * 100_000,
}


@pytest.mark.parametrize("name", DAMAGED)
def test_file_that_cannot_be_read_is_one_line_and_changes_nothing(services, tmp_path, name):
    folder = make_folder(tmp_path / "clips", {"a.mp4": ""})
    if name == "x.parquet":
        pytest.importorskip("pyarrow")
    if DAMAGED[name] is not None:
        (tmp_path / name).write_bytes(DAMAGED[name])
    with pytest.raises(CaptionerError, match=name) as error:
        load(services, folder, tmp_path / name)
    assert "\n" not in str(error.value)
    assert texts(folder) == {"a.txt": b""}


def test_captions_go_to_the_folder_that_was_chosen_for_them(services, tmp_path):
    folder = make_folder(tmp_path / "clips", {"s/a.mp4": ""})
    (folder / "s/a.txt").unlink()
    services.change_settings({"captions_to": str(tmp_path / "texts")})
    (tmp_path / "x.json").write_text('{"s/a.mp4": "A"}')
    load(services, folder, tmp_path / "x.json")
    assert (tmp_path / "texts/s/a.txt").read_text() == "A"
