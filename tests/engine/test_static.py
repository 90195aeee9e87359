"""StaticCore compared with one-at-a-time `model.generate` and the installed processor."""

import pytest
import torch
from transformers import StaticCache

from captioner.engine.prepare import Preparer
from captioner.engine.static import StaticCore
from tests.support.engine_cases import generate_alone, make_cases, prepare_cases, processor_inputs, run


@pytest.fixture(scope="module")
def cases():
    return make_cases(50, longest=24)


@pytest.fixture(scope="module")
def alone(tiny_model, cases):
    """The greedy tokens of each request, from one call of generate each."""
    return [generate_alone(tiny_model.model, tiny_model.processor, case) for case in cases]


@pytest.fixture(scope="module")
def preparer(tiny_model):
    return Preparer(tiny_model.processor)


def test_inputs_equal_those_of_the_installed_processor(tiny_model, preparer, cases):
    for prepared, case in zip(prepare_cases(preparer, cases), cases, strict=True):
        reference = processor_inputs(tiny_model.processor, case.frames, case.prompt)
        assert prepared.inputs.keys() == reference.keys()
        for name, tensor in reference.items():
            assert torch.equal(prepared.inputs[name], tensor), name


@pytest.mark.parametrize("max_batch", [1, 4, 8])
def test_batched_greedy_text_equals_one_at_a_time(tiny_model, preparer, cases, alone, max_batch):
    finished = run(StaticCore(tiny_model.model, max_batch), prepare_cases(preparer, cases))
    assert [finished[i].tokens for i in range(len(cases))] == alone
    lengths = [case.num_tokens for case in cases]
    for i, length in enumerate(lengths):
        assert finished[i].finish_reason == ("length" if len(alone[i]) == length else "stop")


def test_penalized_text_does_not_depend_on_the_batch(tiny_model, preparer, cases):
    prepared = prepare_cases(preparer, cases[:20], repetition_penalty=1.3)
    single = run(StaticCore(tiny_model.model, 1), prepared)
    batched = run(StaticCore(tiny_model.model, 8), prepared)
    assert {i: e.tokens for i, e in single.items()} == {i: e.tokens for i, e in batched.items()}
    plain = run(StaticCore(tiny_model.model, 8), prepare_cases(preparer, cases[:20]))
    assert any(plain[i].tokens != single[i].tokens for i in range(20))


def test_seeded_sampling_does_not_depend_on_the_batch(tiny_model, preparer, cases):
    prepared = prepare_cases(preparer, cases[:20], temperature=0.9, top_p=0.9, top_k=30, seed=5)
    single = run(StaticCore(tiny_model.model, 1), prepared)
    batched = run(StaticCore(tiny_model.model, 8), prepared)
    assert {i: e.tokens for i, e in single.items()} == {i: e.tokens for i, e in batched.items()}


def test_cancelled_request_ends_within_one_step_and_leaves_a_prefix(tiny_model, preparer, cases, alone):
    core = StaticCore(tiny_model.model, 8)
    long_ones = [i for i, tokens in enumerate(alone) if len(tokens) >= 8]
    prepared = prepare_cases(preparer, cases)
    for request in prepared:
        core.submit(request)
    finished, cancelled_after = {}, {}
    while core.busy:
        for event in core.step():
            if event.finish_reason:
                finished[event.id] = event
            elif event.id in long_ones and event.num_tokens == 3:
                core.cancel(event.id)
                cancelled_after[event.id] = event.num_tokens
    assert set(cancelled_after) == set(long_ones)
    for i, tokens in enumerate(alone):
        if i in long_ones:
            assert finished[i].finish_reason == "cancelled"
            assert finished[i].tokens == tokens[:3]
        else:
            assert finished[i].tokens == tokens


def test_waiting_request_can_be_cancelled(tiny_model, preparer, cases):
    core = StaticCore(tiny_model.model, 1)
    for request in prepare_cases(preparer, cases[:3]):
        core.submit(request)
    core.cancel(2)
    events = core.step()
    assert [(e.id, e.finish_reason) for e in events if e.finish_reason] == [(2, "cancelled")]
    core.close()
    assert not core.busy


@pytest.mark.logs_error("generation failed")
def test_request_that_breaks_the_model_fails_alone(tiny_model, preparer, cases, alone):
    prepared = prepare_cases(preparer, cases[:8])
    bad = prepared[3].inputs
    bad["input_ids"] = bad["input_ids"].masked_fill(bad["input_ids"] == tiny_model.model.config.video_token_id, 5)
    finished = run(StaticCore(tiny_model.model, 8), prepared)
    assert finished[3].finish_reason == "error"
    assert finished[3].error.startswith("the model failed: ")
    assert "\n" not in finished[3].error
    assert [finished[i].tokens for i in range(8) if i != 3] == [alone[i] for i in range(8) if i != 3]


def test_report_has_the_reason_why_no_faster_core_runs(tiny_model):
    rows = dict(StaticCore(tiny_model.model, 8, compile_decode=True, reason="smolvlm is not supported").report_rows())
    assert rows == {
        "engine": "batches through generate, since smolvlm is not supported",
        "batch": "up to 8 clips at once",
        "attention": "sdpa",
        "SageAttention": "off",
        "compile": "not active: needs an NVIDIA GPU",
    }


@pytest.fixture
def fail_if(tiny_model):
    """A function that makes the text tower raise an error when a condition on its keywords holds."""
    handles = []

    def install(condition, error):
        def check(module, args, kwargs):
            if condition(kwargs):
                raise error

        tower = tiny_model.model.model.language_model
        handles.append(tower.register_forward_pre_hook(check, with_kwargs=True))

    yield install
    for handle in handles:
        handle.remove()


def num_rows(kwargs) -> int:
    return kwargs["inputs_embeds"].shape[0]


def test_batch_grows_again_when_memory_is_free(tiny_model, preparer, cases, alone, fail_if):
    sizes, short = [], [True]

    def condition(kwargs):
        if kwargs["inputs_embeds"].shape[1] > 1:
            sizes.append(num_rows(kwargs))
        return short[0] and num_rows(kwargs) > 2

    fail_if(condition, torch.AcceleratorError("CUDA error: out of memory"))
    core = StaticCore(tiny_model.model, 4)
    same_kind = [request for request in prepare_cases(preparer, cases) if "pixel_values_videos" in request.inputs][:20]
    first = run(core, same_kind[:4])
    short[0] = False
    ended = first | run(core, same_kind[4:])
    assert sizes == [4, 2, 2, 4, 4, 4, 4]
    assert all(ended[request.id].tokens == alone[request.id] for request in same_kind)


def test_clip_that_does_not_fit_alone_does_not_shrink_the_batch(tiny_model, preparer, cases, alone, fail_if):
    requests = [request for request in prepare_cases(preparer, cases) if "pixel_values_videos" in request.inputs][:9]
    longest = max(requests, key=lambda request: request.num_prompt_tokens).num_prompt_tokens
    fail_if(lambda kwargs: kwargs["inputs_embeds"].shape[1] >= longest, torch.OutOfMemoryError("full"))
    core = StaticCore(tiny_model.model, 4)
    ended = run(core, requests)
    for request in requests:
        if request.num_prompt_tokens == longest:
            assert ended[request.id].finish_reason == "memory"
        else:
            assert ended[request.id].tokens == alone[request.id]
    assert core._batch == 4


def test_lost_device_raises_instead_of_failing_requests(tiny_model, preparer, cases, fail_if):
    fail_if(lambda kwargs: True, RuntimeError("CUDA error: an illegal memory access was encountered"))
    core = StaticCore(tiny_model.model, 4)
    core.submit(prepare_cases(preparer, cases[:1])[0])
    with pytest.raises(RuntimeError, match=r"^CUDA error: an illegal memory access"):
        core.step()


@pytest.mark.logs_error("generation failed")
def test_failed_compilation_is_disabled_and_the_batch_runs_again(tiny_model, preparer, cases, alone, fail_if):
    """Decode steps over a static cache stand in for compiled ones, which need a GPU."""

    def compiled(kwargs):
        cache = kwargs.get("cache", kwargs.get("past_key_values"))  # its new and its old name
        return kwargs["inputs_embeds"].shape[1] == 1 and isinstance(cache, StaticCache)

    fail_if(compiled, RuntimeError("no compiler\nat all"))
    core = StaticCore(tiny_model.model, 4)
    core._compile = True
    ended = run(core, prepare_cases(preparer, cases[:6]))
    assert [ended[i].tokens for i in range(6)] == alone[:6]
    assert dict(core.report_rows())["compile"] == "not active: RuntimeError: no compiler"


def test_report_says_that_sage_attention_is_not_active(tiny_model):
    rows = dict(StaticCore(tiny_model.model, 4, sage=True).report_rows())
    assert rows["SageAttention"] == "not active: needs continuous batching"
