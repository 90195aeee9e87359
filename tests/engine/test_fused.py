"""Parts of the text tower in fewer calls compute what the modules of transformers compute."""

import pytest
import torch

from captioner.cli.bench import build
from captioner.engine import fused
from captioner.engine.fused import FusedParts
from tests.support.tiny import TINY


@pytest.fixture(scope="module", params=sorted(TINY))
def tower(request):
    tokenizer = build.build_tokenizer(["describe this video"], 300)
    tower = build.build_model(tokenizer, TINY[request.param], seed=1).model.language_model
    for parameter in tower.parameters():
        torch.nn.init.normal_(parameter, 0.5, 0.3)
    return tower


def norms_of(tower):
    return [module for module in tower.modules() if "Norm" in type(module).__name__]


def outputs(norms, dtype, num_tokens=5):
    random = torch.Generator().manual_seed(0)
    results = []
    with torch.inference_mode():
        for norm in norms:
            count = 2 if type(norm).__name__.endswith("Gated") else 1
            inputs = [torch.randn(num_tokens, *norm.weight.shape, generator=random).to(dtype) for _ in range(count)]
            results.append(norm.to(dtype)(*inputs))
    return results


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_norms_are_one_call_with_the_same_values_until_they_are_released(tower, dtype):
    tower.to(dtype)
    norms = norms_of(tower)
    kinds, plain = [type(norm) for norm in norms], outputs(norms, dtype)
    parts = FusedParts(tower)
    assert {type(norm).__name__ for norm in norms} == {f"Fused{kind.__name__}" for kind in kinds}
    for ours, theirs in zip(outputs(norms, dtype), plain, strict=True):
        assert ours.dtype == dtype
        if dtype == torch.float32:
            assert torch.equal(ours, theirs)
        else:
            assert torch.allclose(ours.float(), theirs.float(), rtol=fused.TOLERANCE[dtype], atol=1e-3)
    parts.release()
    assert [type(norm) for norm in norms] == kinds
    assert not any(fused.WHOLE_WEIGHT in vars(norm) for norm in norms)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_norms_of_a_long_prompt_on_a_cpu(tower, dtype, monkeypatch):
    tower.to(dtype)
    norms = norms_of(tower)
    plain = outputs(norms, dtype, fused.MANY_TOKENS)
    parts = FusedParts(tower)
    monkeypatch.setattr(fused, "rms_norm", None)  # has no fast kernel there
    ours = outputs(norms, dtype, fused.MANY_TOKENS)
    parts.release()
    tolerance = fused.TOLERANCE[dtype]
    for mine, theirs in zip(ours, plain, strict=True):
        assert mine.dtype == dtype
        torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance / 10)


def test_norm_that_computes_something_else_stays_as_it_is(tower, monkeypatch, caplog):
    kinds = [type(norm) for norm in norms_of(tower)]
    monkeypatch.setattr(fused, "rms_norm", lambda x, shape, weight, epsilon: x * weight * 1.1)
    parts = FusedParts(tower)
    assert [type(norm) for norm in norms_of(tower)] == kinds
    parts.release()
    assert "is not the norm that was expected" in caplog.text


def test_deepstack_adds_where_the_visual_tokens_are():
    hidden, visual, places = torch.randn(1, 7, 4), torch.randn(3, 4), torch.tensor([1, 2, 5])
    wanted = hidden.clone()
    wanted[0, places] += visual
    assert torch.equal(fused.add_deepstack(hidden, places, visual), wanted)
