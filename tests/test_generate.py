"""GenerateCore against one-at-a-time `model.generate` with the installed processor."""

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from captioner.engine.generate import GenerateCore
from captioner.engine.prepare import Preparer
from captioner.values import GenerationOptions

PROMPTS = ("describe this video", "what happens here, in detail?", "tags")


@pytest.fixture(scope="module")
def requests(tiny_model):
    """50 requests: clips of 2 to 10 frames in several shapes with stills among them -> (frames, prompt, length)."""
    from captioner.values import Frames

    rng = np.random.default_rng(3)
    made = []
    for i in range(50):
        count = 1 if i % 5 == 0 else int(rng.choice([2, 4, 6, 10]))
        height, width = (int(side) for side in rng.choice([32, 64, 96], 2))
        pixels = rng.integers(0, 256, (count, height, width, 3), np.uint8)
        indices = np.arange(count) * 7
        frames = Frames(pixels, indices / 25, indices, 25.0 if count > 1 else 0.0)
        made.append((frames, PROMPTS[i % 3], int(rng.integers(3, 24))))
    return made


def reference_inputs(processor, frames, prompt):
    """What the installed processor itself makes of the same frames."""
    if len(frames.pixels) == 1:
        chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}]
        text = processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        return processor(text=[text], images=[torch.from_numpy(frames.pixels[0]).permute(2, 0, 1)], return_tensors="pt")
    chat = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": prompt}]}]
    text = processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    indices = frames.indices.tolist()
    metadata = {"fps": frames.fps, "frames_indices": indices, "total_num_frames": indices[-1] + 1, "duration": 1.0}
    return processor(
        text=[text],
        videos=[torch.from_numpy(frames.pixels).permute(0, 3, 1, 2)],
        video_metadata=[metadata],
        do_sample_frames=False,
        return_tensors="pt",
    )


@pytest.fixture(scope="module")
def alone(tiny_model, requests):
    """Greedy tokens of each request by one call of generate."""
    config = tiny_model.model.generation_config
    outputs = []
    for frames, prompt, length in requests:
        inputs = reference_inputs(tiny_model.processor, frames, prompt)
        with torch.inference_mode():
            ids = tiny_model.model.generate(
                **{k: v for k, v in inputs.items() if isinstance(v, torch.Tensor)},
                generation_config=GenerationConfig(
                    max_new_tokens=length, do_sample=False,
                    eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id,
                ),
            )  # fmt: skip
        tokens = ids[0, inputs["input_ids"].shape[1] :].tolist()
        outputs.append(tuple(t for t in tokens if t != config.eos_token_id))
    return outputs


def run(core, prepared):
    for request in prepared:
        core.submit(request)
    finished = {}
    while core.busy:
        finished |= {event.id: event for event in core.step() if event.finish_reason}
    return finished


def prepare_all(model, requests, **options):
    preparer = Preparer(model.processor)
    return [
        preparer.prepare(i, frames, prompt, GenerationOptions(max_new_tokens=length, **options))
        for i, (frames, prompt, length) in enumerate(requests)
    ]


def test_inputs_equal_those_of_the_installed_processor(tiny_model, requests):
    for prepared, (frames, prompt, _) in zip(prepare_all(tiny_model, requests), requests, strict=True):
        reference = reference_inputs(tiny_model.processor, frames, prompt)
        tensors = {k: v for k, v in reference.items() if isinstance(v, torch.Tensor)}
        assert prepared.inputs.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert torch.equal(prepared.inputs[name], tensor), name


@pytest.mark.parametrize("max_batch", [1, 4, 8])
def test_batched_greedy_text_equals_one_at_a_time(tiny_model, requests, alone, max_batch):
    finished = run(GenerateCore(tiny_model.model, max_batch), prepare_all(tiny_model, requests))
    assert [finished[i].tokens for i in range(len(requests))] == alone
    lengths = [length for *_, length in requests]
    for i, length in enumerate(lengths):
        assert finished[i].finish_reason == ("length" if len(alone[i]) == length else "stop")


def test_penalised_text_does_not_depend_on_the_batch(tiny_model, requests):
    prepared = prepare_all(tiny_model, requests[:20], repetition_penalty=1.3)
    single = run(GenerateCore(tiny_model.model, 1), prepared)
    batched = run(GenerateCore(tiny_model.model, 8), prepared)
    assert {i: e.tokens for i, e in single.items()} == {i: e.tokens for i, e in batched.items()}
    plain = run(GenerateCore(tiny_model.model, 8), prepare_all(tiny_model, requests[:20]))
    assert any(plain[i].tokens != single[i].tokens for i in range(20))


def test_seeded_sampling_does_not_depend_on_the_batch(tiny_model, requests):
    prepared = prepare_all(tiny_model, requests[:20], temperature=0.9, top_p=0.9, top_k=30, seed=5)
    single = run(GenerateCore(tiny_model.model, 1), prepared)
    batched = run(GenerateCore(tiny_model.model, 8), prepared)
    assert {i: e.tokens for i, e in single.items()} == {i: e.tokens for i, e in batched.items()}


def test_cancelled_request_ends_within_one_step_and_leaves_a_prefix(tiny_model, requests, alone):
    core = GenerateCore(tiny_model.model, 8)
    long_ones = [i for i, tokens in enumerate(alone) if len(tokens) >= 8]
    prepared = prepare_all(tiny_model, requests)
    for request in prepared:
        core.submit(request)
    finished, cancelled_after = {}, {}
    while core.busy:
        for event in core.step():
            if event.finish_reason:
                finished[event.id] = event
            elif event.id in long_ones and event.num_tokens == 3:
                core.cancel(event.id)
                cancelled_after[event.id] = event.num_tokens
    assert set(cancelled_after) == set(long_ones)
    for i, tokens in enumerate(alone):
        if i in long_ones:
            assert finished[i].finish_reason == "cancelled"
            assert finished[i].tokens == tokens[:3]
        else:
            assert finished[i].tokens == tokens


def test_waiting_request_can_be_cancelled(tiny_model, requests):
    core = GenerateCore(tiny_model.model, 1)
    for request in prepare_all(tiny_model, requests[:3]):
        core.submit(request)
    core.cancel(2)
    events = core.step()
    assert [(e.id, e.finish_reason) for e in events if e.finish_reason] == [(2, "cancelled")]
    core.close()
    assert not core.busy


def test_request_that_breaks_the_model_fails_alone(tiny_model, requests, alone):
    prepared = prepare_all(tiny_model, requests[:8])
    bad = prepared[3].inputs
    bad["input_ids"] = bad["input_ids"].masked_fill(bad["input_ids"] == tiny_model.model.config.video_token_id, 5)
    finished = run(GenerateCore(tiny_model.model, 8), prepared)
    assert finished[3].finish_reason == "error"
    assert finished[3].error.startswith("the model failed: ")
    assert "\n" not in finished[3].error
    assert [finished[i].tokens for i in range(8) if i != 3] == [alone[i] for i in range(8) if i != 3]
