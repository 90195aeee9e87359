"""What the README promises: its commands exist, its code runs, its table is true."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from captioner.cli.main import build_parser
from captioner.config.presets import PRESETS
from captioner.media.discover import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def example(holding: str) -> str:
    """The README's Python code that holds this text."""
    (code,) = [code for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if holding in code]
    return code


def test_python_example_captions_a_folder(tmp_path):
    from captioner.demo.clips import write_samples

    write_samples(tmp_path / "clips", num_clips=1, num_stills=1)
    code = example("from captioner.services")
    (tmp_path / "example.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "example.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("{'event': 'JobEnded'")
    assert len(list((tmp_path / "clips").glob("*.txt"))) == 2


def test_example_for_other_programs_runs_against_the_page(tmp_path, capsys):
    from captioner.demo.clips import write_samples
    from captioner.services import Services
    from captioner.ui.launch import launch
    from captioner.ui.page import build

    write_samples(tmp_path / "clips", num_clips=1, num_stills=1)
    with Services(tmp_path / "state", {"model": "demo"}) as services:
        blocks, page = build(services)
        address = launch(blocks, page)
        code = example("gradio_client").replace("http://127.0.0.1:7860", address).replace("/data", str(tmp_path))
        exec(compile(code, "README.md", "exec"), {})
        blocks.close(verbose=False)
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("clip 01.mp4 A ") for line in lines)
    assert len(list((tmp_path / "clips").glob("*.txt"))) == 2


@pytest.mark.parametrize("line", re.findall(r"^python -m captioner (.*?)(?:  .*)?$", README, re.MULTILINE))
def test_every_command_of_the_readme_exists(line):
    words = re.sub(r"\[.*?\]", "", line).split()
    arguments = build_parser().parse_args(words)
    assert callable(arguments.run)


def test_memory_table_is_that_of_the_presets():
    table = dict(re.findall(r"^\| `([\w.-]+)` \| ([\d.]+) GB", README, re.MULTILINE))
    assert {"qwen3-vl-2b", "qwen3-vl-8b", "qwen3-vl-32b"} <= table.keys()
    vram = {preset.key: f"{preset.vram_gb}" for preset in PRESETS}
    assert table == {key: vram[key] for key in table}
    assert all(f"`{preset.key}`" in README for preset in PRESETS)


def test_list_of_file_types_is_that_of_the_code():
    (videos, images) = re.search(r"Videos `([\w ]+)`, images `([\w ]+)`", README).groups()
    assert videos.split() == list(VIDEO_EXTENSIONS)
    assert images.split() == list(IMAGE_EXTENSIONS)
