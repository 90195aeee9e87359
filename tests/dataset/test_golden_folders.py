"""The doctor finds exactly the one defect of a folder, as the miniature loader of the trainer meets it."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.dataset.golden import H3_TEXT, SETTINGS, Folder, assert_fits, doctor, doctor_of, effects
from tests.dataset.loaders import H3
from tests.support.media_maker import make_animation

Plant = Callable[[Folder], object]
BESIDE = ("musubi", "pipe", "aitk", "onetrainer", "sd", "simpletuner")
SPLITTING = ("onetrainer", "sd", "simpletuner")


def first(folder: Folder) -> str:
    return next(iter(folder.meant))


def no_caption(folder: Folder) -> None:
    folder.remove("one.txt")


def still_without_caption(folder: Folder) -> None:
    folder.image("still.png")


def caption_of(data: bytes) -> Plant:
    return lambda folder: (folder.path / "one.txt").write_bytes(data)


def marked(folder: Folder) -> None:
    path = folder.path / "one.txt"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())


def other_extension(extension: str) -> Plant:
    return lambda folder: (folder.path / "one.txt").rename(folder.path / f"one{extension}")


def same_stem(folder: Folder) -> None:
    folder.image("one.webp")
    folder.meant["one.webp"] = "another caption"


def deeper(folder: Folder) -> None:
    folder.image("more/three.png")
    folder.caption("more/three")


def unread(name: str) -> Plant:
    def plant(folder: Folder) -> None:
        folder.image(name) if name.endswith((".bmp", ".tif", ".png", ".Png")) else folder.clip(name)
        folder.caption(name.rpartition(".")[0])

    return plant


def clip_of(num_frames: int, fps: float = 0, name: str = "three.mp4", size: tuple[int, int] = (96, 64)) -> Plant:
    def plant(folder: Folder) -> None:
        folder.clip(name, num_frames, fps, size)
        folder.caption("three")

    return plant


def image_of(size: tuple[int, int]) -> Plant:
    def plant(folder: Folder) -> None:
        folder.image("three.png", size)
        folder.caption("three")

    return plant


def beside(name: str) -> Plant:
    return lambda folder: (folder.path / name).write_text("x")


def broken(folder: Folder) -> None:
    (folder.path / first(folder)).write_bytes(b"\0\0\0\x20ftypisom" + bytes(500))


def override(change: Callable[[dict], object]) -> Plant:
    def plant(folder: Folder) -> None:
        for stem in ("one", "two"):
            folder.remove(f"{stem}.txt")
        captions = {name: [text] for name, text in folder.meant.items()}
        change(captions)
        (folder.path / "captions.json").write_text(json.dumps(captions))

    return plant


def animated(folder: Folder) -> None:
    make_animation(folder.path / "still.webp", [40, 40, 40], (128, 64))
    folder.meant["still.webp"] = ""
    folder.caption("still")


def borrowing(folder: Folder) -> None:
    folder.image("one_10_20_30_40.png")
    folder.meant["one_10_20_30_40.png"] = "another caption"


LINES = b"a red ball\nit rolls\nit stops"
CASES: list[tuple[str, str, Plant, str]] = [
    *[(key, "clip-without-caption", no_caption, "one.mp4") for key in BESIDE if key != "sd"],
    *[(key, "image-without-caption", still_without_caption, "still.png") for key in BESIDE],
    *[(key, "caption-empty", caption_of(b""), "one.*") for key in BESIDE],
    *[(key, "caption-empty", caption_of(b" \n"), "one.*") for key in ("musubi", "pipe", "sd")],
    *[(key, "caption-mark", marked, "one.*") for key in BESIDE],
    *[(key, "caption-encoding", caption_of("a red café, one".encode("latin-1")), "one.*") for key in BESIDE],
    *[(key, "caption-encoding", caption_of("a red ball, one".encode("utf-16")), "one.*") for key in ("musubi", "sd")],
    *[(key, "caption-lines", caption_of(LINES), "one.*") for key in SPLITTING],
    ("sd", "caption-lines", caption_of(b"\na red ball, one"), "one.png"),
    *[(key, "caption-extension", other_extension(".caption"), "one.*") for key in BESIDE],
    *[(key, "caption-extension", other_extension(".TXT"), "one.*") for key in ("musubi", "aitk")],
    *[(key, "caption-extension", other_extension(".mp4.txt"), "one.mp4") for key in ("musubi", "simpletuner")],
    *[(key, "caption-shared", same_stem, "one.webp") for key in BESIDE],
    *[(key, "caption-orphan", beside("gone.txt"), "gone.txt") for key in BESIDE],
    *[(key, "media-subfolder", deeper, "more/three.png") for key in ("musubi", "pipe", "sd")],
    ("musubi", "media-kind", unread("three.tif"), "three.tif"),
    ("musubi", "media-kind", unread("three.Png"), "three.Png"),
    ("aitk", "media-kind", unread("three.bmp"), "three.bmp"),
    ("sd", "media-kind", unread("three.mp4"), "three.mp4"),
    ("sd", "media-kind", unread("three.tif"), "three.tif"),
    *[("pipe", "media-like", beside(name), name) for name in ("one.srt", "notes", ".hidden", "set.toml", "._one.mp4")],
    ("simpletuner", "media-like", beside("._one.mp4"), "._one.mp4"),
    *[(key, "media-broken", broken, "one.*") for key in BESIDE if key != "sd"],
    ("aitk", "caption-commas", caption_of(b"a crowd of 1,000 red balls"), "one.mp4"),
    ("pipe", "caption-platform", caption_of("a red ball, one\u2014two".encode()), "one.mp4"),
    ("pipe", "caption-hidden", lambda f: override(lambda captions: None)(f) or f.caption("one"), "captions.json"),
    ("pipe", "clip-without-caption", override(lambda captions: captions.pop("one.mp4")), "one.mp4"),
    ("pipe", "manifest-value", override(lambda captions: captions.update({"one.mp4": "a"})), "captions.json"),
    ("pipe", "manifest-orphan", override(lambda captions: captions.update({"gone.mp4": ["a"]})), "gone.mp4"),
    ("pipe", "caption-empty", override(lambda captions: captions.update({"one.mp4": [""]})), "one.mp4"),
    ("pipe", "webp-animated", animated, "still.webp"),
    ("pipe", "clip-mkv", clip_of(129, name="three.mkv"), "three.mkv"),
    ("pipe", "clip-short", clip_of(20), "three.mp4"),
    ("pipe", "clip-bucket", clip_of(113), "three.mp4"),
    ("pipe", "clip-cut", clip_of(260), "three.mp4"),
    ("pipe", "clip-rate", clip_of(162, 30), "three.mp4"),
    ("pipe-wan", "image-among-clips", image_of((128, 64)), "three.png"),
    ("musubi", "clip-short", clip_of(60), "three.mp4"),
    ("musubi", "clip-cut", clip_of(200), "three.mp4"),
    ("musubi", "clip-rate", clip_of(81, 30), "three.mp4"),
    ("musubi", "size-multiple", clip_of(81, size=(100, 60)), "three.mp4"),
    ("musubi-h3", "clip-short", clip_of(73), "three.mp4"),
    ("musubi-h3", "clip-long", clip_of(400), "three.mp4"),
    ("musubi-h3", "image-among-clips", image_of((128, 64)), "three.png"),
    ("musubi-h3", "caption-form", caption_of(b"a red ball"), "one.mp4"),
    ("musubi-h3", "audio-twice", lambda f: beside("one.wav")(f) and beside("one.mp3")(f), "one.mp4"),
    ("aitk", "clip-squeezed", clip_of(240), "three.mp4"),
    ("aitk-h3", "caption-long", caption_of(H3_TEXT.format("ball rolls " * 400).encode()), "one.mp4"),
    ("onetrainer", "clip-cut", clip_of(260), "three.mp4"),
    ("simpletuner", "clip-short", clip_of(73), "three.mp4"),
    ("simpletuner", "clip-rate", clip_of(121, 30), "three.mp4"),
    ("sd", "caption-borrowed", borrowing, "one_10_20_30_40.png"),
    ("sd", "size-multiple", image_of((100, 64)), "three.png"),
    ("sd", "caption-long", caption_of(b"ball, " * 200), "one.png"),
]  # fmt: skip


@pytest.mark.parametrize("key", SETTINGS)
def test_a_clean_folder_has_no_finding(key, media, tmp_path):
    folder = Folder(tmp_path / "set", SETTINGS[key], media)
    if folder.setting.listed:
        folder.write_list()
    assert effects(folder.setting.load(folder.path), folder) == set()
    assert doctor(folder.path, key, tmp_path) == []


@pytest.mark.parametrize(("key", "code", "plant", "file"), CASES)
def test_one_defect_is_the_one_finding(key, code, plant, file, media, tmp_path):
    folder = Folder(tmp_path / "set", SETTINGS[key], media)
    file = file.replace("one.*", first(folder))
    plant(folder)
    found = doctor(folder.path, key, tmp_path)
    assert [(each.file, each.code) for each in found] == [(file, code)]
    assert found[0].fix
    assert found[0].source
    assert_fits(found[0], folder)


@pytest.mark.parametrize("key", ["onetrainer", "simpletuner"])
def test_fields_on_several_lines_are_split_by_trainers_that_split_lines(key, media, tmp_path):
    setting = replace(SETTINGS[key], target="minimax-h3", form=H3_TEXT, rules=H3)
    folder = Folder(tmp_path / "set", setting, media)
    found = doctor_of(folder.path, setting, tmp_path)
    assert [(each.file, each.code, each.severity) for each in found] == [
        ("one.mp4", "caption-lines", "error"),
        ("two.mp4", "caption-lines", "error"),
    ]


@pytest.mark.parametrize("key", BESIDE)
def test_a_folder_without_media_is_an_error(key, tmp_path):
    (tmp_path / "set").mkdir()
    assert [(each.file, each.code) for each in doctor(tmp_path / "set", key, tmp_path)] == [(".", "media-none")]


def test_masks_and_control_pictures_are_no_items_of_their_trainers(media, tmp_path):
    folder = Folder(tmp_path / "set", SETTINGS["onetrainer"], media)
    folder.image("one-masklabel.png")
    assert doctor(folder.path, "onetrainer", tmp_path) == []
    assert [each.file for each in doctor(folder.path, "musubi", tmp_path) if "caption" in each.code] == [
        "one-masklabel.png"
    ]
    (folder.path / "one-masklabel.png").unlink()
    folder.image("_controls/one.png")
    assert [
        each for each in doctor(folder.path, "aitk", tmp_path) if "caption" in each.code and "comma" not in each.code
    ] == []
