"""Machines that lack what others have: no home, no temporary folders, no name of the user, process 1 of a container."""

import getpass
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from captioner.cli.bench.models import model_folder
from captioner.demo.clips import write_samples
from captioner.errors import FolderError, MediaError, ModelError
from captioner.media.discover import ListingOptions, discover, find_item
from captioner.media.mirror import caption_root
from captioner.system.database import Database
from captioner.system.files import state_folder
from captioner.system.paths import absolute_path, lacks_home, real_path
from captioner.system.processes import complete_environment
from captioner.system.roots import Roots

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = [sys.executable, "-m", "captioner"]
NAMESPACES = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc"]
START_S, END_S = 120, 60

# Everything but /mnt is as in a bare container: $1 is the folder at /mnt, the rest the command.
BARE = """
set -e
mount --bind "$1" /mnt; shift
mount -t tmpfs -o ro,size=4k none /var/tmp
mount --bind /tmp /tmp; mount -o remount,ro,bind /tmp
mount -t tmpfs -o ro,size=4k none /dev/shm
mkdir /mnt/gone; cd /mnt/gone; rmdir /mnt/gone
exec unshare --user --map-user=12345 env HOME=/ "$@"
"""


def has_namespaces() -> bool:
    if not (shutil.which("unshare") and Path("/mnt").is_dir()):
        return False
    nested = ["sh", "-c", "mount --bind /tmp /mnt && exec unshare --user --map-user=12345 true"]
    return subprocess.run([*NAMESPACES, *nested], capture_output=True, timeout=60).returncode == 0


needs_namespaces = pytest.mark.skipif(not has_namespaces(), reason="no namespaces can be made here")


def start(*words: object) -> subprocess.Popen[str]:
    """Start a program as process 1 of a container."""
    command = [*NAMESPACES, *map(str, words)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(container: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str]:
    """Send a signal to process 1, as `docker stop` does, and return its exit status and standard error."""
    [first] = psutil.Process(container.pid).children()
    first.send_signal(number)
    _, err = container.communicate(timeout=END_S)
    assert "Traceback" not in err
    return container.returncode, err


@needs_namespaces
def test_captions_are_written_in_a_bare_container(tmp_path):
    """No temporary folder or shared memory, a deleted working folder, a user without a name, HOME=/, process 1."""
    write_samples(tmp_path / "clips", num_clips=1, num_stills=1)
    words = ["--state", "/mnt/state", "caption", "/mnt/clips", "--model", "demo", "--devices", "cpu"]
    command = [*NAMESPACES, "sh", "-c", BARE, "sh", str(tmp_path), *PROGRAM, *words]
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=START_S)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("2 captioned, 0 skipped, 0 failed, in ")
    assert len(list((tmp_path / "clips").glob("*.txt"))) == 2


@needs_namespaces
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_process_1_ends_a_job_at_signals_as_at_ctrl_c(tmp_path, number):
    write_samples(tmp_path / "clips", num_clips=4, num_stills=0)
    words = ["caption", tmp_path / "clips", "--model", "demo", "--devices", "cpu", "--json"]
    container = start(*PROGRAM, "--state", tmp_path / "state", *words)
    container.stdout.readline()  # the job is there
    status, err = end(container, number)
    assert status == 130
    assert err.startswith("stopped with 4 files of job 1 left; resume with: captioner --state ")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_signal_to_all_processes_at_once_blames_no_file(tmp_path):
    """systemd and some containers send it to the workers, too; a file that crashes two workers is skipped for good."""
    write_samples(tmp_path / "clips", num_clips=4, num_stills=0)
    words = ["caption", tmp_path / "clips", "--model", "demo", "--devices", "cpu", "--json"]
    command = [*PROGRAM, "--state", tmp_path / "state", *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    program = subprocess.Popen([*map(str, command)], cwd=ROOT, start_new_session=True, **pipes)
    assert any('"ItemStarted"' in line for line in program.stdout)
    os.killpg(program.pid, signal.SIGTERM)
    out, err = program.communicate(timeout=END_S)
    assert (program.returncode, "lost" in out + err) == (130, False)
    database = Database(tmp_path / "state" / "captioner.sqlite")
    assert database.rows("SELECT name FROM job_items WHERE losses > 0") == []
    database.close()


@needs_namespaces
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_process_1_ends_the_page_at_signals(tmp_path, number):
    """The variables would stop Gradio from starting, open it, or block it if it saw them."""
    junk = "GRADIO_DEBUG=1 GRADIO_NODE_NUM_PORTS=x GRADIO_NUM_PORTS= GRADIO_SERVER_PORT= WEB_CONCURRENCY=auto HOME=/"
    page = [sys.executable, ROOT / "app.py", "--state", tmp_path / "state", "--host", "::", "--port", "0"]
    container = start("env", *junk.split(), *page)
    line = container.stdout.readline()
    assert line.startswith("Video Caption Suite is at http://127.0.0.1:"), container.stderr.read()
    assert end(container, number)[0] == 0


def test_home_folder_that_is_the_whole_disk_is_told_when_the_page_starts(tmp_path):
    command = [sys.executable, str(ROOT / "app.py"), "--state", str(tmp_path / "state"), "--port", "0"]
    environment = os.environ | {"HOME": "/"}
    page = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "http://" in page.stdout.readline()
    page.terminate()
    _, err = page.communicate(timeout=END_S)
    what = "the home folder is /, the whole disk, so only folders given with --root DIR can be opened"
    assert (page.returncode, err) == (0, f"WARNING {what}\n")


@pytest.fixture
def gone(tmp_path, monkeypatch):
    """A working folder that was deleted."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    try:
        (tmp_path / "gone").rmdir()
    except OSError:
        pytest.skip("a working folder cannot be deleted on this system")


@pytest.mark.usefixtures("gone")
def test_deleted_working_folder_is_one_line_for_relative_paths_and_no_matter_for_others(tmp_path):
    (tmp_path / "clips").mkdir()
    assert discover(tmp_path / "clips").items == ()
    assert absolute_path("x") == real_path("x") == Path("x")
    assert caption_root(tmp_path / "clips", tmp_path / "captions") == tmp_path / "captions"
    for call in (discover, find_item, Roots(None).resolve, Roots([tmp_path]).resolve, lambda path: Roots([path])):
        with pytest.raises((FolderError, MediaError), match="clips"):
            call(Path("clips"))
    complete_environment()
    assert Path.cwd() == Path(os.sep)


def test_home_folder_of_nobody_is_one_line_wherever_a_path_is_read(tmp_path):
    path = Path("~nobodyx/clips")
    assert lacks_home(str(path))
    assert not lacks_home(str(Path.home()))
    for call in (discover, find_item, Roots(None).resolve, lambda path: model_folder(str(path))):
        with pytest.raises((FolderError, MediaError, ModelError), match="~nobodyx/clips"):
            call(path)
    caption_root(tmp_path, path)
    discover(tmp_path, ListingOptions(captions_to=path))


def test_user_without_a_name_gets_one(monkeypatch):
    def fail():
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.delenv("USER", raising=False)
    monkeypatch.setattr(getpass, "getuser", fail)
    complete_environment()
    assert os.environ.pop("USER") == "captioner"


def test_temporary_files_go_to_the_state_folder_if_nothing_else_holds_them(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", "")
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/dev/null/x", os.environ["TMPDIR"] or "/dev/null"])
        patch.setattr(tempfile, "tempdir", None)
        folder = state_folder(tmp_path / "state")
        assert tempfile.gettempdir() == str(folder / "tmp")
    assert tempfile.gettempdir() != str(folder / "tmp")
