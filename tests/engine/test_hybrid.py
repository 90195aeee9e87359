"""Layers of linear attention: their states survive steps that fail or are run twice, and are counted in the memory."""

import pytest
import torch

from captioner.engine.choose import choose_core
from captioner.engine.continuous import ContinuousCore, ContinuousOptions
from captioner.engine.loading import load
from captioner.engine.prepare import Preparer
from captioner.engine.static import StaticCore
from captioner.values import ModelSpec
from tests.support.engine_cases import generate_alone, make_cases, prepare_cases, run
from tests.support.tiny import make_tiny_model

CASES = make_cases(12)


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory):
    folder = make_tiny_model(tmp_path_factory.mktemp("tiny"), "qwen3_5")
    return load(folder, ModelSpec(str(folder), device="cpu"))


@pytest.fixture(scope="module")
def alone(hybrid):
    return [generate_alone(hybrid.model, hybrid.processor, case) for case in CASES]


@pytest.fixture
def core(hybrid, alone):
    core = ContinuousCore(hybrid.model, ContinuousOptions(max_slots=4, max_tokens=512))
    yield core
    core.close()


@pytest.fixture
def requests(hybrid, core):
    return prepare_cases(Preparer(hybrid.processor, core.layout), CASES)


def texts(core, requests):
    ended = run(core, requests)
    return [ended[i].tokens for i in range(len(CASES))]


def test_step_that_runs_twice_while_a_graph_is_captured_advances_the_states_once(core, requests, alone):
    """A capture warms the step up with the real rows. Here it is replayed by running it again."""
    captured = []

    def capture(work):
        captured.append(work)
        work()
        work()
        return work

    core._memory.decode.capture, core._memory.decode.why_no_graphs = capture, ""
    assert texts(core, requests) == alone
    assert captured


def test_failed_capture_leaves_the_states_as_they_were(core, requests, alone, caplog):
    def capture(work):
        work()
        raise RuntimeError("no graphs here")

    core._memory.decode.capture, core._memory.decode.why_no_graphs = capture, ""
    assert texts(core, requests) == alone
    assert core._memory.decode.why_no_graphs == "RuntimeError: no graphs here"


def test_step_that_fails_in_the_middle_leaves_the_running_requests_as_they_were(hybrid, core, requests, alone):
    failed = []

    def fail_once(module, args, kwargs):
        step = kwargs["text_step"]
        if step.row_slots is not None and step.pieces and step.pieces not in failed:
            failed.append(step.pieces)
            raise torch.OutOfMemoryError("full")

    layer = hybrid.model.model.language_model.layers[-1]
    hook = layer.self_attn.register_forward_pre_hook(fail_once, with_kwargs=True)
    try:
        for request in requests[:2]:
            core.submit(request)
        core.step()
        core.step()
        ended = run(core, requests[2:])
    finally:
        hook.remove()
    assert failed
    assert [ended[i].tokens for i in range(len(CASES))] == alone


def test_core_is_chosen_by_the_kinds_of_layers(hybrid, monkeypatch):
    core = choose_core(hybrid.model, ModelSpec("x", device="cpu"))
    assert isinstance(core, ContinuousCore)
    core.close()
    kinds = ["linear_attention", "indexed_attention", "linear_attention", "full_attention"]
    monkeypatch.setattr(hybrid.model.config.text_config, "layer_types", kinds)
    core = choose_core(hybrid.model, ModelSpec("x", device="cpu"))
    assert isinstance(core, StaticCore)
    reason = "its text tower has layers of indexed_attention"
    assert dict(core.report_rows())["engine"] == f"batches through generate, since {reason}"


def test_memory_of_the_states_is_planned(hybrid, monkeypatch):
    """Of each slot: keys and values of one layer, and twice the states of three, since a step makes new ones."""
    tokens, states = 512 * 2 * 2 * 32 * 4, 3 * (128 * 4 + 4 * 16 * 16) * 4
    monkeypatch.setattr("captioner.engine.slot_memory.free_bytes", lambda device: 3 * (tokens + 2 * states))
    core = ContinuousCore(hybrid.model, ContinuousOptions(max_tokens=500))
    assert (core.num_slots, core._plan.bytes) == (3, 3 * (tokens + 2 * states))
    core.close()


def test_closed_core_restores_the_layers(hybrid):
    layer = hybrid.model.model.language_model.layers[0].linear_attn
    first, second = (ContinuousCore(hybrid.model, ContinuousOptions(max_slots=1)) for _ in range(2))
    first.close()
    second.close()
    assert "forward" not in vars(layer)
