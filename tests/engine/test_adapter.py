"""LoRA adapters: merged they compute what PEFT computes unmerged, and what cannot be merged is refused in one line."""

import shutil
from pathlib import Path

import pytest
import torch
from peft import IA3Config, PromptTuningConfig, TaskType
from safetensors.torch import load_file, save_file

from captioner.engine import adapter_files
from captioner.engine.adapter_files import check_adapter, check_base, hub_name, read_adapter
from captioner.engine.continuous import ContinuousCore, ContinuousOptions
from captioner.engine.loading import load
from captioner.engine.prepare import Preparer
from captioner.errors import ModelError
from captioner.values import ModelSpec
from tests.support.adapters import change_config, open_base, save_adapter
from tests.support.engine_cases import generate_alone, make_cases, prepare_cases, processor_inputs, run
from tests.support.tiny import make_tiny_model

KINDS = {
    "text": {"target_modules": ["q_proj", "v_proj", "down_proj"]},
    "all linear layers": {"target_modules": "all-linear"},
    "vision tower": {"target_modules": r".*visual.*(qkv|linear_fc1|proj)"},
    "DoRA": {"target_modules": ["q_proj", "o_proj"], "use_dora": True},
    "ranks of their own": {
        "target_modules": ["q_proj", "o_proj"], "use_rslora": True, "rank_pattern": {"o_proj": 2},
        "alpha_pattern": {"o_proj": 16},
    },
    "whole last layer": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "whole embedding": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    "tied embedding": {"target_modules": ["q_proj", "embed_tokens"]},
    "tied last layer": {"target_modules": ["q_proj", "lm_head"]},
    "some tokens": {"target_modules": ["q_proj"], "trainable_token_indices": {"embed_tokens": list(range(40, 90))}},
    "biases": {"target_modules": ["q_proj", "qkv"], "bias": "all"},
}  # fmt: skip
EXPERTS = {"target_modules": ["q_proj"], "target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]}
LINEAR = {"target_modules": ["in_proj_qkv", "in_proj_z", "out_proj", "gate_proj"]}


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """A function that returns the folder of a tiny model of a family."""
    made = {}

    def base(family: str) -> Path:
        if family not in made:
            made[family] = make_tiny_model(tmp_path_factory.mktemp(family) / "base", family)
        return made[family]

    return base


def merge(base: Path, adapter: Path, **options):
    return load(base, ModelSpec(str(base), device="cpu", adapter=str(adapter), **options))


def refusal(base: Path, adapter: Path, **options) -> str:
    with pytest.raises(ModelError) as error:
        merge(base, adapter, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("family", "options"),
    [
        *(pytest.param("qwen3_vl", options, id=f"qwen3_vl {kind}") for kind, options in KINDS.items()),
        pytest.param("qwen3_vl_moe", EXPERTS, id="qwen3_vl_moe experts"),
        pytest.param("qwen3_5", LINEAR, id="qwen3_5 linear attention"),
        pytest.param("qwen3_5_moe", EXPERTS | {"use_rslora": True}, id="qwen3_5_moe experts"),
    ],
)
@torch.inference_mode()
def test_merged_model_computes_what_the_unmerged_one_does(bases, tmp_path, family, options):
    with torch.inference_mode(False):
        unmerged = save_adapter(bases(family), tmp_path / "mine", **options)
        loaded = merge(bases(family), tmp_path / "mine")
    case = make_cases(2)[1]
    inputs = processor_inputs(loaded.processor, case.frames, case.prompt)
    logits = [model(**inputs).logits for model in (loaded.model, unmerged, open_base(bases(family)))]
    difference = logits[0] - logits[1]
    assert difference.norm() < 1e-5 * logits[1].norm()
    if family.startswith("qwen3_vl"):  # the recurrence of the others magnifies rounding in a few places
        assert difference.abs().max() < 1e-5
    assert (logits[0] - logits[2]).abs().max() > 1e-2
    assert not any("lora" in name for name, _ in loaded.model.named_modules())
    assert dict(loaded.report.rows)["adapter"] == "mine, merged"


def test_captions_are_those_of_the_adapted_model_and_not_of_the_base(bases, tmp_path):
    unmerged = save_adapter(bases("qwen3_vl"), tmp_path / "mine", scale=0.1, target_modules=["q_proj", "down_proj"])
    loaded, cases = merge(bases("qwen3_vl"), tmp_path / "mine"), make_cases(4)
    models = (unmerged.base_model.model, open_base(bases("qwen3_vl")))
    adapted, base = ([generate_alone(model, loaded.processor, case) for case in cases] for model in models)
    core = ContinuousCore(loaded.model, ContinuousOptions(max_slots=2))
    ended = run(core, prepare_cases(Preparer(loaded.processor, core.layout), cases))
    core.close()
    assert [ended[i].tokens for i in range(4)] == adapted
    assert all(ours != before for ours, before in zip(adapted, base, strict=True))


@pytest.mark.parametrize(
    ("now", "before"),
    [
        ("model.model.language_model.", "model.model."),  # of the text model alone (vllm#48022)
        ("model.model.language_model.", "model.language_model.model."),
        ("model.model.visual.", "model.visual."),  # before transformers 4.52 (ms-swift#4697)
    ],
)
def test_weights_with_the_names_of_other_releases_find_their_places(bases, tmp_path, now, before):
    options = {"target_modules": r".*visual.*qkv"} if "visual" in now else {"target_modules": ["q_proj", "up_proj"]}
    save_adapter(bases("qwen3_vl"), tmp_path / "mine", **options)
    wanted = merge(bases("qwen3_vl"), tmp_path / "mine").model.state_dict()
    weights = load_file(tmp_path / "mine" / "adapter_model.safetensors")
    renamed = {name.replace(now, before): weight for name, weight in weights.items()}
    assert renamed.keys().isdisjoint(weights)
    save_file(renamed, tmp_path / "mine" / "adapter_model.safetensors")
    found = merge(bases("qwen3_vl"), tmp_path / "mine").model.state_dict()
    assert all(torch.equal(found[name], weight) for name, weight in wanted.items())


@pytest.fixture
def adapter(bases, tmp_path) -> Path:
    save_adapter(bases("qwen3_vl"), tmp_path / "mine", target_modules=["q_proj", "o_proj"])
    return tmp_path / "mine"


class TestWrongBase:
    def test_other_architecture(self, bases, tmp_path):
        save_adapter(bases("qwen3_5"), tmp_path / "mine", **LINEAR | {"target_modules": ["in_proj_qkv"]})
        change_config(tmp_path / "mine", base_model_name_or_path="Qwen/Qwen3.5-9B")
        assert refusal(bases("qwen3_vl"), tmp_path / "mine") == (
            "the adapter mine does not fit Qwen3VLForConditionalGeneration: Target modules {'in_proj_qkv'} not found "
            "in the base model; choose the model that it was trained for, Qwen/Qwen3.5-9B"
        )

    def test_other_size(self, bases, adapter):
        weights = load_file(adapter / "adapter_model.safetensors")
        name = next(name for name in weights if "layers.0.self_attn.q_proj.lora_A" in name)
        save_file(weights | {name: torch.zeros(4, 48)}, adapter / "adapter_model.safetensors")
        assert "q_proj.lora_A.default.weight is [4, 48] instead of [4, 64]; choose the model" in refusal(
            bases("qwen3_vl"), adapter
        )

    @pytest.mark.parametrize(
        ("missing", "text"),
        [(True, "it has no weights base_model."), (False, "the model has no place for base_model.")],
    )
    def test_other_number_of_layers(self, bases, adapter, missing, text):
        weights = load_file(adapter / "adapter_model.safetensors")
        if missing:
            kept = {name: weight for name, weight in weights.items() if "layers.1." not in name}
        else:
            kept = weights | {name.replace("layers.1.", "layers.2."): weight + 0 for name, weight in weights.items()}
        save_file(kept, adapter / "adapter_model.safetensors")
        assert text in refusal(bases("qwen3_vl"), adapter)

    @pytest.mark.parametrize(
        ("base", "fits"),
        [
            ("Qwen/Qwen3-VL-8B-Instruct", True),
            ("unsloth/Qwen3-VL-8B-Instruct-unsloth-bnb-4bit", True),
            ("huihui-ai/Huihui-Qwen3-VL-8B-Instruct-abliterated", True),
            ("Qwen/Qwen3-VL-8B-Instruct-FP8", True),
            ("/home/me/my-base", True),
            ("C:\\models\\base", True),
            ("../base", True),
            (None, True),
            (["x"], True),
            ("Qwen/Qwen3-VL-4B-Instruct", False),
            ("Qwen/Qwen3-VL-8B-Thinking", False),
            ("Qwen/Qwen3.5-9B", False),
            ("/cache/models--Qwen--Qwen3-VL-2B-Instruct/snapshots/abc", False),
        ],
    )
    def test_names_of_the_hub(self, adapter, base, fits):
        found = read_adapter(change_config(adapter, base_model_name_or_path=base))
        check_base(found, "/models/qwen3-vl-8b")
        for source in ("Qwen/Qwen3-VL-8B-Instruct", "/hub/models--Qwen--Qwen3-VL-8B-Instruct/snapshots/0a1b"):
            if fits:
                check_base(found, source)
                continue
            with pytest.raises(ModelError) as error:
                check_base(found, source)
            assert str(error.value) == (
                f"the adapter mine was trained for {hub_name(base)}, not for Qwen/Qwen3-VL-8B-Instruct; "
                "choose that model, or another adapter"
            )


class TestRefused:
    """As soon as the job starts: `check_adapter` runs without torch, and again where the model is loaded."""

    def check(self, folder: Path, **options) -> str:
        with pytest.raises(ModelError) as error:
            check_adapter(str(folder), "Qwen/Qwen3-VL-8B-Instruct", **{"quantization": "none", **options})
        assert "\n" not in str(error.value)
        return str(error.value)

    def test_folders_that_hold_no_adapter(self, bases, tmp_path):
        assert self.check(tmp_path / "none").startswith(f"no such folder: {tmp_path / 'none'}; ")
        assert self.check(tmp_path).endswith("is not an adapter of PEFT: it has no adapter_config.json")
        assert self.check(bases("qwen3_vl")).endswith("; it is a whole model, so give it as the model")

    def test_pickles(self, adapter):
        torch.save(load_file(adapter / "adapter_model.safetensors"), adapter / "adapter_model.bin")
        (adapter / "adapter_model.safetensors").unlink()
        assert self.check(adapter) == (
            f"{adapter} holds its weights in adapter_model.bin, a pickle, which could run code; "
            "save it again with safe_serialization=True"
        )
        (adapter / "adapter_model.bin").unlink()
        assert self.check(adapter) == f"{adapter} has no adapter_model.safetensors; copy the adapter again"

    @pytest.mark.parametrize(
        "data", [b"", b"\x08\0\0\0\0\0\0\0{}      ", b"version https://git-lfs.github.com/spec/v1\n"]
    )
    def test_damaged_weights(self, adapter, data):
        (adapter / "adapter_model.safetensors").write_bytes(data)
        assert "copy the adapter again" in self.check(adapter)

    @pytest.mark.parametrize("text", ["", "[]", "{", '{"a": ' * 5000])
    def test_damaged_config(self, adapter, text):
        (adapter / "adapter_config.json").write_text(text)
        assert self.check(adapter).startswith(f"cannot read {adapter / 'adapter_config.json'}: ")

    def test_other_kinds(self, bases, tmp_path):
        ia3 = IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"])
        save_adapter(bases("qwen3_vl"), tmp_path / "ia3", config=ia3)
        assert self.check(tmp_path / "ia3").endswith("is an adapter of the kind IA3; only LoRA adapters can be merged")
        (tmp_path / "prompt").mkdir()
        PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=4).save_pretrained(tmp_path / "prompt")
        assert "of the kind PROMPT_TUNING; only LoRA" in self.check(tmp_path / "prompt")

    @pytest.mark.parametrize(
        ("values", "text"),
        [
            ({"megatron_config": {"a": 1}, "megatron_core": "os"}, "uses 'megatron_config' of PEFT"),
            ({"layer_replication": [[0, 2]]}, "uses 'layer_replication' of PEFT"),
            ({"alora_invocation_tokens": [1, 2]}, "uses 'alora_invocation_tokens' of PEFT"),
            ({"use_qalora": True}, "uses 'use_qalora' of PEFT"),
            ({"arrow_config": {"top_k": 2}}, "uses 'arrow_config' of PEFT"),
            ({"a_field_of_tomorrow": 1}, "uses 'a_field_of_tomorrow' of PEFT"),
            ({"init_lora_weights": "pissa"}, "which changes the base model"),
            ({"init_lora_weights": "olora"}, "which changes the base model"),
            ({"r": 10**9}, "has the rank 1000000000; it must be 1 to 4,096"),
            ({"r": "8"}, "has the rank 8; it must be"),
            ({"rank_pattern": {"q_proj": 0}}, "has the rank 0; it must be"),
            ({"rank_pattern": "x"}, "has the rank x; it must be"),
        ],
    )
    def test_what_cannot_be_merged(self, adapter, values, text):
        assert text in self.check(change_config(adapter, **values))

    def test_missing_package(self, adapter, monkeypatch):
        monkeypatch.setattr(adapter_files.importlib.util, "find_spec", lambda name: None)
        assert self.check(adapter) == "an adapter needs the peft package: pip install peft"

    def test_quantized_models(self, adapter):
        assert self.check(adapter, quantization="4bit") == (
            "an adapter cannot be merged into quantized weights; set quantization to none"
        )

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_weights_that_are_no_numbers(self, bases, adapter, value):
        weights = load_file(adapter / "adapter_model.safetensors")
        next(iter(weights.values()))[0, 0] = value
        save_file(weights, adapter / "adapter_model.safetensors")
        assert "1 weights of" in (text := refusal(bases("qwen3_vl"), adapter))
        assert "are not finite numbers" in text

    def test_values_that_peft_refuses(self, bases, adapter, tmp_path):
        for number, values in enumerate(({"target_modules": 5}, {"target_modules": "["}, {"lora_alpha": "x"})):
            folder = change_config(shutil.copytree(adapter, tmp_path / f"{number}"), **values)
            assert f"adapter {number}" in refusal(bases("qwen3_vl"), folder)
        save_adapter(bases("qwen3_vl"), tmp_path / "biased", target_modules=["q_proj"], lora_bias=True)
        assert refusal(bases("qwen3_vl"), tmp_path / "biased").startswith("cannot merge the adapter biased: ")
