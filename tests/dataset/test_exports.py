"""What is exported is what the parsers of the formats read: the same files with the same captions."""

import json
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from captioner.dataset.exports.export import LISTS
from captioner.dataset.exports.export import export as run
from captioner.dataset.exports.request import Request
from captioner.dataset.exports.styles import NO_TRAINER, styles
from captioner.dataset.trainers import trainers
from captioner.errors import CaptionerError
from tests.support.lists import CAPTIONS, export, make_folder, parse


@pytest.mark.parametrize("file_format", LISTS)
def test_list_holds_every_file_and_caption(services, tmp_path, file_format):
    folder = make_folder(tmp_path / "my clips", {**CAPTIONS, "sub folder/deep/x.mp4": "deep"})
    path = tmp_path / "lists" / f"all.{file_format}"
    done = export(services, folder, file_format, path)
    assert (done.count, done.files, done.left_out) == (len(CAPTIONS) + 1, [path], [])
    rows = parse(path)
    found = {os.path.relpath(os.path.normpath(path.parent / name), folder): text for name, text in rows}
    assert found == {**CAPTIONS, "sub folder/deep/x.mp4": "deep"}
    assert all("\\" not in name and not name.startswith("/") for name, _ in rows)


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\:"), min_size=1, max_size=20)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff\ufffe"), min_size=1, max_size=60)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(captions=st.dictionaries(NAMES.map(lambda name: name.strip(". ") or "x"), TEXTS, min_size=1, max_size=4))
def test_any_name_and_caption_survive_every_list(services, tmp_path_factory, captions):
    folder = tmp_path_factory.mktemp("any")
    made = {}
    for name, text in captions.items():
        (folder / f"{name}.mp4").touch()
        services.captions.save(folder / f"{name}.txt", text)
    items = services.open_folder(folder, recursive=True).items
    for item in items:
        if text := services.captions.read(item.caption_path):
            made[item.name] = text.replace("\r\n", "\n").replace("\r", "\n")
    for file_format in LISTS:
        path = folder.parent / f"list-{folder.name}.{file_format}"
        done = export(services, folder, file_format, path)
        assert done.count == len(made)
        assert dict(parse(path)) == {f"{folder.name}/{name}": text for name, text in made.items()}


def test_files_that_cannot_be_exported_are_named_with_the_reason(services, tmp_path):
    folder = make_folder(tmp_path / "clips", {"a.mp4": "ok", "b.mp4": " \n", "c.mp4": "text", "d.mp4": "x"})
    (folder / "e.mp4").touch()
    (folder / "c.txt").write_bytes("Fran\xe7ois caf\xe9 \xe0 c\xf4t\xe9".encode("latin-1"))
    (folder / "d.txt").unlink()
    (folder / "d.txt").mkdir()
    (folder / "d.txt" / "x").touch()
    (folder / "a.mp4").rename(folder / "\udcff.mp4")
    (folder / "\udcff.txt").write_text("bad name")
    done = export(services, folder, "jsonl", tmp_path / "list.jsonl")
    reasons = {left.name: left.reason for left in done.left_out}
    assert done.count == 0
    assert reasons["b.mp4"] == reasons["e.mp4"] == reasons["d.mp4"] == "no caption"
    assert "UTF-8" in reasons["c.mp4"]
    assert reasons["\udcff.mp4"] == "its name is not valid Unicode; rename the file"
    assert all("\n" not in reason for reason in reasons.values())


@pytest.mark.parametrize("trainer", [name for name in styles() if name != NO_TRAINER])
def test_every_trainer_gets_its_own_columns(services, tmp_path, trainer):
    folder = make_folder(tmp_path / "clips", {"a.mp4": "one\ntwo", "b.jpg": "three"})
    style = styles()[trainer]
    for file_format in style.formats:
        done = export(services, folder, file_format, tmp_path / f"list.{file_format}", trainer=trainer)
        rows = [row for path in done.files for row in json_rows(path)]
        if (trainer, file_format) == ("sd-scripts", "json"):
            rows = [{"image_path": name, **about} for name, about in rows]
        assert rows == EXPECTED[trainer](folder)
    for file_format in set(LISTS) - set(style.formats):
        with pytest.raises(CaptionerError, match="does not read a list"):
            export(services, folder, file_format, tmp_path / f"other.{file_format}", trainer=trainer)


def json_rows(path: Path) -> list[dict]:
    """The rows as a trainer would see them."""
    text = path.read_text(encoding="ascii") if path.suffix in (".json", ".jsonl") else ""
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines()]
    if path.suffix == ".json":
        content = json.loads(text)
        return content if isinstance(content, list) else list(content.items())
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(path) if path.suffix == ".csv" else pandas.read_parquet(path)
    return [{name: value for name, value in row.items() if isinstance(value, str)} for row in frame.to_dict("records")]


EXPECTED = {
    "musubi": lambda folder: [
        {"video_path": "clips/a.mp4", "caption": "one\ntwo"},
        {"image_path": "clips/b.jpg", "caption": "three"},
    ],
    "diffusion-pipe": lambda folder: [("a.mp4", ["one\ntwo"]), ("b.jpg", ["three"])],
    "ai-toolkit": lambda folder: [
        (f"{folder}/a.mp4", {"caption": "one\ntwo"}),
        (f"{folder}/b.jpg", {"caption": "three"}),
    ],
    "ltx-trainer": lambda folder: [
        {"media_path": "clips/a.mp4", "caption": "one\ntwo"},
        {"media_path": "clips/b.jpg", "caption": "three"},
    ],
    "onetrainer": lambda folder: [],
    "sd-scripts": lambda folder: [{"image_path": f"{folder}/b.jpg", "caption": "three"}],
    "simpletuner": lambda folder: [
        {"filename": "clips/a.mp4", "caption": "one\ntwo"},
        {"filename": "clips/b.jpg", "caption": "three"},
    ],
    "diffsynth": lambda folder: [
        {"video": "clips/a.mp4", "prompt": "one\ntwo"},
        {"image": "clips/b.jpg", "prompt": "three"},
    ],
}


def test_styles_are_of_the_trainers_that_the_doctor_knows():
    assert list(styles()) == [NO_TRAINER, *trainers()]


def test_images_of_a_video_target_are_listed_with_its_clips(services, tmp_path):
    folder = make_folder(tmp_path / "clips", {"a.mp4": "one", "b.jpg": "two"})
    export(services, folder, "jsonl", tmp_path / "x.jsonl", trainer="diffsynth", target="wan2.2")
    assert [list(row) for row in json_rows(tmp_path / "x.jsonl")] == [["video", "prompt"]] * 2


def test_names_that_would_collide_are_left_out(services, tmp_path):
    folder = make_folder(tmp_path / "clips", {"a.mp4": "one", "x/a.mp4": "two", "a.jpg": "three"})
    (folder / "a.jpg.txt").write_text("three")  # the caption of the second file of a stem
    done = export(services, folder, "captions.json", folder)
    assert [left.name for left in done.left_out] == ["x/a.mp4"]
    assert "export each folder by itself" in done.left_out[0].reason
    done = export(services, folder, "jsonl", tmp_path / "x.jsonl", trainer="ltx-trainer")
    assert [left.name for left in done.left_out] == ["a.jpg"]


def test_nothing_is_written_among_the_media_that_a_trainer_takes_for_media(services, tmp_path):
    folder = make_folder(tmp_path / "clips")
    before = sorted(os.listdir(folder))
    (tmp_path / "link").symlink_to(folder)
    for name in ("x.jsonl", "x.csv", "x"):
        for target in (folder / name, tmp_path / "link" / name):
            with pytest.raises(CaptionerError, match="among the media"):
                export(services, folder, "csv" if name == "x.csv" else "jsonl", target)
    for file_format in ("webdataset", "hf"):
        with pytest.raises(CaptionerError, match="holds the media"):
            export(services, folder, file_format, folder)
    assert sorted(os.listdir(folder)) == before
    export(services, folder, "captions.json", folder)
    assert sorted(os.listdir(folder)) == sorted([*before, "captions.json"])
    (folder / "deep").mkdir()
    request = Request("jsonl", folder / "deep" / "x.jsonl")
    items = services.open_folder(folder, recursive=False).items
    run(request, items, [])  # a folder without media
    (folder / "deep" / "y.MP4").touch()
    with pytest.raises(CaptionerError, match="among the media"):
        run(request, items, [])


def test_list_is_replaced_only_if_told_and_whole(services, tmp_path, monkeypatch):
    folder, path = make_folder(tmp_path / "clips"), tmp_path / "x.jsonl"
    path.write_text("mine")
    with pytest.raises(CaptionerError, match="--overwrite"):
        export(services, folder, "jsonl", path)
    assert path.read_text() == "mine"
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(CaptionerError, match="No space left"):
        export(services, folder, "jsonl", path, overwrite=True)
    assert path.read_text() == "mine"
    monkeypatch.undo()
    export(services, folder, "jsonl", path, overwrite=True)
    assert len(parse(path)) == len(CAPTIONS)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clips", "state", "x.jsonl"]


def test_captions_that_pandas_takes_for_none_are_noted(services, tmp_path):
    folder = make_folder(tmp_path / "clips", {"a.mp4": "NA", "b.mp4": "nan", "c.mp4": "fine"})
    done = export(services, folder, "csv", tmp_path / "x.csv")
    assert done.notes == ["pandas reads 2 of the captions, such as NA, as missing; use jsonl"]


def test_shards_hold_every_file_and_caption(services, tmp_path, monkeypatch):
    monkeypatch.setattr("captioner.dataset.exports.shards.MAX_SHARD_FILES", 4)
    folder = make_folder(tmp_path / "clips", {**CAPTIONS, "sub/x.y/z.mp4": "deep"})
    done = export(services, folder, "webdataset", tmp_path / "shards")
    shards = sorted((tmp_path / "shards").iterdir())
    assert [shard.name for shard in shards] == [
        "jpg-00000.tar",
        "mp4-00000.tar",
        "mp4-00001.tar",
        "png-00000.tar",
    ]
    found = {}
    for shard in shards:
        with tarfile.open(shard) as tar:
            members = {member.name: tar.extractfile(member).read() for member in tar}
        for name in [name for name in members if name.endswith(".json")]:
            about, key = json.loads(members[name]), name.removesuffix(".json")
            [media] = [data for other, data in members.items() if other[:9] == f"{key}." and other[9:] in MEDIA]
            assert media.decode() == f"media {about['file_name']}"
            assert members[f"{key}.txt"].decode() == about["text"]
            found[about["file_name"]] = about["text"]
    assert found == {**CAPTIONS, "sub/x.y/z.mp4": "deep"}
    assert done.count == len(found)
    with pytest.raises(CaptionerError, match="choose a new or an empty folder"):
        export(services, folder, "webdataset", tmp_path / "shards")


MEDIA = ("mp4", "jpg", "png")


@pytest.mark.filterwarnings("ignore")  # it leaves the shards open
def test_library_webdataset_reads_the_shards(services, tmp_path):
    webdataset = pytest.importorskip("webdataset")
    folder = make_folder(tmp_path / "clips")
    export(services, folder, "webdataset", tmp_path / "shards")
    shards = [str(path) for path in sorted((tmp_path / "shards").iterdir())]
    samples = webdataset.WebDataset(shards, shardshuffle=False)
    found = {json.loads(sample["json"])["file_name"]: sample["txt"].decode() for sample in samples}
    assert found == CAPTIONS


@pytest.mark.filterwarnings("ignore")
def test_library_datasets_reads_the_shards_of_each_extension(services, tmp_path):
    datasets = pytest.importorskip("datasets")
    folder = make_folder(tmp_path / "clips")
    export(services, folder, "webdataset", tmp_path / "shards")
    found = {}
    for ending in MEDIA:
        files = str(tmp_path / "shards" / f"{ending}-*.tar")
        rows = datasets.load_dataset("webdataset", data_files=files, streaming=True)["train"].select_columns(
            ["txt", "json"]
        )
        found |= {row["json"]["file_name"]: row["txt"] for row in rows}
    assert found == CAPTIONS


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "extensions"), [("video", (".mp4",)), ("image", (".jpg", ".png"))])
def test_library_datasets_reads_the_folder(services, tmp_path, kind, extensions):
    datasets = pytest.importorskip("datasets")
    mine = {name: text for name, text in CAPTIONS.items() if name.endswith(extensions)}
    mine[f"sub folder/deep{extensions[0]}"] = "deep"
    folder = make_folder(tmp_path / "clips", mine)
    done = export(services, folder, "hf", tmp_path / "hub")
    assert (done.count, done.left_out) == (len(mine), [])
    loaded = datasets.load_dataset(str(tmp_path / "hub"), cache_dir=str(tmp_path / "cache"))["train"]
    feature = {"video": datasets.Video, "image": datasets.Image}[kind](decode=False)
    rows = list(loaded.cast_column(kind, feature))
    assert {os.path.relpath(row[kind]["path"], tmp_path / "hub" / "train"): row["text"] for row in rows} == mine


def test_clips_and_images_are_two_data_sets_of_the_hub(services, tmp_path):
    folder = make_folder(tmp_path / "clips", {"a.mp4": "one", "s/b.jpg": "two", "c.webm": "three", "d::e.mp4": "four"})
    done = export(services, folder, "hf", tmp_path / "hub")
    assert {left.name for left in done.left_out} == {"c.webm", "d::e.mp4"}
    files = {str(path.relative_to(tmp_path / "hub")) for path in (tmp_path / "hub").rglob("*") if path.is_file()}
    lists = {"videos/train/metadata.jsonl", "images/train/metadata.jsonl"}
    assert files == {"videos/train/a.mp4", "images/train/s/b.jpg", *lists}


def test_failed_folder_leaves_nothing_behind(services, tmp_path, monkeypatch):
    folder = make_folder(tmp_path / "clips")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", fail)
    monkeypatch.setattr("shutil.copyfile", fail)
    with pytest.raises(CaptionerError, match="No space left on device"):
        export(services, folder, "hf", tmp_path / "hub")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clips", "state"]
