"""The C kernel of matrix products on a CPU: what it computes, and what happens where it cannot be built or is wrong."""

import ctypes
import logging
import platform
import shutil

import pytest
import torch
from torch.nn.functional import linear

from captioner.engine import c_library, product_kernel
from captioner.engine.arranged import OneDnnWeight, fastest
from captioner.engine.c_library import COMPILERS
from captioner.engine.continuous import ContinuousCore, ContinuousOptions
from captioner.engine.product_kernel import KernelWeight

needs_compiler = pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="no C compiler")
SHAPES = [(1, 1), (16, 32), (33, 768), (100, 5), (640, 288), (48, 1500), (7, 20_000)]  # outputs, inputs


@pytest.fixture
def unbuilt():
    """The kernel is built anew for this test, and again afterwards."""
    cached = product_kernel.is_available, product_kernel._load
    for each in cached:
        each.cache_clear()
    yield
    for each in cached:
        each.cache_clear()


@needs_compiler
@pytest.mark.parametrize("num_rows", [1, 2, 7, 8, 9, 16, 150])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_products_are_those_of_torch(shape, num_rows):
    random = torch.Generator().manual_seed(1)
    weight, bias = torch.randn(shape, generator=random), torch.randn(shape[0], generator=random)
    inputs, arranged = torch.randn(num_rows, shape[1], generator=random), KernelWeight(weight)
    exact = linear(inputs.double(), weight.double())
    for each in (None, bias):
        wanted = (exact + (0 if each is None else each)).float()
        torch.testing.assert_close(arranged.product(inputs, each), wanted, rtol=1e-5, atol=1e-5 * shape[1] ** 0.5)
    assert torch.equal(arranged.restore(), weight)


@needs_compiler
def test_a_row_gives_the_same_to_the_bit_whatever_is_beside_it():
    random = torch.Generator().manual_seed(2)
    arranged = KernelWeight(torch.randn(200, 2500, generator=random))
    inputs = torch.randn(300, 2500, generator=random)
    wanted, before = arranged.product(inputs), torch.get_num_threads()
    try:
        for num_threads in (1, 2, 3):
            torch.set_num_threads(num_threads)
            for first, last in ((0, 1), (0, 5), (3, 10), (7, 300)):
                assert torch.equal(arranged.product(inputs[first:last]), wanted[first:last])
    finally:
        torch.set_num_threads(before)


@needs_compiler
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="flags of x86")
@pytest.mark.parametrize("flag", ["-mno-avx", "-mno-avx512f"])
def test_narrower_registers_do_as_well(unbuilt, monkeypatch, flag):
    monkeypatch.setattr(c_library, "FLAGS", (*c_library.FLAGS, flag))
    assert product_kernel.is_available()


@needs_compiler
def test_inputs_of_any_form_are_taken():
    random = torch.Generator().manual_seed(3)
    weight, inputs = torch.randn(24, 40, generator=random), torch.randn(4, 40, 6, generator=random).transpose(1, 2)
    torch.testing.assert_close(KernelWeight(weight).product(inputs), linear(inputs, weight))
    assert KernelWeight(weight).product(inputs[:0]).shape == (0, 6, 24)
    torch.testing.assert_close(KernelWeight(weight.T.contiguous().T).product(inputs), linear(inputs, weight))


@needs_compiler
def test_what_is_no_number_stays_in_its_row():
    """One damaged clip must not cost the others."""
    arranged, inputs = KernelWeight(torch.ones(40, 32)), torch.ones(9, 32)
    inputs[4, 5], inputs[6, 0] = torch.nan, torch.inf
    outputs = arranged.product(inputs)
    assert outputs[4].isnan().all()
    assert outputs[6].isinf().all()
    assert torch.equal(outputs[[0, 1, 2, 3, 5, 7, 8]], torch.full((7, 40), 32.0))


def test_without_a_compiler_products_are_those_of_torch_and_the_log_says_why(unbuilt, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("PATH", str(tmp_path))
    with caplog.at_level(logging.INFO, product_kernel.__name__):
        assert fastest(torch.empty(64, 64), (16,), True) in (None, OneDnnWeight)
        assert fastest(torch.empty(64, 64), (16,), True) in (None, OneDnnWeight)
    assert caplog.messages == ["no C kernel for matrix products: no C compiler was found"]


@needs_compiler
def test_a_kernel_that_is_wrong_is_not_used(unbuilt, monkeypatch, caplog):
    """One that misses the last output, for example."""
    multiply, panel = product_kernel._load()

    def wrong(inputs, weight, bias, out, rows, num_inputs, num_outputs, threads):
        multiply(inputs, weight, bias, out, rows, num_inputs, num_outputs, threads)
        torch.frombuffer((ctypes.c_float * 1).from_address(out), dtype=torch.float32).zero_()

    monkeypatch.setattr(product_kernel, "_load", lambda: (wrong, panel))
    with caplog.at_level(logging.INFO, product_kernel.__name__):
        assert not product_kernel.is_available()
    assert caplog.messages[0].startswith("no C kernel for matrix products: 1 rows differ by ")


@needs_compiler
def test_only_large_models_get_it_and_the_report_says_so(tiny_model, monkeypatch):
    def report():
        core = ContinuousCore(tiny_model.model, ContinuousOptions())
        try:
            return dict(core.report_rows())["linear layers"]
        finally:
            core.close()

    def last_way(ways, *_):
        return ways[-1]

    monkeypatch.setattr("captioner.engine.arranged._probe", last_way)
    assert "multiplied by a C kernel" not in report()
    monkeypatch.setattr("captioner.engine.packed.SMALL_MODEL", 0)
    assert "multiplied by a C kernel" in report()
