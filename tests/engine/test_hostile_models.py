"""Model folders of an attacker: each is refused in one line or loaded, and nothing of it runs, asks or connects."""

import ast
import builtins
import os
import re
import socket
import time
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from transformers import dynamic_module_utils
from transformers.models.auto import (
    feature_extraction_auto,
    image_processing_auto,
    processing_auto,
    tokenization_auto,
    video_processing_auto,
)

from captioner.engine import loading
from captioner.engine.isolation import LOCAL, from_folder_alone
from captioner.engine.model_files import check_files
from captioner.engine.prepare import Preparer
from captioner.engine.special_tokens import stored_special_tokens
from captioner.errors import ModelError
from captioner.values import Frames, GenerationOptions, ModelSpec
from tests.support.hostile_models import auto_map, drop, everywhere, index, link, make, marker, pipe, put, write

ROOT = Path(__file__).resolve().parents[2]
LOADS = ""
CODE_NEEDED = "needs to run code from its own files, which is not allowed"
NOT_ALLOWED = "which is not allowed; choose another model"
NOT_IN_FOLDER = "which is not a *.safetensors file of its folder; choose another model"
ANY = None  # refused or loaded
KERNEL = "evil/kernel"
DEEP = "[" * 100_000 + "]" * 100_000
TEXT = "text_config"

CODE = {
    "code for a model that transformers knows": ([auto_map()], LOADS),
    "code in another repository": ([auto_map("evil/repo--code.X")], LOADS),
    "code for an unknown model": ([auto_map(), put("config.json", model_type="own")], CODE_NEEDED),
    "code elsewhere for an unknown model": (
        [auto_map("evil/repo--code.X"), put("config.json", model_type="own")], CODE_NEEDED),
    "code above the folder": ([auto_map("../../code.X"), put("config.json", model_type="own")], ANY),
    "code for an unknown tokenizer": (
        [auto_map(), put("tokenizer_config.json", tokenizer_class="OwnTokenizer")], LOADS),
    "code for a nameless processor": ([auto_map(), drop("processor_config.json", "processor_class"),
                                       drop("preprocessor_config.json")], LOADS),
    "code for an unknown processor": (
        [auto_map(), put("processor_config.json", processor_class="OwnProcessor")], CODE_NEEDED),
    "code for unknown image processors": (
        [auto_map(), put("processor_config.json", "image_processor", image_processor_type="OwnImageProcessor",
                         auto_map={"AutoImageProcessor": "code.X"})], ANY),
    "a map that is a list": ([everywhere(auto_map=["code.X"])], ANY),
    "a map that is a text": ([everywhere(auto_map="code.X")], ANY),
    "a way of generating": ([everywhere(custom_generate="./custom_generate", trust_remote_code=True)], LOADS),
    "a tokenizer that finds its class itself": (
        [auto_map(), put("tokenizer_config.json", tokenizer_class="AutoTokenizer")], NOT_ALLOWED),
    "a model as tokenizer": ([auto_map(), put("tokenizer_config.json", tokenizer_class="AutoModel")], NOT_ALLOWED),
    "a wrapper as tokenizer": ([auto_map(), put("tokenizer_config.json", tokenizer_class="RagTokenizer")], ANY),
    "a retriever that reads pickles": (
        [auto_map(), put("processor_config.json", processor_class="RagRetriever")], NOT_ALLOWED),
    "a model as processor": ([auto_map(), put("processor_config.json", processor_class="AutoModelForCausalLM")],
                             NOT_ALLOWED),
    "a module as processor": ([put("processor_config.json", processor_class="os.system")], NOT_ALLOWED),
    "a function as image processor": (
        [put("processor_config.json", "image_processor", image_processor_type="pipeline")], NOT_ALLOWED),
    "an adapter of another repository": (
        [put("adapter_config.json", base_model_name_or_path="evil/repo", peft_type="LORA", auto_mapping=None)],
        "is an adapter (LoRA), not a whole model; choose its base model evil/repo, and set adapter to this folder"),
    "an adapter with a long name": ([put("adapter_config.json", base_model_name_or_path="\n\x1b[31m" + "a" * 999)],
                                    "is an adapter (LoRA)"),
    "kernel": ([put("config.json", attn_implementation=KERNEL)], NOT_ALLOWED),
    "kernel of transformers' friends": (
        [put("config.json", _attn_implementation="kernels-community/flash-attn2@main:f")], NOT_ALLOWED),
    "kernel of a part": ([put("config.json", TEXT, attn_implementation=KERNEL), put("config.json", sub_configs={})],
                         NOT_ALLOWED),
    "kernel by part": ([put("config.json", attn_implementation={"": "sdpa", TEXT: KERNEL})], NOT_ALLOWED),
    "kernel of experts": ([put("config.json", experts_implementation=KERNEL)], NOT_ALLOWED),
    "kernel in a field of transformers' own": (  # CVE-2026-4372
        [put("config.json", _attn_implementation_internal=KERNEL)], NOT_ALLOWED),
    "code of a part": ([put("config.json", "vision_config", auto_map={"AutoModel": "evil/repo--code.X"}),
                        put("config.json", TEXT, auto_map={"AutoModel": "code.X"})], LOADS),
    "paged kernel": ([put("config.json", TEXT, attn_implementation=f"paged|{KERNEL}")], NOT_ALLOWED),
    "kernels for layers": (
        [everywhere(use_kernels=True, kernel_config={"kernel_mapping": {"X": f"{KERNEL}:X"}})], LOADS),
    "FlashAttention of the Hub": ([put("config.json", attn_implementation="flash_attention_3")], LOADS),
    "format of weights": ([put("config.json", quantization_config={"quant_method": "os.system"})], "os.system"),
    "format with a module": (
        [put("config.json", quantization_config={"quant_method": "quark", "custom": "code"})], "amd-quark"),
    "name of another repository": ([everywhere(_name_or_path="evil/repo", name_or_path="evil/repo")], LOADS),
}  # fmt: skip

FILES = {
    "pickle alone": ([drop("model.safetensors")], "contains no *.safetensors weights that belong together"),
    "pickle by an index": ([drop("model.safetensors"), put("pytorch_model.bin.index.json", "weight_map", a="x.pkl")],
                           "contains no *.safetensors weights that belong together"),
    "index with a part of the folder": ([index(["part.safetensors"])], LOADS),
    "index above the folder": ([index(["../outside.safetensors"])], NOT_IN_FOLDER),
    "index with a path": ([index(["/etc/passwd"])], NOT_IN_FOLDER),
    "index with a drive": ([index(["C:\\x.safetensors"])], NOT_IN_FOLDER),
    "index with a folder": ([index(["a/x.safetensors"])], NOT_IN_FOLDER),
    "index with pickles": ([index(["part.safetensors", "x.pkl"])], NOT_IN_FOLDER),
    "index with PyTorch": ([index(["pytorch_model.bin"])], NOT_IN_FOLDER),
    "index with GGUF": ([index(["x.gguf"])], NOT_IN_FOLDER),
    "index with a pattern": ([index(["*.safetensors"])], NOT_IN_FOLDER),
    "index with no names": ([index([None, 5, ["part.safetensors"]])], NOT_IN_FOLDER),
    "index with a line break": ([index(["part.safetensors\n"])], NOT_IN_FOLDER),
    "index that is a list": ([index(["part.safetensors"]), write("model.safetensors.index.json", "[]")], "is damaged"),
    "index that lists": ([index(("part.safetensors",))], "is damaged"),
    "deep index": ([index(["part.safetensors"]), write("model.safetensors.index.json", DEEP)], "is damaged"),
    "large index": ([index(["part.safetensors"]), lambda folder: os.truncate(
        folder / "model.safetensors.index.json", 10**9)], "is larger than 64 MB"),
    "index beside whole weights": ([index(["x.pkl"], keep_single=True)], LOADS),
    "weights by another name": ([put("config.json", transformers_weights="../outside.safetensors")], NOT_ALLOWED),
    "pickle by another name": ([put("config.json", transformers_weights="adapter_model.bin")], NOT_ALLOWED),
    "weights of many processes": (
        [write("shard-00000-model-00001-of-00002.safetensors", b"")], "is a distributed checkpoint"),
    "link to weights": ([link("model.safetensors", "/etc/passwd")], "is damaged or incomplete"),
    "link to a device": ([link("model.safetensors", "/dev/zero")], "contains no *.safetensors weights"),
    "pipe for weights": ([pipe("model.safetensors")], "contains no *.safetensors weights"),
    "pipe for the config": ([pipe("config.json")], "contains no config.json"),
    "pipe for the tokenizer": ([pipe("tokenizer.json")], ANY),
    "device for the tokenizer": ([link("tokenizer.json", "/dev/zero")], ANY),
    "pipe for the processor": ([pipe("processor_config.json")], ANY),
    "config in another file": (
        [put("config.json", configuration_files=["../outside/config.4.0.0.json"])], NOT_ALLOWED),
    "tokenizer in another file": (
        [put("tokenizer_config.json", fast_tokenizer_files=["../../etc/tokenizer.1.0.json"])], NOT_ALLOWED),
    "vocabulary in another file": ([put("tokenizer_config.json", vocab_file="/etc/passwd", merges_file="/etc/passwd",
                                        tokenizer_file="/etc/passwd", spm_file="/etc/passwd")], LOADS),
    "font in another file": (
        [put("processor_config.json", "video_processor", font="../outside.ttf", draw_on_frames=True),
         lambda folder: (folder.parent / "outside.ttf").touch()], "outside the folder; choose another model"),
    "classes in another file": (
        [put("preprocessor_config.json", class_info_file="/etc/passwd", repo_path="evil/repo")],
        "outside the folder; choose another model"),
    "sounds in another file": (
        [put("processor_config.json", "audio", file="a/" + "../" * 20 + "etc/passwd")], "outside the folder"),
    "deep config": ([write("config.json", DEEP)], "is nested too deeply"),
    "deep processor config": (
        [write("processor_config.json", '{"a":' * 9_000 + "1" + "}" * 9_000)], "is nested too deeply"),
    "deep tokenizer": ([write("tokenizer.json", DEEP)], ANY),
    "deep part of the config": ([put("config.json", a=1), lambda folder: (folder / "config.json").write_text(
        (folder / "config.json").read_text().replace('"a": 1', '"a": ' + "[" * 900 + "]" * 900))], ANY),
    "large config": ([lambda folder: os.truncate(folder / "config.json", 10**9)], "is larger than 10 MB"),
    "large tokenizer": ([lambda folder: os.truncate(folder / "tokenizer.json", 10**9)], "is larger than 64 MB"),
    "large template": ([lambda folder: os.truncate(folder / "chat_template.jinja", 10**9)], "is larger than 10 MB"),
    "config that is a list": ([write("config.json", "[]")], ANY),
    "config with bytes": ([write("config.json", b"\xff\xfe\x00")], ANY),
}  # fmt: skip

VALUES = {
    "dtype that is a function": ([put("config.json", dtype="load")], ANY),
    "dtype that is a module": ([put("config.json", torch_dtype="hub", dtype=None)], ANY),
    "dtype of nothing": ([put("config.json", dtype="no_such")], ANY),
    "dtype that is a number": ([put("config.json", dtype=5)], ANY),
    "dtype that is an object": ([put("config.json", dtype={"a": [1]})], ANY),
    "format that is a number": ([put("config.json", quantization_config=5)], ANY),
    "format that is a list": ([put("config.json", quantization_config=["x"])], ANY),
    "format that is empty": ([put("config.json", quantization_config={"quant_method": ["fp8"]})], ANY),
    "part that is a text": ([put("config.json", text_config="x")], ANY),
    "part that is another model": ([put("config.json", "vision_config", model_type="timm_wrapper",
                                        architecture="hf-hub:evil/repo", pretrained=True)], ANY),
    "sizes of nothing": ([put("config.json", TEXT, num_hidden_layers=-1, hidden_size=0)], ANY),
    "sizes beyond all memory": ([put("config.json", TEXT, hidden_size=2**40, intermediate_size=2**40)], ANY),
    "tokens that are lists": ([put("tokenizer_config.json", additional_special_tokens=5, eos_token=["a"]),
                               put("special_tokens_map.json", extra_special_tokens="x", pad_token={"content": []})],
                              ANY),
    "tokenizer without tokens": (
        [write("tokenizer.json", '{"added_tokens": [{"content": [1], "special": true}]}')], ANY),
    "tokenizer of another kind": ([write("tokenizer.json", '{"model": {"type": "Unigram", "vocab": [], "unk_id": 9}}')],
                                  ANY),
    "tokenizer that panics": ([lambda folder: (folder / "tokenizer.json").write_text((folder / "tokenizer.json")
        .read_text().replace('"type": "NFC"', '"type": "Precompiled", "precompiled_charsmap": null'))], ANY),
    "ends of another kind": ([put("generation_config.json", eos_token_id={"a": 1}, stop_strings=5)], ANY),
    "search that needs code": ([put("generation_config.json", penalty_alpha=0.6, top_k=4, num_beams=3,
                                    custom_generate="evil/repo")], LOADS),
}  # fmt: skip

CASES = CODE | FILES | VALUES


@pytest.fixture(autouse=True)
def doors(monkeypatch):
    """The questions asked and the addresses called; huggingface_hub is not offline, as for a user."""
    used: list[object] = []

    def refuse(*arguments, **_):
        used.append(arguments)
        raise OSError("not in this test")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(builtins, "input", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return used


def check(folder, expected, doors):
    spec, started_s = ModelSpec("x", device="cpu"), time.monotonic()
    message = LOADS
    try:
        loading.load(folder, spec).close()
    except ModelError as error:
        message = str(error)
    stored_special_tokens(folder)  # the app reads these itself
    assert not marker(folder).exists()
    assert doors == []
    assert message.isprintable()
    if expected is not ANY:
        assert bool(expected) == bool(message), message
        assert expected in message
    assert time.monotonic() - started_s < 60


@pytest.mark.parametrize("name", CASES)
def test_hostile_model_runs_nothing_and_costs_one_line(tmp_path, doors, name):
    changes, expected = CASES[name]
    check(make(tmp_path, *changes), expected, doors)


def test_tokenizer_that_panics_at_a_prompt_is_one_line(tmp_path, doors):
    pattern = '"pattern": {"Regex": "(a|a|aa)+$"}'
    folder = make(tmp_path, put("tokenizer_config.json", tokenizer_class="TokenizersBackend"))
    path = folder / "tokenizer.json"
    path.write_text(
        re.sub(r'"pattern": \{\s*"Regex": "(\\.|[^"\\])*"\s*\}', lambda _: pattern, path.read_text(), count=1)
    )
    assert pattern in path.read_text()
    loaded = loading.load(folder, ModelSpec("x", device="cpu"))
    frames = Frames(np.zeros((2, 32, 32, 3), np.uint8), np.array([0.0, 0.5]), np.array([0, 1]), 2.0)
    with pytest.raises(ModelError, match=r"^the model's processor refused the frames: [^\n]+$"):
        Preparer(loaded.processor).prepare(1, frames, "a" * 40 + "b", GenerationOptions())
    assert doors == []


def test_nothing_is_fetched_or_asked_while_a_model_is_loaded(doors):
    """As by parts of transformers that do not pass on what they are told, such as its wrapper of timm."""
    with from_folder_alone():
        with pytest.raises(huggingface_hub.errors.LocalEntryNotFoundError):
            huggingface_hub.hf_hub_download("evil/repo", "config.json")
        with pytest.raises(ValueError, match="custom code"):
            dynamic_module_utils.resolve_trust_remote_code(None, "evil/repo", False, True)
    assert doors == []
    assert not huggingface_hub.constants.HF_HUB_OFFLINE
    with pytest.raises(ValueError, match="custom code"):  # the question of the fixture, which raises
        dynamic_module_utils.resolve_trust_remote_code(None, "evil/repo", False, True)
    assert len(doors) == 1


def names_in(value):
    return [value] if isinstance(value, str) else [name for each in value.values() for name in names_in(each)]


@pytest.mark.parametrize(
    ("field", "mapping"),
    [
        ("processor_class", processing_auto.PROCESSOR_MAPPING_NAMES),
        ("tokenizer_class", tokenization_auto.TOKENIZER_MAPPING_NAMES),
        ("image_processor_type", image_processing_auto.IMAGE_PROCESSOR_MAPPING_NAMES),
        ("video_processor_type", video_processing_auto.VIDEO_PROCESSOR_MAPPING_NAMES),
        ("feature_extractor_type", feature_extraction_auto.FEATURE_EXTRACTOR_MAPPING_NAMES),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_classes_of_transformers_are_allowed(tmp_path, field, mapping):
    names = [name for value in mapping.values() if value for name in names_in(value) if name]
    assert len(names) > 20
    put("config.json", **{field: names})(tmp_path)
    check_files(tmp_path)


def test_every_loader_is_told_to_run_no_code():
    calls = [
        (path.name, call)
        for path in (ROOT / "captioner").rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
        and call.func.attr in ("from_pretrained", "from_config")
    ]  # fmt: skip
    assert len(calls) == 6
    for name, call in calls:
        told = {keyword.arg or ast.unparse(keyword.value): keyword.value for keyword in call.keywords}
        assert "LOCAL" in told or ast.unparse(told["trust_remote_code"]) == "False", name
    assert LOCAL == {"local_files_only": True, "trust_remote_code": False}
