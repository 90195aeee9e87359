"""The benchmark of matrix products, with few of them."""

import json

import pytest

from captioner.engine import product_kernel
from tests.bench.__main__ import main
from tests.bench.products import SHAPES


def test_it_compares_three_ways_by_rows(capsys, monkeypatch):
    if not product_kernel.is_available():
        pytest.skip("no C compiler")
    monkeypatch.setitem(SHAPES, "100m", [(64, 32), (33, 64)])
    assert main(["products", "--rows", "1,5", "--repeats", "1", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["rows"] for row in rows] == [1, 5]
    assert all(min(row["torch_ms"], row["onednn_ms"], row["kernel_ms"]) > 0 for row in rows)


def test_without_a_compiler_it_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr("tests.bench.products.is_available", lambda: False)
    assert main(["products"]) == 2
    assert capsys.readouterr().err == (
        "error: the C kernel cannot be built here: install a C compiler with OpenMP, such as gcc\n"
    )
