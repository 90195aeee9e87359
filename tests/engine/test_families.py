"""Tiny models of other families with random weights, through the same preparation and StaticCore."""

import numpy as np
import pytest
import torch
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)

from captioner.cli.bench import build
from captioner.engine.prepare import Preparer
from captioner.engine.static import StaticCore
from captioner.values import Frames, GenerationOptions

CORPUS = ["describe this video in detail"]


def qwen2_5_vl():
    tokenizer = build.build_tokenizer(CORPUS, 400)
    size = {"shortest_edge": 784, "longest_edge": 1003520}
    processor = Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=size),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(size=size),
        chat_template=build.CHAT_TEMPLATE.strip(),
    )
    token_id = tokenizer.convert_tokens_to_ids
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": 512, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "bos_token_id": None, "eos_token_id": None,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]},
        },
        vision_config={
            "depth": 2, "hidden_size": 32, "num_heads": 2, "intermediate_size": 48, "out_hidden_size": 64,
            "window_size": 56, "fullatt_block_indexes": [1],
        },
        image_token_id=token_id("<|image_pad|>"), video_token_id=token_id("<|video_pad|>"),
        vision_start_token_id=token_id("<|vision_start|>"), vision_end_token_id=token_id("<|vision_end|>"),
    )  # fmt: skip
    return Qwen2_5_VLForConditionalGeneration(config), processor


def smolvlm():
    tokenizer = build.build_tokenizer(CORPUS, 400)
    marks = ["<fake_token_around_image>", "<image>", "<video>", "<end_of_utterance>", "<global-img>"]
    tokenizer.add_special_tokens({"additional_special_tokens": [*build.SPECIAL_TOKENS, *marks]})
    template = build.CHAT_TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", "<image>")
    processor = SmolVLMProcessor(
        image_processor=SmolVLMImageProcessor(size={"longest_edge": 64}, max_image_size={"longest_edge": 64}),
        tokenizer=tokenizer,
        video_processor=SmolVLMVideoProcessor(size={"longest_edge": 64}, max_image_size={"longest_edge": 64}),
        image_seq_len=4,
        chat_template=template.replace("<|vision_start|><|video_pad|><|vision_end|>", "<video>").strip(),
    )
    config = SmolVLMConfig(
        text_config={
            "model_type": "llama", "vocab_size": 512, "hidden_size": 64, "intermediate_size": 96,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        },
        vision_config={
            "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": 64, "patch_size": 16,
        },
        scale_factor=2, image_token_id=tokenizer.convert_tokens_to_ids("<image>"), pad_token_id=0,
    )  # fmt: skip
    return SmolVLMForConditionalGeneration(config), processor


@pytest.mark.parametrize("family", [qwen2_5_vl, smolvlm])
def test_batched_text_equals_one_at_a_time(family):
    torch.manual_seed(0)
    model, processor = family()
    model.eval()
    model.generation_config.pad_token_id = 0
    model.generation_config.eos_token_id = processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
    preparer = Preparer(processor)
    texts = []
    for max_batch in (1, 4):
        core = StaticCore(model, max_batch)
        random = np.random.default_rng(0)
        for number, (count, height, width) in enumerate(
            [(4, 64, 96), (1, 64, 64), (8, 96, 64), (6, 64, 96), (1, 32, 64)]
        ):
            pixels = random.integers(0, 256, (count, height, width, 3), np.uint8)
            indices = np.arange(count) * 12
            frames = Frames(pixels, indices / 24, indices, 24.0 if count > 1 else 0.0)
            core.submit(preparer.prepare(number, frames, "describe", GenerationOptions(max_new_tokens=12)))
        finished = {}
        while core.busy:
            finished |= {e.id: (e.tokens, e.error) for e in core.step() if e.finish_reason}
        assert [error for _, error in finished.values()] == [""] * 5
        texts.append(finished)
    assert texts[0] == texts[1]
