"""Layers of one input run as one product, and weights are arranged on a CPU; the results and the model stay."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from captioner.cli.bench import build
from captioner.engine import product_kernel
from captioner.engine.arranged import OneDnnWeight, _probe, fastest
from captioner.engine.continuous import ContinuousCore, ContinuousOptions
from captioner.engine.linear_layers import LinearLayers
from captioner.engine.loading import load
from captioner.engine.prepare import Preparer
from captioner.engine.product_kernel import KernelWeight
from captioner.values import ModelSpec
from tests.support.engine_cases import generate_alone, make_cases, prepare_cases, run
from tests.support.tiny import TINY, make_tiny_model


@pytest.fixture(params=[None, OneDnnWeight, KernelWeight], ids=["plain", "oneDNN", "kernel"])
def way(request, monkeypatch):
    """What arranges the weights of the test, or None."""
    if request.param is KernelWeight and not product_kernel.is_available():
        pytest.skip("no C compiler")
    monkeypatch.setattr("captioner.engine.arranged._probe", lambda *_: request.param)
    return request.param


@pytest.fixture(scope="module", params=TINY)
def tiny(request, tmp_path_factory):
    folder = make_tiny_model(tmp_path_factory.mktemp("tiny"), request.param)
    return load(folder, ModelSpec(str(folder), device="cpu"))


class _Attention(nn.Module):
    def __init__(self, dtype, bias):
        super().__init__()
        for name, size in (("q_proj", 24), ("k_proj", 8), ("v_proj", 8)):
            setattr(self, name, nn.Linear(16, size, bias, dtype=dtype))
        self.o_proj = nn.Linear(24, 16, bias, dtype=dtype)

    def forward(self, x):
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        return self.o_proj(q + torch.cat([k, v, k], -1))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_joined_layers_give_what_each_alone_gives(way, dtype, bias):
    if dtype == torch.bfloat16 and (way is KernelWeight or not torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        pytest.skip("bfloat16 is not arranged in this way here")
    module = nn.Sequential(_Attention(dtype, bias))
    inputs = torch.randn(3, 5, 16).to(dtype)
    wanted, before = module(inputs), {name: x.clone() for name, x in module.state_dict().items()}
    layers = LinearLayers(module)
    torch.testing.assert_close(module(inputs), wanted)
    assert len(module[0].q_proj.product.sizes) == 3
    assert layers.note() == "3 joined" + (f", 4 {way.note}" if way else "")
    layers.release()
    after = module.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_arranged_weights_are_not_kept_twice(way):
    module = nn.Sequential(_Attention(torch.float32, False))
    originals = [module[0].q_proj, module[0].k_proj, module[0].o_proj]
    layers = LinearLayers(module)
    storages = {each.weight.untyped_storage().data_ptr() for each in originals[:2]}
    assert len(storages) == 1, "joined layers are views of one weight, or have none"
    assert [each.weight.numel() for each in originals] == ([0, 0, 0] if way else [384, 128, 384])
    layers.release()


def test_outputs_of_a_prompt_are_not_kept(way):
    module = nn.Sequential(_Attention(torch.float32, False))
    layers = LinearLayers(module)
    product = module[0].q_proj.product
    module(torch.randn(1000, 16))
    assert not product._outputs
    layers.release()


def test_head_that_shares_the_embeddings_weight_is_a_copy(monkeypatch):
    monkeypatch.setattr("captioner.engine.arranged._probe", lambda *_: OneDnnWeight)
    model = nn.ModuleDict({"embed": nn.Embedding(32, 16), "head": nn.Linear(16, 32, False), "hooked": nn.Linear(4, 4)})
    head, weight = model["head"], model["embed"].weight
    head.weight = weight
    model["hooked"].register_forward_hook(lambda *_: None)
    inputs, before = torch.randn(3, 16), weight.clone()
    wanted = head(inputs)
    layers = LinearLayers(model)
    assert type(model["hooked"]) is nn.Linear
    torch.testing.assert_close(model["head"](inputs), wanted)
    assert torch.equal(model["embed"].weight, before)
    layers.release()
    assert model["head"] is head
    assert head.weight is weight


def test_layers_of_unlike_kinds_are_not_joined(way):
    module = nn.Sequential(_Attention(torch.float32, False))
    module[0].k_proj = nn.Linear(16, 8)  # with a bias
    inputs = torch.randn(4, 16)
    wanted = module(inputs)
    layers = LinearLayers(module)
    torch.testing.assert_close(module(inputs), wanted)
    assert "joined" not in layers.note()
    layers.release()


def test_head_with_its_own_weight(way, tmp_path):
    geometry = replace(TINY["qwen3_vl"], tied=False)
    tokenizer = build.build_tokenizer(["describe this video in detail"], 400)
    model, processor = build.build_model(tokenizer, geometry, seed=1), build.build_processor(tokenizer)
    cases = make_cases(3)
    wanted = [generate_alone(model, processor, case) for case in cases]
    core = ContinuousCore(model, ContinuousOptions(max_slots=2))
    try:
        ended = run(core, prepare_cases(Preparer(processor, core.layout), cases))
    finally:
        core.close()
    assert [ended[i].tokens for i in range(3)] == wanted


def test_text_is_that_of_generate(way, tiny):
    cases = make_cases(8)
    wanted = [generate_alone(tiny.model, tiny.processor, case) for case in cases]
    core = ContinuousCore(tiny.model, ContinuousOptions(max_slots=4))
    try:
        ended = run(core, prepare_cases(Preparer(tiny.processor, core.layout), cases))
        note = dict(core.report_rows())["linear layers"]
    finally:
        core.close()
    assert [ended[i].tokens for i in range(8)] == wanted
    assert ("experts" in note) == (way is not None and tiny.model.config.model_type.endswith("moe"))
    again = [generate_alone(tiny.model, tiny.processor, case) for case in cases[:2]]
    assert again == wanted[:2], "the model is as it was"


def test_the_probe_refuses_what_it_cannot_run():
    assert fastest(torch.empty(8, 8, dtype=torch.float16), (16,), True) is None
    assert fastest(torch.empty(8, 8, device="meta"), (16,), True) is None
    assert fastest(torch.empty(64, 64), (16,), True) in (None, OneDnnWeight, KernelWeight)
    assert fastest(torch.empty(64, 64, dtype=torch.bfloat16), (16,), True) in (None, OneDnnWeight)


def test_the_fastest_of_all_is_taken(monkeypatch):
    """Times are those of a clock that each product sets forward."""
    now = [0.0]

    def way(seconds):
        def product(inputs, bias=None):
            now[0] += seconds * len(inputs)
            return inputs

        return lambda weight: SimpleNamespace(product=product)

    def broken(weight):
        raise RuntimeError("could not create a primitive descriptor")

    monkeypatch.setattr("captioner.engine.arranged.time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr("captioner.engine.arranged.linear", lambda inputs, weight: way(1.0)(weight).product(inputs))
    slow, faster, hardly = way(2.0), way(0.5), way(0.98)
    for ways, wanted in (((slow, faster), faster), ((hardly, slow), None), ((broken, faster), faster), ((), None)):
        assert _probe(ways, 8, 8, torch.float32, (16, 64), 8, 1) is wanted
