"""What the README and the docs promise: their commands exist, their code runs, their tables are true."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import captioner
from captioner.cli.main import build_parser
from captioner.config.presets import PRESETS
from captioner.demo.clips import write_samples
from captioner.media.kinds import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
COMMANDS = re.findall(r"^captioner (.*?)(?:  +#.*)?$", "\n".join([README, *DOCS.values()]), re.MULTILINE)


def examples(text: str) -> list[str]:
    """Return the Python code of a document, block by block."""
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def run_example(code: str, folder: Path) -> list[str]:
    """Run a script in a folder with sample clips; return the lines that it prints."""
    write_samples(folder / "clips", num_clips=1, num_stills=1)
    (folder / "example.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    program = [sys.executable, "example.py"]
    done = subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_python_example_of_the_readme_captions_a_folder(tmp_path):
    (code,) = examples(README)
    lines = run_example(code, tmp_path)
    assert lines[-1].startswith("{'event': 'JobEnded'")
    assert len(list((tmp_path / "clips").glob("*.txt"))) == 2


def test_python_example_of_the_docs_captions_a_folder_and_one_file(tmp_path):
    code = examples(DOCS["api.md"])[0]
    *captions, again = run_example(code, tmp_path)
    assert {line.partition(" A ")[0] for line in captions} == {"clip 01.mp4", "still 01.png"}
    assert f"clip 01.mp4 {again}" in captions


def test_example_for_other_programs_runs_against_the_page(tmp_path, capsys):
    from captioner.services import Services
    from captioner.ui.launch import launch
    from captioner.ui.page import build

    write_samples(tmp_path / "clips", num_clips=1, num_stills=1)
    code = examples(DOCS["api.md"])[1]
    with Services(tmp_path / "state", {"model": "demo"}) as services:
        blocks, page = build(services)
        address = launch(blocks, page)
        exec(code.replace("http://127.0.0.1:7860", address).replace("/data", str(tmp_path)), {})
        blocks.close(verbose=False)
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("clip 01.mp4 A ") for line in lines)
    assert len(list((tmp_path / "clips").glob("*.txt"))) == 2


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_exists(line):
    words = [word.strip('"') for word in re.findall(r'"[^"]*"|\S+', line)]
    assert callable(build_parser().parse_args(words).run)


def test_memory_table_is_that_of_the_presets():
    table = dict(re.findall(r"^\| `([\w.-]+)` \| ([\d.]+) GB", README, re.MULTILINE))
    assert {"qwen3-vl-2b", "qwen3.5-4b", "qwen3.5-9b"} <= table.keys()
    vram = {preset.key: f"{preset.vram_gb}" for preset in PRESETS}
    assert table == {key: vram[key] for key in table}
    assert all(f"`{preset.key}`" in README for preset in PRESETS)


def test_list_of_file_types_is_that_of_the_code():
    found = re.search(r"Clips: `([\w ]+)`\. Images: `([\w ]+)`", DOCS["captions.md"].replace("\n", " "))
    assert found
    assert found[1].split() == list(VIDEO_EXTENSIONS)
    assert found[2].split() == list(IMAGE_EXTENSIONS)


def test_newest_version_of_the_changelog_is_that_of_the_package():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## ([\d.]+) \(\d{4}-\d\d-\d\d\)$", changelog, re.MULTILINE)[0] == captioner.__version__
