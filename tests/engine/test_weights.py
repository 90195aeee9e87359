"""Weights that are missing, left over, damaged or stored in another format: one line each, and nothing runs."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from captioner.engine import loading
from captioner.engine.checkpoint import stored_weights
from captioner.engine.weights import loaded_bytes
from captioner.errors import ModelError
from captioner.values import ModelSpec

CPU = ModelSpec("x", device="cpu")
NORM = "model.language_model.layers.0.input_layernorm.weight"
PROJECTION = "model.language_model.layers.0.self_attn.q_proj"


@pytest.fixture
def copy(tiny_model_folder, tmp_path):
    return shutil.copytree(tiny_model_folder, tmp_path / "model")


def edit(folder, change):
    """Let a function change the weights of the folder."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def split(folder, index=None):
    """Store the weights as two shards with an index file."""
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    halves = {"part-1.safetensors": names[::2], "part-2.safetensors": names[1::2]}
    for file, part in halves.items():
        save_file({name: tensors[name] for name in part}, folder / file, {"format": "pt"})
    weight_map = {name: file for file, part in halves.items() for name in part}
    (folder / "model.safetensors").unlink()
    text = json.dumps({"metadata": {}, "weight_map": weight_map | (index or {})})
    (folder / "model.safetensors.index.json").write_text(text)


def missing(folder):
    edit(folder, lambda tensors: [tensors.pop(name) for name in sorted(tensors)[-5:]])


def missing_shard(folder):
    split(folder)
    (folder / "part-2.safetensors").unlink()


def cut_shard(folder):
    split(folder)
    data = (folder / "part-2.safetensors").read_bytes()
    (folder / "part-2.safetensors").write_bytes(data[: len(data) - 100])


def index_says_more(folder):
    split(folder, {"model.extra.weight": "part-1.safetensors"})


def index_names_twice(folder):
    split(folder)
    index = folder / "model.safetensors.index.json"
    index.write_text(index.read_text().replace('"weight_map": {', f'"weight_map": {{"{NORM}": "part-9.safetensors", '))


def stored_twice(folder):
    split(folder)
    first, second = (load_file(folder / f"part-{n}.safetensors") for n in (1, 2))
    save_file(second | dict([next(iter(first.items()))]), folder / "part-2.safetensors", {"format": "pt"})


def index_leads_outside(folder):
    split(folder, {NORM: "../other/model.safetensors"})


def other_shape(folder):
    edit(folder, lambda tensors: tensors.update({NORM: torch.ones(32)}))


def more_layers(folder):
    more = {NORM.replace("layers.0", f"layers.{n}"): torch.ones(64) for n in (2, 3)}
    edit(folder, lambda tensors: tensors.update(more))


def unmerged_adapter(folder):
    edit(folder, lambda tensors: tensors.update({f"{PROJECTION}.lora_A.weight": torch.ones(4, 64)}))


def adapter(folder):
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "Qwen/Qwen3-VL-2B"}))
    (folder / "config.json").unlink()


def not_numbers(folder):
    edit(folder, lambda tensors: tensors[NORM].fill_(torch.nan))


def other_prefix(folder):
    def rename(tensors):
        renamed = {f"module.net.{name}": tensor for name, tensor in tensors.items()}
        tensors.clear()
        tensors.update(renamed)

    edit(folder, rename)


def only_variants(folder):
    (folder / "model.safetensors").rename(folder / "model.fp16.safetensors")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (missing, r"5 of \d+ weights of Qwen3VLForConditionalGeneration are missing from the files of model: "
         r"[\w.]+, [\w.]+, [\w.]+, \.\.\.; they would be random, so download the model again or choose another one"),
        (other_prefix, r"\d+ of \d+ weights of \w+ are missing from the files of model: .*"),
        (missing_shard, r".*part-2\.safetensors is missing, but .*index\.json names it; download the model again"),
        (cut_shard, r".*part-2\.safetensors is damaged or incomplete; download the model again"),
        (index_says_more, r".*part-1\.safetensors does not contain model\.extra\.weight, as .*"),
        (index_names_twice, rf".*index\.json is damaged or incomplete: it names {NORM} twice; .*"),
        (stored_twice, r".*: part-1\.safetensors and part-2\.safetensors both contain .*; download the model again"),
        (index_leads_outside, r".*index\.json names .*, which is not a \*\.safetensors file of its folder; .*"),
        (other_shape, rf"1 weights of model have another shape than its config\.json says: {NORM} is \(32,\) .*"),
        (more_layers, r"model has 2 weights that Qwen3VLForConditionalGeneration does not know: .*layers\.2.*"),
        (unmerged_adapter, r"model contains an adapter \(LoRA\) that is not merged: .*lora_A\.weight; merge it first"),
        (adapter, r".*model is an adapter \(LoRA\), not a whole model; choose its base model Qwen/.*, and set .*"),
        (not_numbers, rf"1 weights of model are not finite numbers: {NORM}; download the model again, .*"),
        (only_variants, r".* contains no \*\.safetensors weights that belong together; it has model\.fp16.*"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_bad_weights_are_refused_in_one_line(copy, damage, message):
    damage(copy)
    with pytest.raises(ModelError) as error:
        loading.load(copy, CPU)
    assert re.fullmatch(message, str(error.value))


def test_shards_tied_weights_and_harmless_extras_are_loaded(copy):
    extras = ("mtp.layers.0.weight", "model.language_model.rotary_emb.inv_freq", "talker.proj.weight")
    edit(copy, lambda tensors: tensors.update({name: torch.ones(3) for name in extras}))
    split(copy)
    save_file({"a": torch.ones(1)}, copy / "consolidated.safetensors")
    save_file({"a": torch.ones(1)}, copy / "model.fp16.safetensors")
    assert "a" not in stored_weights(copy)
    loading.load(copy, CPU).close()


def test_memory_counts_only_the_files_that_are_loaded(copy):
    before = loading.check_memory(copy, torch.bfloat16, torch.device("cpu"))
    split(copy)
    save_file({"a": torch.ones(1_000_000)}, copy / "consolidated.safetensors")
    assert loading.check_memory(copy, torch.bfloat16, torch.device("cpu")) == before


def test_stored_formats_are_counted_as_they_will_be_held(tmp_path):
    tensors = {
        "fp8": torch.zeros(100, dtype=torch.float8_e4m3fn),
        "packed": torch.zeros(100, dtype=torch.int32),
        "nf4": torch.zeros(100, dtype=torch.uint8),
        "plain": torch.zeros(100, dtype=torch.float32),
    }
    save_file(tensors, tmp_path / "model.safetensors")
    stored = list(stored_weights(tmp_path).values())
    assert loaded_bytes(stored, {"quant_method": "fp8"}, torch.bfloat16, 0, 0.0) == 100 + 400 + 100 + 200
    assert loaded_bytes(stored, {"dequantize": True}, torch.bfloat16, 0, 0.0) == 200 + 400 + 100 + 200
    assert loaded_bytes(stored, {}, torch.float32, 0, 0.0) == 400 + 400 + 100 + 400
