"""Loading: devices, dtypes, memory, and one clear line for every error."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from captioner.cli.bench.models import open_model
from captioner.engine import loading
from captioner.errors import ModelError
from captioner.values import ModelSpec


def test_report_describes_the_model(tiny_model):
    rows = dict(tiny_model.report.rows)
    assert rows["device"] == "cpu (CPU)"
    assert rows["dtype"] == "float32"
    assert "Qwen3VLForConditionalGeneration" in rows["model"]
    assert torch.__version__ in rows["software"]


def test_attention_is_kept_from_cudnn(tiny_model_folder):
    torch.backends.cuda.enable_cudnn_sdp(True)
    loading.load(tiny_model_folder, ModelSpec("x", device="cpu"))
    assert not torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(True)
    open_model("tiny", True, torch.device("cpu"), torch.float32)
    assert not torch.backends.cuda.cudnn_sdp_enabled()


def test_report_mentions_a_gpu_that_is_unused_without_cuda(tiny_model_folder, monkeypatch):
    assert "note" not in dict(loading.load(tiny_model_folder, ModelSpec("x", device="cpu")).report.rows)
    monkeypatch.setattr(loading, "cuda_missing", lambda: True)
    rows = dict(loading.load(tiny_model_folder, ModelSpec("x", device="cpu")).report.rows)
    assert "built without CUDA" in rows["note"]


def test_report_says_that_clips_become_images(tiny_model, tiny_model_folder, tmp_path):
    folder = shutil.copytree(tiny_model_folder, tmp_path / "model")
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("'video'", "'film'"))
    rows = dict(loading.load(folder, ModelSpec("x", device="cpu")).report.rows)
    assert rows["clips"] == "as images, without times: the model takes no videos"
    assert "clips" not in dict(tiny_model.report.rows)


def test_patches_go_through_one_matrix_product(tiny_model):
    kinds = {type(m).__name__ for m in tiny_model.model.model.visual.patch_embed.modules()}
    assert "Conv3d" not in kinds


def test_close_releases_the_model(tiny_model_folder):
    import weakref

    loaded = loading.load(tiny_model_folder, ModelSpec("x", device="cpu"))
    model = weakref.ref(loaded.model)
    loaded.close()
    assert model() is None


def test_dtype_follows_the_device_or_the_option(monkeypatch):
    for has, wanted in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(loading, "cpu_has_bfloat16", lambda has=has: has)
        assert loading.pick_dtype("auto", torch.device("cpu"), 2_000_000_000) is wanted
        assert loading.pick_dtype("auto", torch.device("cpu"), 5_000_000) is torch.float32
        assert loading.pick_dtype("float32", torch.device("cpu"), 2_000_000_000) is torch.float32
    assert loading.pick_dtype("auto", torch.device("mps")) is torch.bfloat16
    assert loading.pick_dtype("float16", torch.device("cpu")) is torch.float16


def test_bfloat16_of_the_cpu_is_what_the_system_says():
    info = Path("/proc/cpuinfo")
    if not info.exists():
        pytest.skip("only Linux tells")
    flags = set(info.read_text().split())
    assert loading.cpu_has_bfloat16() == bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})


@pytest.fixture
def copy(tiny_model_folder, tmp_path):
    return shutil.copytree(tiny_model_folder, tmp_path / "model")


def no_config(folder):
    (folder / "config.json").unlink()


def bad_config(folder):
    (folder / "config.json").write_text("{")


def unknown_kind(folder):
    (folder / "config.json").write_text(json.dumps({"model_type": "no-such-model"}))


def remote_code(folder):
    config = {"model_type": "own", "auto_map": {"AutoConfig": "code.Config"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text("raise SystemExit('this ran')")


def no_weights(folder):
    (folder / "model.safetensors").unlink()


def cut_weights(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def text_model(folder):
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2"}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_config, r".* contains no config\.json, so it is not a model folder"),
        (bad_config, r"cannot read .*config\.json: .*"),
        (unknown_kind, r"cannot read .*config\.json: .*no-such-model.*"),
        (remote_code, r"model needs to run code from its own files, which is not allowed"),
        (no_weights, r".* contains no \*\.safetensors weights"),
        (cut_weights, r".*model\.safetensors is damaged or incomplete; download the model again"),
        (text_model, r"cannot load the model in .*: .*"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_bad_model_folder_gets_one_line(copy, damage, message):
    damage(copy)
    with pytest.raises(ModelError) as error:
        loading.load(copy, ModelSpec("x", device="cpu"))
    assert re.fullmatch(message, str(error.value))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (ModelSpec("x", device="gpu7"), "unknown device 'gpu7'; use auto, cpu, mps, cuda:0, cuda:1, ..."),
        (
            ModelSpec("x", device="cpu", attention="flash_attention_2"),
            "attention flash_attention_2 needs an NVIDIA GPU and the flash-attn package; use sdpa",
        ),
    ],
)
def test_impossible_option_gets_one_line(copy, spec, message):
    with pytest.raises(ModelError) as error:
        loading.load(copy, spec)
    assert str(error.value) == message


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is present")
def test_error_names_the_missing_gpu():
    with pytest.raises(ModelError, match=r"^cuda:1: "):
        loading.pick_device("cuda:1")


def test_error_about_torch_without_cuda_points_to_the_readme(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None)
    with pytest.raises(ModelError, match=r"built without CUDA.*troubleshooting"):
        loading.pick_device("cuda:0")


def test_too_little_memory_is_refused_before_loading(copy, monkeypatch):
    monkeypatch.setattr(loading, "available_bytes", lambda: 100_000)
    with pytest.raises(ModelError, match=r"^model needs about 0\.0 GB on cpu, but only 0\.0 GB are free"):
        loading.load(copy, ModelSpec("x", device="cpu"))
