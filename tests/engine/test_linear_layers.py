"""Layers of one input run as one product, and oneDNN arranges weights on a CPU; the results and the model stay."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from captioner.cli.bench import build
from captioner.engine import onednn
from captioner.engine.continuous import ContinuousCore, ContinuousOptions
from captioner.engine.linear_layers import LinearLayers
from captioner.engine.loading import load
from captioner.engine.prepare import Preparer
from captioner.values import ModelSpec
from tests.support.engine_cases import generate_alone, make_cases, prepare_cases, run
from tests.support.tiny import TINY, make_tiny_model


@pytest.fixture(params=[False, True], ids=["plain", "arranged"])
def arranged(request, monkeypatch):
    monkeypatch.setattr(onednn, "pays", lambda weight, num_rows: request.param)
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
def test_joined_layers_give_what_each_alone_gives(arranged, dtype, bias):
    module = nn.Sequential(_Attention(dtype, bias))
    inputs = torch.randn(3, 5, 16).to(dtype)
    wanted, before = module(inputs), {name: x.clone() for name, x in module.state_dict().items()}
    layers = LinearLayers(module)
    torch.testing.assert_close(module(inputs), wanted)
    assert len(module[0].q_proj.product.sizes) == 3
    assert ("oneDNN" in layers.note()) == arranged
    layers.release()
    after = module.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_arranged_weights_are_not_kept_twice(arranged):
    module = nn.Sequential(_Attention(torch.float32, False))
    originals = [module[0].q_proj, module[0].k_proj, module[0].o_proj]
    layers = LinearLayers(module)
    storages = {each.weight.untyped_storage().data_ptr() for each in originals[:2]}
    assert len(storages) == 1, "joined layers are views of one weight, or have none"
    assert [each.weight.numel() for each in originals] == ([0, 0, 0] if arranged else [384, 128, 384])
    layers.release()


def test_outputs_of_a_prompt_are_not_kept(arranged):
    module = nn.Sequential(_Attention(torch.float32, False))
    layers = LinearLayers(module)
    product = module[0].q_proj.product
    module(torch.randn(1000, 16))
    assert not product._outputs
    layers.release()


def test_head_that_shares_the_embeddings_weight_is_a_copy(monkeypatch):
    monkeypatch.setattr(onednn, "pays", lambda weight, num_rows: True)
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


def test_layers_of_unlike_kinds_are_not_joined(arranged):
    module = nn.Sequential(_Attention(torch.float32, False))
    module[0].k_proj = nn.Linear(16, 8)  # with a bias
    inputs = torch.randn(4, 16)
    wanted = module(inputs)
    layers = LinearLayers(module)
    torch.testing.assert_close(module(inputs), wanted)
    assert "joined" not in layers.note()
    layers.release()


def test_head_with_its_own_weight(arranged, tmp_path):
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


def test_text_is_that_of_generate(arranged, tiny):
    cases = make_cases(8)
    wanted = [generate_alone(tiny.model, tiny.processor, case) for case in cases]
    core = ContinuousCore(tiny.model, ContinuousOptions(max_slots=4))
    try:
        ended = run(core, prepare_cases(Preparer(tiny.processor, core.layout), cases))
        note = dict(core.report_rows())["linear layers"]
    finally:
        core.close()
    assert [ended[i].tokens for i in range(8)] == wanted
    assert ("experts" in note) == (arranged and tiny.model.config.model_type.endswith("moe"))
    again = [generate_alone(tiny.model, tiny.processor, case) for case in cases[:2]]
    assert again == wanted[:2], "the model is as it was"


def test_the_probe_refuses_what_it_cannot_run():
    assert not onednn.pays(torch.empty(8, 8, dtype=torch.float16), 16)
    assert not onednn.pays(torch.empty(8, 8, device="meta"), 16)
    assert onednn.pays(torch.empty(64, 64), 16) in (True, False)
