"""Packages with kernels of linear attention: used if they compute the same, else torch's own functions are."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import inspect, sys
from pathlib import Path
from captioner.engine.continuous import ContinuousCore, ContinuousOptions
from captioner.engine.loading import load
from captioner.engine.prepare import Preparer
from captioner.values import ModelSpec
from tests.support.engine_cases import make_cases, prepare_cases, run

folder = Path(sys.argv[1])
loaded = load(folder, ModelSpec(str(folder), device="cpu"))
core = ContinuousCore(loaded.model, ContinuousOptions(max_slots=2))
ended = run(core, prepare_cases(Preparer(loaded.processor, core.layout), make_cases(2)))
print([ended[i].tokens for i in range(2)])
print(dict(core.report_rows())["linear attention"])
"""
CODE = """
import inspect, sys

def _own(name):
    return inspect.unwrap(getattr(sys.modules["transformers.models.qwen3_5.modeling_qwen3_5"], name))

def chunk_gated_delta_rule(query, key, value, g, beta, initial_state, output_final_state, use_qk_l2norm_in_kernel):
    rest = g, beta, 64, initial_state, output_final_state, use_qk_l2norm_in_kernel
    out, state = _own("torch_chunk_gated_delta_rule")(query, key, value, *rest)
    print("called")
    return RESULT, state
"""
MISSING = "raise ImportError('no GPU here')"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from tests.support.tiny import make_tiny_model

    return make_tiny_model(tmp_path_factory.mktemp("tiny"), "qwen3_5")


@pytest.fixture(scope="module")
def plain(folder, tmp_path_factory):
    return tokens_and_note(folder, tmp_path_factory.mktemp("plain"), None)


def tokens_and_note(folder, packages, source):
    if source is not None:
        ops = packages / "fla" / "ops" / "gated_delta_rule"
        ops.mkdir(parents=True)
        for place in (packages / "fla", ops.parent, ops):
            (place / "__init__.py").write_text(source)
    environment = {"PATH": "/usr/bin", "PYTHONPATH": f"{packages}:{Path(__file__).parents[2]}"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, folder], capture_output=True, text=True, env=environment, check=True
    )
    *before, tokens, note = done.stdout.splitlines()
    return tokens, note, "called" in before[2:]  # more than in the self-test


def test_torch_is_used_without_packages(plain):
    assert plain[1] == "torch"


@pytest.mark.parametrize(
    ("source", "note"),
    [
        (CODE.replace("RESULT", "out"), "flash-linear-attention"),
        (CODE.replace("RESULT", "out.flip(1)"), "torch, since flash-linear-attention failed: differs by "),
        (CODE.replace("RESULT", "missing"), "torch, since flash-linear-attention failed: NameError: name"),
        (MISSING, "torch"),
    ],
)
def test_a_package_is_used_if_it_computes_the_same(folder, plain, tmp_path, source, note):
    tokens, found, was_called = tokens_and_note(folder, tmp_path, source)
    assert was_called == (note == "flash-linear-attention")
    assert tokens == plain[0]
    assert found.startswith(note)
