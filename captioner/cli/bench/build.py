"""Build a Qwen3-VL from scratch: tokenizer, processor with chat template, and a model with random weights.

Benchmarks and tests use it untrained; training of the demo model starts with it. It downloads and reads nothing.
"""

import json
from dataclasses import dataclass
from typing import Any, cast

import torch
import transformers
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoModelForImageTextToText, GenerationConfig, PreTrainedModel, Qwen2Tokenizer

PATCH_SIZE, MERGE_SIZE, TEMPORAL_PATCH_SIZE = 16, 2, 2  # as in every released Qwen3-VL
CHAT_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
SPECIAL_TOKENS = (*CHAT_TOKENS, "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")

# ChatML as in Qwen3-VL: a line with the role, then the parts of the message in order.
CHAT_TEMPLATE = """
{%- for message in messages -%}
<|im_start|>{{ message.role }}{{ '\\n' }}
{%- if message.content is string -%}{{ message.content }}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}<|vision_start|><|image_pad|><|vision_end|>
{%- elif part.type == 'video' -%}<|vision_start|><|video_pad|><|vision_end|>
{%- elif part.type == 'text' -%}{{ part.text }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
<|im_end|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant{{ '\\n' }}{%- endif -%}
"""


@dataclass(frozen=True)
class Geometry:
    """The sizes of a model. The defaults are those of the demo model, about 5 M parameters."""

    text_layers: int = 4
    text_hidden: int = 192
    text_heads: int = 6
    text_kv_heads: int = 2
    text_head_dim: int = 32
    text_mlp: int = 512
    vision_layers: int = 4
    vision_hidden: int = 160
    vision_heads: int = 4
    vision_mlp: int = 480
    vision_positions: int = 64  # a learned grid of 8 x 8, resampled to the size of each frame
    deepstack: tuple[int, ...] = (0, 1, 2)
    initializer_range: float = 0.02
    vocab_size: int = 0  # rows of the embedding; 0: the tokenizer's, rounded up to a multiple of 64
    tied: bool = True  # the last layer shares the weights of the embedding
    rope_theta: float = 10000.0
    mrope_section: tuple[int, int, int] | None = None  # rotary pairs for time, height and width; None: thirds
    experts: int = 0  # in each layer; 0: a dense model
    experts_per_token: int = 0
    expert_mlp: int = 0
    hybrid: bool = False  # Qwen3.5: three of four layers are linear attention, and there is no DeepStack
    linear_heads: tuple[int, int] = (16, 32)  # (of queries and keys, of values)
    linear_head_dim: int = 128


def build_tokenizer(corpus: list[str], vocab_size: int = 1024) -> Qwen2Tokenizer:
    """Train a byte-level BPE tokenizer on a corpus; digits stay single tokens, as in Qwen's own tokenizer."""
    bpe = Tokenizer(models.BPE())
    words = Regex(r"'\w+| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+")
    bytes_of_words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(words, "isolated"), bytes_of_words])
    size, alphabet = vocab_size - len(SPECIAL_TOKENS), sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator(corpus, trainer)
    trained = json.loads(bpe.to_str())["model"]
    return Qwen2Tokenizer(
        vocab=trained["vocab"],
        merges=cast(list[str], [tuple(merge) for merge in trained["merges"]]),  # pairs, despite the annotation
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL_TOKENS),
        model_max_length=32768,
    )


def build_processor(tokenizer: Qwen2Tokenizer, min_image_pixels: int = 1024) -> transformers.Qwen3VLProcessor:
    """Build a Qwen3-VL processor that enlarges images to at least `min_image_pixels`; released ones use 65,536."""
    image_processor = transformers.Qwen2VLImageProcessor(
        size={"shortest_edge": min_image_pixels, "longest_edge": 16777216}, patch_size=PATCH_SIZE,
        temporal_patch_size=TEMPORAL_PATCH_SIZE, merge_size=MERGE_SIZE, image_mean=[0.5] * 3, image_std=[0.5] * 3,
    )  # fmt: skip
    video_processor = transformers.Qwen3VLVideoProcessor(size={"shortest_edge": 4096, "longest_edge": 25165824})
    template = CHAT_TEMPLATE.strip()
    return transformers.Qwen3VLProcessor(image_processor, tokenizer, video_processor, chat_template=template)


def build_model(
    tokenizer: Qwen2Tokenizer, geometry: Geometry = Geometry(), seed: int = 0, device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> PreTrainedModel:  # fmt: skip
    """Build a model with random weights directly on `device`; its generation config is greedy."""
    ids = dict(zip(SPECIAL_TOKENS, cast(list[int], tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS))), strict=True))
    config_class: Any = _config_class(geometry)
    config = config_class(
        text_config=_text_config(tokenizer, geometry),
        vision_config=_vision_config(geometry),
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=geometry.tied,
    )
    torch.manual_seed(seed)
    with torch.device(device):
        model = AutoModelForImageTextToText.from_config(config, dtype=dtype, trust_remote_code=False).eval()
    eos, pad = ids["<|im_end|>"], ids["<|endoftext|>"]
    model.generation_config = GenerationConfig(eos_token_id=eos, pad_token_id=pad, do_sample=False)
    return model


def _config_class(geometry: Geometry) -> type[transformers.PreTrainedConfig]:
    if geometry.hybrid:
        return transformers.Qwen3_5MoeConfig if geometry.experts else transformers.Qwen3_5Config
    return transformers.Qwen3VLMoeConfig if geometry.experts else transformers.Qwen3VLConfig


def _text_config(tokenizer: Qwen2Tokenizer, geometry: Geometry) -> dict[str, object]:
    pairs = geometry.text_head_dim // (8 if geometry.hybrid else 2)  # Qwen3.5 turns a quarter of the dimensions
    section = geometry.mrope_section or (pairs - 2 * (pairs // 3), pairs // 3, pairs // 3)
    config: dict[str, object] = {
        "vocab_size": geometry.vocab_size or (len(tokenizer) + 63) // 64 * 64,
        "hidden_size": geometry.text_hidden,
        "intermediate_size": geometry.text_mlp,
        "num_hidden_layers": geometry.text_layers,
        "num_attention_heads": geometry.text_heads,
        "num_key_value_heads": geometry.text_kv_heads,
        "head_dim": geometry.text_head_dim,
        "max_position_embeddings": 32768,
        "initializer_range": geometry.initializer_range,
        "tie_word_embeddings": geometry.tied,
        "bos_token_id": tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        "eos_token_id": tokenizer.convert_tokens_to_ids("<|im_end|>"),
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": geometry.rope_theta,
            "mrope_section": list(section),
            "mrope_interleaved": True,
        },
    }
    if geometry.hybrid:
        key_heads, value_heads = geometry.linear_heads
        config |= {"linear_num_key_heads": key_heads, "linear_num_value_heads": value_heads}
        config |= {f"linear_{kind}_head_dim": geometry.linear_head_dim for kind in ("key", "value")}
    if geometry.experts:
        config |= {"num_experts": geometry.experts, "num_experts_per_tok": geometry.experts_per_token}
        config |= dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), geometry.expert_mlp)
    return config


def _vision_config(geometry: Geometry) -> dict[str, object]:
    return {
        "depth": geometry.vision_layers,
        "hidden_size": geometry.vision_hidden,
        "num_heads": geometry.vision_heads,
        "intermediate_size": geometry.vision_mlp,
        "out_hidden_size": geometry.text_hidden,
        "patch_size": PATCH_SIZE,
        "temporal_patch_size": TEMPORAL_PATCH_SIZE,
        "spatial_merge_size": MERGE_SIZE,
        "num_position_embeddings": geometry.vision_positions,
        "initializer_range": geometry.initializer_range,
        **({} if geometry.hybrid else {"deepstack_visual_indexes": list(geometry.deepstack)}),
    }
