"""Tiny models with random weights of the families in video_families, from the defaults of their configs made small."""

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedConfig, PreTrainedModel, ProcessorMixin

_SMALL = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
    "intermediate_size": 48, "vocab_size": 400, "depth": 2, "num_heads": 4, "embed_dim": 32, "out_hidden_size": 32,
    "moe_intermediate_size": 16, "num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2,
    "projector_hidden_size": 32, "projection_hidden_size": 32, "text_hidden_size": 32,
}  # fmt: skip
_MROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}}
_WIDE = {"rope_parameters": _MROPE["rope_parameters"] | {"partial_rotary_factor": 1.0}}
_PATCH = {"patch_size": 14}
# What has to fit together besides: of the whole config, of its text tower and of its vision tower.
_FITTED: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "qwen2_vl": ({}, _MROPE, {}),
    "qwen2_5_vl": ({}, _MROPE, {}),
    "cosmos3_edge": ({}, _MROPE, {}),
    "glm4v": ({}, _WIDE, {}),
    "glm46v": ({}, _WIDE, {}),
    "video_llama_3": ({}, {}, _PATCH),
    "smolvlm": ({"scale_factor": 1}, {}, {"image_size": 364, "patch_size": 28}),
    "internvl": ({}, {}, {"image_size": [384, 384], "patch_size": [12, 12]}),
    "minicpmv4_6": ({}, {}, _PATCH | {"image_size": 448}),
    "molmo2": ({}, {}, {"num_hidden_layers": 3}),
    "minimax_m3_vl": ({"merged_hidden_size": 128}, {}, {}),
    "muse_glimmer": ({"out_hidden_size": 128}, {}, {}),
    **dict.fromkeys(("lfm3_vl", "exaone4_5", "llava_onevision", "video_llava"), ({}, {}, {})),
}
BUILDABLE = tuple(_FITTED)


def build_tiny(name: str, processor: ProcessorMixin) -> PreTrainedModel:
    """Build a model in float32 whose answers depend on what it is shown and never end by themselves."""
    config = AutoConfig.for_model(name)
    shrink(config, processor)
    whole, text, vision = _FITTED[name]
    for part, values in ((config, whole), (config.text_config, text), (config.vision_config, vision)):
        for key, value in values.items():
            setattr(part, key, value)
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(0, 0.3)
    ends = {"eos_token_id": None, "bos_token_id": None, "pad_token_id": processor.tokenizer.pad_token_id}
    model.generation_config.update(**ends)
    return model


def shrink(config: PreTrainedConfig, processor: ProcessorMixin, inner: bool = False) -> None:
    """Make a config of a family small, with the tokens of the processor."""
    tokenizer = processor.tokenizer
    for key, value in list(vars(config).items()):
        if isinstance(value, PreTrainedConfig):
            shrink(value, processor, inner=True)
        elif key in _SMALL and isinstance(value, int):
            setattr(config, key, _SMALL[key])
        elif key == "layer_types" and inner and value:
            config.layer_types = value[:2] if len(set(value)) == 1 else list(dict.fromkeys(value))[:2]
        elif key == "image_patch_id":
            config.image_patch_id = tokenizer.convert_tokens_to_ids("<im_patch>")
        elif key.endswith(("_token_id", "_token_index")):
            mark = key.removesuffix("_id").removesuffix("_index")
            token = getattr(processor, mark, None) or getattr(tokenizer, mark, None)
            setattr(config, key, tokenizer.convert_tokens_to_ids(token) if token else 0)
        elif key == "vision_feature_layer" and isinstance(value, list):
            config.vision_feature_layer = [-1, -2]
