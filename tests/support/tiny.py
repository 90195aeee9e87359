"""Models with 0.2 to 0.5 M random parameters and a byte-level tokenizer, which run the real engine in seconds."""

from dataclasses import replace
from pathlib import Path

from captioner.cli.bench import build
from captioner.cli.bench.build import Geometry

SIZES = {
    "text_hidden": 64, "text_heads": 4, "text_kv_heads": 2, "text_mlp": 96, "vision_layers": 2, "vision_hidden": 32,
    "vision_heads": 2, "vision_mlp": 48, "vision_positions": 16, "initializer_range": 0.1,
}  # fmt: skip
HYBRID = Geometry(**SIZES, text_layers=4, text_head_dim=32, hybrid=True, linear_heads=(2, 4), linear_head_dim=16)
EXPERTS = {"experts": 6, "experts_per_token": 2, "expert_mlp": 48}
TINY = {  # by model type; of the layers of a Qwen3.5, the first three of four are linear attention
    "qwen3_vl": Geometry(**SIZES, text_layers=2, text_head_dim=16, deepstack=(0,)),
    "qwen3_vl_moe": Geometry(**SIZES, **EXPERTS, text_layers=2, text_head_dim=16, deepstack=(0,)),
    "qwen3_5": HYBRID,
    "qwen3_5_moe": replace(HYBRID, **EXPERTS),
}


YES_AND_NO = ("Yes yes No no. yes, no",) * 9  # makes tokens of them


def make_tiny_model(folder: Path, model_type: str = "qwen3_vl", corpus: tuple[str, ...] = ()) -> Path:
    """Save the model to `folder` and return the folder. corpus: more words of which the tokenizer has tokens."""
    known = ["describe this video in detail", "<0.5 seconds> user assistant", *corpus]
    tokenizer = build.build_tokenizer(known, 400)
    model = build.build_model(tokenizer, TINY[model_type], seed=1)
    assert model.config.model_type == model_type
    model.save_pretrained(folder)
    build.build_processor(tokenizer).save_pretrained(folder)
    return folder
