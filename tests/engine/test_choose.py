"""The choice of the core: which models and options run packed."""

import pytest

from captioner.cli.bench import build
from captioner.engine.choose import choose_core
from captioner.engine.continuous import ContinuousCore, ContinuousOptions
from captioner.engine.families import why_unsupported
from captioner.engine.prepare import Preparer
from captioner.engine.static import StaticCore
from captioner.values import ModelSpec
from tests.support.engine_cases import generate_alone, make_cases, prepare_cases, run
from tests.support.tiny import TINY


@pytest.mark.parametrize(("attention", "reason"), [("eager", "attention is set to eager"), ("sdpa", "")])
def test_attention_that_cannot_run_packed_uses_generate_and_the_report_says_so(tiny_model, attention, reason):
    core = choose_core(tiny_model.model, ModelSpec("x", attention=attention, batch_size=3))
    rows = dict(core.report_rows())
    assert isinstance(core, StaticCore if reason else ContinuousCore)
    assert core.num_slots == 3
    assert rows["engine"] == (f"batches through generate, since {reason}" if reason else "continuous batching")
    if not reason:
        assert rows["attention"] == "SDPA (chosen in the settings)"
    core.close()


def test_text_tower_with_other_layers_does_not_run_packed(tiny_model, monkeypatch):
    config = tiny_model.model.config
    monkeypatch.setattr(config.text_config, "layer_types", ["full_attention", "linear_attention"], raising=False)
    assert why_unsupported(tiny_model.model) == "its text tower has layers of linear_attention"
    monkeypatch.setattr(config, "model_type", "qwen2_vl")
    assert (
        why_unsupported(tiny_model.model)
        == "qwen2_vl is not one of qwen3_vl, qwen3_vl_moe, cosmos3_omni, qwen3_5, qwen3_5_moe"
    )


@pytest.fixture(scope="module")
def mixture(tiny_model):
    """A mixture of experts, whose rows use different experts in one step."""
    return build.build_model(tiny_model.processor.tokenizer, TINY["qwen3_vl_moe"], seed=1)


def test_mixture_of_experts_gives_the_text_of_generate_alone(mixture, tiny_model):
    some = make_cases(6)
    alone = [generate_alone(mixture, tiny_model.processor, case) for case in some]
    assert mixture.config.model_type == "qwen3_vl_moe"
    assert len(set(alone)) == len(some)
    for max_slots in (1, 3):
        core = ContinuousCore(mixture, ContinuousOptions(max_slots=max_slots))
        ended = run(core, prepare_cases(Preparer(tiny_model.processor, core.layout), some))
        core.close()
        assert [ended[i].tokens for i in range(len(some))] == alone
