"""Configurations of the trainers, against the keys that their own parsers accept (read in their source)."""

import json
import shlex
import tomllib
from fractions import Fraction
from pathlib import Path

import pytest
import yaml

from captioner.cli.main import main
from captioner.dataset.exports.configs import BUILDERS
from captioner.dataset.targets import target, targets
from captioner.dataset.trainers import trainers
from captioner.errors import CaptionerError
from tests.support.lists import export, make_folder
from tests.support.media_maker import make_video

# The keys of musubi's and sd-scripts' voluptuous schemas, which refuse any other, and their types.
MUSUBI_GENERAL = {"resolution": list, "batch_size": int, "enable_bucket": bool, "bucket_no_upscale": bool}
MUSUBI_DATASET = {"cache_directory": str, "target_frames": list, "frame_extraction": str, "source_fps": float}
SD_GENERAL = {"caption_extension": str, "shuffle_caption": bool}
SD_DATASET = {"resolution": list, "batch_size": int, "enable_bucket": bool, "bucket_no_upscale": bool, "subsets": list}
# Read without a default by diffusion-pipe's utils/dataset.py.
PIPE_KEYS = {"resolutions", "enable_ar_bucket", "min_ar", "max_ar", "num_ar_buckets", "frame_buckets", "directory"}
LTX_KEYS = {"model", "lora", "training_strategy", "optimization", "data", "validation", "output_dir"}
DIFFSYNTH_OPTIONS = {"dataset_base_path", "dataset_metadata_path", "data_file_keys", "height", "width", "num_frames"}
DIFFSYNTH_OPTIONS |= {"max_pixels", "dataset_repeat", "output_path"}

FILES = {"a b.mp4": "one", "c'd\"e.mp4": "two\nlines", "é 日本.jpg": "three"}


@pytest.fixture
def folder(tmp_path) -> Path:
    return make_folder(tmp_path / 'my "odd" folder\'s é', FILES)


def config(services, folder, trainer, target_name):
    to = folder.parent / f"{trainer} {target_name}"
    return to, export(services, folder, "config", to, trainer=trainer, target=target_name)


def has_types(found: dict, types: dict) -> bool:
    return found.keys() <= types.keys() and all(type(value) is types[key] for key, value in found.items())


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def test_musubi(services, folder):
    to, done = config(services, folder, "musubi", "wan2.2")
    content = tomllib.loads((to / "dataset.toml").read_text(encoding="utf-8"))
    assert content.keys() == {"general", "datasets"}
    assert has_types(content["general"], MUSUBI_GENERAL)
    clips, images = content["datasets"]
    assert has_types(clips, MUSUBI_DATASET | {"video_jsonl_file": str})
    assert has_types(images, MUSUBI_DATASET | {"image_jsonl_file": str})
    assert clips["target_frames"] == [81]
    assert clips["cache_directory"] != images["cache_directory"]
    listed = rows(Path(clips["video_jsonl_file"])) + rows(Path(images["image_jsonl_file"]))
    paths = [row.get("video_path") or row["image_path"] for row in listed]
    assert {(to / path).resolve(): row["caption"] for path, row in zip(paths, listed, strict=True)} == {
        folder / name: text for name, text in FILES.items()
    }
    assert done.count == 3


def test_musubi_has_a_list_with_source_fps_for_the_clips_of_each_rate(services, tmp_path, capsys):
    folder, to = tmp_path / "clips", tmp_path / "to"
    folder.mkdir()
    rates = {"a.mp4": 30, "b.mp4": 60, "c.mp4": 16, "d.mp4": 12, "e.mp4": 30, "f.mp4": Fraction(30000, 1001)}
    for name, rate in rates.items():
        make_video(folder / name, num_frames=20, fps=rate)
        (folder / name).with_suffix(".txt").write_text(f"caption of {name}")
    (folder / "broken.mp4").write_bytes(b"no clip")
    (folder / "broken.txt").write_text("caption of broken.mp4")
    options = ["--format", "config", "--trainer", "musubi", "--target", "wan2.2", "--to", str(to)]
    assert main(["--state", str(tmp_path / "own"), "export", str(folder), *options]) == 0
    content = tomllib.loads((to / "dataset.toml").read_text(encoding="utf-8"))
    listed = {
        dataset.get("source_fps"): [Path(row["video_path"]).name for row in rows(Path(dataset["video_jsonl_file"]))]
        for dataset in content["datasets"]
    }
    assert listed == {
        None: ["broken.mp4", "c.mp4", "d.mp4"],
        29.97: ["f.mp4"],
        30.0: ["a.mp4", "e.mp4"],
        60.0: ["b.mp4"],
    }
    assert len({dataset["cache_directory"] for dataset in content["datasets"]}) == 4
    assert all(has_types(dataset, MUSUBI_DATASET | {"video_jsonl_file": str}) for dataset in content["datasets"])


def test_musubi_trains_h3_on_clips_alone(services, folder):
    to, done = config(services, folder, "musubi", "minimax-h3")
    assert [(left.name, left.reason) for left in done.left_out] == [("é 日本.jpg", "musubi trains MiniMax-H3 on clips")]
    content = tomllib.loads((to / "dataset.toml").read_text(encoding="utf-8"))
    assert [dataset["target_frames"] for dataset in content["datasets"]] == [[124]]
    assert "source_fps" not in (to / "dataset.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "buckets"), [("wan2.1", [1, 33, 81]), ("ltx2", [1, 33, 121]), ("minimax-h3", [1, 119])]
)
def test_diffusion_pipe(services, folder, name, buckets):
    make_folder(folder, {"deep/f.mp4": "four"})
    to, done = config(services, folder, "diffusion-pipe", name)
    content = tomllib.loads((to / "dataset.toml").read_text(encoding="utf-8"))
    assert content.keys() == PIPE_KEYS
    assert content["frame_buckets"] == buckets
    assert [each["path"] for each in content["directory"]] == [str(folder), str(folder / "deep")]
    assert done.count == 4


@pytest.mark.parametrize("name", ["wan2.2", "minimax-h3", "ltx2.5"])
def test_ai_toolkit(services, folder, name):
    to, _ = config(services, folder, "ai-toolkit", name)
    content = yaml.safe_load((to / "config.yaml").read_text(encoding="utf-8"))
    [process] = content["config"]["process"]
    [dataset] = process["datasets"]
    rule = target(name)
    assert dataset["folder_path"] == str(folder)
    assert (dataset["caption_ext"], dataset["num_frames"], dataset["fps"]) == ("txt", rule.frames.default, rule.fps)
    assert dataset.get("do_audio", False) == rule.sound
    assert type(process["train"]["lr"]) is float
    assert process["model"]["arch"] == {"wan2.2": "wan22_14b", "minimax-h3": "minimax_h3", "ltx2.5": "ltx2.5"}[name]


def test_ltx_trainer(services, folder):
    to, _ = config(services, folder, "ltx-trainer", "ltx2.3")
    text = (to / "config.yaml").read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    assert content.keys() == LTX_KEYS
    assert content["validation"]["video_dims"] == [960, 544, 121]
    command = next(line for line in text.splitlines() if line.startswith("# First: "))
    words = shlex.split(command.removeprefix("# First: "))
    listed = rows(Path(words[words.index("scripts/process_dataset.py") + 1]))
    assert {(to / row["media_path"]).resolve(): row["caption"] for row in listed} == {
        folder / name: text for name, text in FILES.items()
    }
    assert words[words.index("--resolution-buckets") + 1] == "960x544x121;960x544x1"


def test_onetrainer(services, folder):
    to, done = config(services, folder, "onetrainer", "sdxl")
    [concept] = json.loads((to / "concepts.json").read_text(encoding="utf-8"))
    assert (concept["path"], concept["text"]["prompt_source"], concept["enabled"]) == (str(folder), "sample", True)
    assert {left.reason for left in done.left_out} == {"SDXL is trained on images"}


def test_sd_scripts(services, folder):
    services.change_settings({"caption_extension": ".caption"})
    (folder / "é 日本.caption").write_text("four")
    to, done = config(services, folder, "sd-scripts", "anima")
    content = tomllib.loads((to / "dataset.toml").read_text(encoding="utf-8"))
    assert content.keys() == {"general", "datasets"}
    assert has_types(content["general"], SD_GENERAL)
    [dataset] = content["datasets"]
    assert has_types(dataset, SD_DATASET)
    assert dataset["subsets"] == [{"image_dir": str(folder), "num_repeats": 1}]
    assert (content["general"]["caption_extension"], done.count) == (".caption", 1)


def test_simpletuner(services, folder):
    to, _ = config(services, folder, "simpletuner", "wan2.2-5b")
    clips, images, texts = json.loads((to / "multidatabackend.json").read_text(encoding="utf-8"))
    assert [clips["dataset_type"], images["dataset_type"], texts["dataset_type"]] == ["video", "image", "text_embeds"]
    assert clips["video"] == {"num_frames": 121, "min_frames": 121}
    assert all(each["disable_multiline_split"] and each["caption_strategy"] == "textfile" for each in (clips, images))
    assert len({each["id"] for each in (clips, images, texts)}) == 3
    assert clips["cache_dir_vae"] != images["cache_dir_vae"]


@pytest.mark.parametrize(("name", "keys"), [("wan2.2", "video"), ("qwen-image", "image")])
def test_diffsynth(services, folder, name, keys):
    to, _ = config(services, folder, "diffsynth", name)
    words = shlex.split((to / "train.sh").read_text(encoding="utf-8").replace("\\\n", " "), comments=True)
    options = dict(zip(words[3:-1:2], words[4:-1:2], strict=True))
    assert {name.removeprefix("--") for name in options} <= DIFFSYNTH_OPTIONS
    assert options["--data_file_keys"] == keys
    base = Path(options["--dataset_base_path"])
    listed = rows(Path(options["--dataset_metadata_path"]))
    assert {(base / row[keys]).resolve().name for row in listed} == {
        name for name in FILES if keys == "video" or name.endswith(".jpg")
    }


def test_every_trainer_and_target_has_a_configuration_or_one_line(services, folder):
    assert set(BUILDERS) == set(trainers())
    made, refused = set(), []
    for trainer in trainers():
        for name in targets():
            try:
                to, _ = config(services, folder, trainer, name)
            except CaptionerError as error:
                refused.append(str(error))
                continue
            made.add((trainer, name))
            for path in to.rglob("*.toml"):
                tomllib.loads(path.read_text(encoding="utf-8"))
            for path in to.rglob("*.yaml"):
                yaml.safe_load(path.read_text(encoding="utf-8"))
    assert [text for text in refused if "; choose one of" not in text or "\n" in text] == []
    assert len({trainer for trainer, _ in made}) == 8
    assert {name for _, name in made} == set(targets()) - {"none"}


def test_captions_that_the_trainer_would_not_find_are_left_out(services, tmp_path):
    folder = make_folder(tmp_path / "clips", {"a.mp4": "one", "a.jpg": "two"})
    (folder / "a.jpg.txt").write_text("two")
    for trainer, left in {"simpletuner": ["a.jpg"], "diffsynth": []}.items():
        _, done = config(services, folder, trainer, "wan2.2")
        assert [name for name, _ in done.left_out] == left
    assert config(services, folder, "musubi", "wan2.1")[1].count == 2
    services.change_settings({"caption_extension": ".caption"})
    (folder / "a.caption").write_text("one")
    with pytest.raises(CaptionerError, match=r"looks for a\.txt"):
        export(services, folder, "config", tmp_path / "x", trainer="diffusion-pipe", target="wan2.2")


def test_captions_of_several_lines_are_noted_where_they_are_split(services, tmp_path):
    folder = make_folder(tmp_path / "images", {"a.jpg": "one\ntwo", "b.jpg": "three"})
    notes = {name: config(services, folder, name, "sdxl")[1].notes for name in ("onetrainer", "sd-scripts")}
    assert notes["onetrainer"] == [
        "1 caption has several lines, of which onetrainer takes each line as a caption of its own"
    ]
    assert notes["sd-scripts"] == ["1 caption has several lines, of which sd-scripts takes only the first line"]
    assert config(services, folder, "simpletuner", "sdxl")[1].notes == []


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (
            ["--trainer", "sd-scripts", "--target", "wan2.2"],
            "sd-scripts does not train wan2.2; choose one of sdxl, anima",
        ),
        (["--trainer", "musubi"], "name the model with --target"),
        (["--target", "wan2.2"], "name the trainer with --trainer"),
        (["--trainer", "musubi", "--target", "wan22"], "there is no target 'wan22'; did you mean wan2.2?"),
        (["--trainer", "onetrainer", "--target", "sdxl"], "no file of the folder can be trained: no caption"),
    ],
)
def test_errors_are_one_line(tmp_path, capsys, words, problem):
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.jpg").touch()
    to = tmp_path / "out"
    assert main(["export", str(tmp_path / "clips"), "--format", "config", "--to", str(to), *words]) == 2
    assert f"error: {problem}" in capsys.readouterr().err
    assert not to.exists()


def test_existing_configuration_stays_unless_told(services, folder):
    to, _ = config(services, folder, "musubi", "wan2.2")
    (to / "dataset.toml").write_text("mine")
    with pytest.raises(CaptionerError, match="--overwrite"):
        config(services, folder, "musubi", "wan2.2")
    assert (to / "dataset.toml").read_text() == "mine"
    with pytest.raises(CaptionerError, match="among the media"):
        export(services, folder, "config", folder, trainer="musubi", target="wan2.2")


def test_a_configuration_needs_a_folder(services, folder, tmp_path):
    with pytest.raises(CaptionerError, match=r"dataset\.toml looks like a file: name the folder"):
        export(services, folder, "config", tmp_path / "dataset.toml", trainer="musubi", target="wan2.2")
