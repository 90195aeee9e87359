"""The way to a GPU, on a pretended one: where a step makes the host wait, and how many operators it calls."""

from collections import Counter
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from captioner.cli.bench import build
from captioner.engine import graphs
from captioner.engine.attention_backends import VarlenBackend
from captioner.engine.continuous import ContinuousCore, ContinuousOptions
from captioner.engine.loading import PatchProjection
from captioner.engine.prepare import Preparer
from tests.engine.test_attention import replay_by_running, varlen_on_cpu
from tests.support.engine_cases import make_cases, prepare_cases, run
from tests.support.pretended_device import CountCalls, as_kernel, move, pretended_device
from tests.support.tiny import TINY

READ_TOKENS = ["event running.py"]  # the tokens of the step before


def build_tiny(model_type, **sizes):
    tokenizer = build.build_tokenizer(["describe this video in detail", "<0.5 seconds> user assistant"], 400)
    model = build.build_model(tokenizer, replace(TINY[model_type], **sizes), seed=1)
    model.model.visual.patch_embed.proj = PatchProjection(model.model.visual.patch_embed.proj)
    return model, build.build_processor(tokenizer)


@pytest.fixture
def open_core(monkeypatch):
    """A function that opens a core on the pretended device, with graphs and flash attention as on a real one."""
    monkeypatch.setattr(graphs, "Capture", lambda device: replay_by_running)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (10e9, 20e9))
    flash = VarlenBackend("flash attention", as_kernel(varlen_on_cpu))

    @contextmanager
    def opened(model, max_slots):
        with pretended_device(monkeypatch) as device, monkeypatch.context() as patch:
            patch.setattr("captioner.engine.packed.pick_backend", lambda *_: (flash, ""))
            core = ContinuousCore(move(model), ContinuousOptions(max_slots=max_slots, max_tokens=256))
            assert core._memory.decode.why_no_graphs == ""
            yield core, device
            core.close()

    return opened


def make_requests(model, processor, count, options):
    """Prepare clips and images, the options taken in turns, and compute their texts on the CPU."""
    core = ContinuousCore(model, ContinuousOptions(max_slots=count, max_tokens=256))
    preparer, cases = Preparer(processor, core.layout), make_cases(count, longest=20)
    requests = [prepare_cases(preparer, cases, **options[i % len(options)])[i] for i in range(count)]
    wanted = {number: event.tokens for number, event in run(core, requests).items()}
    core.close()
    return requests, wanted


def next_kind(core):
    """Return what the next step of a core is: "mixed" with pieces of prompts, "decode", or "last", which only reads."""
    if core.num_waiting and core.num_running < core.num_slots:
        return "mixed"
    if any(running.is_reading for running in core._running.values()):
        return "mixed"
    return "decode" if core._memory.table.active() else "last"


@pytest.mark.parametrize("model_type", ["qwen3_vl", "qwen3_5"])
@pytest.mark.parametrize(
    "options",
    [[{}], [{"repetition_penalty": 1.2}, {"temperature": 0.9, "top_p": 0.8, "seed": 5}, {}]],
    ids=["greedy", "several options"],
)
def test_step_waits_for_nothing_but_the_tokens_of_the_step_before(open_core, model_type, options):
    model, processor = build_tiny(model_type)
    requests, wanted = make_requests(model, processor, 9, options)
    with open_core(model, max_slots=4) as (core, device):
        for request in requests:
            core.submit(request)
        core.step()  # the first one asks for what stays on the device
        ended, counts = {}, Counter()
        while core.busy:
            device.clear()
            kind, num_shapes = next_kind(core), len(core._memory.decode._fixed)
            ended |= {event.id: event.tokens for event in core.step() if event.finish_reason}
            if kind == "decode" and len(core._memory.decode._fixed) > num_shapes:
                continue  # a capture, once for each shape, keeps copies of states
            counts[kind] += 1
            assert [wait.partition(":")[0] for wait in device.waits] == READ_TOKENS
            if kind == "decode":
                assert len(device.uploads) <= 1 + (len(options) > 1), "the rows, and the order of several options"
    assert ended == wanted
    assert min(counts["mixed"], counts["decode"]) > 2


def test_pretended_device_notices_what_would_wait(monkeypatch):
    with pretended_device(monkeypatch) as device:
        table = torch.arange(6).to("cuda:0")
        assert (table.device.type, (table + 1).device.type) == ("cuda", "cuda")
        assert (table * 2)[3].item() == 6
        assert table[table > 3].tolist() == [4, 5]
        table[torch.tensor([0, 1])] = 9
        torch.arange(1000).to(table.device, non_blocking=True)
        torch.arange(1000).pin_memory().to(table.device, non_blocking=True)
        table.to("cpu", non_blocking=True)
        with pytest.raises(AssertionError, match="mixes host and device"):
            table + torch.arange(6)
    kinds = ["blocking copy", "item", "index by a mask", "tolist", "index from the host", "pageable copy"]
    assert [wait.rpartition(" ")[0] for wait in device.waits] == kinds


@pytest.mark.parametrize(("model_type", "num_layers", "most"), [("qwen3_vl", 36, 900), ("qwen3_5", 32, 1900)])
def test_decode_step_of_as_many_layers_as_8b_and_9b_calls_few_operators(open_core, model_type, num_layers, most):
    model, processor = build_tiny(model_type, text_layers=num_layers)
    model.to(torch.bfloat16)
    requests, _ = make_requests(model, processor, 2, [{}])
    with open_core(model, max_slots=2) as (core, _):
        for request in requests:
            core.submit(request)
        core.step()
        core.step()
        with CountCalls() as count:
            core.step()
    assert count.calls.total() <= most, count.calls.most_common(30)
