"""Cosmos3 is Qwen3-VL by another name: loaded from a folder, it runs in the continuous engine with the same tokens."""

import json
import shutil

from captioner.engine.choose import choose_core
from captioner.engine.continuous import ContinuousCore
from captioner.engine.loading import load
from captioner.engine.prepare import Preparer
from captioner.values import ModelSpec
from tests.support.engine_cases import generate_alone, make_cases, prepare_cases, run


def test_cosmos_runs_as_qwen3_vl_and_as_generate(tiny_model, tiny_model_folder, tmp_path):
    folder = shutil.copytree(tiny_model_folder, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "cosmos3_omni", "architectures": None}))
    spec = ModelSpec(str(folder), device="cpu", dtype="float32")
    loaded, cases = load(folder, spec), make_cases(24, longest=12)
    assert type(loaded.model).__name__ == "Cosmos3OmniForConditionalGeneration"
    alone = [generate_alone(loaded.model, loaded.processor, case) for case in cases]
    assert alone == [generate_alone(tiny_model.model, tiny_model.processor, case) for case in cases]
    core = choose_core(loaded.model, spec)
    assert isinstance(core, ContinuousCore)
    finished = run(core, prepare_cases(Preparer(loaded.processor, core.layout), cases))
    core.close()
    assert [finished[i].tokens for i in range(len(cases))] == alone
