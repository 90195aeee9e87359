"""Each preset's folder in miniature: config, processor, chat template and weights of the same classes are loaded."""

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from captioner.config.presets import PRESETS, SUPERSEDED
from captioner.engine.choose import choose_core
from captioner.engine.continuous import ContinuousCore
from captioner.engine.families import MODEL_TYPES
from captioner.engine.loading import LoadedModel, load
from captioner.engine.prepare import Preparer
from captioner.errors import ModelError
from captioner.values import ModelSpec
from tests.support.engine_cases import make_cases, prepare_cases, run
from tests.support.tiny_presets import BUILDABLE, make_preset_folder

pytestmark = pytest.mark.filterwarnings("ignore:__array")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """A function that returns the miniature of a model type, loaded once."""
    made: dict[str, LoadedModel] = {}

    def get(model_type: str) -> LoadedModel:
        if model_type not in made:
            folder = make_preset_folder(tmp_path_factory.mktemp(model_type) / "model", model_type)
            made[model_type] = load(folder, ModelSpec(str(folder), device="cpu"))
        return made[model_type]

    return get


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.key)
def test_folder_of_a_preset_is_loaded_and_captions_a_clip_and_an_image(loaded, preset):
    model = loaded(preset.model_type)
    core = choose_core(model.model, ModelSpec("x", device="cpu", batch_size=2))
    assert isinstance(core, ContinuousCore) == (preset.model_type in MODEL_TYPES)
    requests = prepare_cases(Preparer(model.processor, core.layout), make_cases(2, longest=8))
    ended = run(core, requests)
    core.close()
    for request in requests:
        assert ended[request.id].error == ""
        assert ended[request.id].finish_reason in ("stop", "length")


def test_every_model_type_of_the_menu_has_a_miniature():
    assert {preset.model_type for preset in PRESETS} <= set(BUILDABLE)
    assert all(preset.model_type for preset in SUPERSEDED)


def test_of_an_omni_model_the_part_that_sees_is_loaded(loaded):
    kinds = {name: type(loaded(name).model).__name__ for name in ("qwen2_5_omni", "qwen3_omni_moe")}
    assert kinds == {
        "qwen2_5_omni": "Qwen2_5OmniThinkerForConditionalGeneration",
        "qwen3_omni_moe": "Qwen3OmniMoeThinkerForConditionalGeneration",
    }


def test_weights_of_the_part_that_sees_may_not_be_missing(tmp_path):
    folder = Path(make_preset_folder(tmp_path / "model", "qwen3_omni_moe"))
    weights = load_file(folder / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if "lm_head" not in name}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"are missing from the files of model: .*lm_head"):
        load(folder, ModelSpec(str(folder), device="cpu"))
