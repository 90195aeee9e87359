"""What the README promises: its commands exist, its code runs, its table is true."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from captioner.cli import build_parser
from captioner.media import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS
from captioner.presets import PRESETS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_python_example_captions_a_folder(tmp_path):
    from captioner.demo.clips import write_samples

    write_samples(tmp_path / "clips", num_clips=1, num_stills=1)
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
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
