"""Batches of clips through `generate` for tiny models of many families: each clip's tokens are those it gets alone."""

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from captioner.engine.prepare import Preparer
from captioner.engine.static import StaticCore
from captioner.values import Frames, GenerationOptions
from tests.support.engine_cases import run
from tests.support.tiny_families import BUILDABLE, build_tiny
from tests.support.video_families import build_processor

pytestmark = pytest.mark.filterwarnings("ignore:__array")  # processors that give tensors to numpy
NUM_TOKENS = 4


def make_requests(preparer):
    """Prepare three clips of the same size and one image, with prompts of different lengths."""
    rng = np.random.default_rng(0)
    requests = []
    for i, num_frames in enumerate((4, 4, 4, 1)):
        pixels = rng.integers(0, 256, (num_frames, 64, 96, 3), np.uint8)
        frames = Frames(pixels, np.arange(num_frames) / 2, np.arange(num_frames) * 12, 24.0)
        requests.append(preparer.prepare(i, frames, "Describe" + "!" * i, GenerationOptions(max_new_tokens=NUM_TOKENS)))
    return requests


@pytest.mark.parametrize("family", BUILDABLE)
def test_batched_tokens_equal_those_of_one_clip_at_a_time(family):
    processor = build_processor(family)
    model = build_tiny(family, processor)
    requests = make_requests(Preparer(processor))
    finished = run(StaticCore(model, 4), requests)
    config = GenerationConfig(
        max_new_tokens=NUM_TOKENS, do_sample=False, pad_token_id=processor.tokenizer.pad_token_id, eos_token_id=None
    )
    clips = set()
    for request in requests:
        inputs = dict(request.inputs)
        if family == "minimax_m3_vl":
            del inputs["mm_token_type_ids"]
        with torch.inference_mode():
            alone = model.generate(**inputs, generation_config=config)[0, request.num_prompt_tokens :]
        assert (finished[request.id].tokens, finished[request.id].error) == (tuple(alone.tolist()), "")
        clips.add(finished[request.id].tokens)
    assert len(clips) > 1
