"""Files are replaced as safely as the file system allows."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from captioner.system.replacing import write_atomic

REFUSED = ["EPERM", "EACCES", "EXDEV", "ENOTSUP", "ENOSYS", "EEXIST", "EINVAL"]


def refuse(code: str) -> Callable[..., None]:
    def call(*args: object, **options: object) -> None:
        raise OSError(getattr(errno, code), os.strerror(getattr(errno, code)))

    return call


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.txt"
    path.write_bytes(b"the old text")
    return path


@pytest.mark.parametrize("code", REFUSED)
def test_file_is_written_in_place_where_nothing_can_be_renamed(
    path: Path, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("captioner.system.replacing.os.replace", refuse(code))
    for data in (b"new", b"a new text that is longer", b""):
        assert write_atomic(path, data) == ("rename",)
        assert path.read_bytes() == data
    new = path.with_name("b.txt")
    assert write_atomic(new, b"b") == ("rename",)
    assert new.read_bytes() == b"b"
    assert not list(path.parent.glob("*.tmp")) + list(path.parent.glob(".*"))


@pytest.mark.parametrize("code", REFUSED)
def test_file_is_replaced_where_fsync_is_refused(path: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("captioner.system.replacing.os.fsync", refuse(code))
    assert write_atomic(path, b"new") == ("fsync",)
    assert path.read_bytes() == b"new"


def test_lost_data_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("captioner.system.replacing.os.fsync", refuse("EIO"))
    with pytest.raises(OSError, match="Input/output error"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"the old text"


def test_permissions_stay_where_chmod_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.chmod(0o600)
    monkeypatch.setattr("captioner.system.replacing.os.chmod", refuse("EPERM"))
    assert write_atomic(path, b"new") == ()
    assert path.stat().st_mode & 0o777 == 0o600
    monkeypatch.undo()
    path.chmod(0o666)  # more than the mask allows new files
    monkeypatch.setattr("captioner.system.replacing.os.chmod", refuse("EPERM"))
    assert write_atomic(path, b"newer") == ("chmod",)
    assert path.read_bytes() == b"newer"


def test_hidden_names_may_be_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Samba can forbid names that begin with a dot."""
    real = os.open
    monkeypatch.setattr(
        "captioner.system.replacing.os.open",
        lambda name, *args: refuse("EACCES")() if Path(name).name[0] == "." else real(name, *args),
    )
    assert write_atomic(path, b"new") == ("rename",)
    assert path.read_bytes() == b"new"


def test_bucket_that_is_only_written_from_the_beginning(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def bucket(name: Path, flags: int, *args: int) -> int:
        refused = Path(name).exists() and flags & os.O_WRONLY and not flags & os.O_TRUNC
        return refuse("EPERM")() or 0 if refused else real(name, flags, *args)

    monkeypatch.setattr("captioner.system.replacing.os.open", bucket)
    monkeypatch.setattr("captioner.system.replacing.os.replace", refuse("ENOSYS"))
    assert write_atomic(path, b"new") == ("rename",)
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("code", ["ENOSPC", "EDQUOT", "EROFS", "EIO"])
def test_full_or_broken_disk_is_an_error_and_the_old_text_stays(
    path: Path, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for function in ("replace", "fsync"):
        monkeypatch.setattr(f"captioner.system.replacing.os.{function}", refuse(code))
        with pytest.raises(OSError, match=os.strerror(getattr(errno, code))):
            write_atomic(path, b"new")
        assert path.read_bytes() == b"the old text"
        monkeypatch.undo()


def test_link_is_replaced_and_never_written_through(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = path.with_name("link.txt")
    link.symlink_to(path)
    write_atomic(link, b"new")
    assert (link.is_symlink(), path.read_bytes()) == (False, b"the old text")
    link.unlink()
    link.symlink_to(path)
    monkeypatch.setattr("captioner.system.replacing.os.replace", refuse("EPERM"))
    with pytest.raises(OSError, match=r"symbolic links|not permitted"):
        write_atomic(link, b"new")
    assert path.read_bytes() == b"the old text"


@pytest.mark.parametrize("letter", ["a", "漢", "é"])
def test_longest_names_leave_room_for_the_temporary_file(tmp_path: Path, letter: str) -> None:
    name = letter * ((255 - 4) // len(letter.encode())) + ".txt"
    write_atomic(tmp_path / name, b"new")
    assert (tmp_path / name).read_bytes() == b"new"


SHIM = """
#include <errno.h>
#include <sys/stat.h>
int chmod(const char *p, mode_t m) { errno = EPERM; return -1; }
int fchmod(int f, mode_t m) { errno = EPERM; return -1; }
int fchmodat(int d, const char *p, mode_t m, int f) { errno = EPERM; return -1; }
int fsync(int f) { errno = EINVAL; return -1; }
int fdatasync(int f) { errno = EINVAL; return -1; }
int rename(const char *a, const char *b) { errno = ENOTSUP; return -1; }
int renameat(int c, const char *a, int d, const char *b) { errno = ENOTSUP; return -1; }
int link(const char *a, const char *b) { errno = EPERM; return -1; }
int symlink(const char *a, const char *b) { errno = EPERM; return -1; }
"""


@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("gcc"), reason="needs gcc and LD_PRELOAD")
def test_caption_and_history_are_written_where_the_system_refuses_everything(tmp_path: Path) -> None:
    (tmp_path / "shim.c").write_text(SHIM)
    library = tmp_path / "shim.so"
    subprocess.run(["gcc", "-w", "-shared", "-fPIC", "-o", library, tmp_path / "shim.c"], check=True)
    code = (
        "import sys; from pathlib import Path; from captioner.captions.store import CaptionStore;"
        "from captioner.system.database import Database; folder = Path(sys.argv[1]);"
        "database = Database(folder / 'x.sqlite'); store = CaptionStore(database, folder);"
        "path = folder / 'a.txt'; path.write_bytes(b'old'); path.open('a').close();"
        "store.save(path, 'new'); store.save(path, 'newer and longer'); print(sorted(store.take_refused()));"
        "print([entry.text for entry in store.history(path)], path.read_text())"
    )
    state = tmp_path / "state"
    state.mkdir()
    environment = {**os.environ, "LD_PRELOAD": str(library)}
    done = subprocess.run([sys.executable, "-c", code, state], env=environment, capture_output=True, text=True)
    assert done.stdout == "['fsync', 'rename']\n['new', 'old'] newer and longer\n", done.stderr
