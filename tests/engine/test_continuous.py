"""ContinuousCore gives the text of `generate` alone, whatever runs beside a request; an error ends only one request."""

import pytest
import torch

from captioner.engine.continuous import ContinuousCore, ContinuousOptions
from captioner.engine.prepare import Preparer
from captioner.engine.static import StaticCore
from tests.support.engine_cases import (
    finish,
    generate_alone,
    make_cases,
    prepare_cases,
    processor_inputs,
    run,
    teacher_forced,
)

NUM_CASES = 110
PENALTY = 1.3


@pytest.fixture(scope="module")
def cases():
    return make_cases(NUM_CASES)


@pytest.fixture(scope="module")
def alone(tiny_model, cases):
    """Tokens of each case by repetition penalty, from one call of generate each."""
    return {
        penalty: [generate_alone(tiny_model.model, tiny_model.processor, case, penalty) for case in cases]
        for penalty in (1.0, PENALTY)
    }


@pytest.fixture
def make_core(tiny_model):
    """A function that makes cores; they release the model for the other tests afterwards."""
    made = []

    def make(max_slots: int, **options) -> ContinuousCore:
        made.append(ContinuousCore(tiny_model.model, ContinuousOptions(max_slots=max_slots, **options)))
        return made[-1]

    yield make
    for core in made:
        core.close()


@pytest.fixture(scope="module")
def preparer(tiny_model):
    core = ContinuousCore(tiny_model.model)
    yield Preparer(tiny_model.processor, core.layout)
    core.close()


@pytest.fixture(autouse=True)
def _generate_first(alone, preparer):
    """Compute the references before a core replaces the model's attention."""


@pytest.mark.parametrize("penalty", [1.0, PENALTY])
@pytest.mark.parametrize("max_slots", [1, 3, 8, 16])
def test_greedy_text_equals_generate_alone(make_core, preparer, cases, alone, max_slots, penalty):
    ended = run(make_core(max_slots), prepare_cases(preparer, cases, repetition_penalty=penalty))
    assert [ended[i].tokens for i in range(NUM_CASES)] == alone[penalty]
    for i, case in enumerate(cases):
        full = len(alone[penalty][i]) == case.num_tokens
        assert ended[i].finish_reason == ("length" if full else "stop")


def test_requests_with_different_options_share_steps(make_core, preparer, cases, alone):
    plain = prepare_cases(preparer, cases)
    penalized = prepare_cases(preparer, cases, repetition_penalty=PENALTY)
    mixed = [(plain, penalized)[i % 2][i] for i in range(NUM_CASES)]
    ended = run(make_core(8), mixed)
    assert [ended[i].tokens for i in range(NUM_CASES)] == [alone[(1.0, PENALTY)[i % 2]][i] for i in range(NUM_CASES)]


def test_cancelled_requests_end_within_one_step_as_prefixes_and_others_are_unchanged(make_core, preparer, cases, alone):
    core = make_core(8)
    for request in prepare_cases(preparer, cases):
        core.submit(request)
    victims = {i for i in range(NUM_CASES) if i % 3 == 0 and len(alone[1.0][i]) > 4}
    assert len(victims) > 20
    ended, cancelled_at = {}, {}
    waiting_victim = max(victims)
    core.cancel(waiting_victim)
    while core.busy:
        events = core.step()
        for event in events:
            if event.id in cancelled_at and event.id not in ended:
                assert event.finish_reason == "cancelled"
            if event.finish_reason:
                ended[event.id] = event
            elif event.id in victims and event.num_tokens == 2 + event.id % 3:
                core.cancel(event.id)
                cancelled_at[event.id] = event.num_tokens
    assert set(cancelled_at) == victims - {waiting_victim}
    assert ended[waiting_victim].tokens == ()
    for i, tokens in enumerate(alone[1.0]):
        if i in victims:
            assert ended[i].finish_reason == "cancelled"
            assert ended[i].tokens == tokens[: cancelled_at.get(i, 0)]
        else:
            assert ended[i].tokens == tokens


@pytest.mark.parametrize(
    "options", [{"top_k": 30, "top_p": 0.9}, {"top_p": 0.8}, {"top_k": 5, "repetition_penalty": 1.2}]
)
def test_seeded_sampling_is_the_same_at_any_slot_count_and_in_the_reference_core(
    make_core, preparer, tiny_model, cases, options
):
    some = cases[:40]
    options = {"temperature": 0.9, "seed": 5, **options}
    requests = prepare_cases(preparer, some, **options)
    texts = [{i: e.tokens for i, e in run(make_core(n), requests).items()} for n in (1, 3, 8, 16)]
    assert texts[0] == texts[1] == texts[2] == texts[3]
    other_seed = run(make_core(8), prepare_cases(preparer, some, **{**options, "seed": 6}))
    assert {i: e.tokens for i, e in other_seed.items()} != texts[0]


def test_seeded_sampling_equals_that_of_generate_core(make_core, tiny_model, cases):
    some, options = cases[:20], {"temperature": 0.9, "top_p": 0.9, "top_k": 30, "seed": 5}
    core = make_core(8)
    ours = run(core, prepare_cases(Preparer(tiny_model.processor, core.layout), some, **options))
    core.close()
    theirs = _with_plain_model(tiny_model, lambda: run(
        StaticCore(tiny_model.model, 4), prepare_cases(Preparer(tiny_model.processor), some, **options)
    ))  # fmt: skip
    assert {i: e.tokens for i, e in ours.items()} == {i: e.tokens for i, e in theirs.items()}


def _with_plain_model(tiny_model, function):
    """Call the function with transformers' attention, although the module's core has replaced it."""
    configs = tiny_model.model.config.text_config, tiny_model.model.config.vision_config
    before = [config._attn_implementation for config in configs]
    for config in configs:
        config._attn_implementation = "sdpa"
    try:
        return function()
    finally:
        for config, name in zip(configs, before, strict=True):
            config._attn_implementation = name


def test_pixels_scaled_on_the_device_equal_the_processors_bitwise(preparer, tiny_model, cases):
    for request, case in zip(prepare_cases(preparer, cases[:20]), cases, strict=False):
        theirs = processor_inputs(tiny_model.processor, case.frames, case.prompt)
        assert torch.equal(request.inputs["input_ids"], theirs["input_ids"])
        (name,) = theirs.keys() & {"pixel_values", "pixel_values_videos"}
        assert request.inputs[name].dtype == torch.uint8
        assert torch.equal(request.scale.apply(request.inputs[name]), theirs[name])


def test_image_that_the_processor_enlarges_is_bitwise_equal_too(preparer, tiny_model, cases):
    """Released models enlarge images of less than 65,536 pixels."""
    processor = tiny_model.processor
    before = processor.image_processor.size
    processor.image_processor.size = {"shortest_edge": 65536, "longest_edge": 16777216}
    try:
        case = cases[0]
        (request,) = prepare_cases(Preparer(processor, preparer._layout), [case])
        theirs = processor_inputs(processor, case.frames, case.prompt)
    finally:
        processor.image_processor.size = before
    assert len(theirs["pixel_values"]) * 256 >= 65536
    assert torch.equal(request.scale.apply(request.inputs["pixel_values"]), theirs["pixel_values"])


def test_request_joins_while_others_run(make_core, preparer, cases, alone):
    core = make_core(8)
    requests = prepare_cases(preparer, cases[:12])
    ended = {}
    for request in requests:  # another one after every step
        core.submit(request)
        ended |= {e.id: e for e in core.step() if e.finish_reason}
    assert core.num_running > 1
    ended |= finish(core)
    assert [ended[i].tokens for i in range(12)] == alone[1.0][:12]


def test_request_longer_than_the_slots_waits_for_a_new_plan(make_core, preparer, cases, alone):
    core = make_core(4, max_tokens=120)
    first_size, first_cache = core._plan.slot_tokens, core._memory.cache
    run(core, prepare_cases(preparer, cases[5:6]))
    assert core._memory.cache is first_cache
    long = prepare_cases(preparer, cases[:9])
    stretched = preparer.prepare(100, cases[1].frames, "describe " * 400, long[1].options)
    for request in [*long[:5], stretched, *long[5:]]:
        core.submit(request)
    ended = finish(core)
    assert core._plan.slot_tokens > first_size
    assert ended[100].finish_reason in ("stop", "length")
    assert [ended[i].tokens for i in range(9)] == alone[1.0][:9]


class _Limit:
    """Makes the text tower raise an error when a condition on the step holds."""

    def __init__(self, tower, condition, error):
        self.calls = 0
        self._condition, self._error = condition, error
        self._handle = tower.register_forward_pre_hook(self._check, with_kwargs=True)

    def _check(self, module, args, kwargs):
        self.calls += 1
        if self._condition(kwargs["text_step"]):
            raise self._error
        return None

    def remove(self):
        self._handle.remove()


@pytest.fixture
def limit(tiny_model):
    hooks = []

    def install(condition, error):
        hooks.append(_Limit(tiny_model.model.model.language_model, condition, error))
        return hooks[-1]

    yield install
    for hook in hooks:
        hook.remove()


def test_out_of_memory_with_several_new_requests_runs_each_alone(make_core, preparer, cases, alone, limit):
    limit(lambda step: step.prompts is not None and len(step.prompts.lengths) > 1, torch.OutOfMemoryError("full"))
    ended = run(make_core(8), prepare_cases(preparer, cases[:30]))
    assert [ended[i].tokens for i in range(30)] == alone[1.0][:30]


def test_lasting_shortage_of_memory_leads_to_fewer_slots_and_costs_no_neighbor(
    make_core, preparer, cases, alone, limit
):
    core = make_core(8)
    limit(lambda step: step.cache.num_slots > 2 and step.num_prompt_tokens > 60, torch.OutOfMemoryError("full"))
    firsts = {}
    for request in prepare_cases(preparer, cases[:30]):
        core.submit(request)
    ended = {}
    while core.busy:
        for event in core.step():
            firsts.setdefault(event.id, 0)
            firsts[event.id] += event.num_tokens == 1
            if event.finish_reason:
                ended[event.id] = event
    assert (core.num_slots, core._policy.limit) == (2, 2)
    assert [ended[i].tokens for i in range(30)] == alone[1.0][:30]
    assert set(firsts.values()) == {1}, "no running request was restarted"


def test_request_that_does_not_fit_alone_ends_for_memory_and_the_others_are_complete(
    make_core, preparer, cases, alone, limit
):
    requests = prepare_cases(preparer, cases[:20])
    most = max(r.num_prompt_tokens for r in requests)
    too_long = [r.id for r in requests if r.num_prompt_tokens == most]
    limit(lambda step: step.prompts is not None and max(step.prompts.lengths) >= most, torch.OutOfMemoryError("full"))
    ended = run(make_core(4), requests)
    for i in range(20):
        if i in too_long:
            assert ended[i].finish_reason == "memory"
            assert ended[i].error.startswith("out of device memory; lower ")
        else:
            assert ended[i].tokens == alone[1.0][i]


def test_single_shortage_of_memory_costs_no_slots(make_core, preparer, cases, alone, limit):
    requests = prepare_cases(preparer, cases[:30])
    longest = max(r.num_prompt_tokens for r in requests)
    culprit = next(r for r in requests if r.num_prompt_tokens == longest)
    positions = culprit.layout["positions"].shape[1]
    seen = []

    def condition(step):
        if step.prompts is not None:
            seen.append(step.cache.num_slots)
        return step.prompts is not None and step.prompts.longest == positions and step.cache.num_slots > 1

    limit(condition, torch.OutOfMemoryError("full"))
    core = make_core(8)
    ended = run(core, requests)
    assert [ended[i].tokens for i in range(30)] == alone[1.0][:30]
    assert sum(r.num_prompt_tokens == longest for r in requests) == seen.count(1)
    assert (seen[0], seen[-1], core.num_slots) == (8, 8, 8)


def test_slots_return_after_a_request_that_does_not_fit_alone_and_after_idle_time(
    make_core, preparer, cases, alone, limit
):
    core = make_core(8)
    requests = prepare_cases(preparer, cases[:12])
    full = limit(lambda step: step.num_prompt_tokens > 0, torch.OutOfMemoryError("full"))
    assert {event.finish_reason for event in run(core, requests).values()} == {"memory"}
    assert core._policy.limit < 8
    full.remove()
    ended = run(core, requests)
    assert core.num_slots == 8
    assert [ended[i].tokens for i in range(12)] == alone[1.0][:12]


def test_plan_follows_the_longest_request_of_the_next_job(make_core, preparer, cases, monkeypatch, alone):
    memory = 4 * 1024 * 2 * 2 * 2 * 16 * 4  # of 4 slots of 1,024 tokens
    monkeypatch.setattr("captioner.engine.slot_memory.free_bytes", lambda device: memory)
    core = make_core(0, max_tokens=1000)
    plans = []
    for max_tokens in (1000, 900, 200, 300, 1000):
        core.announce_longest(max_tokens)
        ended = run(core, prepare_cases(preparer, cases[:5]))
        plans.append((core.num_slots, core._plan.slot_tokens))
        assert [ended[i].tokens for i in range(5)] == alone[1.0][:5]
    assert plans == [(4, 1024), (4, 1024), (16, 256), (8, 512), (4, 1024)]


def test_job_whose_longest_request_would_not_fit_runs_those_that_do(make_core, preparer, cases, monkeypatch, alone):
    monkeypatch.setattr("captioner.engine.slot_memory.free_bytes", lambda device: 2 * 1024 * 2 * 2 * 2 * 16 * 4)
    core = make_core(0, max_tokens=1000)
    core.announce_longest(100_000)
    for number in range(4):
        ended = run(core, prepare_cases(preparer, cases[:4])[number : number + 1])
        assert ended[number].tokens == alone[1.0][number]
    assert core._plan.slot_tokens < 1024


@pytest.mark.logs_error("new requests failed")
def test_request_that_breaks_the_model_fails_alone(make_core, preparer, cases, alone):
    requests = prepare_cases(preparer, cases[:12])
    bad = requests[7].inputs
    bad["input_ids"] = torch.full_like(bad["input_ids"], 10**6)  # no such token
    ended = run(make_core(8), requests)
    assert ended[7].finish_reason == "error"
    assert ended[7].error.startswith("the model failed: IndexError: ")
    assert "\n" not in ended[7].error
    assert [ended[i].tokens for i in range(12) if i != 7] == [alone[1.0][i] for i in range(12) if i != 7]


def test_failure_without_a_new_request_is_raised(make_core, preparer, cases, limit):
    core = make_core(2)
    limit(lambda step: step.prompts is None, RuntimeError("the device is gone"))
    core.submit(prepare_cases(preparer, cases[:1])[0])
    with pytest.raises(RuntimeError, match="the device is gone"):
        finish(core)


def test_closed_core_restores_the_model(tiny_model, make_core, preparer, cases):
    config = tiny_model.model.config
    before = config.text_config._attn_implementation, config.vision_config._attn_implementation
    core = make_core(2)
    run(core, prepare_cases(preparer, cases[:2]))
    core.close()
    assert (config.text_config._attn_implementation, config.vision_config._attn_implementation) == before
    assert not core.busy


def test_report_says_what_to_lower_when_few_clips_fit(make_core, monkeypatch):
    monkeypatch.setattr("captioner.engine.slot_memory.free_bytes", lambda device: 2.5 * 512 * 2 * 2 * 2 * 16 * 4)
    rows = dict(make_core(0, max_tokens=400).report_rows())
    assert rows["memory"].startswith("2 slots, 512 tokens each, ")
    assert "; lower frame_size, max_frames or max_new_tokens" in rows["memory"]


def test_report_says_what_is_active_and_why_other_features_are_not(make_core):
    rows = dict(make_core(3, max_tokens=300, compile=True, sage_attention=True).report_rows())
    assert rows["engine"] == "continuous batching"
    assert rows["memory"].startswith("3 slots, 512 tokens each, 0.0 GB weights, 0.0 GB cache")
    assert "lower" not in rows["memory"]
    assert rows["attention"] == "SDPA"
    assert rows["SageAttention"] == "not active: needs an NVIDIA GPU"
    assert rows["CUDA graphs"] == "not active: needs an NVIDIA GPU"
    assert rows["compile"] == "not active: needs an NVIDIA GPU and CUDA graphs"


def test_text_agrees_with_one_plain_forward_pass_over_it(tiny_model, cases, alone):
    counts = [
        _with_plain_model(tiny_model, lambda i=i: teacher_forced(
            tiny_model.model, tiny_model.processor, cases[i], alone[1.0][i], 1e-3
        )) for i in range(20) if alone[1.0][i]
    ]  # fmt: skip
    assert sum(compared for _, compared in counts) > 50
    assert all(agreeing == compared for agreeing, compared in counts)
