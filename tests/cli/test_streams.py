"""The command line with streams that are closed, end early or cannot hold every character."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "captioner"]


@pytest.fixture(autouse=True)
def _buffered(monkeypatch):
    """Let the program buffer its output as it does for users."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)


def shell(line: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of the shell in which "$@" is the command with its arguments."""
    command = ["sh", "-c", line, "sh", *COMMAND, *map(os.fsencode, map(str, arguments))]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, timeout=120)


@pytest.fixture
def folder(tmp_path):
    """Return a folder with a name that is not UTF-8, one that is not ASCII, and many others."""
    (tmp_path / "clips").mkdir()
    for name in (b"gr\xfcn.png", "雪.png".encode(), *(b"%d.png" % i for i in range(2000))):
        Path(os.fsdecode(bytes(tmp_path / "clips") + b"/" + name)).touch()
    return tmp_path / "clips"


@pytest.mark.parametrize("words", [["--version"], ["caption", "--help"], ["settings"], ["bench"], ["list", "{folder}"]])
def test_output_into_a_pipe_that_was_closed_prints_no_error(folder, words):
    done = shell('"$@" | true', *(word.replace("{folder}", str(folder)) for word in words))
    assert b"Traceback" not in done.stderr
    assert b"BrokenPipe" not in done.stderr


def test_output_into_head_ends_after_the_first_line(folder):
    done = shell('"$@" | head -n 1', "list", folder)
    assert (done.stdout.count(b"\n"), done.stderr) == (1, b"")


@pytest.mark.parametrize(
    "environment",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
    ids=lambda value: " ".join(value),
)
def test_every_name_is_listed_whatever_the_terminal_can_show(folder, environment):
    done = shell('"$@"', "list", folder, **environment)
    assert (done.returncode, done.stderr, done.stdout.count(b"\n")) == (0, b"", 2002)
    assert b"image  gr\\udcfcn.png\n" in done.stdout


def test_edit_without_standard_input_changes_nothing(tmp_path):
    (tmp_path / "a.png").touch()
    (tmp_path / "a.txt").write_text("A cat.")
    done = shell('"$@" <&-', "edit", tmp_path, "--prefix", "sks")
    assert done.stderr == b"nothing was changed; add --yes to make the changes\n"
    assert (done.returncode, (tmp_path / "a.txt").read_text()) == (1, "A cat.")


def test_folder_is_captioned_when_every_stream_is_closed(tmp_path):
    assert shell('"$@"', "demo", tmp_path).returncode == 0
    done = shell('"$@" <&- >&- 2>&-', "caption", tmp_path, "--model", "demo", "--devices", "cpu")
    assert done.returncode == 0
    assert len(list(tmp_path.glob("*.txt"))) == 12
