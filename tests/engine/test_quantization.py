"""Quantized loading: what is refused and when, which options transformers gets, and how many bytes result.

bitsandbytes is optional; if it is installed, its CPU back end loads the tiny model for real.
"""

import json
import shutil

import pytest
import torch
from torch import nn
from transformers import AutoConfig

from captioner.engine import loading
from captioner.engine.quantization import QuantizationPlan, bitsandbytes_config, describe, plan_quantization
from captioner.errors import ModelError
from captioner.services import Services
from captioner.system import devices
from captioner.system.devices import check_quantization
from captioner.values import ModelSpec

NO_GPU = "quantization 4bit needs an NVIDIA GPU and cannot run on {}; set quantization to none, or choose other devices"
NO_PACKAGE = "quantization 4bit needs the bitsandbytes package: pip install bitsandbytes"
# The tiny model has 2 layers of q and o (64 x 64), k and v (64 x 32), and three of the MLP (64 x 96).
TINY_LINEARS = 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 96)


@pytest.fixture
def without_package(monkeypatch):
    monkeypatch.setattr(devices.importlib.util, "find_spec", lambda name: None)


@pytest.fixture
def with_package(monkeypatch):
    monkeypatch.setattr(devices.importlib.util, "find_spec", lambda name: object())


@pytest.mark.parametrize(
    ("dtype", "given", "message"),
    [
        ("auto", ("cpu",), NO_GPU.format("cpu")),
        ("auto", ("cuda:0", "mps"), NO_GPU.format("mps")),
        ("float32", ("cuda:0",), "quantization 4bit computes in 16 bits; set dtype to auto, bfloat16 or float16"),
        ("auto", ("cuda:0", "cuda"), NO_PACKAGE),
        ("auto", ("auto",), NO_PACKAGE),  # possibly ROCm, which torch calls cuda
    ],
)
def test_combination_that_cannot_work_is_refused(without_package, monkeypatch, dtype, given, message):
    monkeypatch.setattr(devices.sys, "platform", "linux")
    with pytest.raises(ModelError) as caught:
        check_quantization("4bit", dtype, given)
    assert str(caught.value) == message


def test_mac_is_refused(with_package, monkeypatch):
    monkeypatch.setattr(devices.sys, "platform", "darwin")
    with pytest.raises(ModelError, match="cannot run on auto"):
        check_quantization("8bit", "auto", ("auto",))


def test_torch_without_cuda_is_named_as_the_cause(with_package, monkeypatch):
    monkeypatch.setattr(devices, "cuda_missing", lambda: True)
    with pytest.raises(ModelError, match=r"^quantization 4bit: .* built without CUDA"):
        check_quantization("4bit", "auto", ("cpu",))


def test_combination_that_may_work_is_accepted(with_package):
    check_quantization("8bit", "auto", ("cuda:0", "cuda:1"))
    check_quantization("4bit", "float16", ("cuda",))


def test_without_quantization_nothing_is_required(without_package):
    check_quantization("none", "float32", ("cpu", "mps", "auto"))


@pytest.mark.parametrize("act", [Services.start, Services.load])
def test_job_is_refused_at_its_start_before_any_download(tmp_path, act, monkeypatch):
    """The model does not exist, so that searching for it would raise another error."""
    (tmp_path / "0.mp4").write_bytes(b"x")
    settings = {"model": "no-one/nothing", "offline": True, "devices": "cpu", "quantization": "4bit"}
    with Services(tmp_path / "state", settings) as services:
        services.open_folder(tmp_path, recursive=False)
        with pytest.raises(ModelError) as caught:
            act(services)
        assert str(caught.value) == NO_GPU.format("cpu")
        assert services.events.snapshot().job == 0


def test_mixture_of_experts_is_refused_at_the_start_too(tmp_path, with_package):
    (tmp_path / "0.mp4").write_bytes(b"x")
    settings = {"model": "qwen3-vl-30b-a3b", "devices": "cuda:0", "quantization": "8bit"}
    with Services(tmp_path / "state", settings) as services:
        services.open_folder(tmp_path, recursive=False)
        with pytest.raises(ModelError, match=r"^Qwen3-VL 30B-A3B cannot be quantized: "):
            services.start()


def test_loading_checks_the_combination_again(tiny_model_folder):
    with pytest.raises(ModelError) as caught:
        loading.load(tiny_model_folder, ModelSpec("x", device="cpu", quantization="4bit"))
    assert str(caught.value) == NO_GPU.format("cpu")


def test_only_the_text_layers_are_quantized(tiny_model_folder):
    plan = plan_quantization(AutoConfig.from_pretrained(tiny_model_folder))
    assert plan == QuantizationPlan(("lm_head", "model.visual"), TINY_LINEARS)


def test_transformers_understands_the_names_of_skipped_modules(tiny_model):
    """The installed version decides by this function; "visual" alone, for example, would match nothing."""
    from transformers.quantizers.quantizers_utils import should_convert_module

    plan = plan_quantization(tiny_model.model.config)
    linears = {name for name, module in tiny_model.model.named_modules() if isinstance(module, nn.Linear)}
    converted = {name for name in linears if should_convert_module(name, list(plan.skipped))}
    assert converted == {name for name in linears if ".language_model." in name}
    assert len(linears - converted) > 10


def test_quantized_checkpoint_is_not_quantized_again(tiny_model_folder, tmp_path):
    folder = shutil.copytree(tiny_model_folder, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError) as caught:
        plan_quantization(AutoConfig.from_pretrained(folder))
    assert str(caught.value) == "this checkpoint is already quantized; set quantization to none"


def test_experts_cannot_be_quantized():
    config = AutoConfig.for_model(
        "qwen3_vl_moe",
        text_config={
            "hidden_size": 64, "intermediate_size": 96, "moe_intermediate_size": 96, "num_experts": 16,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
            "vocab_size": 400,
        },
        vision_config={"depth": 1, "hidden_size": 32, "num_heads": 2, "intermediate_size": 48, "out_hidden_size": 64},
    )  # fmt: skip
    with pytest.raises(ModelError, match=r"^quantization would save almost nothing in a Qwen3VLMoe"):
        plan_quantization(config)


def test_unknown_model_gets_one_line():
    with pytest.raises(ModelError, match=r"^cannot determine what to quantize in a gpt2: "):
        plan_quantization(AutoConfig.for_model("gpt2"))


def test_config_is_nf4_with_double_quantization_in_the_dtype_of_the_model():
    plan = QuantizationPlan(("lm_head", "model.visual"), 1)
    four = bitsandbytes_config("4bit", torch.float16, plan)
    assert (four.load_in_4bit, four.bnb_4bit_quant_type, four.bnb_4bit_use_double_quant) == (True, "nf4", True)
    assert four.bnb_4bit_compute_dtype is torch.float16
    eight = bitsandbytes_config("8bit", torch.bfloat16, plan)
    assert (eight.load_in_8bit, eight.load_in_4bit) == (True, False)
    assert four.llm_int8_skip_modules == eight.llm_int8_skip_modules == ["lm_head", "model.visual"]


def test_memory_counts_quantized_weights_by_their_bytes(tiny_model_folder):
    cpu = torch.device("cpu")
    plain = loading.check_memory(tiny_model_folder, torch.bfloat16, cpu)
    assert loading.check_memory(tiny_model_folder, torch.bfloat16, cpu, TINY_LINEARS, 1.0) == plain - TINY_LINEARS
    four = loading.check_memory(tiny_model_folder, torch.bfloat16, cpu, TINY_LINEARS, 0.516)
    assert four == round(plain - 1.484 * TINY_LINEARS)


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_tiny_model_loads_quantized(tiny_model_folder, monkeypatch, quantization):
    pytest.importorskip("bitsandbytes")
    monkeypatch.setattr(loading, "check_quantization", lambda *given: None)  # its CPU back end will do here
    spec = ModelSpec("x", device="cpu", dtype="bfloat16", quantization=quantization)
    loaded = loading.load(tiny_model_folder, spec)
    kinds = {"text": set(), "rest": set()}
    for name, module in loaded.model.named_modules():
        if isinstance(module, nn.Linear):
            kinds["text" if ".language_model." in name else "rest"].add(type(module).__name__)
    assert kinds["text"] == {"Linear8bitLt" if quantization == "8bit" else "Linear4bit"}
    assert kinds["rest"] == {"Linear", "PatchProjection"}
    assert dict(loaded.report.rows)["quantization"] == describe(quantization)
    whole = loading.load(tiny_model_folder, ModelSpec("x", device="cpu", dtype="bfloat16"))
    saved = whole.model.get_memory_footprint() - loaded.model.get_memory_footprint()
    assert saved == pytest.approx(TINY_LINEARS * (1 if quantization == "8bit" else 1.484), rel=0.05)
