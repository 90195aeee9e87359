"""A Qwen3-VL with 0.2 M random parameters and a byte-level tokenizer, which runs the real engine in seconds."""

from pathlib import Path

from captioner.cli.bench import build


def make_tiny_model(folder: Path) -> Path:
    """Save the model to `folder` and return the folder."""
    tokenizer = build.build_tokenizer(["describe this video in detail", "<0.5 seconds> user assistant"], 400)
    geometry = build.Geometry(
        text_layers=2, text_hidden=64, text_heads=4, text_kv_heads=2, text_head_dim=16, text_mlp=96,
        vision_layers=2, vision_hidden=32, vision_heads=2, vision_mlp=48, vision_positions=16, deepstack=(0,),
        initializer_range=0.1,
    )  # fmt: skip
    build.build_model(tokenizer, geometry, seed=1).save_pretrained(folder)
    build.build_processor(tokenizer).save_pretrained(folder)
    return folder
