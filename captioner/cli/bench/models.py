"""The models that benchmarks run: real weights, or random ones in the sizes of a released model.

The benchmark determines the length of each caption, so none of these models has an end token.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel, ProcessorMixin

from captioner.cli.bench.build import Geometry, build_model, build_processor, build_tokenizer
from captioner.engine.core import avoid_attention_plans
from captioner.engine.loading import PatchProjection, load
from captioner.errors import ModelError
from captioner.system.paths import expand_user
from captioner.values import ModelSpec

DEMO_FOLDER = Path(__file__).resolve().parents[2] / "demo" / "model"
RELEASED_MIN_IMAGE_PIXELS = 65536  # released processors enlarge smaller images
CORPUS = ["describe this video in detail", "<0.5 seconds> user assistant", "a man walks his dog in the rain"]

_RELEASED = Geometry(
    text_kv_heads=8,
    text_head_dim=128,
    vision_positions=2304,
    vocab_size=151_936,
    tied=False,
    rope_theta=5_000_000.0,
    mrope_section=(24, 20, 20),
)
_SMALL_VISION = replace(
    _RELEASED, vision_layers=24, vision_hidden=1024, vision_heads=16, vision_mlp=4096, deepstack=(5, 11, 17)
)
_LARGE_VISION = replace(
    _RELEASED, vision_layers=27, vision_hidden=1152, vision_heads=16, vision_mlp=4304, deepstack=(8, 16, 24)
)

_HYBRID: dict[str, Any] = {
    "text_kv_heads": 4, "text_head_dim": 256, "vocab_size": 248_320, "mrope_section": (11, 11, 10), "hybrid": True
}  # fmt: skip

# Sizes from the config.json of each released checkpoint.
GEOMETRIES = {
    "demo": Geometry(),
    "tiny": Geometry(
        text_layers=2, text_hidden=64, text_heads=4, text_kv_heads=2, text_head_dim=16, text_mlp=96,
        vision_layers=2, vision_hidden=32, vision_heads=2, vision_mlp=48, vision_positions=16, deepstack=(0,),
        initializer_range=0.1,
    ),
    "100m": Geometry(
        text_layers=12, text_hidden=768, text_heads=12, text_kv_heads=4, text_head_dim=64, text_mlp=2304,
        vision_layers=6, vision_hidden=288, vision_heads=4, vision_mlp=864, vision_positions=2304,
        initializer_range=0.05, vocab_size=8192, rope_theta=5_000_000.0,
    ),
    "hybrid-100m": Geometry(
        text_layers=12, text_hidden=768, text_heads=8, text_kv_heads=2, text_head_dim=128, text_mlp=2304,
        vision_layers=6, vision_hidden=288, vision_heads=4, vision_mlp=864, vision_positions=2304,
        initializer_range=0.05, vocab_size=8192, rope_theta=5_000_000.0, hybrid=True, linear_heads=(6, 12),
        linear_head_dim=64,
    ),
    "qwen3-vl-2b": replace(
        _SMALL_VISION, text_layers=28, text_hidden=2048, text_heads=16, text_mlp=6144, tied=True
    ),
    "qwen3-vl-4b": replace(
        _SMALL_VISION, text_layers=36, text_hidden=2560, text_heads=32, text_mlp=9728, tied=True
    ),
    "qwen3-vl-8b": replace(_LARGE_VISION, text_layers=36, text_hidden=4096, text_heads=32, text_mlp=12288),
    "qwen3-vl-32b": replace(_LARGE_VISION, text_layers=64, text_hidden=5120, text_heads=64, text_mlp=25600),
    "qwen3-vl-30b-a3b": replace(
        _LARGE_VISION, text_layers=48, text_hidden=2048, text_heads=32, text_kv_heads=4, text_mlp=6144,
        experts=128, experts_per_token=8, expert_mlp=768,
    ),
    "marlin-2b": replace(
        _SMALL_VISION, **_HYBRID | {"text_kv_heads": 2}, text_layers=24, text_hidden=2048, text_heads=8, text_mlp=6144,
        linear_heads=(16, 16), tied=True,
    ),
    "qwen3.5-4b": replace(
        _SMALL_VISION, **_HYBRID, text_layers=32, text_hidden=2560, text_heads=16, text_mlp=9216, tied=True
    ),
    "qwen3.5-9b": replace(_LARGE_VISION, **_HYBRID, text_layers=32, text_hidden=4096, text_heads=16, text_mlp=12288),
    "qwen3.8-27b": replace(
        _LARGE_VISION, **_HYBRID, text_layers=64, text_hidden=5120, text_heads=24, text_mlp=17408, linear_heads=(16, 48)
    ),
    "qwen3.6-35b-a3b": replace(
        _LARGE_VISION, **_HYBRID | {"text_kv_heads": 2}, text_layers=40, text_hidden=2048, text_heads=16, experts=256,
        experts_per_token=8, expert_mlp=512,
    ),
}  # fmt: skip
ALWAYS_RANDOM = ("tiny", "100m", "hybrid-100m")


def open_model(
    name: str, random_weights: bool, device: torch.device, dtype: torch.dtype
) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Return a model without an end token, and its processor. Raises ModelError for an unknown name."""
    avoid_attention_plans()
    geometry = GEOMETRIES.get(name)
    if geometry and (random_weights or name in ALWAYS_RANDOM):
        model, processor = _build(geometry, device, dtype)
    else:
        folder = model_folder(name)
        loaded = load(folder, ModelSpec(str(folder), str(device), str(dtype).removeprefix("torch.")))
        model, processor = loaded.model, loaded.processor
    model.generation_config = endless(model.generation_config)
    return model, processor


def _build(geometry: Geometry, device: torch.device, dtype: torch.dtype) -> tuple[PreTrainedModel, ProcessorMixin]:
    tokenizer = build_tokenizer(CORPUS, 400)
    tokenizer.padding_side = "left"
    try:
        model = build_model(tokenizer, geometry, seed=1, device=str(device), dtype=dtype)
    except torch.OutOfMemoryError:
        raise ModelError(f"the model does not fit into the memory of {device}") from None
    embed = model.model.visual.patch_embed
    embed.proj = PatchProjection(embed.proj)  # as in engine.loading
    return model, build_processor(tokenizer, RELEASED_MIN_IMAGE_PIXELS)


def endless(config: GenerationConfig) -> GenerationConfig:
    """Return a greedy config without an end token, so that only the benchmark ends a caption."""
    pad = config.pad_token_id
    return GenerationConfig(do_sample=False, eos_token_id=None, pad_token_id=0 if pad is None else pad)


def model_folder(name: str) -> Path:
    """Return the folder of a model with real weights. Raises ModelError."""
    folder = DEMO_FOLDER if name == "demo" else Path(expand_user(name))
    if not os.path.isdir(folder):  # noqa: PTH112 - any text can be given
        hint = "add --random-weights" if name in GEOMETRIES else f"choose one of {', '.join(GEOMETRIES)}"
        raise ModelError(f"there is no model folder at {name}; {hint}, or give a model folder")
    return folder
