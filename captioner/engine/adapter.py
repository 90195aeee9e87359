"""Merge a LoRA adapter into the weights of a loaded model, with PEFT."""

import contextlib
import importlib
import re
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedModel

from captioner.engine.adapter_files import FIELDS, AdapterFiles, read_adapter
from captioner.engine.formats import stored_quantization
from captioner.engine.isolation import one_line
from captioner.errors import ModelError

MAX_NAMES = 3
PREFIX = "base_model.model."  # of every weight in the file
# Where modules were before transformers 4.52, or in the text model alone, and where they are now.
_MOVED = (
    ("model.layers", "model.language_model.layers"),
    ("model.embed_tokens", "model.language_model.embed_tokens"),
    ("language_model.model", "model.language_model"),
    ("language_model.lm_head", "lm_head"),
    *((name, f"model.{name}") for name in ("visual", "vision_tower", "vision_model", "multi_modal_projector")),
)
_SIZE = re.compile(r"size mismatch for (\S+): .*?Size\((\[[\d, ]*\])\).*?Size\((\[[\d, ]*\])\)")
_OF_ADAPTER = re.compile(r"\.(lora_\w+|modules_to_save\.default|trainable_tokens_\w+)\b")


def merge_adapter(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Return the model with the adapter merged into its weights. Raises ModelError with one line.

    Every weight of the adapter has to have its place in the model, and every place its weight.
    """
    adapter = read_adapter(folder)
    if stored_quantization(model.config):
        raise ModelError(
            f"the adapter {folder.name} cannot be merged into quantized weights; choose the original model"
        )
    with one_line(f"cannot merge the adapter {folder.name}", folder.name), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are about training
        return _merge(model, adapter)


def _merge(model: PreTrainedModel, adapter: AdapterFiles) -> PreTrainedModel:
    peft: Any = importlib.import_module("peft")  # an extra
    fields = {name: adapter.config[name] for name in FIELDS if name in adapter.config}
    if isinstance(fields.get("target_modules"), list):
        fields["target_modules"] = [_current_name(model, str(name)) for name in fields["target_modules"]]
    config = peft.LoraConfig(**fields)
    weights = {_current_name(model, name): weight for name, weight in load_file(adapter.weights).items()}
    if bad := [name for name, weight in weights.items() if not bool(torch.isfinite(weight).all())]:
        raise ModelError(f"{len(bad)} weights of {adapter.weights} are not finite numbers: {_names(bad)}")
    try:
        adapted: Any = peft.PeftModel(model, config)
    except ValueError as error:
        raise _misfit(model, adapter, str(error).split(". ")[0]) from None
    try:
        loaded: Any = peft.set_peft_model_state_dict(adapted, weights)
    except (RuntimeError, KeyError) as error:  # other shapes; a whole module that is missing
        size = _SIZE.search(str(error))
        what = "{} is {} instead of {}".format(*size.groups()) if size else f"it has no weight {error}"
        raise _misfit(model, adapter, what) from None
    if loaded.unexpected_keys:
        raise _misfit(model, adapter, f"the model has no place for {_names(loaded.unexpected_keys)}")
    if missing := _missing(adapted, loaded.missing_keys):
        raise _misfit(model, adapter, f"it has no weights {_names(missing)}")
    _untie(model)
    return adapted.merge_and_unload(safe_merge=True).eval().requires_grad_(False)


def _current_name(model: PreTrainedModel, name: str) -> str:
    """Return the name of a module or weight as it is in this model, if it begins with an old name of _MOVED."""
    bare = name.removeprefix(PREFIX)
    for old, new in _MOVED:
        if bare.startswith(f"{old}.") and _has_module(model, new) and not _has_module(model, old):
            return name.removesuffix(bare) + new + bare.removeprefix(old)
    return name


def _has_module(model: PreTrainedModel, name: str) -> bool:
    with contextlib.suppress(AttributeError):
        model.get_submodule(name)
        return True
    return False


def _missing(adapted: Any, keys: Collection[str]) -> list[str]:
    """Return which of these keys are of the adapter and not tied to a weight that was loaded."""
    weights = dict(adapted.named_parameters(remove_duplicate=False))
    loaded = {id(weight) for name, weight in weights.items() if name not in keys}
    return [name for name in keys if _OF_ADAPTER.search(name) and id(weights[name]) not in loaded]


def _untie(model: Any) -> None:
    """Give the last layer its own weight if it shares that of an embedding and one of both is adapted."""
    first, last = model.get_input_embeddings(), model.get_output_embeddings()
    weights = [getattr(each, "base_layer", each).weight for each in (first, last) if each is not None]
    is_adapted = any(hasattr(each, "base_layer") for each in (first, last))
    if is_adapted and len(weights) == 2 and weights[0] is weights[1]:
        getattr(last, "base_layer", last).weight = nn.Parameter(weights[0].detach().clone(), requires_grad=False)
        model.config.tie_word_embeddings = model.config.get_text_config().tie_word_embeddings = False


def _misfit(model: PreTrainedModel, adapter: AdapterFiles, what: str) -> ModelError:
    base = f", {adapter.base[:100]}" if adapter.base else ""
    problem = f"the adapter {adapter.folder.name} does not fit {type(model).__name__}: {what[:300]}"
    return ModelError(f"{problem}; choose the model that it was trained for{base}")


def _names(keys: Collection[str]) -> str:
    shown = [name.replace(".default", "") for name in sorted(keys)[:MAX_NAMES]]
    return ", ".join(shown) + (", ..." if len(keys) > MAX_NAMES else "")
