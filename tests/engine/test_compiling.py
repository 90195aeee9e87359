"""Compiled layers: how much is compiled, and that decode steps compute the same. No code generator is needed."""

from dataclasses import replace

import pytest
import torch

from captioner.cli.bench import build
from captioner.engine.continuous import ContinuousCore, ContinuousOptions
from captioner.engine.loading import PatchProjection
from captioner.engine.prepare import Preparer
from tests.support.engine_cases import finish, make_cases, prepare_cases
from tests.support.tiny import TINY


@pytest.fixture
def graphs(monkeypatch):
    """What is compiled; it runs as it was traced."""
    traced, real = [], torch.nn.Module.compile

    def backend(graph, inputs):
        traced.append(graph)
        return graph.forward

    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **options: real(self, backend=backend, **options))
    torch._dynamo.reset()
    yield traced
    torch._dynamo.reset()


def open_core(model_type, num_layers):
    tokenizer = build.build_tokenizer(["describe this video in detail", "<0.5 seconds> user assistant"], 400)
    model = build.build_model(tokenizer, replace(TINY[model_type], text_layers=num_layers), seed=1)
    model.generation_config.eos_token_id = None  # the captions have the same lengths whatever the layers
    model.model.visual.patch_embed.proj = PatchProjection(model.model.visual.patch_embed.proj)
    core = ContinuousCore(model, ContinuousOptions(max_slots=8, max_tokens=256, piece_tokens=10_000))
    return core, prepare_cases(Preparer(build.build_processor(tokenizer), core.layout), make_cases(3, longest=6))


def captions(core, requests):
    for request in requests:
        core.submit(request)
    return {number: event.tokens for number, event in finish(core).items()}


def test_parts_of_one_layer_are_compiled_once_for_all_layers_and_numbers_of_rows(graphs):
    """Of a hybrid model, whose layers are of two kinds."""
    counts = []
    for num_layers in (4, 8):
        core, requests = open_core("qwen3_5", num_layers)
        wanted = captions(core, requests)
        core._model.compile_layers()
        assert captions(core, requests) == wanted
        counts.append(len(graphs))
        core._model.stop_compiling()
        assert captions(core, requests) == wanted
        assert len(graphs) == counts[-1]
        core.close()
        torch._dynamo.reset()
        graphs.clear()
    assert counts[0] == counts[1] > 0
    assert counts[0] <= 12  # each part twice: torch treats one row in its own way


def test_prompts_are_not_compiled(graphs):
    core, requests = open_core("qwen3_vl", 1)
    core._model.compile_layers()
    for request in requests:
        core.submit(request)
    while core.num_waiting or any(running.is_reading for running in core._running.values()):
        core.step()
    assert graphs == []
    core.step()
    assert graphs
    core.close()
