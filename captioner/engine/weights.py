"""Checks of a model's weights: the memory they need, and whether all were loaded."""

import re
from collections.abc import Collection, Iterable
from typing import Any

import torch
from transformers import PreTrainedModel

from captioner.engine.checkpoint import FLOAT_BYTES, StoredWeight
from captioner.errors import ModelError

# Buffers that releases saved or not, additional heads for speculative decoding, and scales of the K/V cache.
_HARMLESS = re.compile(
    r"inv_freq$|position_ids$|(^|\.)masked_bias$|num_batches_tracked$|(cos|sin)_cached$"
    r"|(^|\.)(mtp|eagle|medusa)\w*(\.|$)|\.[qkv]_(proj\.output_)?scale$|(^|\.)kv_scale$"
)
_ADAPTER = re.compile(r"\.(lora_|base_layer\.|modules_to_save\.|original_module\.|hada_w|lokr_|oft_)")
MAX_NAMES = 3
SMALL_MODEL = 50_000_000  # of fewer weights: what makes a CPU faster would gain nothing


def loaded_bytes(
    weights: Iterable[StoredWeight], stored: dict[str, Any], dtype: torch.dtype, num_quantized: int, each: float
) -> int:
    """Return the bytes of the weights once loaded: floats in `dtype`, FP8 and packed integers as they are stored.

    stored: the quantization_config of the model, or {}. num_quantized: how many weights will be quantized while
    loading, to `each` bytes.
    """
    floats = {*FLOAT_BYTES}
    if not stored or stored.get("dequantize"):
        floats |= {"F8_E4M3", "F8_E5M2"}
    total = sum(weight.numel * dtype.itemsize if weight.dtype in floats else weight.bytes for weight in weights)
    return round(total - num_quantized * (dtype.itemsize - each))


def check_loaded(model: PreTrainedModel, info: dict[str, Any], name: str) -> None:
    """Raise ModelError if weights are missing, have other shapes, are left over or are no numbers.

    `info` is from transformers, which gives missing weights random values and leaves out those that are tied or not
    saved on purpose.
    """
    kind = type(model).__name__
    errors = [*info.get("error_msgs", ())]
    if errors:
        raise ModelError(f"{name} cannot be loaded as {kind}: {str(errors[0]).strip().splitlines()[0][:300]}")
    left_over = {key for key in info["unexpected_keys"] if not _HARMLESS.search(key)}
    if adapter := {key for key in left_over if _ADAPTER.search(key)}:
        raise ModelError(f"{name} contains an adapter (LoRA) that is not merged: {_names(adapter)}; merge it first")
    missing = {key for key in info["missing_keys"] if not _HARMLESS.search(key)}
    if missing:
        total = len(model.state_dict())
        problem = f"{len(missing)} of {total} weights of {kind} are missing from the files of {name}: {_names(missing)}"
        raise ModelError(f"{problem}; they would be random, so download the model again or choose another one")
    if shapes := {key: (tuple(found), tuple(wanted)) for key, found, wanted in info["mismatched_keys"]}:
        first = min(shapes)
        what = f"{first} is {shapes[first][0]} instead of {shapes[first][1]}"
        problem = f"{len(shapes)} weights of {name} have another shape than its config.json says: {what}"
        raise ModelError(f"{problem}; download the model again or choose another one")
    if foreign := {key for key in left_over if _is_inside(model, key)}:
        problem = f"{name} has {len(foreign)} weights that {kind} does not know: {_names(foreign)}"
        raise ModelError(f"{problem}; its config.json belongs to another model, so download the model again")
    if bad := [key for key, weight in model.named_parameters() if not _is_finite(weight)]:
        raise ModelError(
            f"{len(bad)} weights of {name} are not finite numbers: {_names(bad)}; "
            "download the model again, or set dtype to float32 if it is float16"
        )


def _names(keys: Collection[str]) -> str:
    more = ", ..." if len(keys) > MAX_NAMES else ""
    return ", ".join(sorted(keys)[:MAX_NAMES]) + more


def _is_inside(model: PreTrainedModel, key: str) -> bool:
    """Return True if a part of the model should have the weight, and False if it is of a part that the model lacks."""
    modules = dict(model.named_modules())
    parts = key.split(".")
    deepest = next(path for n in range(len(parts), -1, -1) if (path := ".".join(parts[:n])) in modules)
    return deepest not in ("", model.base_model_prefix)


def is_plain(weight: torch.Tensor) -> bool:
    """Return False for a weight of a class of its own, such as torchao's quantized ones, which know few operations."""
    return type(weight.detach()) is torch.Tensor


def _is_finite(weight: torch.Tensor) -> bool:
    """Return True if the sum of the weight is finite, which takes no memory for a mask."""
    if not is_plain(weight) or not weight.is_floating_point() or weight.dtype.itemsize < 2:
        return True
    return bool(torch.isfinite(weight.detach().sum(dtype=torch.float32)))
