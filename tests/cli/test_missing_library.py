"""A library that is missing or broken: one line says which, whatever is started."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = {
    "app": ["app.py", "--port", "0"],
    "serve": ["-m", "captioner", "serve", "--port", "0"],
    "list": ["-m", "captioner", "list", "."],
}


@pytest.mark.parametrize(
    ("command", "library", "text"),
    [
        ("app", "psutil", "ModuleNotFoundError(\"No module named 'psutil'\", name='psutil')"),
        ("app", "gradio", "ModuleNotFoundError(\"No module named 'gradio'\", name='gradio')"),
        ("serve", "numpy", "ImportError('DLL load failed while importing _multiarray', name='numpy._core')"),
        ("list", "av", "ImportError('libavcodec.so.62: cannot open\\nmore', name='av._core')"),
        ("list", "pydantic", "ImportError(\"cannot import name 'x' from 'pydantic' (unknown)\", name='pydantic')"),
    ],
)
def test_a_library_that_cannot_be_loaded_is_named_in_one_line(tmp_path, command, library, text):
    (tmp_path / f"{library}.py").write_text(f"raise {text}")
    state = tmp_path / "state"
    ended = subprocess.run(
        [sys.executable, *COMMANDS[command]], cwd=ROOT, capture_output=True, text=True, timeout=120,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "CAPTIONER_STATE": str(state)},
    )  # fmt: skip
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1), ended.stderr
    assert ended.stderr.startswith(f"error: cannot load the library {library}: ")
    assert "; install what is missing with: pip install -r requirements.txt; details are in " in ended.stderr
    assert "Traceback" in Path(ended.stderr.rpartition("details are in ")[2].strip()).read_text()
