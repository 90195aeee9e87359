"""ContinuousCore plans its memory, reports what it does, and an error ends only one request."""

import pytest
import torch

from captioner.engine.continuous import ContinuousCore, ContinuousOptions
from captioner.engine.core import is_device_error, is_out_of_memory
from captioner.engine.prepare import Preparer
from tests.support.engine_cases import (
    finish,
    generate_alone,
    make_cases,
    prepare_cases,
    processor_inputs,
    run,
)

NUM_CASES = 40


@pytest.fixture(scope="module")
def cases():
    return make_cases(NUM_CASES)


@pytest.fixture(scope="module")
def alone(tiny_model, cases):
    """Tokens of each case, from one call of generate each."""
    return [generate_alone(tiny_model.model, tiny_model.processor, case) for case in cases]


@pytest.fixture(params=[False, True], ids=["", "read late"])
def make_core(tiny_model, request):
    """A function that makes cores; they release the model for the other tests afterwards."""
    made = []

    def make(max_slots: int, **options) -> ContinuousCore:
        options = {"read_late": request.param, **options}
        made.append(ContinuousCore(tiny_model.model, ContinuousOptions(max_slots=max_slots, **options)))
        return made[-1]

    yield make
    for core in reversed(made):  # each restores what it found
        core.close()


@pytest.fixture(scope="module")
def preparer(tiny_model):
    core = ContinuousCore(tiny_model.model)
    yield Preparer(tiny_model.processor, core.layout)
    core.close()


@pytest.fixture(autouse=True)
def _generate_first(alone, preparer):
    """Compute the references before a core replaces the model's attention."""


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
    assert [ended[i].tokens for i in range(9)] == alone[:9]


class _Limit:
    """Makes the first layer of the text tower raise an error when a condition on the step holds."""

    def __init__(self, layer, condition, error):
        self.calls = 0
        self._condition, self._error = condition, error
        self._handle = layer.register_forward_pre_hook(self._check, with_kwargs=True)

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
        hooks.append(_Limit(tiny_model.model.model.language_model.layers[0], condition, error))
        return hooks[-1]

    yield install
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize(
    ("error", "is_memory", "is_device"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True, False),
        (torch.AcceleratorError("CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`"), True, False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True, False),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True, False),
        (RuntimeError("CUDA driver error: out of memory"), True, False),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9.0 GB, max allowed: 9.1 GB)"), True, False),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"), True, False),
        (MemoryError(), True, False),
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), False, True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"), False, True),
        (RuntimeError("CUDA error: unspecified launch failure"), False, True),
        (RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"), False, False),
        (ValueError("a caption about being out of memory"), False, False),
    ],
)
def test_lack_of_memory_is_told_from_a_lost_device(error, is_memory, is_device):
    assert (is_out_of_memory(error), is_device_error(error)) == (is_memory, is_device)


def test_memory_that_only_the_driver_lacks_costs_no_worker(make_core, preparer, cases, alone, limit):
    error = torch.AcceleratorError("CUDA error: out of memory")
    limit(lambda step: len(step.pieces) > 1, error)
    ended = run(make_core(8), prepare_cases(preparer, cases[:12]))
    assert [ended[i].tokens for i in range(12)] == alone[:12]


def test_out_of_memory_with_several_new_requests_runs_each_alone(make_core, preparer, cases, alone, limit):
    limit(lambda step: len(step.pieces) > 1, torch.OutOfMemoryError("full"))
    ended = run(make_core(8), prepare_cases(preparer, cases[:30]))
    assert [ended[i].tokens for i in range(30)] == alone[:30]


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
    assert [ended[i].tokens for i in range(30)] == alone[:30]
    assert set(firsts.values()) == {1}, "no running request was restarted"


def test_request_that_does_not_fit_alone_ends_for_memory_and_the_others_are_complete(
    make_core, preparer, cases, alone, limit
):
    requests = prepare_cases(preparer, cases[:20])
    most = max(r.num_prompt_tokens for r in requests)
    too_long = [r.id for r in requests if r.num_prompt_tokens == most]
    limit(lambda step: any(piece.length >= most for piece in step.pieces), torch.OutOfMemoryError("full"))
    ended = run(make_core(4), requests)
    for i in range(20):
        if i in too_long:
            assert ended[i].finish_reason == "memory"
            assert ended[i].error.startswith("out of device memory; lower ")
        else:
            assert ended[i].tokens == alone[i]


def test_single_shortage_of_memory_costs_no_slots(make_core, preparer, cases, alone, limit):
    requests = prepare_cases(preparer, cases[:30])
    longest = max(r.num_prompt_tokens for r in requests)
    culprit = next(r for r in requests if r.num_prompt_tokens == longest)
    positions = culprit.layout["positions"].shape[1]
    seen = []

    def condition(step):
        if step.pieces:
            seen.append(step.cache.num_slots)
        return any(piece.length == positions for piece in step.pieces) and step.cache.num_slots > 1

    limit(condition, torch.OutOfMemoryError("full"))
    core = make_core(8, piece_tokens=10_000)  # whole prompts
    ended = run(core, requests)
    assert [ended[i].tokens for i in range(30)] == alone[:30]
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
    assert [ended[i].tokens for i in range(12)] == alone[:12]


def test_plan_follows_the_longest_request_of_the_next_job(make_core, preparer, cases, monkeypatch, alone):
    memory = 4 * 1024 * 2 * 2 * 2 * 16 * 4  # of 4 slots of 1,024 tokens
    monkeypatch.setattr("captioner.engine.slot_memory.free_bytes", lambda device: memory)
    core = make_core(0, max_tokens=1000)
    plans = []
    for max_tokens in (1000, 900, 200, 300, 1000):
        core.announce_longest(max_tokens)
        ended = run(core, prepare_cases(preparer, cases[:5]))
        plans.append((core.num_slots, core._plan.slot_tokens))
        assert [ended[i].tokens for i in range(5)] == alone[:5]
    assert plans == [(4, 1024), (4, 1024), (16, 256), (8, 512), (4, 1024)]


def test_job_whose_longest_request_would_not_fit_runs_those_that_do(make_core, preparer, cases, monkeypatch, alone):
    monkeypatch.setattr("captioner.engine.slot_memory.free_bytes", lambda device: 2 * 1024 * 2 * 2 * 2 * 16 * 4)
    core = make_core(0, max_tokens=1000)
    core.announce_longest(100_000)
    for number in range(4):
        ended = run(core, prepare_cases(preparer, cases[:4])[number : number + 1])
        assert ended[number].tokens == alone[number]
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
    assert [ended[i].tokens for i in range(12) if i != 7] == [alone[i] for i in range(12) if i != 7]


def test_failure_without_a_new_request_is_raised(make_core, preparer, cases, limit):
    core = make_core(2)
    limit(lambda step: not step.pieces, RuntimeError("the device is gone"))
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
    rows = dict(make_core(3, max_tokens=300, sage_attention=True).report_rows())
    assert rows["engine"] == "continuous batching"
    assert rows["memory"].startswith("3 slots, 512 tokens each, 0.0 GB weights, 0.0 GB cache")
    assert "lower" not in rows["memory"]
    assert rows["attention"] == "SDPA"
    assert rows["SageAttention"] == "not active: needs an NVIDIA GPU"
    assert rows["CUDA graphs"] == "not active: needs an NVIDIA GPU"
    assert rows["compile"] == "off"
