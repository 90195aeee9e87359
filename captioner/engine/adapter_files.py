"""The folder of a LoRA adapter, as PEFT saves it: what may be in it, and whom it was trained for. Needs no torch."""

import importlib.util
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from captioner.engine.checkpoint import ADAPTER_FILE
from captioner.engine.model_files import MAX_CONFIG_BYTES, read_json
from captioner.errors import ModelError
from captioner.values import Quantization

WEIGHTS_FILE, PICKLE_FILE = "adapter_model.safetensors", "adapter_model.bin"
MAX_RANK = 4096

# What a LoraConfig is built from; all else must be off, since merging would be wrong or impossible, or run other code.
FIELDS = (
    "r", "target_modules", "exclude_modules", "lora_alpha", "fan_in_fan_out", "bias", "use_rslora", "modules_to_save",
    "layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern", "trainable_token_indices", "use_dora",
    "lora_bias", "target_parameters", "ensure_weight_tying",
)  # fmt: skip
_WITHOUT_EFFECT = (
    "peft_type", "peft_version", "auto_mapping", "base_model_name_or_path", "revision", "task_type", "inference_mode",
    "lora_dropout", "init_lora_weights", "eva_config", "megatron_core", "qalora_group_size", "runtime_config",
    "ephemeral_gpu_offload",
)  # fmt: skip
# How the weights began. Others take a part out of the base model, which would have to be done again: PiSSA, OLoRA, ...
_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_SNAPSHOT = re.compile(r"models--([\w.-]+?)--([\w.-]+)")
# Words in the names of copies of a model that have its shapes: quantized, or trained not to refuse.
_COPIES = re.compile(
    r"\b(?:unsloth|dynamic|bnb|[48]bit|int[48]|nf4|w[48]a(?:8|16)|fp8|fp4|nvfp4|mxfp4|awq|gptq|gguf|bf16|mlx|huihui"
    r"|abliterated|heretic|uncensored|v\d+)\b"
)


@dataclass(frozen=True)
class AdapterFiles:
    """A LoRA adapter that may be merged."""

    folder: Path
    config: dict[str, Any]
    base: str  # the name of the model that it was trained for, or ""

    @property
    def weights(self) -> Path:
        return self.folder / WEIGHTS_FILE


def check_adapter(adapter: str, source: str, quantization: Quantization) -> None:
    """Raise ModelError for an adapter that cannot be merged into the model `source`, as far as its files tell."""
    if not adapter:
        return
    if quantization != "none":
        raise ModelError("an adapter cannot be merged into quantized weights; set quantization to none")
    found = read_adapter(Path(adapter))
    if importlib.util.find_spec("peft") is None:
        raise ModelError("an adapter needs the peft package: pip install peft")
    check_base(found, source)


def read_adapter(folder: Path) -> AdapterFiles:
    """Return the adapter in a folder. Raises ModelError with one line if it is none, or not one that can be merged."""
    if not folder.is_dir():
        raise ModelError(f"no such folder: {folder}; --adapter takes the folder of a LoRA adapter as PEFT saves it")
    if not (folder / ADAPTER_FILE).is_file():
        whole = "; it is a whole model, so give it as the model" if (folder / "config.json").is_file() else ""
        raise ModelError(f"{folder} is not an adapter of PEFT: it has no {ADAPTER_FILE}{whole}")
    try:
        config = read_json(folder / ADAPTER_FILE, MAX_CONFIG_BYTES)
        if not isinstance(config, dict):
            raise ValueError("not a JSON object")
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {folder / ADAPTER_FILE}: {error}; copy the adapter again") from None
    _check_kind(folder, config)
    _check_weights(folder)
    base = config.get("base_model_name_or_path")
    return AdapterFiles(folder, config, base if isinstance(base, str) else "")


def _check_kind(folder: Path, config: dict[str, Any]) -> None:
    kind = str(config.get("peft_type"))[:40]
    if kind != "LORA":
        raise ModelError(f"{folder} is an adapter of the kind {kind}; only LoRA adapters can be merged")
    start = config.get("init_lora_weights", True)
    if start not in _STARTS:
        how = "train it with another one, or save it with PEFT's path_initial_model_for_weight_conversion"
        raise ModelError(
            f"{folder} began with init_lora_weights {str(start)[:40]!r}, which changes the base model; {how}"
        )
    other = next((name for name, value in config.items() if value and name not in (*FIELDS, *_WITHOUT_EFFECT)), "")
    if other:
        raise ModelError(f"{folder} uses {other[:60]!r} of PEFT, which cannot be merged; train it without")
    ranks = config.get("rank_pattern") or {}
    for rank in (config.get("r", 8), *(ranks.values() if isinstance(ranks, dict) else [ranks])):
        if not isinstance(rank, int) or not 0 < rank <= MAX_RANK:
            raise ModelError(f"{folder / ADAPTER_FILE} has the rank {str(rank)[:40]}; it must be 1 to {MAX_RANK:,}")


def _check_weights(folder: Path) -> None:
    file = folder / WEIGHTS_FILE
    if not file.is_file():
        if (folder / PICKLE_FILE).is_file():
            problem = f"{folder} holds its weights in {PICKLE_FILE}, a pickle, which could run code"
            raise ModelError(f"{problem}; save it again with safe_serialization=True")
        raise ModelError(f"{folder} has no {WEIGHTS_FILE}; copy the adapter again")
    try:
        with safe_open(file, "np") as tensors:
            sizes = [math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys()]  # noqa: SIM118
    except (OSError, SafetensorError):
        raise ModelError(f"{file} is damaged or incomplete; copy the adapter again") from None
    if not any(sizes):
        raise ModelError(f"{file} contains no weights; copy the adapter again")


def check_base(adapter: AdapterFiles, source: str) -> None:
    """Raise ModelError if the adapter names another model of the Hub. Of local folders only the weights can tell."""
    base, chosen = hub_name(adapter.base), hub_name(source)
    if base and chosen and _plain(base) != _plain(chosen):
        problem = f"the adapter {adapter.folder.name} was trained for {base}, not for {chosen}"
        raise ModelError(f"{problem}; choose that model, or another adapter")


def hub_name(source: str) -> str:
    """Return the Hub id "owner/name" that a text is, or in whose cache folder it lies, or ""."""
    if snapshot := _SNAPSHOT.search(source):
        return "/".join(snapshot.groups())
    return source if _HUB_ID.fullmatch(source) and not Path(source).is_dir() else ""


def _plain(name: str) -> str:
    """Return the name of a model without its owner and the words of its copies."""
    words = _COPIES.sub("", re.sub(r"[-_]", " ", name.split("/")[1].lower()))
    return " ".join(words.split())
