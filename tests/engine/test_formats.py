"""Checkpoints that are stored quantized: what is loaded equals what they stand for, or one line says why not."""

import json
import shutil

import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText, BitsAndBytesConfig, TorchAoConfig

from captioner.engine import formats, loading
from captioner.engine.choose import choose_core
from captioner.engine.formats import check_format, count_weights
from captioner.engine.prepare import Preparer
from captioner.errors import ModelError
from captioner.values import ModelSpec
from tests.support.engine_cases import generate_alone, make_cases, prepare_cases, processor_inputs, run
from tests.support.quantized import TEXT, awq, copy_model, fp8, gptq, linears, packed
from tests.support.tiny import SIZES, make_tiny_model

CPU = ModelSpec("x", device="cpu", dtype="float32")
NO_OTHER = "choose a model that is not quantized"
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [16, 16]}
LINEARS = [[f"self_attn.{x}_proj" for x in "qkvo"], [f"mlp.{x}_proj" for x in ("gate", "up", "down")]]
KEPT = ["lm_head", "visual"]
PACKED = {
    "format": "pack-quantized",
    "quantization_status": "compressed",
    "ignore": ["lm_head", "re:.*visual.*"],
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32, "symmetric": True},
        }
    },
}
BITS = {"bits": 4, "group_size": 32}


@pytest.fixture
def copy(tiny_model_folder, tmp_path):
    return shutil.copytree(tiny_model_folder, tmp_path / "model")


def edit_config(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def needs(package, method):
    return f"stored in the format {method}, which needs the package {package}: pip install {package}"


GPU = "which needs an NVIDIA GPU and cannot run on cpu"
REFUSED = [
    ({"quant_method": "bitsandbytes", "load_in_4bit": True}, needs("bitsandbytes", "bitsandbytes")),
    ({"load_in_8bit": True}, needs("bitsandbytes", "bitsandbytes")),
    ({"quant_method": "compressed-tensors"}, needs("compressed-tensors", "compressed-tensors")),
    ({"quant_method": "awq"} | BITS, needs("gptqmodel", "awq")),
    ({"quant_method": "torchao"}, needs("torchao", "torchao")),
    ({"quant_method": "auto-round"}, needs("auto-round", "auto-round")),
    ({"quant_method": "gptq"} | BITS, "stored in the format gptq, which needs the packages gptqmodel and optimum: "
     "pip install gptqmodel optimum"),
    *(({"quant_method": name}, f"stored in the format {name}, {GPU}; {NO_OTHER}")
      for name in ("eetq", "aqlm", "vptq", "spqr", "higgs", "fbgemm_fp8", "fp_quant")),
    *(({"quant_method": name}, f"stored in the format {name}, which is not supported; {NO_OTHER}")
      for name in ("exl2", "exl3", "hqq", "quanto", "nvfp4", "modelopt")),
    ({"mode": "affine"} | BITS, f"stored in the format MLX, which is not supported; {NO_OTHER}"),
    ({"fmt": "e4m3"}, f"stored in the format unknown, which is not supported; {NO_OTHER}"),
    ({"quant_method": "two\nlines"}, f"stored in the format two lines, which is not supported; {NO_OTHER}"),
]  # fmt: skip


@pytest.mark.parametrize("where", ["config", "text_config"])
@pytest.mark.parametrize(("stored", "message"), REFUSED, ids=lambda value: str(value)[:40])
def test_format_that_cannot_run_is_refused_before_loading(copy, monkeypatch, where, stored, message):
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(loading, "_load_processor", lambda *given: pytest.fail("too late"))
    if where == "config":
        edit_config(copy, quantization_config=stored)
    else:
        text = json.loads((copy / "config.json").read_text())["text_config"]
        edit_config(copy, text_config=text | {"quantization_config": stored})
    with pytest.raises(ModelError) as error:
        loading.load(copy, CPU)
    assert str(error.value) == f"model is {message}"


def test_checkpoint_of_nvidia_is_known_by_its_file(copy):
    (copy / "hf_quant_config.json").write_text(json.dumps({"quantization": {"quant_algo": "NVFP4"}}))
    with pytest.raises(ModelError, match=r"^model is stored in the format modelopt NVFP4, which is not supported; "):
        loading.load(copy, CPU)


def test_gguf_is_named(copy):
    (copy / "model.safetensors").rename(copy / "model-Q4_K_M.gguf")
    with pytest.raises(ModelError, match=r"model holds a GGUF model, for llama\.cpp; choose a model with \*\.safet"):
        loading.load(copy, CPU)


def check_tokens(loaded, folder, exact=True):
    """Compare logits with those of transformers' own loading, and the engine's tokens with its `generate`.

    exact: a row of a product does not depend on the others, unlike in the CPU back end of bitsandbytes.
    """
    config = AutoConfig.from_pretrained(folder)
    check_format(config, folder, torch.device("cpu"))
    reference = AutoModelForImageTextToText.from_pretrained(folder, config=config, device_map="cpu").eval()
    cases = make_cases(6, longest=8)
    inputs = processor_inputs(loaded.processor, cases[1].frames, "describe it")
    with torch.inference_mode():
        logits = [model(**inputs).logits for model in (loaded.model, reference)]
    assert torch.allclose(*logits, atol=1e-4 if exact else 0.1)
    core = choose_core(loaded.model, CPU)
    finished = run(core, prepare_cases(Preparer(loaded.processor, core.layout), cases))
    core.close()
    assert not any(event.error for event in finished.values())
    alone = [generate_alone(reference, loaded.processor, case) for case in cases]
    assert not exact or [finished[i].tokens for i in range(len(cases))] == alone


def check_weights(loaded, dense):
    found = dict(loaded.model.named_parameters())
    for name, weight in dense.items():
        if name in found and found[name].shape == weight.shape:
            assert torch.allclose(found[name], weight, rtol=0, atol=1e-6), name


@pytest.mark.parametrize("where", ["config", "text_config"])
@pytest.mark.parametrize(
    ("chosen", "skipped"),
    [
        ([TEXT], ["lm_head", "visual"]),  # the older name of model.visual
        ([TEXT], ["lm_head", "model.visual", "model.language_model.layers.0.mlp.gate"]),  # gate_proj is another module
        ([TEXT, "visual.blocks"], ["lm_head", "model.visual.merger", "model.visual.deepstack_merger_list"]),
    ],
)
def test_fp8_is_unpacked_where_its_kernels_cannot_run(tiny_model_folder, tmp_path, where, chosen, skipped):
    stored, folder = FP8 | {"modules_to_not_convert": skipped}, tmp_path / "model"
    text = json.loads((tiny_model_folder / "config.json").read_text())["text_config"]
    text |= {"quantization_config": stored}
    fields = {"quantization_config": stored} if where == "config" else {"text_config": text}
    dense = copy_model(tiny_model_folder, folder, linears(fp8(16), chosen), **fields)
    loaded = loading.load(folder, CPU)
    assert dict(loaded.report.rows)["quantization"] == "fp8 in the files, float32 here"
    check_weights(loaded, dense)
    if where == "config":
        check_tokens(loaded, folder)


@pytest.mark.parametrize("model_type", ["qwen3_5", "qwen3_5_moe"])
def test_fp8_of_hybrid_models_and_of_experts_stands_for_the_same_weights(tmp_path, model_type):
    """As Qwen's own files: each expert alone, and the small products of the linear attention not quantized."""
    small = ("linear_attn.in_proj_a", "linear_attn.in_proj_b", "mlp.gate", "mlp.shared_expert_gate")
    skipped = [f"model.language_model.layers.{layer}.{name}" for layer in range(4) for name in small]
    stored = FP8 | {"modules_to_not_convert": ["lm_head", "model.visual", *skipped]}
    folder = make_tiny_model(tmp_path / "plain", model_type)
    change = linears(fp8(16), [f".{name}_proj." for name in ("q", "k", "v", "o", "gate", "up", "down", "out")])
    dense = copy_model(folder, tmp_path / "model", change, quantization_config=stored)
    copy_model(folder, tmp_path / "dense", lambda name, weight: ({name: dense[name]}, weight))
    model, plain = (dict(loading.load(tmp_path / name, CPU).model.named_parameters()) for name in ("model", "dense"))
    assert model.keys() == plain.keys()
    for name, weight in plain.items():
        assert torch.allclose(model[name], weight, rtol=0, atol=1e-6), name


def test_memory_of_unpacked_weights_is_that_of_their_dtype(tiny_model_folder, tmp_path, monkeypatch):
    folder, needed = tmp_path / "model", []
    stored = FP8 | {"modules_to_not_convert": ["lm_head", "visual"]}
    copy_model(tiny_model_folder, folder, linears(fp8(16), [TEXT]), quantization_config=stored)
    too_little = loading._too_little_memory
    monkeypatch.setattr(loading, "available_bytes", lambda: 1)
    monkeypatch.setattr(loading, "_too_little_memory", lambda *given: needed.append(given[2]) or too_little(*given))
    with pytest.raises(ModelError, match=r"^model needs about "):
        loading.load(folder, CPU)
    plain = AutoModelForImageTextToText.from_pretrained(tiny_model_folder)
    assert needed == [4 * plain.num_parameters()]
    assert count_weights(AutoConfig.from_pretrained(folder)) == plain.num_parameters()


@pytest.fixture(scope="module")
def wide_folder(tmp_path_factory):
    """A model whose layers have whole blocks of 64 inputs, as bitsandbytes' CPU back end needs."""
    from tests.support import tiny

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            tiny.TINY, "qwen3_vl", tiny.Geometry(**SIZES | {"text_mlp": 128}, text_layers=2, text_head_dim=16)
        )
        return make_tiny_model(tmp_path_factory.mktemp("wide") / "model")


def test_bitsandbytes_4bit_runs_on_a_cpu(wide_folder, tmp_path):
    pytest.importorskip("bitsandbytes")
    folder = shutil.copytree(wide_folder, tmp_path / "model")
    options = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", llm_int8_skip_modules=["lm_head", "model.visual"]
    )
    made = AutoModelForImageTextToText.from_pretrained(wide_folder, quantization_config=options, device_map="cpu")
    made.save_pretrained(folder)
    stored = made.config.quantization_config.to_dict() | {"llm_int8_skip_modules": ["lm_head", "visual"]}
    edit_config(folder, quantization_config=stored)
    loaded = loading.load(folder, CPU)
    assert {type(module).__name__ for name, module in loaded.model.named_modules() if "proj" in name} >= {"Linear4bit"}
    kinds = {name: type(module).__name__ for name, module in loaded.model.named_modules()}
    assert "Linear4bit" in {kind for name, kind in kinds.items() if TEXT in name}
    assert "Linear4bit" not in {kind for name, kind in kinds.items() if "visual" in name}
    assert dict(loaded.report.rows)["quantization"] == "bitsandbytes"
    needed = loading.check_memory(folder, torch.float32, torch.device("cpu"), stored={"load_in_4bit": True})
    assert needed == pytest.approx(loaded.model.get_memory_footprint(), rel=0.05)
    check_tokens(loaded, folder, exact=False)


@pytest.mark.filterwarnings("ignore")  # of those packages
@pytest.mark.parametrize(
    ("method", "packages", "quantize", "fields"),
    [
        ("gptq", ("gptqmodel", "optimum"), gptq, BITS | {"sym": True, "desc_act": False, "checkpoint_format": "gptq",
                                                        "modules_in_block_to_quantize": LINEARS}),
        ("awq", ("gptqmodel",), awq, BITS | {"version": "gemm", "zero_point": True, "modules_to_not_convert": KEPT}),
        ("compressed-tensors", ("compressed_tensors",), packed, PACKED),
    ],
    ids=["gptq", "awq", "compressed-tensors"],
)  # fmt: skip
def test_packed_weights_are_those_they_stand_for(tiny_model_folder, tmp_path, method, packages, quantize, fields):
    for package in packages:
        pytest.importorskip(package)
    change = linears(quantize, [f"{TEXT}.layers"])
    stored = {"quant_method": method} | fields
    dense = copy_model(tiny_model_folder, tmp_path / "model", change, quantization_config=stored)
    copy_model(tiny_model_folder, tmp_path / "dense", lambda name, weight: ({name: dense[name]}, weight))
    cases, tokens = make_cases(6, longest=8), []
    for name in ("model", "dense"):
        loaded = loading.load(tmp_path / name, CPU)
        core = choose_core(loaded.model, CPU)
        finished = run(core, prepare_cases(Preparer(loaded.processor, core.layout), cases))
        core.close()
        tokens.append([finished[i].tokens for i in range(len(cases))])
    assert tokens[0] == tokens[1]


@pytest.mark.filterwarnings("ignore")  # of the package
def test_torchao_checkpoint_is_loaded(tiny_model_folder, tmp_path):
    torchao = pytest.importorskip("torchao.quantization")
    options = TorchAoConfig(torchao.Int8WeightOnlyConfig(version=2), modules_to_not_convert=["lm_head", "model.visual"])
    made = AutoModelForImageTextToText.from_pretrained(tiny_model_folder, quantization_config=options, device_map="cpu")
    folder = shutil.copytree(tiny_model_folder, tmp_path / "model")
    made.save_pretrained(folder)
    loaded = loading.load(folder, CPU)
    assert "Int8Tensor" in {type(weight.detach()).__name__ for weight in loaded.model.parameters()}
    check_tokens(loaded, folder)
