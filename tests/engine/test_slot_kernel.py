"""The C kernel of attention on a CPU: what it computes, and what happens where it cannot be built or is wrong."""

import shutil

import pytest
import torch

from captioner.engine import slot_kernel
from captioner.engine.attention_backends import SdpaBackend, Segments, reference_attention, self_test
from captioner.engine.c_library import COMPILERS
from captioner.engine.continuous import ContinuousCore, ContinuousOptions
from captioner.engine.slot_kernel import KernelBackend, build_kernel, with_kernel

CPU = torch.device("cpu")
SHAPES = [(12, 4, 64), (6, 1, 80), (4, 4, 72), (16, 2, 256)]
needs_compiler = pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="no C compiler")


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_kernel_passes_the_self_test_of_back_ends(shape, dtype):
    assert self_test(KernelBackend(build_kernel(dtype, *shape)), CPU, dtype, *shape) == ""


@needs_compiler
@pytest.mark.parametrize("num_rows", [1, 2, 7])
def test_any_number_of_threads_gives_the_same(num_rows):
    backend, random = KernelBackend(build_kernel(torch.float32, 8, 4, 32)), torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(shape, generator=random) for shape in ((num_rows, 8, 32), (9, 300, 4, 32), (9, 300, 4, 32)))
    starts, lengths = torch.arange(num_rows) * 300, torch.arange(num_rows) * 40 + 1
    wanted = [
        reference_attention(q[i : i + 1], k[i, : 40 * i + 1], v[i, : 40 * i + 1], (40 * i + 1,), False)
        for i in range(num_rows)
    ]
    before = torch.get_num_threads()
    results = []
    try:
        for num_threads in (1, 2, 3):
            torch.set_num_threads(num_threads)
            results.append(backend.cached(q, k, v, (starts, lengths, 300), 32**-0.5))
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(results[0], torch.cat(wanted))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@needs_compiler
@pytest.mark.parametrize("factor", [0.0, 1.0, 60.0, 4000.0])
def test_scores_of_any_size_are_weighed_as_softmax_does(factor):
    """With large ones, all weights but one vanish; with none, all are equal."""
    random = torch.Generator().manual_seed(2)
    q, k, v = (torch.randn(90, heads, 32, generator=random) for heads in (4, 2, 2))
    ours = KernelBackend(build_kernel(torch.float32, 4, 2, 32)).packed(
        q * factor, k, v, Segments.from_lengths([90], CPU), True, 32**-0.5
    )
    assert ours.isfinite().all()
    torch.testing.assert_close(ours, reference_attention(q * factor, k, v, (90,), True), rtol=0, atol=3e-4)


def test_without_a_compiler_torchs_attention_is_used(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    base = SdpaBackend()
    assert with_kernel(base, CPU, torch.float32, 4, 2, 32) == (base, "no C kernel: no C compiler was found")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'error: unknown option -fopenmp' >&2; echo more >&2; exit 1", "error: unknown option -fopenmp"),
        ("exit 3", "the compiler ended with 3"),
        ("for last; do :; done; echo text > $last", "slot_kernel.so"),
        ("exit 0", "slot_kernel.so"),
    ],
    ids=["refuses", "fails silently", "writes no library", "writes nothing"],
)
def test_a_compiler_that_fails_costs_only_the_kernel(monkeypatch, tmp_path, script, reason):
    compiler = tmp_path / COMPILERS[0]
    compiler.write_text(f"#!/bin/sh\n{script}\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    base = SdpaBackend()
    backend, note = with_kernel(base, CPU, torch.float32, 4, 2, 32)
    assert backend is base
    assert note.startswith("no C kernel: ")
    assert reason in note
    assert "\n" not in note


@needs_compiler
def test_a_kernel_that_is_wrong_is_rejected(monkeypatch):
    """Built for other heads than the model has, for example."""
    monkeypatch.setattr(
        slot_kernel, "build_kernel", lambda dtype, heads, groups, dim: build_kernel(dtype, heads, 1, dim)
    )
    base = SdpaBackend()
    backend, note = with_kernel(base, CPU, torch.float32, 8, 4, 32)
    assert backend is base
    assert note.startswith("no C kernel: packed: differs by ")


def test_dtypes_that_it_does_not_know_stay_with_torch():
    base = SdpaBackend()
    assert with_kernel(base, CPU, torch.float16, 4, 2, 32) == (base, "")


@needs_compiler
def test_only_large_models_get_it_and_the_report_says_so(tiny_model, monkeypatch):
    def report(**options):
        core = ContinuousCore(tiny_model.model, ContinuousOptions(**options))
        try:
            return dict(core.report_rows())["attention"]
        finally:
            core.close()

    assert report() == "SDPA"
    monkeypatch.setattr("captioner.engine.packed.SMALL_MODEL", 0)
    assert report() == "SDPA, a C kernel for decode steps"
    assert report(attention="sdpa") == "SDPA (chosen in the settings)"
