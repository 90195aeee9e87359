"""The C kernel of norms, rotations and gates on a CPU: what it computes, and what happens where it cannot be built."""

import logging
import platform
import shutil

import pytest
import torch
from torch.nn.functional import rms_norm, silu

from captioner.engine import c_library, row_kernel
from captioner.engine.c_library import COMPILERS
from captioner.engine.continuous import ContinuousCore, ContinuousOptions
from captioner.engine.text_layers import rotate

needs_compiler = pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="no C compiler")
DTYPES = {torch.float32: (1e-5, 1e-5), torch.bfloat16: (1e-2, 1e-3)}  # relative and absolute tolerance


@pytest.fixture
def unbuilt():
    """The kernel is built anew for this test, and again afterwards."""
    row_kernel.row_kernel.cache_clear()
    yield row_kernel.row_kernel
    row_kernel.row_kernel.cache_clear()


@pytest.fixture
def random():
    return torch.Generator().manual_seed(1)


def close(ours, theirs, dtype):
    assert ours.dtype == dtype
    relative, absolute = DTYPES[dtype]
    torch.testing.assert_close(ours.double(), theirs.double(), rtol=relative, atol=absolute)


@needs_compiler
@pytest.mark.parametrize("shape", [(1, 1), (3, 37), (2, 5, 768), (40, 1024), (0, 8)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_norms_and_gates_are_those_of_torch(dtype, shape, random):
    kernel, weight = row_kernel.row_kernel(dtype), torch.randn(shape[-1], generator=random)
    x, gate = (torch.randn(shape, generator=random).mul(3).to(dtype) for _ in range(2))
    normed = rms_norm(x.double(), shape[-1:], weight.double(), 1e-6)
    close(kernel.norm(x, weight, 1e-6), normed, dtype)
    close(kernel.norm(x, weight, 1e-6, gate=gate), normed * silu(gate.double()), dtype)
    close(kernel.gate(torch.cat([gate, x], -1)), silu(gate.double()) * x.double(), dtype)


@needs_compiler
def test_inputs_whose_values_do_not_lie_side_by_side_are_taken(random):
    kernel, weight = row_kernel.row_kernel(torch.float32), torch.ones(6)
    x, gate = torch.randn(2, 6, 5, generator=random).transpose(1, 2)
    assert torch.equal(kernel.norm(x, weight, 1e-6, gate=gate), kernel.norm(x.clone(), weight, 1e-6, gate=gate.clone()))
    assert torch.equal(kernel.gate(x), kernel.gate(x.clone()))


@needs_compiler
@pytest.mark.parametrize("rotated", [64, 16])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_heads_are_normed_and_rotated_as_by_torch_also_beside_values(dtype, rotated, random):
    heads = torch.randn(9, 12, 64, generator=random).to(dtype)  # 7 of queries, 3 of keys, 2 of values
    weight, angles = torch.randn(10, 64, generator=random), torch.randn(1, 9, rotated // 2, generator=random)
    cos, sin = (torch.cat([each, each], -1).to(dtype) for each in (angles.cos(), angles.sin()))
    queries, keys = row_kernel.row_kernel(dtype).norm_and_rotate(heads[:, :10], weight, 1e-6, cos, sin, 7)
    normed = rms_norm(heads[:, :10].double(), (64,), None, 1e-6) * weight
    wanted = rotate(normed, cos.double(), sin.double())
    close(queries, wanted[:, :7], dtype)
    close(keys, wanted[:, 7:], dtype)
    strange = heads[:, :10].transpose(1, 2).contiguous().transpose(1, 2)
    again = row_kernel.row_kernel(dtype).norm_and_rotate(strange, weight, 1e-6, cos, sin, 7)
    assert all(map(torch.equal, again, (queries, keys)))


@needs_compiler
def test_a_row_gives_the_same_to_the_bit_whatever_is_beside_it(random):
    kernel, weight = row_kernel.row_kernel(torch.float32), torch.randn(500, generator=random)
    x, before = torch.randn(200, 500, generator=random), torch.get_num_threads()
    wanted = kernel.norm(x, weight, 1e-6), kernel.gate(x)
    try:
        for num_threads in (1, 2, 3):
            torch.set_num_threads(num_threads)
            for first, last in ((0, 1), (3, 10), (7, 200)):
                part = x[first:last]
                ours = kernel.norm(part, weight, 1e-6), kernel.gate(part)
                assert all(torch.equal(mine, whole[first:last]) for mine, whole in zip(ours, wanted, strict=True))
    finally:
        torch.set_num_threads(before)


@needs_compiler
def test_large_values_are_weighed_and_what_is_no_number_stays_in_its_row():
    kernel, weight = row_kernel.row_kernel(torch.float32), torch.ones(8)
    x = torch.ones(4, 8)
    x[1, 2], x[2] = torch.nan, 1e15
    normed = kernel.norm(x, weight, 0.0)
    assert normed[1].isnan().all()
    assert torch.equal(normed[[0, 2, 3]], torch.ones(3, 8))
    gates = torch.tensor([-3e38, -100.0, -80.0, 0.0, 80.0, 1e30, torch.inf, torch.nan])
    ours = kernel.gate(torch.cat([gates, torch.ones(8)])[None])[0]
    torch.testing.assert_close(ours, silu(gates), atol=1e-36, rtol=1e-6, equal_nan=True)


@needs_compiler
def test_inputs_of_another_dtype_are_converted():
    kernel = row_kernel.row_kernel(torch.bfloat16)
    assert torch.equal(kernel.norm(torch.full((2, 4), 3.0), torch.ones(4), 0.0), torch.ones(2, 4, dtype=torch.bfloat16))


@needs_compiler
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="flags of x86")
def test_narrower_registers_do_as_well(unbuilt, monkeypatch):
    monkeypatch.setattr(c_library, "FLAGS", (*c_library.FLAGS, "-mno-avx"))
    assert all(map(unbuilt, DTYPES))


def test_without_a_compiler_torch_is_used_and_the_log_says_why(unbuilt, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("PATH", str(tmp_path))
    with caplog.at_level(logging.INFO, row_kernel.__name__):
        assert [unbuilt(torch.float32), unbuilt(torch.float32), unbuilt(torch.float16)] == [None] * 3
    assert caplog.messages == ["no C kernel for norms: no C compiler was found"]


@needs_compiler
@pytest.mark.parametrize("name", ["norm", "gate", "norm_and_rotate"])
def test_a_kernel_that_is_wrong_is_not_used(unbuilt, monkeypatch, caplog, name):
    """One that forgets a function's work, for example."""
    right = getattr(row_kernel.RowKernel, name)

    def wrong(*args, **options):
        result = right(*args, **options)
        (result if isinstance(result, torch.Tensor) else result[0])[..., -1] += 0.1
        return result

    monkeypatch.setattr(row_kernel.RowKernel, name, wrong)
    with caplog.at_level(logging.INFO, row_kernel.__name__):
        assert unbuilt(torch.float32) is None
    assert caplog.messages == ["no C kernel for norms: it computes something else than torch"]


@needs_compiler
def test_only_large_models_get_it_and_the_report_says_so(tiny_model, monkeypatch):
    def report():
        core = ContinuousCore(tiny_model.model, ContinuousOptions())
        try:
            return dict(core.report_rows()).get("norms and gates")
        finally:
            core.close()

    assert report() is None
    monkeypatch.setattr("captioner.engine.packed.SMALL_MODEL", 0)
    assert report() == "a C kernel"
