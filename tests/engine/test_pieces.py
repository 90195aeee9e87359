"""Prompts are read in pieces, first come, first served, so that no request waits long for the prompt of another."""

import numpy as np
import pytest

from captioner.engine.continuous import ContinuousCore, ContinuousOptions
from captioner.engine.prepare import Preparer
from captioner.values import Frames, GenerationOptions

PIECE = 64


@pytest.fixture
def core(tiny_model):
    core = ContinuousCore(tiny_model.model, ContinuousOptions(max_slots=8, max_tokens=2000, piece_tokens=PIECE))
    yield core
    core.close()


@pytest.fixture
def watched(core, tiny_model):
    """What each forward pass got: ("text", tokens of prompts) or ("vision", patches)."""
    passes, model = [], tiny_model.model.model

    def on_text(module, args, kwargs):
        passes.append(("text", kwargs["text_step"].num_prompt_tokens))

    def on_vision(module, args):
        passes.append(("vision", len(args[0])))

    hooks = [
        model.language_model.layers[0].register_forward_pre_hook(on_text, with_kwargs=True),
        model.visual.register_forward_pre_hook(on_vision),
    ]
    yield passes
    for hook in hooks:
        hook.remove()


def request(core, tiny_model, number, num_frames, max_new_tokens=40):
    pixels = np.random.default_rng(number).integers(0, 255, (num_frames, 64, 64, 3), dtype=np.uint8)
    indices = np.arange(num_frames) * 12
    frames = Frames(pixels, indices / 24, indices, 24.0)
    options = GenerationOptions(temperature=0.0, max_new_tokens=max_new_tokens)
    return Preparer(tiny_model.processor, core.layout).prepare(number, frames, "describe", options)


def test_prompts_that_arrive_together_are_answered_one_after_the_other(core, tiny_model):
    requests = [request(core, tiny_model, number, num_frames=24) for number in range(8)]
    lengths = [each.num_prompt_tokens for each in requests]
    assert min(lengths) > 2 * PIECE
    first_token_at, step = {}, 0
    for each in requests:
        core.submit(each)
    while len(first_token_at) < 8:
        step += 1
        for event in core.step():
            first_token_at.setdefault(event.id, step)
    assert list(first_token_at) == sorted(first_token_at)
    for number, at in first_token_at.items():
        wanted = -(-sum(lengths[: number + 1]) // PIECE)
        assert wanted <= at <= wanted + number + 1  # what is left of a step is rounded down to whole chunks


def test_running_requests_get_a_token_in_each_step_while_a_long_prompt_is_read(core, tiny_model, watched):
    short = [request(core, tiny_model, number, num_frames=2) for number in range(3)]
    long = request(core, tiny_model, 3, num_frames=120)
    for each in short:
        core.submit(each)
    while core.num_running < 3 or any(running.is_reading for running in core._running.values()):
        core.step()
    watched.clear()
    core.submit(long)
    steps = 0
    while 3 not in (ids := {event.id for event in core.step()}) and steps < 100:
        steps += 1
        assert ids == {0, 1, 2}
    assert steps >= long.num_prompt_tokens // PIECE - 1 > 5
    assert sum(size for kind, size in watched if kind == "text") == long.num_prompt_tokens
    patches = [size for kind, size in watched if kind == "vision"]
    assert max(size for kind, size in watched if kind == "text") <= PIECE
    assert sum(patches) == len(long.layout["patch_positions"]), "each frame is encoded once"
    assert max(patches) < 4 * PIECE + 16, "no more frames than the piece needs: four patches a token, 16 a frame"


def test_request_that_is_cancelled_while_its_prompt_is_read_leaves_the_others_alone(core, tiny_model):
    alone = request(core, tiny_model, 0, num_frames=4)
    core.submit(alone)
    wanted = _finish(core)[0].tokens
    core.submit(request(core, tiny_model, 1, num_frames=60))
    core.submit(alone)
    core.step()
    core.cancel(1)
    ended = _finish(core)
    assert (ended[1].finish_reason, ended[1].tokens) == ("cancelled", ())
    assert ended[0].tokens == wanted


def _finish(core):
    ended = {}
    while core.busy:
        ended |= {event.id: event for event in core.step() if event.finish_reason}
    return ended
