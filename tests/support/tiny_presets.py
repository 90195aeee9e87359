"""Model folders in miniature, of the same classes and in the same layout as those of the presets."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedConfig

from tests.support.tiny import TINY, make_tiny_model
from tests.support.tiny_families import shrink
from tests.support.video_families import build_processor

_AUDIO = {
    "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 16, "d_model": 16, "output_dim": 32,
    "downsample_hidden_size": 8,
}  # fmt: skip
_MROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}


def make_preset_folder(folder: Path, model_type: str) -> Path:
    """Save a model of this type with random weights, and its processor with a chat template, and return the folder."""
    if model_type in TINY:
        return make_tiny_model(folder, model_type)
    processor = build_processor(model_type)
    processor.tokenizer.model_max_length = 32768
    if model_type == "qwen3_omni_moe":  # as in the released processor
        processor.image_processor.patch_size = processor.video_processor.patch_size = 16
    config: Any = _CONFIGS[model_type]()
    shrink(config, processor)
    inner = _fit(config, processor.tokenizer)
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(inner, dtype=torch.float32).eval()
    model.generation_config.update(eos_token_id=processor.tokenizer.eos_token_id, pad_token_id=0, bos_token_id=None)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    if inner is not config:
        _wrap(folder, config)
    return folder


def _gemma(model_type: str) -> PreTrainedConfig:
    text = {
        "vocab_size": 400, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 8, "layer_types": ["sliding_attention", "full_attention"],
        "vocab_size_per_layer_input": 400, "hidden_size_per_layer_input": 8,
    }  # fmt: skip
    vision = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 4, "head_dim": 8,
    }  # fmt: skip
    return AutoConfig.for_model(model_type, text_config=text, vision_config=vision)


_CONFIGS = {
    "gemma4": lambda: _gemma("gemma4"),
    "gemma4_unified": lambda: _gemma("gemma4_unified"),
    "qwen2_5_omni": lambda: AutoConfig.for_model("qwen2_5_omni"),
    "qwen3_omni_moe": lambda: AutoConfig.for_model("qwen3_omni_moe"),
}


BUILDABLE = (*TINY, *_CONFIGS)


def _fit(config: Any, tokenizer: Any) -> Any:
    """Make the parts of a config fit together; return that of the model which sees and writes."""
    if config.model_type.startswith("gemma4"):
        return config
    thinker = config.thinker_config
    for name, value in _AUDIO.items():
        if hasattr(thinker.audio_config, name):
            setattr(thinker.audio_config, name, value)
    thinker.text_config.rope_parameters = _MROPE
    thinker.vision_start_token_id = tokenizer.convert_tokens_to_ids(tokenizer.vision_bos_token)  # as in released ones
    if hasattr(thinker.vision_config, "deepstack_visual_indexes"):
        thinker.vision_config.deepstack_visual_indexes = [0]
    return thinker


def _wrap(folder: Path, config: PreTrainedConfig) -> None:
    """Give the folder the layout of a whole omni model: its config, and its weights below "thinker."."""
    weights = load_file(folder / "model.safetensors")
    spoken = {"talker.model.norm.weight": torch.ones(4), "code2wav.x.weight": torch.ones(4)}
    renamed = {f"thinker.{name}": weight for name, weight in weights.items()} | spoken
    save_file(renamed, folder / "model.safetensors", {"format": "pt"})
    inner = json.loads((folder / "config.json").read_text())
    whole = {"model_type": config.model_type, "architectures": [config.model_type], "thinker_config": inner}
    (folder / "config.json").write_text(json.dumps(whole))
