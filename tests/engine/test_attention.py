"""Attention back ends compared with plain arithmetic, SageAttention, fixed-shape decode steps, memory plans."""

import pytest
import torch
from transformers import Qwen3_5TextConfig

from captioner.engine import attention_backends
from captioner.engine.attention_backends import (
    SdpaBackend,
    Segments,
    VarlenBackend,
    pick_backend,
    reference_attention,
    self_test,
)
from captioner.engine.cache import SlotCache, SlotShape, plan_cache
from captioner.engine.continuous import ContinuousCore, ContinuousOptions
from captioner.engine.families import Qwen35
from captioner.engine.graphs import bucket
from captioner.engine.prepare import Preparer
from captioner.engine.sage import SAGE_MIN_TOKENS, SageBackend, with_sage
from tests.support.engine_cases import make_cases, next_decode_step, prepare_cases, run, run_fixed_eagerly

CPU = torch.device("cpu")


def varlen_on_cpu(q, k, v, bounds_q, bounds_k, longest_q, longest_k, used, causal, scale):
    """Compute what flash attention's varlen kernels do, row by row in float32; bounds_k may be in any order."""
    out = torch.empty_like(q)
    for row in range(len(bounds_q) - 1):
        begin, end, start = int(bounds_q[row]), int(bounds_q[row + 1]), int(bounds_k[row])
        length = int(bounds_k[row + 1]) - start if used is None else int(used[row])
        assert end - begin <= longest_q
        assert length <= longest_k
        keys, values = k[start : start + length], v[start : start + length]
        if end - begin < length and causal:  # the last queries of a sequence
            before = q.new_zeros(length - (end - begin), *q.shape[1:])
            whole = torch.cat([before, q[begin:end]])
            out[begin:end] = reference_attention(whole, keys, values, (length,), True)[len(before) :]
        else:
            assert end - begin in (1, length)
            out[begin:end] = reference_attention(q[begin:end], keys, values, (length,), causal)
    return out


@pytest.mark.parametrize(("heads", "groups", "dim"), [(8, 2, 16), (4, 4, 24), (6, 1, 32)])
@pytest.mark.parametrize("backend", [SdpaBackend(), VarlenBackend("reference", varlen_on_cpu)])
def test_back_end_passes_its_self_test(backend, heads, groups, dim):
    assert self_test(backend, CPU, torch.float32, heads, groups, dim) == ""


def test_self_test_finds_a_kernel_that_ignores_slots_or_strides_or_the_end_or_is_missing():
    def in_order(q, k, v, bounds_q, bounds_k, longest_q, longest_k, used, causal, scale):
        return varlen_on_cpu(q, k, v, bounds_q, bounds_k.sort().values, longest_q, longest_k, used, causal, scale)

    def one_split(q, k, v, bounds_q, bounds_k, longest_q, longest_k, used, causal, scale):
        used = used if used is None else used.clamp(max=2048)
        return varlen_on_cpu(q, k, v, bounds_q, bounds_k, longest_q, longest_k, used, causal, scale)

    def contiguous(q, k, v, bounds_q, bounds_k, longest_q, longest_k, used, causal, scale):
        v = v.as_strided(v.shape, (v.shape[1] * v.shape[2], v.shape[2], 1))
        return varlen_on_cpu(q, k, v, bounds_q, bounds_k, longest_q, longest_k, used, causal, scale)

    def missing(*_):
        raise RuntimeError("no kernel image\nfor this device")

    assert self_test(VarlenBackend("", in_order), CPU, torch.float32, 8, 2, 16).startswith("cached: differs by ")
    assert self_test(VarlenBackend("", one_split), CPU, torch.bfloat16, 8, 2, 16).startswith("cached: differs by ")
    assert self_test(VarlenBackend("", contiguous), CPU, torch.float32, 8, 2, 16).startswith("packed: differs by ")
    assert self_test(VarlenBackend("", missing), CPU, torch.float32, 8, 2, 16) == "RuntimeError: no kernel image"


def test_fallback_has_a_reason(monkeypatch):
    monkeypatch.setattr(attention_backends, "self_test", lambda *_: "differs by 1")
    backend, note = pick_backend(torch.device("cuda"), torch.bfloat16, 8, 2, 128)
    assert isinstance(backend, SdpaBackend)
    assert note == "torch flash operator: differs by 1; torch varlen attention: differs by 1"
    assert pick_backend(torch.device("cuda"), torch.float32, 8, 2, 128)[1] == "flash attention has no float32"
    assert pick_backend(CPU, torch.float32, 8, 2, 128)[1] == ""


def test_sdpa_is_called_once_for_all_frames_of_one_size(monkeypatch):
    calls = []
    real = torch.nn.functional.scaled_dot_product_attention

    def counted(*args, **kwargs):
        calls.append(args[0].shape)
        return real(*args, **kwargs)

    monkeypatch.setattr(attention_backends, "scaled_dot_product_attention", counted)
    q = torch.randn(8 * 6 + 2 * 10, 4, 16)
    SdpaBackend().packed(q, q, q, Segments.from_lengths([6] * 8 + [10] * 2, CPU), False, 0.25)
    assert calls == [(8, 4, 6, 16), (2, 4, 10, 16)]


def sage_that_centers_in_place(q, k, v, tensor_layout, is_causal, sm_scale, smooth_k):
    """Compute attention exactly, but subtract the mean of the given keys in place as SageAttention does."""
    assert (tensor_layout, is_causal) == ("HND", True)
    k -= k.mean(2, keepdim=True)
    return reference_attention(*(x[0].transpose(0, 1) for x in (q, k, v)), (q.shape[2],), True).transpose(0, 1)[None]


def test_sage_gets_a_copy_and_only_long_prompts():
    backend = SageBackend(SdpaBackend(), sage_that_centers_in_place)
    lengths = [SAGE_MIN_TOKENS + 5, 40]
    q, k, v = torch.randn(sum(lengths), 4, 16), torch.randn(sum(lengths), 2, 16), torch.randn(sum(lengths), 2, 16)
    before = k.clone()
    out = backend.packed(q, k, v, Segments.from_lengths(lengths, CPU), True, 0.25)
    assert torch.equal(k, before)
    assert torch.allclose(out, reference_attention(q, k, v, tuple(lengths), True), atol=1e-4)
    assert torch.equal(
        out[-40:], SdpaBackend().packed(q[-40:], k[-40:], v[-40:], Segments.from_lengths([40], CPU), True, 0.25)
    )


def test_sage_is_refused_where_it_cannot_work():
    base = SdpaBackend()
    assert with_sage(base, CPU, torch.float32, 8, 2, 128) == (base, "not active: needs an NVIDIA GPU")
    backend, note = with_sage(base, torch.device("cuda"), torch.bfloat16, 16, 16, 72)
    assert backend is base
    assert note == "not active: the model's head dimension 72 is not one of (64, 96, 128)"


@pytest.mark.parametrize("kernel", [None, varlen_on_cpu])
def test_steps_of_fixed_shape_give_the_same_logits(tiny_model, kernel):
    """Compare with the steps that a CUDA graph replays: padded to a bucket, idle slots included."""
    core = ContinuousCore(tiny_model.model, ContinuousOptions(max_slots=8, max_tokens=256))
    try:
        if kernel:
            core._model.backend = VarlenBackend("reference", kernel)
        requests = prepare_cases(Preparer(tiny_model.processor, core.layout), make_cases(7, longest=33))
        for request in requests:
            core.submit(request)
        compared = 0
        while core.busy:
            core.step()
            step = next_decode_step(core)
            if step and not core.num_waiting:
                with torch.inference_mode():
                    plain = core._memory.decode.run(*step)
                    fixed = run_fixed_eagerly(core._memory.decode, *step)
                assert torch.allclose(plain, fixed, atol=1e-5)
                compared += 1
        assert compared > 10
        assert {size for size, _ in core._memory.decode._fixed} >= {8}
    finally:
        core.close()


def test_failed_capture_is_reported_and_does_not_change_the_text(tiny_model, monkeypatch, caplog):
    """Without a GPU, capturing always fails; the step runs without it."""
    core = ContinuousCore(tiny_model.model, ContinuousOptions(max_slots=4, max_tokens=256))
    try:
        core._memory.decode.why_no_graphs = ""
        requests = prepare_cases(Preparer(tiny_model.processor, core.layout), make_cases(4))
        for request in requests:
            core.submit(request)
        ended = [e for _ in range(40) for e in core.step() if e.finish_reason]
        assert len(ended) == 4
        assert core._memory.decode.why_no_graphs
        assert "CUDA graphs failed" in caplog.text
    finally:
        core.close()


def test_buckets_hold_every_row_and_waste_little():
    assert [bucket(n, 64) for n in (1, 2, 3, 5, 8, 9, 17, 33, 49, 64)] == [1, 2, 4, 8, 8, 16, 24, 48, 64, 64]
    assert all(n <= bucket(n, 100) <= 100 for n in range(1, 101))


def test_plan_fills_the_memory_and_not_more():
    plan = plan_cache(free_bytes=20e9, bytes_per_token=147456, max_tokens=2400, max_slots=64)
    assert (plan.num_slots, plan.slot_tokens) == (52, 2560)
    assert plan.bytes == 52 * 2560 * 147456 <= 20e9
    assert plan_cache(1e12, 147456, 2400, 64).num_slots == 64
    assert plan_cache(1e8, 147456, 2400, 64).num_slots == 0
    assert plan_cache(-5.0, 147456, 2400, 64).num_slots == 0


def test_cache_of_8b_takes_144_kib_a_token():
    shape = SlotShape(tuple(range(36)), (8, 128))
    assert shape.token_bytes(torch.bfloat16) == 144 * 1024
    cache = SlotCache(shape, 2, 256, torch.bfloat16, torch.device("meta"))
    assert sum(t.nbytes for t in (*cache.keys.values(), *cache.values.values())) == 2 * 256 * 144 * 1024


def test_slot_of_qwen35_9b_keeps_states_beside_keys_and_values():
    shape = Qwen35().slot_shape(Qwen3_5TextConfig())
    assert shape.token_bytes(torch.bfloat16) == 32 * 1024
    assert shape.state_bytes(torch.bfloat16) == 24 * (32 * 128 * 128 * 4 + 8192 * 4 * 2)
    cache = SlotCache(shape, 2, 256, torch.bfloat16, torch.device("meta"))
    states = (*cache.convolution.values(), *cache.recurrent.values())
    assert sum(t.nbytes for t in states) == 2 * shape.state_bytes(torch.bfloat16)
    assert plan_cache(1e9, 32 * 1024, 811, 64, 2 * shape.state_bytes(torch.bfloat16)).num_slots == 7


def test_model_without_memory_for_one_clip_is_refused_with_advice(tiny_model, monkeypatch):
    monkeypatch.setattr("captioner.engine.slot_memory.free_bytes", lambda device: 1000.0)
    with pytest.raises(
        Exception, match=r"^a clip of 900 tokens needs .* GB of cache .*; lower frame_size, max_frames or"
    ):
        ContinuousCore(tiny_model.model, ContinuousOptions(max_tokens=900))
    assert tiny_model.model.config.text_config._attn_implementation == "sdpa"


@pytest.fixture
def make_core(tiny_model):
    made = []

    def make(**options) -> ContinuousCore:
        made.append(ContinuousCore(tiny_model.model, ContinuousOptions(max_tokens=256, **options)))
        return made[-1]

    yield make
    for core in reversed(made):  # the first one restores the original model
        core.close()


def replay_by_running(work):
    """Stand in for a graph, which computes the same again in the same places."""
    work()
    return work


def test_replayed_steps_write_one_buffer_of_logits_whatever_their_shape(make_core, tiny_model):
    core, captured = make_core(max_slots=6), []

    def capture(work):
        captured.append(work)
        return replay_by_running(work)

    core._memory.decode.capture, core._memory.decode.why_no_graphs = capture, ""
    requests = prepare_cases(Preparer(tiny_model.processor, core.layout), make_cases(9, longest=20))
    replayed = {i: event.tokens for i, event in run(core, requests).items()}
    assert core._memory.decode.why_no_graphs == ""
    assert len(captured) == len(core._memory.decode._fixed) >= 3
    assert core._memory.decode._logits.shape == (6, tiny_model.model.config.text_config.vocab_size)
    launched = run(make_core(max_slots=6), requests)
    assert replayed == {i: event.tokens for i, event in launched.items()}


def test_capture_without_memory_is_tried_again_later_and_costs_no_request(make_core, tiny_model, monkeypatch):
    monkeypatch.setattr("captioner.engine.graphs.STEPS_UNTIL_RETRY", 3)
    refused, captured = [], []

    def capture(work):
        if len(refused) < 3:
            refused.append(work)
            raise RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later")
        captured.append(work)
        return replay_by_running(work)

    requests = prepare_cases(Preparer(tiny_model.processor, make_core().layout), make_cases(6))
    wanted = {i: event.tokens for i, event in run(make_core(max_slots=4), requests).items()}
    core = make_core(max_slots=4)
    core._memory.decode.capture, core._memory.decode.why_no_graphs = capture, ""
    with pytest.raises(RuntimeError, match="out of memory"):
        core._memory.decode.warm_up()
    ended = run(core, requests)
    assert {i: event.tokens for i, event in ended.items()} == wanted
    assert core.num_slots == 4
    assert len(refused) == 3
    assert captured
    assert dict(core.report_rows())["CUDA graphs"] == "active"
