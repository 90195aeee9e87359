"""The command line with hostile names, full disks, signals, bugs, and paths as people paste them."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from captioner.system.paths import plain_path

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "captioner"]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="shell, signals and names of POSIX systems")


def shell(line, *arguments, **environment):
    """Run a line of the shell in which "$@" is the command with its arguments."""
    command = ["sh", "-c", line, "sh", *COMMAND, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, timeout=120)
    assert b"Traceback" not in done.stderr
    return done


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "my clips"
    folder.mkdir()
    for name in ("a\x1b]0;evil\x07.png", "b\ncaptioned  image  fake.png", "c\x9b2J\u202e.png"):
        (folder / name).touch()
    (folder / "d.png").touch()
    (folder / "d.txt").write_text("A cat.\x1b[2J\x07")
    return folder


def test_names_and_captions_cannot_control_the_terminal(folder, tmp_path):
    done = shell('"$@"', "list", folder)
    assert done.stdout.decode().splitlines() == [
        r"pending    image  a\x1b]0;evil\x07.png",
        r"pending    image  b\ncaptioned  image  fake.png",
        r"pending    image  c\x9b2J\u202e.png",
        "captioned  image  d.png",
    ]
    preview = shell('"$@"', "--state", tmp_path / "state", "edit", folder, "--prefix", "sks", "--dry-run")
    assert rb"- A cat.\x1b[2J\x07" in preview.stdout
    for text in (done.stdout, preview.stdout, shell('"$@"', "list", folder / "x\x1b[2J").stderr):
        assert not {0x1B, 0x07} & set(text)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device on this system")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_full_disk_behind_standard_output_is_one_line(folder, unbuffered):
    problem = b"error: cannot write to standard output: No space left on device\n"
    for words in (["list", folder], ["--help"], ["settings"]):
        done = shell('"$@" >/dev/full', *words, PYTHONUNBUFFERED=unbuffered)
        assert (done.returncode, done.stderr) == (2, problem)
    assert shell('"$@" 2>/dev/full', "list", "/nowhere", PYTHONUNBUFFERED=unbuffered).returncode == 2


def test_closed_standard_output_is_no_error(folder):
    assert shell('"$@" >&-', "list", folder).returncode == 0


@pytest.mark.parametrize("form", ['"{}"', "'{}'", "“{}”", " {} ", '{}"', "file://{}", "file://localhost{}", "file:{}"])
def test_pasted_paths_are_understood(folder, form):
    assert plain_path(form.format(folder)) == str(folder)
    assert plain_path(form.format(str(folder).replace(" ", "%20") if "file:" in form else folder)) == str(folder)


def test_paths_of_terminals_are_understood_and_real_names_stay(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert plain_path(str(folder).replace(" ", "\\ ")) == str(folder)
    for name in ('"quoted"', "back\\slash", "file:x", " spaces "):
        (folder / name).mkdir()
        assert plain_path(name) == name
    assert plain_path("file:///a%FFb%00") == "/a\udcffb\x00"
    assert plain_path("file:///a\udce4b%20c") == "/a\udce4b c"
    assert plain_path("file:///a\ud800") == "file:///a\ud800"
    for text in ("", '"', "''", "file://", "file://server/x", "~nobodyx", "\x00", "~\x00"):
        plain_path(text)


def test_pasted_path_is_opened(folder):
    assert shell('"$@"', "list", f"file://{str(folder).replace(' ', '%20')}").returncode == 0
    assert shell('"$@"', "list", f'"{folder}"').returncode == 0


def test_state_folder_without_a_home_folder(tmp_path):
    (tmp_path / "x").mkdir()
    assert shell('"$@"', "--state=~/x", "settings", HOME=str(tmp_path)).returncode == 0
    assert (tmp_path / "x" / "captioner.sqlite").exists()
    assert shell('unset HOME; "$@"', "--state", tmp_path / "x", "settings").returncode == 0
    done = shell('"$@"', "--state", "~nobodyx/s", "settings")
    expected = b"error: there is no home folder for the state folder ~nobodyx/s; choose one with --state\n"
    assert (done.returncode, done.stderr) == (2, expected)


def test_state_folder_and_its_files_are_private(tmp_path):
    state = tmp_path / "state"
    state.mkdir(mode=0o755)
    state.chmod(0o755)
    for name in ("settings.json", "prompts.json"):
        (state / name).write_text("{}" if name == "settings.json" else "[]")
        (state / name).chmod(0o644)
    assert shell('umask 000; "$@"', "--state", state, "settings", "max_frames=16").returncode == 0
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in state.iterdir()}
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert set(modes.values()) == {0o600}
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    (shared / "other").touch()
    assert shell('"$@"', "--state", shared, "settings").returncode == 0
    assert stat.S_IMODE(shared.stat().st_mode) == 0o755  # it belongs to others, too
    assert stat.S_IMODE((shared / "captioner.sqlite").stat().st_mode) == 0o600


BUG = """
import sys
from captioner.cli import main, show
def bug(*_): raise {error}
show.PRESETS = property(bug)
sys.argv = ["captioner", "--state", sys.argv[1], "models"]
show.vram_gb = bug
from captioner.config.presets import PRESETS
show.PRESETS = PRESETS
sys.exit(main.main())
"""


@pytest.mark.parametrize("error", ["KeyError('x\\x1b')", "RecursionError()", "MemoryError()", "OSError(5, 'I/O')"])
def test_bug_is_one_line_and_its_traceback_is_in_the_log(tmp_path, error):
    program = [sys.executable, "-c", BUG.format(error=error), str(tmp_path / "state")]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=60)
    log = tmp_path / "state" / "errors.log"
    assert done.returncode == 2
    assert done.stderr.startswith("error: unexpected ")
    assert done.stderr.endswith(f"; details are in {log}\n")
    assert done.stderr.count("\n") == 1
    assert "\x1b" not in done.stderr
    assert "Traceback (most recent call last)" in log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_captioning_ends_at_signals_as_at_ctrl_c(tmp_path, number):
    assert shell('"$@"', "demo", tmp_path / "clips").returncode == 0
    words = [
        "--state",
        tmp_path / "state",
        "caption",
        tmp_path / "clips",
        "--model",
        "demo",
        "--devices",
        "cpu",
        "--json",
    ]
    program = subprocess.Popen(
        [*COMMAND, *map(str, words)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    program.stdout.readline()  # the job is there
    program.send_signal(number)
    _, err = program.communicate(timeout=60)
    assert program.returncode == 130
    assert err.startswith("stopped with 12 files of job 1 left; resume with: captioner --state ")
    assert "Traceback" not in err
