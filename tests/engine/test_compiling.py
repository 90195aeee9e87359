"""Compiled layers: how much is compiled, and that decode steps compute the same. No code generator is needed."""

from dataclasses import replace

import pytest
import torch

from captioner.cli.bench import build
from captioner.engine.arranged import OneDnnWeight
from captioner.engine.compiling import CompiledLayers
from captioner.engine.continuous import ContinuousCore, ContinuousOptions
from captioner.engine.loading import PatchProjection
from captioner.engine.prepare import Preparer
from tests.support.engine_cases import finish, make_cases, prepare_cases
from tests.support.tiny import TINY


@pytest.fixture
def graphs(monkeypatch):
    """What is compiled; it runs as it was traced."""
    traced, real = [], torch.compile

    def backend(graph, inputs):
        traced.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", lambda run, **options: real(run, **{**options, "backend": backend}))
    torch._dynamo.reset()
    yield traced
    torch._dynamo.reset()


def open_core(model_type, num_layers, arranged=False, **options):
    tokenizer = build.build_tokenizer(["describe this video in detail", "<0.5 seconds> user assistant"], 400)
    model = build.build_model(tokenizer, replace(TINY[model_type], text_layers=num_layers), seed=1)
    model.generation_config.eos_token_id = None  # the captions have the same lengths whatever the layers
    model.model.visual.patch_embed.proj = PatchProjection(model.model.visual.patch_embed.proj)
    core = ContinuousCore(model, ContinuousOptions(max_slots=8, max_tokens=256, piece_tokens=10_000, **options))
    return core, prepare_cases(Preparer(build.build_processor(tokenizer), core.layout), make_cases(3, longest=6))


def compile_layers(core, as_one):
    packed = core._model
    packed._compiled = CompiledLayers(packed._core.language_model.layers, packed._linear, as_one)


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
        compile_layers(core, as_one=False)
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


@pytest.mark.parametrize("arranged", [False, True], ids=["plain weights", "arranged by oneDNN"])
def test_on_a_cpu_all_layers_are_one_part_for_any_number_of_rows(graphs, monkeypatch, arranged):
    monkeypatch.setattr("captioner.engine.arranged._probe", lambda *_: OneDnnWeight if arranged else None)
    core, requests = open_core("qwen3_vl", 4)
    wanted = captions(core, requests)
    core._model.compile_layers()
    assert captions(core, requests) == wanted
    assert 1 <= len(graphs) <= 2  # torch treats one row in its own way
    operators = {str(node.target) for graph in graphs for node in graph.graph.nodes}
    assert "captioner.attend.default" in operators
    assert ("captioner.product.default" in operators) == arranged
    core.close()


def test_a_hybrid_model_is_compiled_on_a_cpu(graphs):
    core, requests = open_core("qwen3_5", 4)
    wanted = captions(core, requests)
    core._model.compile_layers()
    assert captions(core, requests) == wanted
    assert graphs
    core.close()


@pytest.mark.parametrize("as_one", [False, True])
def test_prompts_are_not_compiled(graphs, as_one):
    core, requests = open_core("qwen3_vl", 1)
    compile_layers(core, as_one)
    for request in requests:
        core.submit(request)
    while core.num_waiting or any(running.is_reading for running in core._running.values()):
        core.step()
    assert graphs == []
    core.step()
    assert graphs
    core.close()


def test_without_a_compiler_the_captions_are_the_same_and_the_report_says_why(monkeypatch, tmp_path):
    core, requests = open_core("qwen3_vl", 2)
    wanted = captions(core, requests)
    core.close()
    torch._dynamo.reset()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    with torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)}):
        core, requests = open_core("qwen3_vl", 2, compile=True)
        assert captions(core, requests) == wanted
    reason = dict(core.report_rows())["compile"]
    assert reason.startswith("not active: ")
    assert "compiler" in reason
    core.close()
    torch._dynamo.reset()


@pytest.mark.slow
def test_compiled_code_computes_the_same():
    """With torch's own code generator, which needs a C++ compiler and about a minute."""
    core, requests = open_core("qwen3_vl", 2)
    wanted = captions(core, requests)
    core._model.compile_layers()
    assert captions(core, requests) == wanted
    core.close()
    torch._dynamo.reset()
