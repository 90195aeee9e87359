"""Packages with kernels of linear attention: used if they compute the same, else torch's own functions are."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.tiny import make_tiny_model

PROGRAM = """
import os, sys, traceback
from pathlib import Path

def main(folder):
    loaded = load(folder, ModelSpec(str(folder), device="cpu"))
    core = ContinuousCore(loaded.model, ContinuousOptions(max_slots=2))
    ended = run(core, prepare_cases(Preparer(loaded.processor, core.layout), make_cases(2)))
    print([ended[i].tokens for i in range(2)])
    print(dict(core.report_rows())["linear attention"])

if __name__ == "__main__":  # not for the processes that render chat templates, which import this file again
    from captioner.engine.continuous import ContinuousCore, ContinuousOptions
    from captioner.engine.loading import load
    from captioner.engine.prepare import Preparer
    from captioner.values import ModelSpec
    from tests.support.engine_cases import make_cases, prepare_cases, run

    for packages in sys.argv[2:]:
        print("process", flush=True)
        if not os.fork():  # as if it had just been started, without the seconds that importing torch takes
            try:
                sys.path.insert(0, packages)
                main(Path(sys.argv[1]))
            except BaseException:
                traceback.print_exc()
            sys.stdout.flush()
            os._exit(0)
        os.wait()
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


SOURCES = {  # of a package named fla: what the report says
    None: "torch",
    CODE.replace("RESULT", "out"): "flash-linear-attention",
    CODE.replace("RESULT", "out.flip(1)"): "torch, since flash-linear-attention failed: differs by ",
    CODE.replace("RESULT", "missing"): "torch, since flash-linear-attention failed: NameError: name",
    MISSING: "torch",
}


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict:
    """(tokens, note, was the package called beyond the self-test) by source."""
    root = tmp_path_factory.mktemp("tiny")
    places = [make_package(root / f"packages {number}", source) for number, source in enumerate(SOURCES)]
    program = root / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, program, make_tiny_model(root / "model", "qwen3_5"), *places],
        capture_output=True, text=True, env={"PATH": "/usr/bin", "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    outputs = [text.splitlines() for text in done.stdout.split("process\n")[1:]]
    assert [len(lines) >= 2 for lines in outputs] == [True] * len(SOURCES), done.stderr
    return {
        source: (tokens, note, "called" in before[2:])
        for source, (*before, tokens, note) in zip(SOURCES, outputs, strict=True)
    }


def make_package(folder, source):
    ops = folder / "fla" / "ops" / "gated_delta_rule"
    for place in (folder / "fla", ops.parent, ops) if source else ():
        place.mkdir(parents=True)
        (place / "__init__.py").write_text(source)
    return folder


def test_torch_is_used_without_packages(found):
    assert found[None][1] == "torch"


@pytest.mark.parametrize(("source", "note"), [(source, note) for source, note in SOURCES.items() if source])
def test_a_package_is_used_if_it_computes_the_same(found, source, note):
    tokens, shown, was_called = found[source]
    assert was_called == (note == "flash-linear-attention")
    assert tokens == found[None][0]
    assert shown.startswith(note)
