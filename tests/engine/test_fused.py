"""Parts of the text tower in fewer calls compute what the modules of transformers compute."""

import shutil

import pytest
import torch

from captioner.cli.bench import build
from captioner.engine import fused, norms, text_layers
from captioner.engine.attention import TEXT_ATTENTION, Piece, TextStep
from captioner.engine.attention_backends import SdpaBackend, Segments
from captioner.engine.c_library import COMPILERS
from captioner.engine.cache import SlotCache, SlotShape
from captioner.engine.fused import FusedParts
from captioner.engine.linear_layers import LinearLayers
from captioner.engine.row_kernel import row_kernel
from tests.support.tiny import TINY


@pytest.fixture(scope="module", params=sorted(TINY))
def tower(request):
    tokenizer = build.build_tokenizer(["describe this video"], 300)
    tower = build.build_model(tokenizer, TINY[request.param], seed=1).model.language_model
    tower.config._attn_implementation = TEXT_ATTENTION
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
    modules = norms_of(tower)
    kinds, plain = [type(norm) for norm in modules], outputs(modules, dtype)
    parts = FusedParts(tower)
    assert {type(norm).__name__ for norm in modules} == {f"Fused{kind.__name__}" for kind in kinds}
    for ours, theirs in zip(outputs(modules, dtype), plain, strict=True):
        assert ours.dtype == dtype
        if dtype == torch.float32:
            assert torch.equal(ours, theirs)
        else:
            assert torch.allclose(ours.float(), theirs.float(), rtol=fused.TOLERANCE[dtype], atol=1e-3)
    parts.release()
    assert [type(norm) for norm in modules] == kinds
    assert not any(norms.WHOLE_WEIGHT in vars(norm) for norm in modules)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_norms_of_a_long_prompt_on_a_cpu(tower, dtype, monkeypatch):
    tower.to(dtype)
    modules = norms_of(tower)
    plain = outputs(modules, dtype)
    monkeypatch.setattr(norms, "MANY_VALUES", 0)
    parts = FusedParts(tower)
    monkeypatch.setattr(norms, "rms_norm", None)  # has no fast kernel there
    ours = outputs(modules, dtype)
    parts.release()
    tolerance = fused.TOLERANCE[dtype]
    for mine, theirs in zip(ours, plain, strict=True):
        assert mine.dtype == dtype
        torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance / 10)


@pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="no C compiler")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_all_parts_run_in_the_c_kernel(tower, dtype):
    tower.to(dtype)
    x = torch.linspace(-2, 2, 7 * tower.config.hidden_size).sin().view(7, -1).to(dtype)
    modules, mlps = (
        norms_of(tower),
        [module for name, module in tower.named_modules() if name.endswith(("mlp", "expert"))],
    )

    def everything():
        with torch.inference_mode():
            return [*outputs(modules, dtype), *(mlp(x[None]) for mlp in mlps), *attention_outputs(tower, dtype)[0]]

    plain = everything()
    parts = FusedParts(tower, row_kernel(dtype))
    kernels = [module.in_c for module in tower.modules() if hasattr(module, "in_c")]
    in_c = everything()
    parts.release()
    assert len(kernels) > len(modules)
    assert all(kernels)
    tolerance = fused.TOLERANCE[dtype]
    for ours, theirs in zip(in_c, plain, strict=True):
        assert ours.dtype == dtype
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance * float(theirs.abs().max()) / 10)
    assert not any(hasattr(module, "in_c") for module in tower.modules())


def test_norm_that_computes_something_else_stays_as_it_is(tower, monkeypatch, caplog):
    kinds = [type(norm) for norm in norms_of(tower)]
    monkeypatch.setattr(norms, "rms_norm", lambda x, shape, weight, epsilon: x * weight * 1.1)
    parts = FusedParts(tower)
    assert [type(norm) for norm in norms_of(tower)] == kinds
    parts.release()
    assert "stays as it is: it computes something else than expected" in caplog.text


def mixed_step(tower, dtype):
    """Two prompts, of 6 and 4 tokens, and a row whose slot holds two tokens."""
    config, lengths = tower.config, [6, 4]
    heads = config.num_key_value_heads, config.head_dim
    cache = SlotCache(SlotShape(tuple(range(config.num_hidden_layers)), heads), 3, 8, dtype, torch.device("cpu"))
    for kept in (cache.keys, cache.values):
        for layer in kept.values():
            layer[2, :2] = torch.linspace(-1, 1, layer[2, :2].numel()).view_as(layer[2, :2])
    pieces = tuple(Piece(slot, 0, length) for slot, length in enumerate(lengths))
    write = torch.tensor([*range(6), *range(8, 12), 18])
    row = torch.tensor([2])
    plan = SdpaBackend().plan_rows(cache, row, torch.tensor([3]), 3, 3)
    segments = Segments.from_lengths(lengths, torch.device("cpu"))
    return TextStep(cache, SdpaBackend(), write, pieces, segments, plan, row)


@torch.inference_mode()
def attention_outputs(tower, dtype):
    hidden = torch.linspace(-2, 2, 11 * tower.config.hidden_size).sin().view(1, 11, -1).to(dtype)
    positions = torch.tensor([*range(6), *range(4), 2]).expand(3, 1, -1)
    rotation = tower.rotary_emb(hidden, positions)
    modules = [layer.self_attn for layer in tower.layers if hasattr(layer, "self_attn")]
    step = mixed_step(tower, dtype)
    return [m(hidden, position_embeddings=rotation, attention_mask=None, text_step=step)[0] for m in modules], step


@pytest.mark.parametrize("is_joined", [False, True], ids=["", "joined"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_is_few_calls_with_the_same_outputs_keys_and_values(tower, dtype, is_joined):
    tower.to(dtype)
    before = {name: dict(vars(module)) for name, module in tower.named_modules()}
    plain, theirs = attention_outputs(tower, dtype)
    parts = FusedParts(tower)
    layers = LinearLayers(tower) if is_joined else None
    assert all(type(m).__name__.startswith("Fused") for m in tower.modules() if "Attention" in type(m).__name__)
    fused_outputs, ours = attention_outputs(tower, dtype)
    if layers:
        layers.release()
    parts.release()
    tolerance = fused.TOLERANCE[dtype]
    for mine, other in zip(fused_outputs, plain, strict=True):
        torch.testing.assert_close(mine, other, rtol=tolerance, atol=tolerance * float(other.abs().max()) / 10)
    for layer in theirs.cache.keys:
        torch.testing.assert_close(ours.cache.keys[layer], theirs.cache.keys[layer], rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(ours.cache.values[layer], theirs.cache.values[layer], rtol=tolerance, atol=tolerance)
    assert {name: vars(module).keys() for name, module in tower.named_modules()} == {
        name: attributes.keys() for name, attributes in before.items()
    }


@pytest.mark.parametrize("needed", [[], [5], [5, 9, 10]], ids=str)
@torch.inference_mode()
def test_last_layer_computes_only_what_is_needed_of_its_outputs_and_all_keys(tower, needed):
    tower.float()
    parts, needed = FusedParts(tower), torch.tensor(needed, dtype=torch.int64)
    hidden = torch.linspace(-2, 2, 11 * tower.config.hidden_size).sin().view(1, 11, -1)
    positions = torch.tensor([*range(6), *range(4), 2]).expand(3, 1, -1)
    rotation, whole, some = tower.rotary_emb(hidden, positions), *(mixed_step(tower, torch.float32) for _ in range(2))
    layers = [layer for layer in tower.layers if hasattr(layer, "self_attn")]
    counts = []
    hook = layers[-1].mlp.register_forward_hook(lambda module, inputs, _: counts.append(inputs[0].shape[1]))
    wanted = text_layers.run_layers(layers, hidden, rotation, whole)[:, needed]
    ours = text_layers.run_layers(layers, hidden, rotation, some, needed=needed)
    hook.remove()
    parts.release()
    assert counts == [11, max(1, len(needed))]
    torch.testing.assert_close(ours, wanted, rtol=1e-5, atol=1e-5)
    for layer in some.cache.keys:
        torch.testing.assert_close(some.cache.keys[layer], whole.cache.keys[layer])
        torch.testing.assert_close(some.cache.values[layer], whole.cache.values[layer])


@pytest.mark.parametrize("rotated", [8, 4])
def test_only_the_first_dimensions_are_rotated(rotated):
    x, angles = torch.randn(3, 2, 8), torch.randn(1, 3, rotated // 2)
    cos, sin = (torch.cat([f(angles), f(angles)], -1) for f in (torch.cos, torch.sin))
    ours = text_layers.rotate(x, cos, sin)
    numbers = torch.complex(x[..., : rotated // 2], x[..., rotated // 2 : rotated]) * torch.exp(1j * angles[0, :, None])
    wanted = torch.cat([numbers.real, numbers.imag, x[..., rotated:]], -1)
    torch.testing.assert_close(ours, wanted)


def test_layer_of_another_version_stays_as_it_is(tower, monkeypatch, caplog):
    monkeypatch.setattr(text_layers, "rotate", lambda x, cos, sin: x)
    parts = FusedParts(tower)
    names = {type(module).__name__ for module in tower.modules() if "Attention" in type(module).__name__}
    parts.release()
    assert names
    assert not any(name.startswith("Fused") for name in names)
