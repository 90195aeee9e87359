import json
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from captioner.config.presets import find_preset
from captioner.config.request_options import generation_options, sampling_plan
from captioner.config.settings import (
    Settings,
    SettingsStore,
    allowed_values,
    problems,
    resolve,
)
from captioner.errors import SettingsError
from captioner.values import ExistingPolicy, GenerationOptions, SamplePlan


@pytest.fixture
def store(tmp_path: Path) -> SettingsStore:
    return SettingsStore(tmp_path / "settings.json")


def test_defaults_are_the_documented_ones() -> None:
    settings = Settings()
    assert (settings.model, settings.dtype, settings.devices, settings.batch_size) == ("auto", "auto", ("auto",), 0)
    assert (settings.fps, settings.max_frames, settings.frame_size, settings.max_new_tokens) == (2.0, 32, 336, 512)
    assert (settings.temperature, settings.top_p, settings.top_k, settings.repetition_penalty) == (None,) * 4
    assert (settings.prompt, settings.prompt_name, settings.existing, settings.seed) == ("", "auto", "skip", 0)
    assert (settings.folder, settings.models_folder, settings.recursive, settings.offline) == (None, None, False, False)
    assert (settings.target, settings.caption_form, settings.token_limit) == ("none", "auto", None)
    assert (settings.target_fps, settings.target_frames) == (None, None)
    assert settings.existing in get_args(ExistingPolicy)


def test_every_setting_has_a_one_line_help_and_words_for_its_range() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert "\n" not in field.description
        assert allowed_values(name), name


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().fps = 3.0  # type: ignore[misc]
    assert hash(Settings()) == hash(Settings())


def test_command_line_wins_over_environment_over_file_over_defaults() -> None:
    file = {"fps": 1.0, "max_frames": 16, "frame_size": 448}
    environment = {"CAPTIONER_FPS": "3", "CAPTIONER_MAX_FRAMES": "24", "CAPTIONER_STATE": "/elsewhere", "PATH": "x"}
    settings = resolve(file, environment, {"fps": 4, "seed": None})
    assert (settings.fps, settings.max_frames, settings.frame_size, settings.seed) == (4.0, 24, 448, 0)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("devices", "cpu,cpu", ("cpu", "cpu")),
        ("devices", " CUDA:0 , cuda:1 ,", ("cuda:0", "cuda:1")),
        ("devices", "mps", ("mps",)),
        ("recursive", "true", True),
        ("offline", "1", True),
        ("compile", "no", False),
        ("temperature", "0.5", 0.5),
        ("temperature", "auto", None),
        ("top_k", " Auto ", None),
        ("batch_size", "4", 4),
        ("folder", "~/clips", Path.home() / "clips"),
        ("prompt", "Say, what you see.", "Say, what you see."),
        ("fps", "", 2.0),
        ("devices", " ", ("auto",)),
    ],
)
def test_environment_is_text_and_becomes_values(name: str, text: str, value: object) -> None:
    settings = resolve({}, {f"CAPTIONER_{name.upper()}": text}, {})
    assert getattr(settings, name) == value


MESSAGES = [
    ("fps", "abc", "'abc' is not allowed; give a number from 0.01 to 120"),
    ("fps", 0, "0 is not allowed; give a number from 0.01 to 120"),
    ("fps", float("inf"), "inf is not allowed; give a number from 0.01 to 120"),
    ("max_frames", 1, "1 is not allowed; give a whole number from 2 to 1024"),
    ("max_frames", 8.5, "8.5 is not allowed; give a whole number from 2 to 1024"),
    ("frame_size", 31, "31 is not allowed; give a whole number from 32 to 2048"),
    ("frame_size", 2049, "2049 is not allowed; give a whole number from 32 to 2048"),
    ("max_new_tokens", 0, "0 is not allowed; give a whole number from 1 to 8192"),
    ("batch_size", 257, "257 is not allowed; give a whole number from 0 to 256"),
    ("decode_threads", -1, "-1 is not allowed; give a whole number from 0 to 64"),
    ("seed", -1, "-1 is not allowed; give a whole number from 0 to 4294967295"),
    ("temperature", 2.1, "2.1 is not allowed; give a number from 0 to 2, or auto"),
    ("temperature", float("nan"), "nan is not allowed; give a number from 0 to 2, or auto"),
    ("temperature", "warm", "'warm' is not allowed; give a number from 0 to 2, or auto"),
    ("top_p", 0, "0 is not allowed; give a number above 0 up to 1, or auto"),
    ("top_p", 1.01, "1.01 is not allowed; give a number above 0 up to 1, or auto"),
    ("top_k", -1, "-1 is not allowed; give a whole number from 0 to 1000, or auto"),
    ("repetition_penalty", 0.9, "0.9 is not allowed; give a number from 1 to 2, or auto"),
    ("existing", "replace", "'replace' is not allowed; give one of skip, overwrite, prefix, append"),
    ("dtype", "fp8", "'fp8' is not allowed; give one of auto, bfloat16, float16, float32"),
    ("attention", "sage", "'sage' is not allowed; give one of auto, sdpa, eager, flash_attention_2"),
    ("devices", "gpu", "'gpu' is not allowed; give auto, or a list of cpu, mps, cuda and cuda:N"),
    ("devices", [], "[] is not allowed; give auto, or a list of cpu, mps, cuda and cuda:N"),
    ("devices", ["auto", "cpu"], "['auto', 'cpu'] is not allowed; give auto, or a list of cpu, mps, cuda and cuda:N"),
    ("devices", 0, "0 is not allowed; give auto, or a list of cpu, mps, cuda and cuda:N"),
    ("recursive", "maybe", "'maybe' is not allowed; give true or false"),
    ("model", "", "'' is not allowed; give a text that is not empty"),
    ("prompt", 5, "5 is not allowed; give a text of at most 20000 characters"),
    ("prompt", "x" * 20_001, f"'{'x' * 75}...' is not allowed; give a text of at most 20000 characters"),
    ("folder", 5, "5 is not allowed; give a path; ~ and ~name need a home folder"),
    ("captions_to", "~nobodyx/c", "'~nobodyx/c' is not allowed; give a path; ~ and ~name need a home folder"),
]


@pytest.mark.parametrize(("name", "value", "message"), MESSAGES)
def test_bad_value_is_one_line_with_what_is_allowed(name: str, value: Any, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        resolve({}, {}, {name: value})
    assert str(caught.value) == f"{name}: {message}"


@pytest.mark.parametrize(
    ("file", "environment", "overrides", "message"),
    [
        ({"fps": -1}, {}, {}, "fps in the settings file: -1 is not allowed; give a number from 0.01 to 120"),
        ({"fps": 1}, {"CAPTIONER_FPS": "x"}, {}, "CAPTIONER_FPS: 'x' is not allowed; give a number from 0.01 to 120"),
        ({}, {"CAPTIONER_FPS": "2"}, {"fps": "y"}, "fps: 'y' is not allowed; give a number from 0.01 to 120"),
        ({"max_frame": 1}, {}, {}, "unknown setting max_frame in the settings file; did you mean max_frames?"),
        ({}, {}, {"Prompt-Name": "x"}, "unknown setting Prompt-Name; did you mean prompt_name?"),
        ({}, {}, {"xyz": "x"}, f"unknown setting xyz; there are {', '.join(Settings.model_fields)}"),
    ],
)
def test_message_names_where_the_value_came_from(
    file: dict[str, Any], environment: dict[str, str], overrides: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        resolve(file, environment, overrides)
    assert str(caught.value) == message


def test_bad_value_that_is_overridden_is_ignored() -> None:
    assert resolve({"fps": 2}, {"CAPTIONER_FPS": "x"}, {"fps": 3}).fps == 3.0


def test_missing_file_means_the_defaults(store: SettingsStore) -> None:
    assert store.read() == {}
    assert resolve(store.read(), {}, {}) == Settings()


def test_file_holds_only_what_differs_and_comes_back_the_same(store: SettingsStore, tmp_path: Path) -> None:
    settings = Settings(devices=("cpu", "cpu"), folder=tmp_path / "ü", temperature=0.0, prompt="a\nb", recursive=True)
    store.save(settings)
    assert json.loads(store.path.read_text(encoding="utf-8")) == {
        "devices": ["cpu", "cpu"],
        "temperature": 0.0,
        "prompt": "a\nb",
        "folder": str(tmp_path / "ü"),
        "recursive": True,
    }
    assert resolve(store.read(), {}, {}) == settings
    store.save(Settings())
    assert store.path.read_text() == "{}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["settings.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"fps": "fast"}', "fps in {path}: 'fast' is not allowed; give a number from 0.01 to 120"),
        (b'{"max_frame": 8}', "unknown setting max_frame in {path}; did you mean max_frames?"),
        (b'{"fps": 2', "the settings file {path} is damaged (Expecting ',' delimiter: line 1 column 10 (char 9))"),
        (b"[]", "the settings file {path} is damaged (not a JSON object)"),
        (b"\xff", "the settings file {path} is damaged (it is not text in UTF-8 or UTF-16)"),
    ],
)
def test_bad_file_is_named_and_left_unchanged(store: SettingsStore, content: bytes, message: str) -> None:
    store.path.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        store.read()
    expected = message.replace("{path}", str(store.path))
    assert str(caught.value) == expected + ("; correct or remove it" if "damaged" in message else "")
    assert store.path.read_bytes() == content


def test_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    store = SettingsStore(tmp_path / "missing" / "settings.json")
    with pytest.raises(SettingsError) as caught:
        store.save(Settings())
    assert str(caught.value) == f"cannot write the settings file {store.path}: No such file or directory"


def test_values_that_are_not_set_come_from_the_preset() -> None:
    qwen = find_preset("qwen3-vl-8b")
    assert generation_options(Settings(), qwen) == GenerationOptions(512, 0.7, 0.8, 20, 1.0, 0)
    settings = Settings(temperature=0.0, top_k=0, repetition_penalty=1.1, max_new_tokens=64, seed=3)
    assert generation_options(settings, qwen) == GenerationOptions(64, 0.0, 0.8, 0, 1.1, 3)
    assert generation_options(Settings(), find_preset("demo")) == GenerationOptions()


def test_plan_caps_the_frame_size_to_the_model() -> None:
    assert sampling_plan(Settings(), find_preset("qwen3-vl-8b")) == SamplePlan(32, 2.0, 8, 336)
    assert sampling_plan(Settings(), find_preset("demo")) == SamplePlan(32, 2.0, 8, 128)
    settings = Settings(frame_size=64, max_frames=4, fps=1.0)
    assert sampling_plan(settings, find_preset("demo")) == SamplePlan(4, 1.0, 4, 64)


@pytest.mark.parametrize("name", ["trigger_word", "caption_prefix", "caption_suffix"])
def test_prefix_suffix_and_trigger_word_are_one_line_of_text(name: str) -> None:
    assert getattr(Settings(), name) == ""
    for text in ("a\nb", "a\u2028b", "tab\there", "half \udce4", "x" * 201):
        with pytest.raises(SettingsError) as caught:
            resolve({}, {}, {name: text})
        assert str(caught.value).endswith("is not allowed; give one line of text of at most 200 characters")
    assert getattr(resolve({}, {}, {name: "<b> ${x} 猫 👩‍👧"}), name) == "<b> ${x} 猫 👩‍👧"


def test_spaces_around_a_prefix_are_kept_and_around_a_trigger_word_are_not() -> None:
    settings = resolve({}, {}, {"trigger_word": " sks ", "caption_prefix": "a ", "caption_suffix": " b"})
    assert (settings.trigger_word, settings.caption_prefix, settings.caption_suffix) == ("sks", "a ", " b")


def test_problems_names_exactly_the_wrong_values() -> None:
    assert problems({"fps": 0, "devices": "tpu", "max_frames": 8, "top_p": None, "nothing": 1}) == {
        "fps": "give a number from 0.01 to 120",
        "devices": "give auto, or a list of cpu, mps, cuda and cuda:N",
    }
    assert problems({"max_frames": 8.0, "seed": None}) == {}
    assert problems({"max_frames": 8.5}) == {"max_frames": "give a whole number from 2 to 1024"}
