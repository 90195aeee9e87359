"""Everything about the engine that only a GPU can show. One command, no media libraries needed:

python -m pytest -m gpu -s tests/gpu
"""

import gc

import pytest
import torch
from engine_cases import generate_alone, make_cases, prepare_cases, run, teacher_forced

from captioner.demo import build
from captioner.engine.backends import VarlenBackend, pick_backend, self_test
from captioner.engine.core import EngineCore, EngineOptions
from captioner.engine.prepare import Preparer
from captioner.engine.sage import with_sage

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
CUDA = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
# (query heads, key heads, head dimension): text tower of 2B and of 8B, vision tower of 2B and of 8B
SHAPES = ((16, 8, 128), (32, 8, 128), (16, 16, 64), (16, 16, 72))
GEOMETRY = build.Geometry(
    text_layers=6, text_hidden=512, text_heads=8, text_kv_heads=2, text_head_dim=128, text_mlp=1024,
    vision_layers=4, vision_hidden=256, vision_heads=4, vision_mlp=512, vision_positions=64, deepstack=(0, 1),
    initializer_range=0.06,
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _exact_float32():
    torch.backends.cuda.matmul.allow_tf32 = False


@pytest.fixture(scope="module")
def processor():
    tokenizer = build.build_tokenizer(["describe this video in detail", "<0.5 seconds> user assistant"], 400)
    processor = build.build_processor(tokenizer)
    processor.tokenizer.padding_side = "left"
    return processor


@pytest.fixture(scope="module")
def make_model(processor):
    def make(dtype: torch.dtype, seed: int = 1):
        return build.build_model(processor.tokenizer, GEOMETRY, seed).to(CUDA, dtype)

    return make


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_flash_attention_of_torch_passes_the_self_test(shape, dtype):
    backend, note = pick_backend(CUDA, dtype, *shape)
    print(f"\n{shape} {dtype}: {backend.name} {note}")
    assert isinstance(backend, VarlenBackend), note
    assert self_test(backend, CUDA, dtype, *shape) == ""


@pytest.mark.parametrize("graphs", [True, False])
@pytest.mark.parametrize("max_slots", [1, 8, 32])
def test_float32_text_equals_generate_alone(make_model, processor, max_slots, graphs):
    model, cases = make_model(torch.float32), make_cases(40)
    alone = [generate_alone(model, processor, case) for case in cases]
    core = EngineCore(model, EngineOptions(max_slots=max_slots, max_tokens=256, graphs=graphs))
    assert dict(core.rows())["CUDA graphs"] == ("active" if graphs else "not active: switched off")
    ended = run(core, prepare_cases(Preparer(processor, core.layout, pin=True), cases))
    rows = dict(core.rows())
    core.close()
    assert rows["CUDA graphs"] == ("active" if graphs else "not active: switched off")
    assert [ended[i].tokens for i in range(len(cases))] == alone


@pytest.mark.parametrize("graphs", [True, False])
@pytest.mark.parametrize("max_slots", [1, 8, 32])
def test_bfloat16_agrees_with_a_plain_forward_wherever_the_choice_is_clear(make_model, processor, max_slots, graphs):
    model, cases = make_model(torch.bfloat16), make_cases(64, longest=120)
    core = EngineCore(model, EngineOptions(max_slots=max_slots, max_tokens=384, graphs=graphs))
    ended = run(core, prepare_cases(Preparer(processor, core.layout, pin=True), cases))
    print("\n" + "\n".join(f"{label}: {text}" for label, text in core.rows()))
    core.close()
    counts = [teacher_forced(model, processor, case, ended[i].tokens, 0.5) for i, case in enumerate(cases)]
    agreeing, compared = (sum(column) for column in zip(*counts, strict=True))
    print(f"{agreeing} of {compared} clear choices agree, of {sum(len(e.tokens) for e in ended.values())} tokens")
    assert compared > 100
    assert agreeing == compared


def test_replayed_graph_computes_what_its_kernels_compute(make_model, processor):
    core = EngineCore(make_model(torch.bfloat16), EngineOptions(max_slots=16, max_tokens=384))
    for request in prepare_cases(Preparer(processor, core.layout), make_cases(12, longest=60)):
        core.submit(request)
    compared = 0
    while core.busy:
        core.step()
        rows = sorted(core._running.values(), key=lambda r: r.slot)
        if rows and not core.num_waiting:
            table, longest = torch.tensor([r.row() for r in rows]).T, max(r.length for r in rows) + 1
            with torch.inference_mode():
                replayed = core._decode.run(table, longest).clone()
                launched = core._decode.run_fixed_eagerly(table, longest)
            assert torch.allclose(replayed.float(), launched.float(), atol=1e-2)
            compared += 1
    assert core._decode.why_no_graphs == ""
    assert compared > 5
    core.close()


def test_compiled_decode_step_runs_or_says_why_not(make_model, processor):
    model, cases = make_model(torch.bfloat16), make_cases(16, longest=40)
    core = EngineCore(model, EngineOptions(max_slots=8, max_tokens=256, compile=True))
    ended = run(core, prepare_cases(Preparer(processor, core.layout), cases))
    compiling = dict(core.rows())["compile"]
    core.close()
    print(f"\ncompile: {compiling}")
    assert compiling == "decode steps" or compiling.startswith("not active: ")
    counts = [teacher_forced(model, processor, case, ended[i].tokens, 0.5) for i, case in enumerate(cases)]
    assert sum(a for a, _ in counts) == sum(c for _, c in counts)


def test_sage_attention_is_active_or_says_why_not():
    for heads, groups, dim in SHAPES:
        base, _ = pick_backend(CUDA, torch.bfloat16, heads, groups, dim)
        backend, note = with_sage(base, CUDA, torch.bfloat16, heads, groups, dim)
        print(f"\nhead dimension {dim}: {note}")
        assert note.startswith("active for prompts" if backend is not base else "not active: ")


def test_closed_core_gives_its_memory_back(make_model, processor):
    model = make_model(torch.bfloat16)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    core = EngineCore(model, EngineOptions(max_slots=64, max_tokens=4096))
    run(core, prepare_cases(Preparer(processor, core.layout), make_cases(20)))
    assert torch.cuda.memory_allocated() > before + 100e6
    core.close()
    del core
    gc.collect()
    torch.cuda.empty_cache()
    assert torch.cuda.memory_allocated() < before + 20e6


def test_real_shortage_of_memory_ends_in_fewer_slots_or_one_line(make_model, processor):
    """Fill the card but for a little, then run more clips than fit."""
    model = make_model(torch.bfloat16)
    free, _ = torch.cuda.mem_get_info()
    ballast = torch.empty(int(free - 2.2e9), dtype=torch.uint8, device=CUDA)
    core = EngineCore(model, EngineOptions(max_tokens=4096))
    ended = run(core, prepare_cases(Preparer(processor, core.layout), make_cases(20)))
    core.close()
    del ballast
    assert {e.finish_reason for e in ended.values()} <= {"stop", "length", "memory"}
