"""Smaller weights through bitsandbytes: linear modules of the text layers in 8 or 4 bits, all else as it is."""

import copy
import logging
from dataclasses import dataclass
from importlib.metadata import version

import torch
from torch import nn
from transformers import AutoModelForImageTextToText, BitsAndBytesConfig, PreTrainedConfig, PreTrainedModel

from captioner.errors import ModelError
from captioner.values import Quantization

# Less than this share of all weights is not worth it, and says that the model is built otherwise than we know.
LEAST_SHARE = 0.1


@dataclass(frozen=True)
class QuantizationPlan:
    """What of a model is quantised and what is not."""

    skipped: tuple[str, ...]  # dotted names of modules that stay as they are, with all that is in them
    num_weights: int  # that are quantised


def plan_quantization(config: PreTrainedConfig) -> QuantizationPlan:
    """Look at the model's build, which takes a second and no memory. Raises ModelError where there is nothing to gain.

    lm_head, embeddings, the vision tower and whatever else stands outside the text decoder are left alone. Their full
    names are wanted: transformers compares a name with the start of a module's name, so "visual" finds nothing.
    """
    if any(getattr(part, "quantization_config", None) for part in (config, config.get_text_config(decoder=True))):
        raise ModelError("this checkpoint is quantised already; set quantization to none")
    try:
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(copy.deepcopy(config))
    except (ValueError, KeyError, ImportError, RuntimeError) as error:
        raise ModelError(
            f"cannot tell what to quantise of a {config.model_type}: {str(error).splitlines()[0]}"
        ) from error
    decoder = model.get_decoder()
    num_weights = sum(module.weight.numel() for module in decoder.modules() if type(module) is nn.Linear)
    if decoder is model or num_weights < LEAST_SHARE * model.num_parameters():
        raise ModelError(
            f"quantization would shrink next to nothing of a {type(model).__name__}: most of its weights are no "
            "linear modules of text layers; set quantization to none"
        )
    return QuantizationPlan(_outside(model, decoder), num_weights)


def _outside(model: PreTrainedModel, decoder: nn.Module) -> tuple[str, ...]:
    """Names of the largest modules that do not hold the decoder: ("lm_head", "model.visual") for a Qwen3-VL."""
    path = next(name for name, module in model.named_modules() if module is decoder).split(".")
    outside = []
    for depth, own in enumerate(path):
        above = path[:depth]
        children = model.get_submodule(".".join(above)).named_children()
        outside += [".".join([*above, name]) for name, _ in children if name != own]
    return tuple(sorted(outside))


def bitsandbytes_config(quantization: Quantization, dtype: torch.dtype, plan: QuantizationPlan) -> BitsAndBytesConfig:
    """4-bit as in QLoRA: nf4 with its scales quantised too, computing in the model's own 16-bit type."""
    skipped = list(plan.skipped)
    if quantization == "8bit":
        # It would say at every product of every layer that it computes in float16.
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
    """For the capability report."""
    if quantization == "none":
        return "none"
    kind = "8-bit" if quantization == "8bit" else "4-bit nf4"
    return f"{kind} in the text layers (bitsandbytes {version('bitsandbytes')})"
