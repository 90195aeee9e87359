from pathlib import Path

import pytest
import torch
from torch import nn
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from captioner.cli.bench.build import build_model, build_tokenizer
from captioner.cli.bench.models import GEOMETRIES
from captioner.config.presets import (
    PRESETS,
    SUPERSEDED,
    Preset,
    about_preset,
    check_quantizable,
    choose_preset,
    default_preset,
    estimate_vram_gb,
    find_preset,
    vram_gb,
)
from captioner.engine.families import family_of
from captioner.errors import FolderError, ModelError
from captioner.services import Services
from captioner.system.roots import Roots

KEYS = [
    "qwen3-vl-2b", "qwen3-vl-4b", "qwen3-vl-8b", "qwen3.5-4b", "qwen3.5-9b", "qwen3.8-27b", "qwen3.8-27b-fp8",
    "qwen3.6-35b-a3b", "qwen3-vl-8b-abliterated", "caprl-4b", "marlin-2b", "gemma-4-e4b", "gemma-4-12b",
    "qwen3-omni-30b-a3b", "avocado-7b", "demo",
]  # fmt: skip
OLD = ["qwen3-vl-32b", "qwen3-vl-30b-a3b", "qwen2.5-vl-7b", "smolvlm2"]


def test_presets_are_the_known_models_and_say_what_they_need() -> None:
    assert [preset.key for preset in PRESETS] == KEYS
    for preset in PRESETS:
        assert preset.vram_gb and preset.weights_gb and preset.notes and preset.title and preset.license  # noqa: PT018
        assert preset.context >= 32_768
        assert preset.thinking in ("never", "optional")
        assert preset.model_type in CONFIG_MAPPING_NAMES


def test_superseded_presets_are_found_by_key_and_hub_id_but_not_in_the_menu() -> None:
    assert [preset.key for preset in SUPERSEDED] == OLD
    for preset in SUPERSEDED:
        assert find_preset(preset.key) == find_preset(preset.source) == preset
        assert preset.key not in KEYS
    assert find_preset("qwen2.5-vl-7b").repetition_penalty == 1.05


def test_qwen_samples_as_its_makers_recommend() -> None:
    qwens = [preset for preset in (*PRESETS, *SUPERSEDED) if preset.key.startswith(("qwen3-vl", "qwen3.", "caprl"))]
    assert len(qwens) == 12
    for preset in qwens:
        assert (preset.temperature, preset.top_p, preset.top_k, preset.repetition_penalty) == (0.7, 0.8, 20, 1.0)
    assert find_preset("qwen3-vl-30b-a3b").source == "Qwen/Qwen3-VL-30B-A3B-Instruct"


def test_what_is_known_of_a_preset_is_one_line() -> None:
    assert about_preset(find_preset("qwen3.5-9b")) == "(license Apache-2.0, context of 262,144 tokens, can think)"
    assert about_preset(find_preset("someone/x")) == ""


@pytest.mark.parametrize("key", sorted(GEOMETRIES.keys() & {*KEYS, *OLD} - {"demo"}))
def test_memory_is_computed_from_the_geometry(key: str) -> None:
    """Of the weights, the cache and the states that the engine plans for 8 clips of 1,700 tokens."""
    tokenizer = build_tokenizer(["describe"], 300)
    model = build_model(tokenizer, GEOMETRIES[key], device="meta", dtype=torch.bfloat16)
    family = family_of(model)
    assert family
    shape = family.slot_shape(model.config.get_text_config())
    cache_gb = 8 * (1700 * shape.token_bytes(torch.bfloat16) + 2 * shape.state_bytes(torch.bfloat16)) / 1e9
    weights_gb = sum(weight.numel() for weight in model.parameters()) * 2 / 1e9
    preset = find_preset(key)
    assert preset.weights_gb == pytest.approx(weights_gb, abs=0.05)
    assert preset.vram_gb == pytest.approx(weights_gb + cache_gb + 1.5, abs=0.1)
    linear = [each.weight.numel() for each in model.get_decoder().modules() if type(each) is nn.Linear]
    assert preset.linear_b == (0 if GEOMETRIES[key].experts else pytest.approx(sum(linear) / 1e9, abs=0.02))


def test_demo_is_a_small_greedy_model_in_the_package_that_says_what_it_is() -> None:
    demo = find_preset("demo")
    assert Path(demo.source).parts[-3:] == ("captioner", "demo", "model")
    assert (demo.temperature, demo.max_frame_size, demo.vram_gb) == (0.0, 128, 0.1)
    assert "knows only a toy world" in demo.notes


def test_vram_is_weights_and_cache_and_room_to_work() -> None:
    assert estimate_vram_gb(17.5, 144) == 21.0  # 17.5 + 8 * 1700 * 144 * 1024 / 1e9 + 1.5
    assert find_preset("qwen3-vl-8b").vram_gb == 21.0


def test_quantization_shrinks_only_the_text_layers() -> None:
    large = find_preset("qwen3-vl-8b")
    assert vram_gb(large, "none") == 21.0
    assert vram_gb(large, "8bit") == 14.1  # 21.0 - 6.95 * (2 - 1)
    assert vram_gb(large, "4bit") == 10.7  # 21.0 - 6.95 * (2 - 0.516)
    assert vram_gb(find_preset("qwen3-vl-2b"), "4bit") == 5.3
    assert vram_gb(find_preset("qwen3-vl-32b"), "8bit") == 40.6


def test_unknown_models_may_be_quantized_but_experts_may_not() -> None:
    for name in ("demo", "gemma-4-12b", "smolvlm2", "someone/x"):
        assert vram_gb(find_preset(name), "4bit") is None
        check_quantizable(find_preset(name), "4bit")
    experts = find_preset("qwen3-vl-30b-a3b")
    assert (vram_gb(experts, "none"), vram_gb(experts, "4bit")) == (64.9, None)
    check_quantizable(experts, "none")
    with pytest.raises(ModelError, match=r"^Qwen3-VL 30B-A3B cannot be quantized: "):
        check_quantizable(experts, "8bit")


@pytest.mark.parametrize("name", ["qwen3-vl-4b", " Qwen3-VL-4B ", "Qwen/Qwen3-VL-4B-Instruct"])
def test_preset_is_found_by_key_and_by_source(name: str) -> None:
    assert find_preset(name).key == "qwen3-vl-4b"


def test_any_hub_id_is_a_greedy_model_of_unknown_size() -> None:
    assert find_preset("someone/Some_Model-7B.v2") == Preset(
        key="someone/Some_Model-7B.v2",
        title="Some_Model-7B.v2",
        source="someone/Some_Model-7B.v2",
        notes="From the Hugging Face Hub.",
    )
    assert find_preset("someone/x").vram_gb is None
    assert find_preset("someone/x").temperature == 0.0


def test_local_folder_wins_over_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "mine" / "model"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert find_preset(str(folder)).source == str(folder)
    monkeypatch.chdir(tmp_path)
    assert find_preset("mine/model").source == str(folder)
    assert find_preset("mine/model").title == "model"


class TestConfined:
    """Only some folders may be opened, such as the home folder or those of --root."""

    @pytest.fixture
    def roots(self, tmp_path: Path) -> Roots:
        (tmp_path / "inside").mkdir()
        return Roots([tmp_path / "inside"])

    def test_presets_and_hub_ids_may_be_chosen(self, roots: Roots, tmp_path: Path) -> None:
        with Services(tmp_path / "state", roots=roots) as services:
            for name in ("demo", str(find_preset("demo").source), "qwen3-vl-2b", "someone/x", "auto"):
                services.change_settings({"model": name})
                assert services.settings.model == name
                assert services.preset(name) == services.preset()
            services.change_settings({"model": "qwen3-vl-2b"})
            assert services.preset("demo").key == "demo"

    def test_model_folder_outside_the_roots_is_refused(
        self, roots: Roots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for folder in (tmp_path / "inside" / "model", tmp_path / "outside" / "model"):
            folder.mkdir(parents=True)
            (folder / "config.json").write_text("{}")
        monkeypatch.chdir(tmp_path)
        assert find_preset(str(tmp_path / "inside" / "model"), roots).title == "model"
        assert find_preset("inside/model", roots).title == "model"
        for name in (str(tmp_path / "outside" / "model"), "outside/model", "inside/../outside/model", "~/x/y", "..\\x"):
            with pytest.raises(FolderError, match="outside the allowed folders"):
                find_preset(name, roots)
        with pytest.raises(ModelError, match="unknown model 'outside'"):
            find_preset("outside", roots)

    def test_nothing_outside_the_roots_is_accessed(
        self, roots: Roots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Accessing \\\\server\\share on Windows would log in to that server."""
        looked = []
        for look in ("isfile", "isdir"):
            monkeypatch.setattr(f"captioner.config.presets.os.path.{look}", looked.append)
        for name in ("\\\\server\\share", "//server/share/model", "/no/such/model"):
            with pytest.raises(FolderError):
                find_preset(name, roots)
        assert looked == []


@pytest.mark.parametrize("name", ["", "qwen", "a/b/c", "/no/such/folder", "-x/y", "https://example.org/m", "owner/"])
def test_anything_else_is_refused_with_the_list_of_keys(name: str) -> None:
    with pytest.raises(ModelError) as caught:
        find_preset(name)
    assert str(caught.value) == (
        f"unknown model {name!r}: give one of {', '.join(KEYS)}, a Hub id such as owner/name, or a model folder"
    )


def test_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        find_preset(str(tmp_path))
    assert str(caught.value) == f"{tmp_path} is not a model folder: it has no config.json"


@pytest.mark.parametrize(
    ("vram_gb", "key"),
    [
        (None, "qwen3-vl-2b"),
        (6.0, "qwen3-vl-2b"),
        (8.6, "qwen3-vl-2b"),
        (11.8, "qwen3-vl-2b"),
        (12.9, "qwen3.5-4b"),
        (17.2, "qwen3.5-4b"),
        (21.6, "qwen3.5-9b"),
        (25.8, "qwen3.5-9b"),
        (150.0, "qwen3.5-9b"),
    ],
)
def test_default_is_the_largest_qwen3_5_up_to_9b_that_fits(vram_gb: float | None, key: str) -> None:
    assert default_preset(vram_gb).key == key
    assert choose_preset("auto", vram_gb).key == key
    assert choose_preset("demo", vram_gb).key == "demo"
