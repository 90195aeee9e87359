"""The same for trainers that read a list of media and captions, in each of its formats."""

import csv
import io
import os

import pytest

from tests.dataset.golden import SETTINGS, Folder, assert_fits, doctor, effects

LISTED = ("ltx", "diffsynth")


def without(folder, column):
    rows = folder.rows()
    del rows[0][column]
    folder.write_list(rows)


def changed(folder, **values):
    rows = folder.rows()
    rows[0].update(values)
    folder.write_list(rows)


def text_of(folder):
    folder.write_list()
    return (folder.path / folder.setting.listed).read_text("utf-8")


def twins(folder):
    folder.image("one.png")
    folder.meant["one.png"] = "another caption"
    folder.write_list()


def added(add):
    return lambda folder: add(folder) and folder.write_list()


def late(add):
    return lambda folder: folder.write_list() or add(folder)


COMMON = [
    ("manifest-missing", lambda folder: None, "."),
    ("manifest-broken", lambda folder: folder.write_list(text_of(folder)[:-8]), "LIST"),
    ("manifest-media", late(lambda folder: folder.remove("one.mp4") or folder.meant.pop("one.mp4")), "one.mp4"),
    ("manifest-unlisted", late(lambda folder: folder.image("three.png")), "three.png"),
    ("size-multiple", added(lambda folder: folder.clip("three.mp4", size=(100, 60))), "three.mp4"),
    ("media-kind", added(lambda folder: folder.image("three.tif")), "three.tif"),
    ("clip-cut", added(lambda folder: folder.clip("three.mp4", 250)), "three.mp4"),
]  # fmt: skip
CASES = [
    *[(key, *case) for key in LISTED for case in COMMON],
    ("ltx", "manifest-column", lambda folder: without(folder, "media_path"), "LIST"),
    ("diffsynth", "manifest-column", lambda folder: without(folder, "video"), "LIST"),
    ("ltx", "manifest-column", lambda folder: without(folder, "caption"), "LIST"),
    ("diffsynth", "manifest-column", lambda folder: without(folder, "prompt"), "LIST"),
    ("ltx", "caption-empty", lambda folder: changed(folder, caption=" "), "one.mp4"),
    ("diffsynth", "caption-empty", lambda folder: changed(folder, prompt=""), "one.mp4"),
    ("ltx", "manifest-blank-line", lambda folder: folder.write_list(text_of(folder) + "\n"), "LIST"),
    ("ltx", "cache-collision", twins, "one.png"),
    ("ltx", "clip-short", added(lambda folder: folder.clip("three.mp4", 49)), "three.mp4"),
    ("diffsynth", "manifest-value", lambda folder: folder.write_list(f'{{"a": {text_of(folder)}}}'), "LIST"),
    ("diffsynth", "clip-rate", added(lambda folder: folder.clip("three.mp4", 81, 30)), "three.mp4"),
    ("diffsynth", "clip-rounded", added(lambda folder: folder.clip("three.mp4", 79)), "three.mp4"),
]


@pytest.mark.parametrize(("key", "code", "plant", "file"), CASES)
def test_one_defect_is_the_one_finding(key, code, plant, file, media, tmp_path):
    folder = Folder(tmp_path / "set", SETTINGS[key], media)
    plant(folder)
    found = doctor(folder.path, key, tmp_path)
    assert [(each.file, each.code) for each in found] == [(file.replace("LIST", folder.setting.listed), code)]
    if file in ("LIST", "."):  # the loader stops before it takes any file
        assert folder.setting.load(folder.path).stops.keys() == {found[0].file}
        assert any(word in found[0].message for word in ("stops", "reads no .txt"))
    else:
        assert_fits(found[0], folder)


@pytest.mark.parametrize("key", LISTED)
@pytest.mark.parametrize("extension", ["json", "jsonl", "csv"])
def test_a_clean_list_in_any_format_has_no_finding(key, extension, media, tmp_path):
    folder = Folder(tmp_path / "set", SETTINGS[key], media)
    rows, name = folder.rows(), f"metadata.{extension}"
    if extension == "csv":
        file = io.StringIO()
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
        folder.write_list(file.getvalue(), name)
    else:
        folder.write_list(rows, name)
    assert effects(folder.setting.load(folder.path), folder) == set()
    assert doctor(folder.path, key, tmp_path) == []


def test_captions_that_were_changed_after_the_cache_are_found(media, tmp_path):
    folder = Folder(tmp_path / "set", SETTINGS["ltx"], media)
    folder.write_list()
    cache = folder.path / ".precomputed" / "conditions" / "one.pt"
    cache.parent.mkdir(parents=True)
    cache.write_bytes(b"x")
    assert doctor(folder.path, "ltx", tmp_path) == []
    os.utime(cache, (1, 1))
    assert [(each.file, each.code) for each in doctor(folder.path, "ltx", tmp_path)] == [("one.mp4", "cache-stale")]


def test_musubi_reads_a_list_where_there_are_no_caption_files(media, tmp_path):
    folder = Folder(tmp_path / "set", SETTINGS["musubi"], media)
    for stem in ("one", "two"):
        folder.remove(f"{stem}.txt")
    rows = [{"video_path": str(folder.path / name), "caption": text} for name, text in folder.meant.items()]
    folder.write_list(rows, "musubi.jsonl")
    assert doctor(folder.path, "musubi", tmp_path) == []
    path = folder.path / "musubi.jsonl"
    path.write_text(path.read_text() + "\n")
    assert [each.code for each in doctor(folder.path, "musubi", tmp_path)] == ["manifest-blank-line"]
