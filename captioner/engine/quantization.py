"""Quantization with bitsandbytes: linear modules of the text layers in 8 or 4 bits, everything else unchanged."""

import copy
import logging
from dataclasses import dataclass
from importlib.metadata import version

import torch
from torch import nn
from transformers import AutoModelForImageTextToText, BitsAndBytesConfig, PreTrainedConfig, PreTrainedModel

from captioner.engine.isolation import one_line
from captioner.errors import ModelError
from captioner.values import Quantization

# A smaller share of all weights is not worth it, and the model is probably structured in an unknown way.
LEAST_SHARE = 0.1


@dataclass(frozen=True)
class QuantizationPlan:
    """The dotted names of modules that stay unchanged, and the number of weights that are quantized."""

    skipped: tuple[str, ...]
    num_weights: int


def plan_quantization(config: PreTrainedConfig) -> QuantizationPlan:
    """Find the linear modules to quantize, which takes a second: all in the text decoder, none outside.

    transformers needs the full names of those outside: it compares them with the start of a module's name, so "visual"
    would match nothing. Raises ModelError if quantization would save almost nothing.
    """
    if any(getattr(part, "quantization_config", None) for part in (config, config.get_text_config(decoder=True))):
        raise ModelError("this checkpoint is already quantized; set quantization to none")
    what = f"cannot determine what to quantize in a {config.model_type}"
    with torch.device("meta"), one_line(what, config.name_or_path or "the model"):
        model = AutoModelForImageTextToText.from_config(copy.deepcopy(config), trust_remote_code=False)
    decoder = model.get_decoder()
    num_weights = sum(module.weight.numel() for module in decoder.modules() if type(module) is nn.Linear)
    if decoder is model or num_weights < LEAST_SHARE * model.num_parameters():
        where = "most of its weights are outside the linear modules of its text layers; set quantization to none"
        raise ModelError(f"quantization would save almost nothing in a {type(model).__name__}: {where}")
    return QuantizationPlan(_outside(model, decoder), num_weights)


def _outside(model: PreTrainedModel, decoder: nn.Module) -> tuple[str, ...]:
    """Return the largest modules that do not contain the decoder: ("lm_head", "model.visual") for a Qwen3-VL."""
    path = next(name for name, module in model.named_modules() if module is decoder).split(".")
    outside = []
    for depth, own in enumerate(path):
        above = path[:depth]
        children = model.get_submodule(".".join(above)).named_children()
        outside += [".".join([*above, name]) for name, _ in children if name != own]
    return tuple(sorted(outside))


def bitsandbytes_config(quantization: Quantization, dtype: torch.dtype, plan: QuantizationPlan) -> BitsAndBytesConfig:
    """Return transformers' config; 4-bit is as in QLoRA: nf4 with quantized scales, computing in the model's dtype."""
    skipped = list(plan.skipped)
    if quantization == "8bit":
        # bitsandbytes would log for every product of every layer that it computes in float16.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skipped)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=skipped,
    )


def describe(quantization: Quantization) -> str:
    """Return the text for the capability report."""
    if quantization == "none":
        return "none"
    kind = "8-bit" if quantization == "8bit" else "4-bit nf4"
    return f"{kind} in the text layers (bitsandbytes {version('bitsandbytes')})"
