"""Quantized formats of checkpoints: whether one can be loaded onto a device, what it needs, and what it becomes."""

import copy
import importlib
import importlib.util
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, PreTrainedConfig
from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING

from captioner.engine.isolation import one_line
from captioner.engine.model_files import MAX_CONFIG_BYTES, read_json
from captioner.errors import ModelError

# The packages that formats need, each as module and as name for pip; the others need none.
_PACKAGES = {
    "bitsandbytes": {"bitsandbytes": "bitsandbytes"},
    "compressed-tensors": {"compressed_tensors": "compressed-tensors"},
    "gptq": {"gptqmodel": "gptqmodel", "optimum": "optimum"},
    "awq": {"gptqmodel": "gptqmodel"},
    "auto-round": {"auto_round": "auto-round"},
    "torchao": {"torchao": "torchao"},
    "aqlm": {"aqlm": "aqlm"},
    "vptq": {"vptq": "vptq"},
    "quark": {"quark": "amd-quark"},
    "spqr": {"spqr_quant": "spqr_quant"},
    "fbgemm_fp8": {"fbgemm_gpu": "fbgemm-gpu"},
    "fp_quant": {"fp_quant": "fp_quant"},
    "fouroversix": {"fouroversix": "fouroversix"},
    "sinq": {"sinq": "sinq"},
    "eetq": {"kernels": "kernels"},
}
_ONLY_CUDA = ("eetq", "aqlm", "vptq", "spqr", "higgs", "fbgemm_fp8", "fp_quant")
# transformers makes these while it loads a model, and cannot load weights that are stored so.
_NOT_LOADED = ("hqq", "quanto", "nvfp4")
_SKIPPED = ("modules_to_not_convert", "llm_int8_skip_modules")
_NVIDIA_FILE = "hf_quant_config.json"
OTHER_MODEL = "choose a model that is not quantized"


def check_format(config: PreTrainedConfig, folder: Path, device: torch.device) -> None:
    """Raise ModelError if the model is stored in a quantized format that cannot be loaded onto this device.

    Weights of formats that transformers computes with in another dtype, on this device or on all, will be loaded in
    that dtype, so that the memory is known before the first caption.
    """
    stored = stored_quantization(config)
    method = _method(stored, folder)
    known = {key.removesuffix("_4bit").removesuffix("_8bit") for key in AUTO_QUANTIZER_MAPPING}
    if not method:
        return
    what = f"{folder.name} is stored in the format {method}"
    if method not in known or method in _NOT_LOADED:
        raise ModelError(f"{what}, which is not supported; {OTHER_MODEL}")
    if method in _ONLY_CUDA and device.type != "cuda":
        raise ModelError(f"{what}, which needs an NVIDIA GPU and cannot run on {device}; {OTHER_MODEL}")
    packages = [name for module, name in _PACKAGES.get(method, {}).items() if importlib.util.find_spec(module) is None]
    if packages:
        noun = "packages" if len(packages) > 1 else "package"
        raise ModelError(f"{what}, which needs the {noun} {' and '.join(packages)}: pip install {' '.join(packages)}")
    for field in _SKIPPED:
        stored.update({field: _renamed(stored[field])} if isinstance(stored.get(field), list) else {})
    if method == "compressed-tensors":
        stored["run_compressed"] = False  # else the first caption would unpack them beside what the slots take
    elif method == "mxfp4" or (method in ("fp8", "mxfp8") and not _runs_fp8(device)):
        stored["dequantize"] = True


def _renamed(names: list[str]) -> list[str]:
    """Return the names of modules that are not quantized, and those that modules of older checkpoints have today."""
    inner = [name.removeprefix("model.") for name in names]
    return [*names, *(f"model.{name}" for name in inner), *(f"model.language_model.{name}" for name in inner)]


def stored_quantization(config: PreTrainedConfig) -> dict[str, Any]:
    """Return the quantization_config of a model that is stored quantized, or {}."""
    for part in (config, config.get_text_config(decoder=True)):
        found = getattr(part, "quantization_config", None)
        if found:
            return found if isinstance(found, dict) else found.to_dict()
    return {}


def count_weights(config: PreTrainedConfig) -> int:
    """Return the number of weights of the model without its quantization. Raises ModelError."""
    plain = copy.deepcopy(config)
    for part in (plain, plain.get_text_config(decoder=True)):
        if hasattr(part, "quantization_config"):
            del part.quantization_config
    with torch.device("meta"), one_line("cannot build the model", config.name_or_path or "the model"):
        model = AutoModelForImageTextToText.from_config(plain, trust_remote_code=False)
    return model.num_parameters()


def is_unpacked(stored: dict[str, Any]) -> bool:
    """Return True if the weights of this quantization_config have the model's dtype once they are loaded."""
    return bool(stored.get("dequantize")) or stored.get("run_compressed") is False


def describe_stored(stored: dict[str, Any], dtype: torch.dtype) -> str:
    """Return the text for the capability report about a model that is stored quantized."""
    method = _method(stored, None)
    return f"{method} in the files, {str(dtype).removeprefix('torch.')} here" if is_unpacked(stored) else method


def _method(stored: dict[str, Any], folder: Path | None) -> str:
    """Return the name of the format, or "" if the model is not quantized."""
    if method := stored.get("quant_method"):
        return " ".join(str(method).split())[:40]
    if stored.get("load_in_4bit") or stored.get("load_in_8bit"):
        return "bitsandbytes"
    if stored:
        return "MLX" if {"bits", "group_size"} <= stored.keys() else "unknown"
    if folder is None or not (folder / _NVIDIA_FILE).is_file():
        return ""
    try:
        algorithm = read_json(folder / _NVIDIA_FILE, MAX_CONFIG_BYTES)["quantization"]["quant_algo"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return f"modelopt {algorithm}" if algorithm else ""


def _runs_fp8(device: torch.device) -> bool:
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 9):
        return False
    try:  # from the cache of the Hub alone, since loading is offline: the first caption would fetch it otherwise
        load = importlib.import_module("transformers.integrations.hub_kernels").lazy_load_kernel
        return load("finegrained-fp8") is not None
    except Exception:  # code of a stranger, made for other versions
        return False
