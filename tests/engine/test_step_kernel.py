"""The C kernel of whole decode steps on a CPU: that it computes what the modules do, and when it is not used."""

import logging
import shutil
from dataclasses import replace

import pytest
import torch

from captioner.cli.bench import build
from captioner.engine import packed, step_kernel
from captioner.engine.attention import TextStep
from captioner.engine.c_library import COMPILERS
from captioner.engine.cache import SlotCache
from captioner.engine.continuous import ContinuousCore, ContinuousOptions
from captioner.engine.packed import PackedModel
from captioner.engine.product_kernel import KernelWeight
from captioner.engine.text_layers import run_layers
from tests.support.tiny import TINY

pytestmark = pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="no C compiler")
SLOT_TOKENS = 40


@pytest.fixture(autouse=True)
def all_in_c(monkeypatch):
    """A model of any size counts as a large one, and the C kernel of products is always the fastest."""
    monkeypatch.setattr(packed, "SMALL_MODEL", 0)
    monkeypatch.setattr(
        "captioner.engine.arranged._probe", lambda ways, *_: KernelWeight if KernelWeight in ways else None
    )


@pytest.fixture
def open_model():
    opened = []

    def open_model(model_type="qwen3_vl", dtype=torch.float32, bias=False, **changes):
        tokenizer = build.build_tokenizer(["describe this video"], 300)
        model = build.build_model(tokenizer, replace(TINY[model_type], **changes), seed=1).to(dtype)
        if bias:
            for name, layer in model.model.language_model.named_modules():
                if name.endswith(("q_proj", "k_proj", "v_proj", "o_proj", "down_proj")):
                    layer.bias = torch.nn.Parameter(torch.randn(layer.out_features))
        opened.append(PackedModel(model))
        return opened[-1]

    yield open_model
    for model in opened:
        model.release()


def make_step(model, lengths, generator):
    """One more token of each row, the last slot first; all slots hold random keys and values."""
    cache = SlotCache(model.slot_shape, len(lengths) + 1, SLOT_TOKENS, torch.float32, torch.device("cpu"))
    for each in (*cache.keys.values(), *cache.values.values()):
        each.normal_(generator=generator)
    slots, used = torch.arange(len(lengths)).flip(0) + 1, torch.tensor(lengths)
    plan = model.backend.plan_rows(cache, slots, used, len(cache.tokens), max(lengths))
    return TextStep(cache, model.backend, slots * SLOT_TOKENS + used - 1, (), None, plan, slots)


@torch.inference_mode()
def run(model, layers, lengths):
    generator = torch.Generator().manual_seed(3)
    tower, step = model._core.language_model, make_step(model, lengths, generator)
    hidden = torch.randn(1, len(lengths), tower.config.hidden_size, generator=generator)
    rotation = tower.rotary_emb(hidden, torch.tensor(lengths).expand(3, 1, -1) + 5)
    out = layers(hidden, rotation, step)
    return out, step.cache


@pytest.mark.parametrize("changes", [{}, {"text_layers": 5}, {"bias": True}], ids=str)
def test_a_step_is_that_of_the_modules(open_model, changes):
    model = open_model(**changes)
    layers = model._core.language_model.layers
    for lengths in ([1], [SLOT_TOKENS], [2, 3, 9], list(range(1, 18))):
        wanted, theirs = run(model, lambda *inputs: run_layers(layers, *inputs), lengths)
        ours, mine = run(model, model._step_kernel.run, lengths)
        torch.testing.assert_close(ours, wanted, rtol=1e-5, atol=1e-5)
        for kind in ("keys", "values"):
            for layer, kept in getattr(theirs, kind).items():
                torch.testing.assert_close(getattr(mine, kind)[layer], kept, rtol=1e-5, atol=1e-5)


def test_a_clip_gets_the_same_to_the_bit_whatever_runs_beside_it(open_model):
    model = open_model()
    tower, generator = model._core.language_model, torch.Generator().manual_seed(3)
    step, hidden = make_step(model, [2, 3, 9, 30, 1, 7, 12], generator), torch.randn(1, 7, 64, generator=generator)
    starts, lengths, longest = step.rows
    with torch.inference_mode():
        rotation = tower.rotary_emb(hidden, lengths.expand(3, 1, -1))
        together = model._step_kernel.run(hidden.clone(), rotation, step)
        for row in range(7):
            alone = replace(step, rows=(starts[row : row + 1], lengths[row : row + 1], longest))
            own = tuple(each[:, row : row + 1] for each in rotation)
            assert torch.equal(
                model._step_kernel.run(hidden[:, row : row + 1].clone(), own, alone)[0, 0], together[0, row]
            )


def test_any_number_of_threads_and_any_cache_give_the_same(open_model):
    model, before, results = open_model(), torch.get_num_threads(), []
    try:
        for num_threads in (1, 2, 3, 1):
            torch.set_num_threads(num_threads)
            results.append(run(model, model._step_kernel.run, [2, 3, 9])[0])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(each, results[0]) for each in results)


@pytest.mark.parametrize(
    "changes", [{"model_type": "qwen3_vl_moe"}, {"model_type": "qwen3_5"}, {"dtype": torch.bfloat16}], ids=str
)
def test_other_layers_and_dtypes_stay_with_torch(open_model, changes):
    model = open_model(**changes)
    assert not model.has_step_kernel
    assert "decode steps" not in dict(model.report_rows())


def test_products_that_torch_computes_faster_stay_with_it(open_model, monkeypatch):
    monkeypatch.setattr("captioner.engine.arranged._probe", lambda *_: None)
    assert not open_model().has_step_kernel


def test_layers_in_another_order_stay_with_torch(open_model, monkeypatch, caplog):
    """A later version of transformers may do something else between the parts."""
    kind = type(open_model()._core.language_model.layers[0])
    forward = kind.forward
    monkeypatch.setattr(kind, "forward", lambda self, hidden, **options: forward(self, hidden, **options) * 1.01)
    with caplog.at_level(logging.INFO, step_kernel.__name__):
        assert not open_model().has_step_kernel
    assert caplog.messages[0].startswith("no C kernel for decode steps: it differs by 0.0")


def test_a_compiler_that_fails_costs_only_the_kernel(open_model, monkeypatch, caplog):
    monkeypatch.setattr(step_kernel, "SOURCE", step_kernel.SOURCE.with_name("missing.c"))
    with caplog.at_level(logging.INFO, step_kernel.__name__):
        assert not open_model().has_step_kernel
    assert caplog.messages[0].startswith("no C kernel for decode steps: ")
    assert "missing.c" in caplog.text


def test_there_is_nothing_to_compile_and_the_report_says_so(tiny_model):
    core = ContinuousCore(tiny_model.model, ContinuousOptions(max_slots=2, max_tokens=64, compile=True))
    report = dict(core.report_rows())
    core.close()
    assert report["decode steps"] == "one call of a C kernel"
    assert report["compile"] == "not needed: decode steps are one call of a C kernel"
