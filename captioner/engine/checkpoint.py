"""The files of a model folder that hold the weights transformers will load, and what they contain. Needs no torch."""

import math
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from captioner.engine.model_files import MAX_CONFIG_BYTES, read_json
from captioner.errors import ModelError

SINGLE_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"
ADAPTER_FILE = "adapter_config.json"
_SHARD = re.compile(r"\w[\w.-]*\.safetensors")  # a file of the folder, and no pattern for a download
_DISTRIBUTED = re.compile(r"shard-\d{5}-model-\d{5}-of-\d{5}\.safetensors")  # transformers would prefer these
FLOAT_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_OTHER_BYTES = {"I64": 8, "U64": 8, "I32": 4, "U32": 4, "I16": 2, "U16": 2, "F4": 0.5, "F6_E2M3": 0.75, "F6_E3M2": 0.75}


@dataclass(frozen=True)
class StoredWeight:
    """A weight in a file: its safetensors dtype, such as BF16 or F8_E4M3, and its number of elements."""

    file: Path
    dtype: str
    numel: int

    @property
    def bytes(self) -> float:
        """Its bytes in the file."""
        return self.numel * (FLOAT_BYTES | _OTHER_BYTES).get(self.dtype, 1)


def weight_files(names: Collection[str], shards: Collection[str]) -> list[str]:
    """Return which of a model's files hold its weights, as transformers chooses. shards: those in the index file."""
    if SINGLE_FILE in names:
        return [SINGLE_FILE]
    return sorted(shards) if INDEX_FILE in names else []


def read_shards(index: Path) -> dict[str, str]:
    """Return (weight -> name of its file) of an index file. Raises ModelError if it is not one."""
    try:
        found = read_json(index, pairs_hook=_without_duplicates)["weight_map"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f": {error}" if str(error).startswith("it names") else ""
        raise ModelError(f"{index} is damaged or incomplete{reason}; download the model again") from None
    if not isinstance(found, dict):
        raise ModelError(f"{index} is damaged or incomplete; download the model again")
    for file in found.values():
        if not isinstance(file, str) or not _SHARD.fullmatch(file):
            problem = f"{index} names {str(file)[:100]!r}, which is not a *.safetensors file of its folder"
            raise ModelError(f"{problem}; choose another model")
    return found


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    twice = next((name for name, value in pairs if values[name] != value), None)
    if twice:
        raise ValueError(f"it names {twice} twice")
    return values


def stored_weights(folder: Path) -> dict[str, StoredWeight]:
    """Return the weights of the folder by name. Raises ModelError with one line if files are missing or damaged."""
    names = {path.name for path in folder.iterdir() if path.is_file()}
    if distributed := sorted(filter(_DISTRIBUTED.match, names)):
        raise ModelError(f"{folder} is a distributed checkpoint ({distributed[0]}), which is not supported; convert it")
    index = read_shards(folder / INDEX_FILE) if SINGLE_FILE not in names and INDEX_FILE in names else {}
    files = weight_files(names, set(index.values()))
    if not files:
        if any(name.endswith(".gguf") for name in names):
            raise ModelError(f"{folder} holds a GGUF model, for llama.cpp; choose a model with *.safetensors weights")
        others = sorted(name for name in names if name.endswith((".safetensors", ".bin", ".gguf", ".pt", ".pth")))
        found = f" that belong together; it has {', '.join(others[:3])}, but no {INDEX_FILE}" if others else ""
        raise ModelError(f"{folder} contains no *.safetensors weights{found}")
    for name in files:
        if name not in names:
            raise ModelError(f"{folder / name} is missing, but {INDEX_FILE} names it; download the model again")
    weights: dict[str, StoredWeight] = {}
    for name, weight in (pair for file in files for pair in _weights_of(folder / file)):
        if name in weights:
            two = f"{weights[name].file.name} and {weight.file.name}"
            raise ModelError(f"{folder}: {two} both contain {name}; download the model again")
        weights[name] = weight
    for name, file in index.items():
        if name not in weights or weights[name].file.name != file:
            raise ModelError(f"{folder / file} does not contain {name}, as {INDEX_FILE} says; download the model again")
    return weights


def _weights_of(file: Path) -> Iterator[tuple[str, StoredWeight]]:
    try:
        with safe_open(file, "np") as tensors:
            for name in tensors.keys():  # noqa: SIM118
                view = tensors.get_slice(name)
                yield name, StoredWeight(file, view.get_dtype(), math.prod(view.get_shape()))
    except (OSError, SafetensorError):
        raise ModelError(f"{file} is damaged or incomplete; download the model again") from None


def describe_adapter(folder: Path) -> str:
    """Return what a folder with an adapter is and what to do with it, to follow its name and "is"."""
    try:
        base = read_json(folder / ADAPTER_FILE, MAX_CONFIG_BYTES).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError):
        base = None
    name = " " + repr(base[:100]).strip("'") if isinstance(base, str) else ""
    return f"an adapter (LoRA), not a whole model; choose its base model{name}, and set adapter to this folder"
